//! A peer's secret key, in a file only its owner can read.

use std::fmt;
use std::path::{Path, PathBuf};

use iroh::SecretKey;
use sublet_base::PeerKey;
use sublet_daemon::{FileError, create_private, read_secret};
use thiserror::Error;
use zeroize::Zeroizing;

/// The ed25519 secret key behind a [`PeerKey`].
#[derive(Clone)]
pub struct LinkKey(pub(crate) SecretKey);

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file could not be used.
    #[error("the link key cannot be used")]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("{} does not hold a link key (64 hex digits)", .0.display())]
    Format(PathBuf),
}

impl LinkKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(SecretKey::generate())
    }

    /// Reads the key at `path`; makes one there if nothing is.
    ///
    /// # Errors
    /// [`KeyError`], also if others can read the file.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let load = || Self::parse(&read_secret(path)?).ok_or_else(|| KeyError::Format(path.to_owned()));
        match load() {
            Err(KeyError::File(error)) if error.is_missing() => {
                let key = Self::generate();
                let secret = Zeroizing::new(key.0.to_bytes());
                let text = Zeroizing::new(hex::encode(secret.as_slice()) + "\n");
                match create_private(path, text.as_bytes()) {
                    Ok(()) => Ok(key),
                    // Somebody else was faster: both are to have the same.
                    Err(error) if error.is_taken() => load(),
                    Err(error) => Err(KeyError::File(error)),
                }
            }
            other => other,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii_end(), secret.as_mut_slice()).ok()?;
        Some(Self(SecretKey::from_bytes(&secret)))
    }

    /// The public half.
    #[must_use]
    pub fn peer_key(&self) -> PeerKey {
        PeerKey(*self.0.public().as_bytes())
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKey(of {:?})", self.peer_key())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use sublet_daemon::write_private;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link.key");
        let key = LinkKey::load_or_create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LinkKey::load_or_create(&path).unwrap().peer_key(), key.peer_key());
        assert!(!format!("{key:?}").contains(&hex::encode(key.0.to_bytes())));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(LinkKey::load_or_create(&path), Err(KeyError::File(_))));
    }

    #[test]
    fn all_who_make_it_at_once_have_the_same() {
        for _ in 0..20 {
            let (folder, start) = (tempfile::tempdir().unwrap(), Barrier::new(8));
            let make = || {
                start.wait();
                LinkKey::load_or_create(&folder.path().join("link.key")).unwrap().peer_key()
            };
            let keys: Vec<_> = std::thread::scope(|threads| {
                let makers: Vec<_> = (0..8).map(|_| threads.spawn(make)).collect();
                makers.into_iter().map(|maker| maker.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        }
    }

    #[test]
    fn a_file_with_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link.key");
        for other in ["", "not hex", "abcd\n"] {
            write_private(&path, other.as_bytes()).unwrap();
            assert!(matches!(LinkKey::load_or_create(&path), Err(KeyError::Format(_))), "{other:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
    }
}

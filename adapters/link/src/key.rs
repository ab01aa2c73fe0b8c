//! A peer's secret key, in a file only its owner can read.

use std::fmt;
use std::path::{Path, PathBuf};

use iroh::SecretKey;
use sublet_base::PeerKey;
use sublet_daemon::{FileError, read_secret, write_private};
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
    File(#[source] FileError),
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
        match read_secret(path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| KeyError::Format(path.to_owned())),
            Err(error) if error.is_missing() => {
                let key = Self::generate();
                let secret = Zeroizing::new(key.0.to_bytes());
                let text = Zeroizing::new(hex::encode(secret.as_slice()) + "\n");
                write_private(path, text.as_bytes()).map_err(KeyError::File)?;
                Ok(key)
            }
            Err(error) => Err(KeyError::File(error)),
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

//! Files nobody else may read: written whole or not at all, and refused if others could have read them.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, PersistError};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest secret read, bytes.
const MAX_SECRET: u64 = 1 << 20;

/// Why a private file could not be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file system said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// `read`, `write`, …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its permissions let others in.
    #[error("{} can be read by others (mode {mode:04o}); make it private: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than any secret.
    #[error("{} is longer than {MAX_SECRET} bytes and so no secret of ours", .0.display())]
    TooLong(PathBuf),
}

impl FileError {
    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the file was there before.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Replaces `path` by `content` with mode 0600, atomically, and durably once this returns. Creates missing folders (0700).
///
/// # Errors
/// [`FileError::Io`]; the old content is then still there.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    put(path, content, |file| file.persist(path).map(drop))
}

/// As [`write_private`], but leaves a file that is there alone: of several that create it at once, one does.
///
/// # Errors
/// [`FileError::Io`], of kind `AlreadyExists` if it is there.
pub fn create_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    put(path, content, |file| file.persist_noclobber(path).map(drop))
}

fn put(
    path: &Path,
    content: &[u8],
    place: impl FnOnce(NamedTempFile) -> Result<(), PersistError>,
) -> Result<(), FileError> {
    let failed = |source| FileError::Io { doing: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_dir(folder)?;
    // A named temporary file is created with mode 0600 and removed if we fail before the rename.
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    place(file).map_err(|e| failed(e.error))?;
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Creates a folder and its parents, new ones with mode 0700; one that exists is left as it is.
///
/// # Errors
/// [`FileError::Io`].
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { doing: "create", path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

/// Reads a secret; the bytes are wiped from memory when dropped.
///
/// # Errors
/// [`FileError::Exposed`] if group or others have any right to it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| FileError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Asked of the opened file, so that it cannot be exchanged between the question and the read.
    let meta = file.metadata().map_err(failed)?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(meta.len().min(MAX_SECRET) as usize + 1));
    file.take(MAX_SECRET + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    #[test]
    fn what_is_written_is_private_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/secret");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left behind");
    }

    #[test]
    fn a_secret_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, b"x").unwrap();
        for mode in [0o640, 0o604, 0o610, 0o660] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_secret(&path), Err(FileError::Exposed { .. })), "mode {mode:o} should be refused");
        }
        assert!(read_secret(&folder.path().join("absent")).unwrap_err().is_missing());
    }
}

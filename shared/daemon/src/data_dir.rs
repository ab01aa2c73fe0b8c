//! The lock on a data directory: one process at a time, and the second one is told who has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::private_file::{FileError, create_private_dir};

const LOCK_FILE: &str = "lock";

/// A data directory that this process owns. The kernel gives the lock up when the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why the directory could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("{} is in use by {}; stop that first, or use another directory", path.display(), holder(*.pid))]
    Held {
        /// Which directory.
        path: PathBuf,
        /// Process id of the owner, where it could be read.
        pid: Option<u32>,
    },
    /// The directory could not be created.
    #[error("the data directory cannot be used")]
    Folder(#[source] FileError),
    /// The lock file could not be used.
    #[error("cannot lock {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DataDir {
    /// Creates the directory (0700) if needed and locks it until the value is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process has it.
    pub fn lock(path: impl Into<PathBuf>) -> Result<Self, LockError> {
        let path = path.into();
        create_private_dir(&path).map_err(LockError::Folder)?;
        let file_path = path.join(LOCK_FILE);
        let failed = |source| LockError::Io { path: file_path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&file_path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: read_pid(&mut file), path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path, _lock: file })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::lock(folder.path()).unwrap();
        let error = DataDir::lock(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::lock(folder.path()).unwrap();
    }
}

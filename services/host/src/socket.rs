//! The socket the host serves on: nobody but its owner may open it, and no two hosts share one.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;

/// Longest path a socket address holds, less the bytes of the name it has while it is being made.
const MAX_PATH: usize = 107 - 4;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody serves there.
    #[error("another host serves on {0}; stop it, or choose another socket")]
    InUse(PathBuf),
    /// The path cannot be one.
    #[error("{0} is too long for a socket; choose a path of at most {MAX_PATH} bytes")]
    TooLong(PathBuf),
    /// Something else is there.
    #[error("{0} exists and is not a socket; choose another path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot make the socket {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

/// Listens on `path`, which only the owner may open from the first moment. Takes over what a dead host left.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::InUse(path.to_owned())),
        Ok(_) | Err(_) => {}
    }
    let bind = || {
        // Renamed into place once it is private; a name that is there is one that others may not open.
        let next = PathBuf::from(format!("{}.new", path.display()));
        match fs::remove_file(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&next)?;
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600))?;
        fs::rename(&next, path)?;
        Ok(listener)
    };
    bind().map_err(|source| SocketError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_private_and_a_dead_hosts_is_taken_over_but_a_living_ones_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("host.sock");
        let first = listen(&path).expect("listens");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
        drop(first);
        listen(&path).expect("takes over");
        let file = folder.path().join("file");
        fs::write(&file, "precious").expect("written");
        assert!(matches!(listen(&file), Err(SocketError::NotASocket(_))));
        assert!(matches!(listen(&folder.path().join("x".repeat(200))), Err(SocketError::TooLong(_))));
    }
}

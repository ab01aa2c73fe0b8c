//! Connecting to a guest channel without trusting the guest.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_socket, socket};

/// Connects to the guest channel at `path`, at once or not at all: a guest that listens and never accepts would hold a
/// caller who waits for ever.
///
/// In a container the guest owns the folder the socket is in, and could put a link to a socket of the host there; and
/// the path may be longer than a socket address holds. So the file is opened first, looked at, and connected to by
/// descriptor.
///
/// # Errors
/// The system's; `InvalidData` if what is there is not a socket; `WouldBlock` if the guest is behind with accepting.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the guest put something else in the place of its socket",
        ));
    }
    let address = UnixAddr::new(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect_socket(socket.as_raw_fd(), &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_never_accepts_holds_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("guest.sock");
        let _deaf = std::os::unix::net::UnixListener::bind(&path).expect("listens");
        let mut held = Vec::new();
        let refused = loop {
            match connect(&path) {
                Ok(stream) => held.push(stream),
                Err(e) => break e,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "after {}", held.len());
        drop(held);
    }
}

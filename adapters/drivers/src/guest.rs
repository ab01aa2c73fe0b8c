//! Connecting to a guest channel without trusting the guest.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to the guest channel at `path`.
///
/// In a container the guest owns the folder the socket is in, and could put a link to a socket of the host there; and
/// the path may be longer than a socket address holds. So the file is opened first, looked at, and connected to by
/// descriptor.
///
/// # Errors
/// The system's; `InvalidData` if what is there is not a socket.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the guest put something else in the place of its socket",
        ));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

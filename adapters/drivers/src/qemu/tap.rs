//! The network between a machine's QEMU and its guest: one tap device, in a namespace that leads nowhere.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::interface;

const NAME: &str = "tap0";
/// What makes one.
pub(super) const DEVICE: &str = "/dev/net/tun";

/// Makes the tap in the current network namespace, with an address and up. It goes when the file is closed.
///
/// # Errors
/// The system's.
pub(super) fn make(device: File) -> io::Result<File> {
    let mut request = interface::request(NAME)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open, and the call reads and writes only within the request, whose name is terminated.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    interface::set_up(NAME)?;
    Ok(device)
}

/// The device that makes taps, if it is there and open to this user.
pub(super) fn open() -> Option<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE).ok()
}

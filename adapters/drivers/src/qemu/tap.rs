//! The network between a machine's QEMU and its guest: one tap device, in a namespace that leads nowhere.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;

const NAME: &[u8] = b"tap0";
/// QEMU's end of the network.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The guest's end, which its init knows too.
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Makes the tap in the current network namespace, with an address and up. It goes when the file is closed.
///
/// # Errors
/// The system's: `NotFound` or `PermissionDenied` for `/dev/net/tun` itself.
pub(super) fn make() -> io::Result<File> {
    let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request();
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open, and the call reads and writes only within the request, whose name is terminated.
    Errno::result(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set_address(&socket, libc::SIOCSIFADDR, ADDRESS)?;
    set_address(&socket, libc::SIOCSIFNETMASK, NETMASK)?;
    // SAFETY: as above.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(tap)
}

fn set_address(socket: &UdpSocket, call: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
    let mut request = request();
    // SAFETY: a sockaddr for IPv4 is its family, a port (bytes 0 and 1) and the address (bytes 2 to 5).
    unsafe {
        let target = &mut request.ifr_ifru.ifru_addr;
        target.sa_family = libc::AF_INET as libc::sa_family_t;
        for (slot, byte) in target.sa_data[2..6].iter_mut().zip(address.octets()) {
            *slot = byte.cast_signed();
        }
        Errno::result(libc::ioctl(socket.as_raw_fd(), call, &request))?;
    }
    Ok(())
}

fn request() -> libc::ifreq {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(NAME) {
        *slot = byte.cast_signed();
    }
    request
}

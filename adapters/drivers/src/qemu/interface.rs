//! The network interface through which the host reaches a guest: its addresses, and how it is set up in the current namespace.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// QEMU's end of the network.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The guest's end, which its init knows too.
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// The interface of that name: an address, and up.
///
/// # Errors
/// The system's; `PermissionDenied` without `CAP_NET_ADMIN` over the namespace.
pub(super) fn set_up(name: &str) -> io::Result<()> {
    set_address(name, libc::SIOCSIFADDR, ADDRESS)?;
    set_address(name, libc::SIOCSIFNETMASK, NETMASK)?;
    raise(name)
}

/// Up, without an address.
///
/// # Errors
/// The system's.
pub(super) fn raise(name: &str) -> io::Result<()> {
    let (socket, mut request) = (any_socket()?, request(name)?);
    // SAFETY: the descriptor is open, and the calls read and write only within the request, whose name is terminated.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(())
}

/// Its number in the namespace.
///
/// # Errors
/// The system's; `NotFound` if there is none.
pub(super) fn index(name: &str) -> io::Result<i32> {
    let (socket, mut request) = (any_socket()?, request(name)?);
    // SAFETY: as above; the call fills in the number.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &mut request))?;
        Ok(request.ifr_ifru.ifru_ifindex)
    }
}

/// A question about the interface of that name, everything else zero.
///
/// # Errors
/// `InvalidInput` if the name is too long.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    Ok(request)
}

/// What the kernel takes such questions on.
///
/// # Errors
/// The system's.
pub(super) fn any_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

fn set_address(name: &str, call: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
    let (socket, mut request) = (any_socket()?, request(name)?);
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

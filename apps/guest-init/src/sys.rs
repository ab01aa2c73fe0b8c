//! The system calls that the standard library and `nix` (as we build it) do not wrap.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

/// Signals that ask the init to end its machine.
pub(crate) fn ending_signals() -> SigSet {
    SigSet::from_iter([
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPWR,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ])
}

/// Blocks them, so that a thread of ours can wait for them. Before any other thread starts.
pub(crate) fn block_signals() {
    // Only an invalid mask can fail, and this one is a constant.
    let _ = ending_signals().thread_block();
}

/// Loads a kernel module. One that is already there counts as loaded.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the parameters are a valid empty C string.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sets the time, in seconds since 1970.
pub(crate) fn set_clock(seconds: i64) -> io::Result<()> {
    let time = libc::timespec { tv_sec: seconds, tv_nsec: 0 };
    // SAFETY: the call reads the structure, which outlives it.
    Errno::result(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) })?;
    Ok(())
}

/// Turns the (virtual) computer off; restarts it where it has no switch.
pub(crate) fn power_off() {
    for how in [libc::LINUX_REBOOT_CMD_POWER_OFF, libc::LINUX_REBOOT_CMD_RESTART] {
        // SAFETY: takes no pointers; it returns only when it failed.
        unsafe { libc::reboot(how) };
    }
}

/// Gives an interface an address and brings it up.
pub(crate) fn raise_interface(name: &str, address: Option<(Ipv4Addr, Ipv4Addr)>) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    if let Some((address, mask)) = address {
        set_address(&socket, name, libc::SIOCSIFADDR, address)?;
        set_address(&socket, name, libc::SIOCSIFNETMASK, mask)?;
    }
    let mut request = request_for(name)?;
    // SAFETY: both calls read and write only within the request, whose name is terminated.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request))?;
    }
    Ok(())
}

fn set_address(socket: &UdpSocket, name: &str, call: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
    let mut request = request_for(name)?;
    let octets = address.octets();
    // SAFETY: sockaddr is plain data as large as sockaddr_in; port and address are its bytes 0-1 and 2-5.
    unsafe {
        let target = &mut request.ifr_ifru.ifru_addr;
        target.sa_family = libc::AF_INET as libc::sa_family_t;
        for (slot, byte) in target.sa_data[2..6].iter_mut().zip(octets) {
            *slot = byte.cast_signed();
        }
        Errno::result(libc::ioctl(socket.as_raw_fd(), call as _, &request))?;
    }
    Ok(())
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    Ok(request)
}

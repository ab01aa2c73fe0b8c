//! Carries frames between QEMU and the guest's end of a [pair](super::veth) of Ethernet devices, for as long as QEMU lives.
//!
//! A copy of our binary, started by the one that becomes QEMU, in the same namespaces and without any privilege.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::process::Hold;
use crate::helper::{HelperResult, WORD};
use crate::process::Process;

/// Name of the helper: `qemu-carry PID`; the device as standard input, QEMU as standard output.
pub(crate) const CARRY: &str = "qemu-carry";

/// More than any frame.
const LONGEST: usize = 64 << 10;

/// Starts one for the process that this one becomes; QEMU's end, and who carries.
///
/// # Errors
/// The system's.
pub(super) fn start(device: OwnedFd) -> io::Result<(OwnedFd, Process)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    let mut command = Command::new("/proc/self/exe");
    command.args([WORD, CARRY, &std::process::id().to_string()]).env_clear();
    let child = command.stdin(Stdio::from(device)).stdout(Stdio::from(theirs)).stderr(Stdio::null()).spawn()?;
    Ok((ours, Process::of(child.id().cast_signed())?))
}

/// The helper.
pub(crate) fn carry_helper(args: &[OsString]) -> HelperResult {
    let qemu = args.first().and_then(|arg| arg.to_str()?.parse().ok());
    let qemu: i32 = qemu.ok_or_else(|| format!("usage: {CARRY} PID"))?;
    let told = |e: io::Error| format!("cannot carry frames: {e}");
    let Some(hold) = Process::of(qemu).and_then(|process| Hold::on(&process)).map_err(told)? else { return Ok(()) };
    // Its number may mean another by now.
    if nix::unistd::getppid().as_raw() != qemu {
        return Ok(());
    }
    carry(io::stdin().as_fd(), io::stdout().as_fd(), hold.as_fd()).map_err(told)
}

/// Until `ended` can be read.
fn carry(device: BorrowedFd<'_>, qemu: BorrowedFd<'_>, ended: BorrowedFd<'_>) -> io::Result<()> {
    let mut frame = vec![0; LONGEST];
    loop {
        let wanted = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [wanted(ended), wanted(device), wanted(qemu)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
        }
        let [over, from_device, from_qemu] = polled.map(|one| one.any().unwrap_or(true));
        if over {
            return Ok(());
        }
        for (ready, from, to) in [(from_device, device, qemu), (from_qemu, qemu, device)] {
            if ready {
                hand_on(&mut frame, from, to)?;
            }
        }
    }
}

/// One frame. One that is not taken is lost, as on any Ethernet.
fn hand_on(frame: &mut [u8], from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let length = match recv(from.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
        Ok(length) => length,
        // The device may go down, and QEMU may be about to end: the process tells.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN | Errno::ECONNRESET | Errno::ECONNREFUSED) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    match send(to.as_raw_fd(), &frame[..length], MsgFlags::MSG_NOSIGNAL) {
        Ok(_)
        | Err(
            Errno::EINTR
            | Errno::ENOBUFS
            | Errno::EMSGSIZE
            | Errno::EINVAL
            | Errno::ENETDOWN
            | Errno::ECONNRESET
            | Errno::ECONNREFUSED
            | Errno::EPIPE,
        ) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_carried_whole_until_the_end() -> io::Result<()> {
        let pair = || socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
        let ((near, device), (far, qemu)) = (pair()?, pair()?);
        let (ended, end) = io::pipe()?;
        let thread = std::thread::spawn(move || carry(device.as_fd(), qemu.as_fd(), ended.as_fd()));
        let mut frame = [0; 64];
        for (from, to) in [(&near, &far), (&far, &near)] {
            for text in [&b"a frame"[..], b"another"] {
                send(from.as_raw_fd(), text, MsgFlags::empty())?;
                let length = recv(to.as_raw_fd(), &mut frame, MsgFlags::empty())?;
                assert_eq!(&frame[..length], text);
            }
        }
        drop(end);
        thread.join().expect("no panic")
    }
}

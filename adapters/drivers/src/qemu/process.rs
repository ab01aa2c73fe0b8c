//! A machine's QEMU as a process: found again by a later daemon, waited for and killed without ever meaning another.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::process::Process;

/// A hold on a live process: its number cannot come to mean another while we have it.
#[derive(Debug)]
pub(super) struct Hold {
    descriptor: OwnedFd,
}

impl Hold {
    /// Takes hold of a process, if it still runs.
    ///
    /// # Errors
    /// The system's.
    #[allow(unsafe_code)]
    pub(super) fn on(process: &Process) -> io::Result<Option<Self>> {
        // SAFETY: takes no pointers.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
        let descriptor = match Errno::result(result) {
            // SAFETY: the kernel made this descriptor for us just now, so nobody else owns it.
            Ok(number) => unsafe { OwnedFd::from_raw_fd(number as i32) },
            Err(Errno::ESRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // Looked at only now: if it is still the right one, we hold the right one.
        Ok(process.is_alive()?.then_some(Self { descriptor }))
    }

    /// Can be read once the process has ended.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Sends it a signal. Harmless if it has ended.
    ///
    /// # Errors
    /// The system's.
    #[allow(unsafe_code)]
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let (descriptor, none) = (self.descriptor.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open and a null pointer asks for the default signal information.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal as i32, none, 0) };
        match Errno::result(result) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until it has ended; false if it has not within `limit`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// The system's; `TimedOut` if the kernel does not let go of it.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)?;
        if self.wait(Duration::from_secs(20))? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the process does not die"))
    }
}

/// Resident memory in bytes and processor time in microseconds of a process.
///
/// # Errors
/// The system's; `InvalidData` if the kernel's files are not as documented in proc(5).
pub(super) fn usage(pid: i32) -> io::Result<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "unreadable process status");
    // After the name, which may contain anything: user and system time are fields 14 and 15, resident pages field 24.
    let fields: Vec<&str> = stat.rsplit_once(") ").ok_or_else(unreadable)?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).ok_or_else(unreadable);
    // Both units are fixed for programs on x86-64: 100 ticks a second, pages of 4 KiB.
    Ok((number(24)? * 4096, (number(14)? + number(15)?) * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory() -> io::Result<()> {
        // Our own: one that was only just started may still be between its old memory and its new.
        assert!(usage(std::process::id().cast_signed())?.0 > 0);
        Ok(())
    }

    #[test]
    fn a_process_is_held_waited_for_and_killed() -> io::Result<()> {
        let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
        let process = Process::of(child.id().cast_signed())?;
        let hold = Hold::on(&process)?.expect("it runs");
        assert!(!hold.wait(Duration::from_millis(1))?);
        hold.kill()?;
        assert!(Hold::on(&process)?.is_none(), "a dead process cannot be taken hold of, reaped or not");
        child.wait()?;
        hold.signal(Signal::SIGTERM)?;
        assert!(Hold::on(&process)?.is_none());
        Ok(())
    }
}

//! Starting a child that does not outlive us, and ending it.
#![allow(unsafe_code)] // One syscall pair between fork and exec; see the SAFETY note.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

/// Spawns with a process group of its own, and SIGTERM should the calling *thread* end: call from a thread that lives as
/// long as the child.
pub(super) fn spawn_bound(command: &mut Command) -> std::io::Result<Child> {
    let parent = Pid::this();
    // SAFETY: runs between fork and exec; prctl and getppid are async-signal-safe and nothing here allocates or locks.
    unsafe {
        command.process_group(0).pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            // The parent may have ended before the line above took effect.
            if getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        });
    }
    command.spawn()
}

/// SIGTERM, then SIGKILL to its group after `grace`; returns once the child is reaped.
pub(super) fn end(child: &mut Child, grace: Duration) {
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let signal = |signal| {
        if let Some(pid) = group {
            // It may have ended by itself; the wait below tells.
            let _ = kill(pid, signal);
        }
    };
    signal(Signal::SIGTERM);
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    tracing::warn!("the local chain does not stop; killing it");
    signal(Signal::SIGKILL);
    if let Err(error) = child.wait() {
        tracing::error!(error = %error, "cannot wait for the local chain");
    }
}

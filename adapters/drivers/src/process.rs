//! A machine's process: who it is, across restarts of the daemon and reuse of process ids.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::files;

/// Names one process of this host for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its id on the host.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the host booted.
    started: u64,
    /// Which boot that was.
    boot: String,
}

impl Process {
    /// The process that has this id now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let (_, started) = stat(pid)?;
        Ok(Self { pid, started, boot: boot_id()? })
    }

    /// What was written with [`Process::save`], if anything was.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        Ok(files::read_if_any(path)?.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    /// Writes it down.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        files::replace(path, &serde_json::to_vec(self)?)
    }

    /// Whether it still runs. One that has died and is not yet reaped does not.
    pub(crate) fn is_alive(&self) -> io::Result<bool> {
        if boot_id()? != self.boot {
            return Ok(false);
        }
        match stat(self.pid) {
            Ok((state, started)) => Ok(started == self.started && !matches!(state, 'Z' | 'X')),
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        match kill(Pid::from_raw(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// State and start time from `/proc/PID/stat`, whose second field is a name that may contain anything.
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ');
    let state = fields.next().and_then(|field| field.chars().next());
    let started = fields.nth(18).and_then(|field| field.parse().ok());
    state.zip(started).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable process status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let process = Process::of(i32::try_from(child.id()).expect("small")).expect("is there");
        assert!(process.is_alive().expect("looks"));
        let earlier = Process { started: process.started - 1, ..process.clone() };
        assert!(!earlier.is_alive().expect("looks"), "another process with this id");
        child.kill().expect("dies");
        // Not reaped yet, and dead all the same.
        crate::cgroup::until(std::time::Duration::from_secs(10), "still alive", || Ok(!process.is_alive()?))
            .expect("dies");
        child.wait().expect("reaped");
        assert!(!process.is_alive().expect("looks"));
    }
}

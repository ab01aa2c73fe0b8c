//! Children: started here, waited for here, orphans included. Nothing else in the program may wait for a process.

use std::collections::{HashMap, HashSet};
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// The program's children.
#[derive(Default)]
pub(crate) struct Reaper {
    children: Mutex<Children>,
    changed: Condvar,
}

#[derive(Default)]
struct Children {
    running: HashSet<Pid>,
    ended: HashMap<Pid, i32>,
    /// Counts starts, so that a reaper without children knows when to look again.
    starts: u64,
}

impl Reaper {
    /// Starts the thread that collects every child that ends.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let worker = Arc::clone(&reaper);
        std::thread::Builder::new().name("reaper".into()).spawn(move || worker.collect())?;
        Ok(reaper)
    }

    /// Starts a child. Its end must be collected with [`Self::wait`].
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Pid, Child)> {
        // Under the lock: the collector cannot take this child before it is registered, nor one that fails to exec.
        let mut children = self.lock();
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        children.running.insert(pid);
        children.starts += 1;
        self.changed.notify_all();
        Ok((pid, child))
    }

    /// Waits for a child's end: its exit code, or 128 + the signal that killed it.
    pub(crate) fn wait(&self, pid: Pid) -> i32 {
        let mut children = self.lock();
        loop {
            if let Some(code) = children.ended.remove(&pid) {
                return code;
            }
            children = self.changed.wait(children).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts a program, waits for it, and fails unless it exits with 0.
    pub(crate) fn run(&self, command: &mut Command) -> io::Result<()> {
        let (pid, _) = self.spawn(command)?;
        match self.wait(pid) {
            0 => Ok(()),
            code => Err(io::Error::other(format!("it ended with {code}"))),
        }
    }

    /// Sends a signal to the process group of every child that runs (each child leads one).
    pub(crate) fn signal_all(&self, signal: Signal) {
        for pid in &self.lock().running {
            let _ = kill(Pid::from_raw(-pid.as_raw()), signal);
            let _ = kill(*pid, signal);
        }
    }

    /// Waits until no child runs, or for `limit`.
    pub(crate) fn wait_idle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut children = self.lock();
        while !children.running.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            children = self.changed.wait_timeout(children, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn collect(&self) {
        loop {
            let seen = self.lock().starts;
            // Look without taking: the lock decides who takes it.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => self.take(status.pid()),
                Err(Errno::ECHILD) => self.await_start(seen),
                Err(_) => {}
            }
        }
    }

    fn take(&self, pid: Option<Pid>) {
        let Some(pid) = pid else { return };
        let mut children = self.lock();
        let code = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
            // Somebody's failed exec, which the standard library collected itself.
            _ => return,
        };
        if children.running.remove(&pid) {
            children.ended.insert(pid, code);
            self.changed.notify_all();
        }
    }

    fn await_start(&self, seen: u64) {
        let mut children = self.lock();
        while children.starts == seen {
            children = self.changed.wait(children).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A process of the product: started in its own group, its output kept, killed by its own id when the test ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// A running process whose output goes to a file.
pub struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts `command`; its output goes to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdout(file.try_clone()?).stderr(file).stdin(std::process::Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, log: log.to_owned(), name: name.to_owned() })
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its output holds `text`, or fails with the output when it ends first.
    pub fn wait_for_output(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("`{text}` in the output of {}", self.name);
        let found = wait::until(&what, limit, || {
            if self.output().contains(text) {
                return Ok(Some(true));
            }
            Ok(self.child.try_wait()?.map(|_| false))
        });
        match found {
            Ok(true) => Ok(()),
            Ok(false) => anyhow::bail!("{} ended early:\n{}", self.name, self.output()),
            Err(error) => Err(error.context(self.output())),
        }
    }

    /// Waits for its end, whatever that is.
    pub fn finish(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait::until(&format!("{} to end", self.name), limit, || Ok(self.child.try_wait()?));
        ended.with_context(|| self.output())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL to this process alone, as a crash would.
    pub fn crash(&mut self) -> Result<()> {
        kill(self.pid(), Signal::SIGKILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGINT, as ctrl-c sends it, then waits for a clean end.
    pub fn interrupt(&mut self, limit: Duration) -> Result<ExitStatus> {
        kill(self.pid(), Signal::SIGINT)?;
        wait::until(&format!("{} to end after ctrl-c", self.name), limit, || Ok(self.child.try_wait()?))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A polite end first, so that machines and the chain go with it; then the hard one.
            let _ = kill(self.pid(), Signal::SIGTERM);
            let ended = wait::until("the end", Duration::from_secs(20), || Ok(self.child.try_wait()?));
            if ended.is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

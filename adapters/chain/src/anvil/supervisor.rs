//! The thread that owns the anvil process.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::process::{end, spawn_bound};
use super::state::State;
use super::{AnvilError, AnvilOptions, AnvilStatus};

const TICK: Duration = Duration::from_millis(50);
const KEEP_EVERY: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(20);
const STATE_INTERVAL: &str = "30";
const HISTORY: &str = "64";
/// This many crashes within [`CRASH_WINDOW`], and it is given up.
const MOST_CRASHES: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// Owns the process: starts it, watches it, starts it again, ends it.
#[derive(Debug)]
pub(super) struct Supervisor {
    binary: PathBuf,
    arguments: Vec<String>,
    state: Option<State>,
    status: watch::Sender<AnvilStatus>,
    crashes: Vec<Instant>,
    restarts: u32,
}

enum Ended {
    Asked,
    Crashed(String),
}

impl Supervisor {
    pub(super) fn new(
        binary: PathBuf,
        port: u16,
        options: &AnvilOptions,
        status: watch::Sender<AnvilStatus>,
    ) -> Result<Self, AnvilError> {
        let state = options.state.as_deref().map(State::open).transpose()?;
        if let Some(state) = &state {
            state.repair()?;
            state.set_room_aside()?;
        }
        let arguments = arguments(port, options, state.as_ref());
        Ok(Self { binary, arguments, state, status, crashes: Vec::new(), restarts: 0 })
    }

    /// Runs until asked to stop, or until the process cannot be kept up.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        let last = loop {
            let mut child = match self.spawn() {
                Ok(child) => child,
                Err(error) => break AnvilStatus::Failed(sublet_daemon::report(&error)),
            };
            self.status.send_replace(AnvilStatus::Running { pid: child.id(), restarts: self.restarts });
            match self.watch(&mut child, stop) {
                Ended::Asked => break AnvilStatus::Stopped,
                Ended::Crashed(how) => {
                    tracing::error!(how, "the local chain ended by itself");
                    if self.too_many_crashes() {
                        break AnvilStatus::Failed(format!("anvil {how}{}", self.last_words()));
                    }
                    self.restarts += 1;
                }
            }
        };
        self.status.send_replace(last);
    }

    fn spawn(&self) -> Result<Child, AnvilError> {
        if let Some(state) = &self.state {
            state.repair()?;
            state.set_room_aside()?;
        }
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log()?);
        spawn_bound(&mut command).map_err(|source| AnvilError::Spawn { binary: self.binary.clone(), source })
    }

    /// A fresh log for each start; nobody else may read it.
    fn log(&self) -> Result<Stdio, AnvilError> {
        let Some(state) = &self.state else {
            return Ok(Stdio::null());
        };
        let path = state.log();
        let opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        opened.map(Stdio::from).map_err(|source| AnvilError::State { path, source })
    }

    fn watch(&mut self, child: &mut Child, stop: &Receiver<()>) -> Ended {
        let mut kept = Instant::now();
        loop {
            match stop.recv_timeout(TICK) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    if let Some(state) = &self.state {
                        state.make_room();
                    }
                    end(child, GRACE);
                    self.keep();
                    return Ended::Asked;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Ended::Crashed(format!("ended with {status}")),
                Err(error) => return Ended::Crashed(format!("cannot be watched: {error}")),
            }
            if kept.elapsed() >= KEEP_EVERY {
                self.keep();
                kept = Instant::now();
            }
        }
    }

    fn keep(&mut self) {
        if let Some(state) = &mut self.state {
            state.keep();
        }
    }

    fn too_many_crashes(&mut self) -> bool {
        self.crashes.retain(|when| when.elapsed() < CRASH_WINDOW);
        self.crashes.push(Instant::now());
        self.crashes.len() >= MOST_CRASHES
    }

    /// The end of the log, for a person.
    fn last_words(&self) -> String {
        let text = self.state.as_ref().and_then(|state| std::fs::read(state.log()).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.map(|line| format!(": {}", line.chars().take(200).collect::<String>())).unwrap_or_default()
    }
}

/// `--slots-in-an-epoch 1` makes safe the block before the head, else it stays 0 on a young chain.
fn arguments(port: u16, options: &AnvilOptions, state: Option<&State>) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--quiet", "--host", "127.0.0.1", "--slots-in-an-epoch", "1"].map(String::from).into();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("--port", port.to_string());
    add("--chain-id", options.chain_id.to_string());
    add("--prune-history", HISTORY.to_owned());
    if let Some(seconds) = options.block_time {
        add("--block-time", seconds.to_string());
    }
    if let Some(state) = state {
        add("--state", state.file().display().to_string());
        add("--state-interval", STATE_INTERVAL.to_owned());
    }
    arguments.extend(options.extra.iter().cloned());
    arguments
}

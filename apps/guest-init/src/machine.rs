//! What this machine was asked to be and how far it got: the one place the channel reads and the workload writes.
//!
//! ```text
//! Idle ──Configure──▶ Working ──▶ Ready            (login; a restart of the server is not reported)
//!                        │
//!                        ├──▶ Ended { code }        (task)
//!                        └──▶ Failed { reason }
//! ```

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sublet_wire::guest::{Configure, Stream};

use crate::layout::Layout;
use crate::reaper::Reaper;
use crate::retained::{Record, Retained};

/// How far the machine got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody said what to be.
    Idle,
    /// Becoming it, or running the task.
    Working,
    /// The login service answers.
    Ready {
        /// Public host key, as OpenSSH writes it, without the comment.
        ssh_host_key: String,
    },
    /// The task ended and nothing of it runs any more.
    Ended {
        /// Exit code or 128 + signal.
        code: i32,
    },
    /// It cannot be what it was told to be.
    Failed {
        /// Why, in a sentence.
        reason: String,
    },
}

/// The machine.
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    pub(crate) reaper: Arc<Reaper>,
    /// Differs at every start.
    pub(crate) boot: String,
    state: Mutex<State>,
    changed: Condvar,
    /// A byte for the channel's thread whenever something changed.
    bell: UnixStream,
    pub(crate) heard: UnixStream,
}

struct State {
    configured: Option<Configure>,
    phase: Phase,
    output: Option<Retained>,
    ending: bool,
}

/// What [`Machine::configure`] decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Configured {
    /// Go and do it.
    Begin,
    /// It is done or being done.
    Already,
    /// It was told something else before.
    Differently,
}

impl Machine {
    /// A machine that was told nothing yet.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(layout: Layout) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        let state = State { configured: None, phase: Phase::Idle, output: None, ending: false };
        let reaper = Reaper::start()?;
        Ok(Self { layout, reaper, boot, state: Mutex::new(state), changed: Condvar::new(), bell, heard })
    }

    /// Takes the host's wish, once.
    pub(crate) fn configure(&self, wish: &Configure) -> Configured {
        let mut state = self.lock();
        match &state.configured {
            Some(known) if known == wish => Configured::Already,
            Some(_) => Configured::Differently,
            None => {
                state.configured = Some(wish.clone());
                state.phase = Phase::Working;
                Configured::Begin
            }
        }
    }

    /// What it was told to be.
    pub(crate) fn configured(&self) -> Option<Configure> {
        self.lock().configured.clone()
    }

    /// How far it got.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    /// Moves on, and lets the host know. Nothing follows a failure or an end.
    pub(crate) fn advance(&self, phase: Phase) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Ended { .. } | Phase::Failed { .. }) {
            state.phase = phase;
        }
        drop(state);
        self.ring();
    }

    /// Begins to keep output.
    ///
    /// # Errors
    /// No folder of the machine takes a file.
    pub(crate) fn keep_output(&self) -> io::Result<()> {
        let folders = ["/var/tmp", "/tmp", "/run", "/"].map(|folder| self.layout.path(folder));
        let kept = Retained::new(&folders)?;
        self.lock().output = Some(kept);
        Ok(())
    }

    /// Keeps some of it.
    ///
    /// # Errors
    /// See [`Retained::append`].
    pub(crate) fn append_output(&self, stream: Stream, data: &[u8]) -> io::Result<()> {
        if let Some(kept) = &mut self.lock().output {
            kept.append(stream, data)?;
        }
        self.ring();
        Ok(())
    }

    /// The output at an offset, if there is that much.
    ///
    /// # Errors
    /// See [`Retained::read`].
    pub(crate) fn output_at(&self, offset: u64) -> io::Result<Option<Record>> {
        self.lock().output.as_ref().map_or(Ok(None), |kept| kept.read(offset))
    }

    /// Marks the machine as ending; true for the first caller.
    pub(crate) fn begin_ending(&self) -> bool {
        let first = !std::mem::replace(&mut self.lock().ending, true);
        self.changed.notify_all();
        first
    }

    /// Waits for `length` or until the machine is ending; true if it is.
    pub(crate) fn ending_within(&self, length: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, length, |state| !state.ending);
        waited.map_or_else(|e| e.into_inner().0.ending, |(state, _)| state.ending)
    }

    fn ring(&self) {
        // A full bell has rung already.
        let _ = (&self.bell).write(&[1]);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

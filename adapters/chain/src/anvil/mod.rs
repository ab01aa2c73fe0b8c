//! A local chain: one supervised `anvil` process.
//!
//! It runs in a process group of its own, so that ctrl-c reaches us first; it is told to stop if we vanish; it is started
//! again if it crashes, from its last good state; and it is stopped with SIGTERM, which is when it writes that state.

mod binary;
mod process;
mod reserve;
mod state;
mod supervisor;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use binary::find_anvil;

use crate::node::{Node, ReadError};
use supervisor::Supervisor;

const PORT_PATIENCE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(20);

/// How to run the local chain.
#[derive(Clone, Debug)]
pub struct AnvilOptions {
    /// The binary; without one it is looked for as [`find_anvil`] says.
    pub binary: Option<PathBuf>,
    /// Folders that may have `node_modules`, besides the working directory and where our binary is.
    pub search: Vec<PathBuf>,
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// The chain's id.
    pub chain_id: u64,
    /// Seconds between blocks; without it a block for each transaction, at once.
    pub block_time: Option<u32>,
    /// Folder for the chain's state and log; without it the chain is forgotten when it stops.
    pub state: Option<PathBuf>,
    /// Further arguments for anvil, for tests.
    pub extra: Vec<String>,
    /// How long to wait for the first answer.
    pub ready_within: Duration,
}

impl Default for AnvilOptions {
    fn default() -> Self {
        Self {
            binary: None,
            search: Vec::new(),
            port: 0,
            chain_id: 31_337,
            block_time: None,
            state: None,
            extra: Vec::new(),
            ready_within: Duration::from_secs(30),
        }
    }
}

/// What the local chain is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnvilStatus {
    /// Not answering yet.
    Starting,
    /// Its process runs.
    Running {
        /// Process id.
        pid: u32,
        /// Times it had to be started again.
        restarts: u32,
    },
    /// Stopped because it was told to.
    Stopped,
    /// It cannot be kept running; the reason.
    Failed(String),
}

/// The local chain cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnvilError {
    /// There is no binary.
    #[error("anvil is not installed: looked in {}, and in PATH; run `make setup` (or `npm ci`), or name the binary in the configuration", looked.join(", "))]
    NotFound {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// Something else listens on the port.
    #[error("port {port} on 127.0.0.1 is taken by another program; stop it, or choose another port for the chain")]
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start {}", binary.display())]
    Spawn {
        /// The binary.
        binary: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The state folder cannot be used.
    #[error("cannot use the chain's state in {}", path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is no room for the state.
    #[error("the disk is full: there is no room for the chain's state in {}; free some space and try again", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The state is damaged and so is its copy.
    #[error("the chain's state {} is damaged and there is no good copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The process ended or never answered.
    #[error("the local chain does not come up: {why}")]
    NotReady {
        /// The last thing known.
        why: String,
        /// The last unanswered question.
        #[source]
        source: Option<ReadError>,
    },
    /// Another chain answers on the port.
    #[error("chain {found} answers at {url}, not chain {expected}")]
    OtherChain {
        /// Where.
        url: String,
        /// Its id.
        found: u64,
        /// The id that was asked for.
        expected: u64,
    },
}

/// A running local chain. Dropped without [`LocalAnvil::stop`], it is stopped as well, and whoever drops it is blocked until then.
#[derive(Debug)]
pub struct LocalAnvil {
    url: String,
    port: u16,
    status: watch::Receiver<AnvilStatus>,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl LocalAnvil {
    /// Starts the chain and waits until it answers.
    ///
    /// # Errors
    /// [`AnvilError`]; nothing is left running.
    pub async fn start(options: &AnvilOptions) -> Result<Self, AnvilError> {
        let binary = find_anvil(options.binary.as_deref(), &options.search)?;
        let port = free_port(options.port).await?;
        let (stop, stopped) = mpsc::channel();
        let (status_in, status) = watch::channel(AnvilStatus::Starting);
        let supervisor = Supervisor::new(binary, port, options, status_in)?;
        let thread = std::thread::Builder::new()
            .name("anvil".to_owned())
            .spawn(move || supervisor.run(&stopped))
            .map_err(|source| AnvilError::NotReady { why: source.to_string(), source: None })?;
        let chain = Self { url: format!("http://127.0.0.1:{port}"), port, status, stop, thread: Some(thread) };
        match chain.ready(options).await {
            Ok(()) => Ok(chain),
            Err(error) => {
                chain.stop().await;
                Err(error)
            }
        }
    }

    /// Its JSON-RPC address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it is doing, and what it does next.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<AnvilStatus> {
        self.status.clone()
    }

    /// Stops the chain and waits until its state is written and its process gone.
    pub async fn stop(mut self) {
        // The thread may be gone already; then there is nobody left to tell.
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the local chain's supervisor ended in disorder");
            }
        }
    }

    async fn ready(&self, options: &AnvilOptions) -> Result<(), AnvilError> {
        let deadline = Instant::now() + options.ready_within;
        loop {
            let error = match Node::connect(&self.url).await {
                Ok(node) if node.chain_id == options.chain_id => return Ok(()),
                Ok(node) => {
                    let (found, expected) = (node.chain_id, options.chain_id);
                    return Err(AnvilError::OtherChain { url: self.url.clone(), found, expected });
                }
                Err(error) => error,
            };
            if let AnvilStatus::Failed(why) = &*self.status.borrow() {
                return Err(AnvilError::NotReady { why: why.clone(), source: None });
            }
            if Instant::now() >= deadline {
                let why = format!("no answer within {} s", options.ready_within.as_secs());
                return Err(AnvilError::NotReady { why, source: Some(error) });
            }
            sleep(TICK).await;
        }
    }
}

impl Drop for LocalAnvil {
    fn drop(&mut self) {
        // As in `stop`: what still writes its state needs its folder.
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A chain that is still writing its state holds the port for a moment: be patient before calling it taken.
async fn free_port(wanted: u16) -> Result<u16, AnvilError> {
    let deadline = Instant::now() + PORT_PATIENCE;
    loop {
        let source = match TcpListener::bind(("127.0.0.1", wanted)).and_then(|listener| listener.local_addr()) {
            Ok(address) => return Ok(address.port()),
            Err(source) => source,
        };
        if source.kind() != std::io::ErrorKind::AddrInUse || Instant::now() >= deadline {
            return Err(AnvilError::PortTaken { port: wanted, source });
        }
        sleep(TICK).await;
    }
}

//! What every long-running program here needs and none should write twice: configuration, logging, supervised tasks
//! with an ordered shutdown, enough descriptors, retries, errors for people, private files, and the lock on a data
//! directory.
//!
//! ```no_run
//! # use sublet_daemon::{DataDir, Supervisor, config, shutdown_on_signals};
//! # #[derive(serde::Deserialize, Default)] #[serde(default, deny_unknown_fields)] struct Config { listen: u16 }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config: Config = config::load("gateway", None, &())?;
//! let data = DataDir::lock("./data/gateway")?; // held until dropped
//! let shutdown = shutdown_on_signals()?;
//! let mut tasks = Supervisor::new();
//! tasks.spawn("store", |stop| async move { stop.cancelled().await; Ok(()) });
//! tasks.spawn("http", |stop| async move { stop.cancelled().await; Ok(()) }); // stopped first
//! tasks.run(shutdown).await?;
//! # Ok(()) }
//! ```

mod chores;
pub mod config;
mod data_dir;
mod descriptors;
mod private_file;
mod report;
mod retry;
mod supervise;
pub mod telemetry;

pub use chores::{Chores, Failed};
pub use data_dir::{DataDir, LockError};
pub use descriptors::raise_descriptors;
pub use private_file::{FileError, create_private, create_private_dir, read_secret, write_private};
pub use report::{Advised, NextStep, report, with_causes};
pub use retry::{Backoff, RetryError, Retryable, retry};
pub use supervise::{BoxError, SuperviseError, Supervisor, shutdown_on_signals};
pub use tokio_util::sync::CancellationToken;

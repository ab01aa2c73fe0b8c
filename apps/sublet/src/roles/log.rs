//! Logging of a role: the `[log]` section, quieter when a person looks at `sublet up`.

use std::path::Path;

use anyhow::Result;
use sublet_daemon::config;
use sublet_daemon::telemetry::{self, LogConfig};

/// How much is logged when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Each change of state.
    Changes,
    /// Only what somebody should look at.
    Problems,
}

/// Starts logging to standard error.
pub(crate) fn start(file: Option<&Path>, talk: Talk) -> Result<()> {
    let mut log: LogConfig = config::load("log", file, &())?;
    if talk == Talk::Problems && log.filter == LogConfig::default().filter {
        log.filter = "warn,iroh=off,iroh_relay=error,noq=error,noq_proto=error,sqlx=error".to_owned();
    }
    Ok(telemetry::init(&log)?)
}

//! The roles this binary plays, each started the same way by its own `… run` command and, all together, by `sublet up`.

pub(crate) mod chain;
pub(crate) mod court;
pub(crate) mod gateway;
pub(crate) mod host;
pub(crate) mod ledger;
pub(crate) mod local;
pub(crate) mod log;
pub(crate) mod mediator;
pub(crate) mod network;
pub(crate) mod provider;
pub(crate) mod solver;

use std::path::Path;

use anyhow::Result;
use sublet_daemon::{CancellationToken, raise_descriptors, shutdown_on_signals};

use self::log::Talk;

/// What every role begins with: logging, descriptors for all it serves, and the token that a signal cancels.
pub(crate) fn begin(file: Option<&Path>, talk: Talk) -> Result<CancellationToken> {
    log::start(file, talk)?;
    raise_descriptors();
    Ok(shutdown_on_signals()?)
}

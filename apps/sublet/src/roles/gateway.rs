//! The gateway role.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use sublet_daemon::config;
use sublet_gateway::{Gateway, GatewayConfig};

use crate::home::Home;
use crate::output::Advise;

/// What the command line says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GatewayFlags {
    pub(crate) listen: Option<std::net::SocketAddr>,
    pub(crate) status: Option<std::net::SocketAddr>,
}

/// Starts to relay with the `[gateway]` section; the data folder is in the home unless configured. `elsewhere` says how to
/// choose another address.
pub(crate) async fn start(
    home: &Home,
    file: Option<PathBuf>,
    flags: &GatewayFlags,
    elsewhere: impl FnOnce() -> String,
) -> Result<Gateway> {
    let mut config: GatewayConfig = config::load("gateway", file.as_deref(), flags)?;
    if config.data == GatewayConfig::default().data {
        config.data = home.role("gateway");
    }
    match Gateway::start(config).await {
        Err(error) if error.is_address() => Err(error).advise(elsewhere),
        started => Ok(started?),
    }
}

//! `sublet host`: runs machines on this computer for whoever may open its socket.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::home::Home;
use crate::output::Output;
use crate::roles::begin;
use crate::roles::host::{self, HostFlags, Kinds};
use crate::roles::log::Talk;

/// Flags of `sublet host`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet host run\n  sublet host run --socket /run/sublet/host.sock --config sublet.toml"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until ctrl-c. Machines run on; the next start adopts them
    Run {
        /// Unix socket to serve on; only its owner may open it
        #[arg(long, value_name = "FILE")]
        socket: Option<PathBuf>,
        /// Configuration file with a [host] section [default: sublet.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Run nothing real: machines are files, for simulations
        #[arg(long)]
        simulate: bool,
    },
}

impl Args {
    /// Runs until told to stop.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let Action::Run { socket, config, simulate } = self.action;
        let shutdown = begin(config.as_deref(), Talk::Changes)?;
        let config = host::configuration(home, host::DEFAULT, config, &HostFlags { socket })?;
        let socket = config.socket.display().to_string();
        let host = host::start(config, if simulate { Kinds::Simulated } else { Kinds::Real }).await?;
        output.answer(&serde_json::json!({ "socket": socket }), || format!("serving on {socket}"))?;
        host.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    }
}

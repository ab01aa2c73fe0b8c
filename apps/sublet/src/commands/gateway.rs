//! `sublet gateway`: relays links between peers that cannot reach each other directly.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use sublet_base::PeerKey;
use sublet_chain::Ledger;

use crate::home::Home;
use crate::output::{Output, table};
use crate::roles::begin;
use crate::roles::gateway::{self, GatewayFlags};
use crate::roles::log::Talk;
use crate::session::Session;

/// Flags of `sublet gateway`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet gateway run\n  sublet gateway run --listen 0.0.0.0:3340 --status 127.0.0.1:3341\n  sublet gateway list"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the gateways registered on chain, and whether they beat
    List,
    /// Relay until ctrl-c. It sees who talks to whom and how much, never what
    Run {
        /// Address to relay on [default: 127.0.0.1:3340]
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        /// Address of the status page; none without it
        #[arg(long, value_name = "ADDRESS:PORT")]
        status: Option<SocketAddr>,
        /// Configuration file with a [gateway] section [default: sublet.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Most gateways listed.
const MOST: u64 = 1000;

#[derive(Serialize)]
struct Running {
    relay: String,
    peer_key: PeerKey,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let Action::Run { listen, status, config } = self.action else { return list(home, output).await };
        let shutdown = begin(config.as_deref(), Talk::Changes)?;
        let elsewhere = || "choose another address with --listen, or with --status for the status page".to_owned();
        let gateway = gateway::start(home, config, &GatewayFlags { listen, status }, elsewhere).await?;
        let running = Running { relay: format!("http://{}", gateway.address()), peer_key: gateway.peer_key() };
        output.answer(&running, || format!("relaying on {} with key {}", running.relay, running.peer_key))?;
        gateway.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(home: &Home, output: Output) -> Result<ExitCode> {
    let session = Session::reader(home, output).await?;
    let gateways = session.ledger.gateways(0, MOST).await?;
    output.answer(&gateways, || {
        if gateways.is_empty() {
            let known = session.network.relays.join(" ");
            return format!("no gateway is registered on chain; this home uses {known}");
        }
        let mut rows = table(["URL", "REGION", "ONLINE", "BOND", "ACCOUNT"]);
        for gateway in &gateways {
            rows.add_row([
                printable(&gateway.url),
                printable(&gateway.region),
                if gateway.online { "yes" } else { "no" }.to_owned(),
                gateway.bond.to_string(),
                gateway.gateway.to_string(),
            ]);
        }
        rows.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A stranger's text, without what could move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

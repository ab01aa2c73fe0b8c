//! `sublet solver`: keeps a book of offers and orders, matches them and opens agreements.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use sublet_base::Address;

use crate::home::Home;
use crate::output::Output;
use crate::roles::begin;
use crate::roles::log::Talk;
use crate::roles::solver::{self, SolverFlags};
use crate::session::As;

/// Flags of `sublet solver`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet solver run --account solver\n  sublet solver run --listen 127.0.0.1:7610 --config sublet.toml\n  sublet solver openapi > openapi.json"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve the book until ctrl-c; its pages are under /docs
    Run {
        /// Address to listen on [default: 127.0.0.1:7610]
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
        /// Configuration file with a [solver] section [default: sublet.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        who: As,
    },
    /// Print the OpenAPI description of the book's interface
    Openapi,
}

#[derive(Serialize)]
struct Running {
    url: String,
    account: Address,
}

impl Args {
    /// Runs until told to stop.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let (listen, config, who) = match self.action {
            Action::Run { listen, config, who } => (listen, config, who),
            Action::Openapi => {
                let description: serde_json::Value = serde_json::from_str(&sublet_solver::openapi_json()?)?;
                Output::new(true).answer(&description, String::new)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let shutdown = begin(config.as_deref(), Talk::Changes)?;
        let network = home.network()?;
        let wallet = who.wallet(home)?;
        let account = wallet.address();
        let flags = SolverFlags { listen };
        let elsewhere = || "choose another address with --listen".to_owned();
        let starting = solver::start(home, &network, wallet, config, &flags, elsewhere);
        let Some(solver) = shutdown.run_until_cancelled(starting).await else { return Ok(ExitCode::SUCCESS) };
        let solver = solver?;
        let running = Running { url: format!("http://{}", solver.address()), account };
        output.answer(&running, || format!("the book is at {0}, its description at {0}/docs", running.url))?;
        solver.serve(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    }
}

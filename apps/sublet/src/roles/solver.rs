//! The solver role.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use sublet_chain::{FollowOptions, Wallet};
use sublet_daemon::config;
use sublet_solver::{Ports, Solver, SolverConfig};
use sublet_store::Store;

use super::ledger;
use crate::home::{Home, Network};
use crate::output::Advise;

/// What the command line says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SolverFlags {
    pub(crate) listen: Option<SocketAddr>,
}

/// Takes up the book in the home and starts to listen, opening as `wallet`. `elsewhere` says how to choose another address.
pub(crate) async fn start(
    home: &Home,
    network: &Network,
    wallet: Wallet,
    file: Option<PathBuf>,
    flags: &SolverFlags,
    elsewhere: impl FnOnce() -> String,
) -> Result<Solver> {
    let config: SolverConfig = config::load("solver", file.as_deref(), flags)?;
    let ledger = ledger::open(home, network, wallet).await?;
    let store = Store::open(&home.role("solver").join("solver.db")).await.context("cannot open the solver's book")?;
    let ports = Ports { ledger, store, follow: FollowOptions::default() };
    match Solver::bind(config, ports).await {
        Err(error) if error.is_address() => Err(error).advise(elsewhere),
        bound => Ok(bound?),
    }
}

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

/// What the command line says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SolverFlags {
    pub(crate) listen: Option<SocketAddr>,
}

/// Takes up the book in the home and starts to listen, opening as `wallet`.
pub(crate) async fn start(
    home: &Home,
    network: &Network,
    wallet: Wallet,
    file: Option<PathBuf>,
    flags: &SolverFlags,
) -> Result<Solver> {
    let config: SolverConfig = config::load("solver", file.as_deref(), flags)?;
    let ledger = ledger::open(home, network, wallet).await?;
    let store = Store::open(&home.role("solver").join("solver.db")).await.context("cannot open the solver's book")?;
    let ports = Ports { ledger, store, follow: FollowOptions::default() };
    Ok(Solver::bind(config, ports).await?)
}

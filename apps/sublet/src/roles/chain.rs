//! The local chain of `sublet up`: a supervised anvil, and the contracts on it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sublet_base::Address;
use sublet_chain::{
    AnvilError, AnvilOptions, AnvilStatus, DeployOptions, Deployment, Faucet, LocalAnvil, ensure_deployed,
};
use sublet_daemon::{BoxError, CancellationToken};

use super::local;
use crate::home::Home;
use crate::output::Advise;

/// Chain id of every local network.
pub(crate) const CHAIN_ID: u64 = 31_337;

/// The anvil that `SUBLET_ANVIL` names; without it, it is looked for.
pub(crate) fn binary() -> Option<PathBuf> {
    std::env::var_os("SUBLET_ANVIL").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Starts the chain, going on from what an earlier run left.
pub(crate) async fn start(home: &Home, port: u16, block_seconds: u32) -> Result<LocalAnvil> {
    let options = AnvilOptions {
        binary: binary(),
        port,
        chain_id: CHAIN_ID,
        block_time: Some(block_seconds),
        state: Some(home.role("chain")),
        ..AnvilOptions::default()
    };
    let started = LocalAnvil::start(&options).await;
    let next = match &started {
        Err(AnvilError::PortTaken { .. }) => "choose other ports with --port, or --port 0 for free ones",
        Err(AnvilError::Damaged { .. }) => "start over with `sublet up --reset`; accounts stay",
        Err(AnvilError::Full { .. }) => "free some space, or use another home with --home",
        _ => "run `sublet doctor` to see what is missing",
    };
    started.context("the local chain does not start").advise(|| next.to_owned())
}

/// Where the record of the deployed contracts is kept.
pub(crate) fn record(home: &Home) -> PathBuf {
    home.role("chain").join("deployment.json")
}

/// The contracts, deployed if the chain is new.
pub(crate) async fn contracts(home: &Home, url: &str) -> Result<Deployment> {
    let account = local::dev_account(home)?;
    let guardian: Address = Faucet::dev_wallet()?.address();
    let options = DeployOptions { token: None, guardian };
    ensure_deployed(url, account, &options, &record(home)).await.context("cannot deploy the contracts")
}

/// Keeps the chain until `stop`; fails if it cannot be kept running.
pub(crate) async fn keep(chain: LocalAnvil, stop: CancellationToken) -> Result<(), BoxError> {
    let mut status = chain.status();
    let failed = async {
        loop {
            if let AnvilStatus::Failed(why) = &*status.borrow_and_update() {
                return why.clone();
            }
            if status.changed().await.is_err() {
                return "its supervisor ended".to_owned();
            }
        }
    };
    let outcome: Result<()> = tokio::select! {
        () = stop.cancelled() => Ok(()),
        why = failed => Err(anyhow::anyhow!("the local chain failed: {why}")),
    };
    chain.stop().await;
    outcome.map_err(anyhow::Error::into_boxed_dyn_error)
}

//! A ledger that sends as one account, for a role that runs for long.

use std::sync::Arc;

use anyhow::{Context, Result};
use sublet_chain::{DirTxJournal, EvmLedger, EvmOptions, SendAs, Wallet};

use crate::home::{Home, Network};
use crate::output::Advise;

/// Takes up the account's transactions; no other process can send as it until this one ends.
pub(crate) fn account(home: &Home, wallet: Wallet) -> Result<SendAs> {
    let folder = home.transactions(wallet.address());
    let journal = DirTxJournal::open(&folder)
        .with_context(|| format!("another process is sending as {}", wallet.address()))
        .advise(|| "wait for it to end, or stop it".to_owned())?;
    Ok(SendAs { wallet, journal: Arc::new(journal), options: Default::default() })
}

/// Connects; waits while the chain is down and says so once.
pub(crate) async fn open(home: &Home, network: &Network, wallet: Wallet) -> Result<Arc<EvmLedger>> {
    connect(&network.chain(), account(home, wallet)?).await
}

async fn connect(chain: &EvmOptions, account: SendAs) -> Result<Arc<EvmLedger>> {
    let mut said = false;
    let waiting = |error: &sublet_chain::ReadError| {
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(error = %sublet_daemon::report(error), "waiting for the chain");
        }
    };
    let ledger = EvmLedger::connect_when_up(chain, Some(account), waiting)
        .await
        .with_context(|| format!("the chain at {} cannot be used", chain.place()))?;
    Ok(Arc::new(ledger))
}

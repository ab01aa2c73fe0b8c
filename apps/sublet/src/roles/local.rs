//! Accounts of a local network: keys with generated passphrases in private files, and play money.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use sublet_base::Amount;
use sublet_chain::{Cost, Faucet, Keystore, KeystoreError, Ledger, Passphrase, SendAs, TxKey, Wallet, deposit};
use sublet_daemon::{read_secret, write_private};

use super::ledger;
use crate::home::{Home, Network};

/// What every local account has free in the contract when the network comes up, at least half of it.
const FREE: Amount = Amount::tokens(1_000);
/// And in its wallet, to try deposits with.
const POCKET: Amount = Amount::tokens(100);

/// The account `name`, made if it is not there. Its passphrase is generated into a file that only its owner can read.
pub(crate) fn account(home: &Home, name: &str) -> Result<Wallet> {
    let path = home.passphrase(name);
    if read_secret(&path).is_err_and(|error| error.is_missing()) {
        let secret = hex::encode(rand::random::<[u8; 24]>()) + "\n";
        write_private(&path, secret.as_bytes())?;
    }
    let keys = Keystore::new(home.accounts());
    let passphrase = Passphrase::from_file(&path)?;
    match keys.load(name, &passphrase) {
        Err(KeystoreError::Unknown { .. }) => Ok(keys.create(name, &passphrase, Cost::LocalNetwork)?),
        other => other.with_context(|| format!("cannot open the local account `{name}`")),
    }
}

/// Sends as the wallet that every local chain is born with; its key is public knowledge.
pub(crate) fn dev_account(home: &Home) -> Result<SendAs> {
    ledger::account(home, Faucet::dev_wallet()?)
}

/// Sees to it that each of the accounts has gas, tokens, and a free balance.
pub(crate) async fn fund(home: &Home, network: &Network, wallets: impl Iterator<Item = &Wallet>) -> Result<()> {
    let faucet = &Faucet::connect(&network.chain(), dev_account(home)?).await?;
    // All at once: each step waits for a block.
    let fundings = wallets.map(|wallet| async move {
        fund_one(home, network, faucet, wallet).await.with_context(|| format!("cannot fund {}", wallet.address()))
    });
    try_join_all(fundings).await?;
    Ok(())
}

async fn fund_one(home: &Home, network: &Network, faucet: &Faucet, wallet: &Wallet) -> Result<()> {
    let account = wallet.address();
    let ledger = ledger::open(home, network, wallet.clone()).await?;
    faucet.give(account, Amount::ZERO).await?;
    if ledger.free_of(account).await?.0 >= FREE.0 / 2 {
        return Ok(());
    }
    faucet.give(account, FREE.plus(POCKET)?).await?;
    let key = format!("fund {}", hex::encode(rand::random::<[u8; 8]>()));
    deposit(ledger.as_ref(), &key, FREE).await?;
    Ok(ledger.forget(&TxKey::lasting(format!("{key}/deposit"))).await?)
}

//! `sublet account`: keys, balances, and moving money in and out of the contract.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Address, Amount, B256};
use sublet_chain::{Call, Cost, DirTxJournal, Faucet, Keystore, Ledger, Passphrase, SendAs, TxKey, Wallet, deposit};
use sublet_daemon::read_secret;

use crate::home::Home;
use crate::output::{Advise, Output, refuse, table};
use crate::session::{As, Session, ask_passphrase, name_of, tx_key};

/// Flags of `sublet account`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sublet account new work\n  sublet account show\n  sublet account deposit 25.5")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a new key and keep it encrypted
    New {
        /// What to call it: a-z, 0-9, - and _
        name: String,
        /// File that holds the passphrase to encrypt it with; asked for on a terminal otherwise
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take over an existing key, from a file with 64 hex digits
    Import {
        /// What to call it
        name: String,
        /// File with the key, readable by its owner only
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// File that holds the passphrase to encrypt it with
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// List the accounts of this home
    List,
    /// Show an account's balances
    Show(As),
    /// Move tokens from the wallet into the contract, where they can be spent
    Deposit {
        /// How much, in SUB
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
    /// Move free tokens from the contract back to the wallet
    Withdraw {
        /// How much, in SUB
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
    /// Get test tokens and gas on a local network
    Faucet {
        /// How much, in SUB
        #[arg(default_value = "100")]
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
}

#[derive(Serialize)]
struct Balances {
    account: Address,
    /// Spendable inside the contract, token units.
    free: Amount,
    /// In the wallet, outside the contract, token units.
    wallet: Amount,
    /// The chain's own coin, wei.
    gas: String,
}

#[derive(Serialize)]
struct Moved {
    account: Address,
    amount: Amount,
    transaction: B256,
    free: Amount,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        match self.action {
            Action::New { name, passphrase_file } => {
                let passphrase = new_passphrase(passphrase_file)?;
                let wallet = Keystore::new(home.accounts()).create(&name, &passphrase, Cost::Standard)?;
                said_address(output, &name, wallet.address(), "made")?;
            }
            Action::Import { name, key_file, passphrase_file } => {
                let text = read_secret(&key_file)?;
                let text = std::str::from_utf8(&text).context("the key file is not text")?;
                let wallet = Wallet::from_hex(text.trim()).context("the key file holds no key")?;
                let passphrase = new_passphrase(passphrase_file)?;
                Keystore::new(home.accounts()).import(&name, &wallet, &passphrase, Cost::Standard)?;
                said_address(output, &name, wallet.address(), "imported")?;
            }
            Action::List => list(home, output)?,
            Action::Show(who) => show(home, output, who.address(home)?).await?,
            Action::Deposit { amount, who } => put_in(home, output, &who, amount).await?,
            Action::Withdraw { amount, who } => {
                let wallet = who.wallet(home)?;
                let account = wallet.address();
                let session = Session::sender(home, output, wallet).await?;
                take_out(session.ledger.as_ref(), output, account, amount).await?;
            }
            Action::Faucet { amount, who } => faucet(home, output, who.address(home)?, amount).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn put_in(home: &Home, output: Output, who: &As, amount: Amount) -> Result<()> {
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let session = Session::sender(home, output, wallet).await?;
    let held = session.ledger.token_balance(account).await?;
    if held < amount {
        let missing = amount.minus(held)?;
        return refuse(
            format!("the wallet holds {held} SUB; {missing} SUB is missing"),
            format!("on a local network, get some with `sublet account faucet {missing}`"),
        );
    }
    let progress = output.progress("depositing");
    let key = name_of("deposit");
    let landed = deposit(session.ledger.as_ref(), &key, amount).await?;
    session.ledger.forget(&TxKey::lasting(format!("{key}/deposit"))).await?;
    progress.done();
    moved(session.ledger.as_ref(), output, account, amount, landed.tx, "deposited").await
}

/// Moves free tokens to the wallet, and says so.
pub(crate) async fn take_out(ledger: &dyn Ledger, output: Output, account: Address, amount: Amount) -> Result<()> {
    let progress = output.progress("withdrawing");
    let landed = ledger.submit(&tx_key("withdraw"), &Call::Withdraw(amount)).await?;
    progress.done();
    moved(ledger, output, account, amount, landed.tx, "withdrawn to the wallet").await
}

async fn faucet(home: &Home, output: Output, to: Address, amount: Amount) -> Result<()> {
    let network = home.network()?;
    let wallet = Faucet::dev_wallet()?;
    let journal = DirTxJournal::open(&home.transactions(wallet.address()))?;
    let account = SendAs { wallet, journal: std::sync::Arc::new(journal), options: Default::default() };
    let progress = output.progress("asking the faucet");
    Faucet::connect(&network.chain(), account)
        .await?
        .give(to, amount)
        .await
        .context("the faucet gave nothing")
        .advise(|| "only the test token of a local network has a faucet".to_owned())?;
    progress.done();
    show(home, output, to).await
}

async fn show(home: &Home, output: Output, account: Address) -> Result<()> {
    let session = Session::reader(home, output).await?;
    let balances = Balances {
        account,
        free: session.ledger.free_of(account).await?,
        wallet: session.ledger.token_balance(account).await?,
        gas: session.ledger.gas_balance(account).await?.to_string(),
    };
    output.answer(&balances, || {
        format!(
            "account  {account}\nfree     {} SUB (in the contract, ready to spend)\nwallet   {} SUB\ngas      {} wei",
            balances.free, balances.wallet, balances.gas
        )
    })
}

async fn moved(
    ledger: &dyn Ledger,
    output: Output,
    account: Address,
    amount: Amount,
    transaction: B256,
    done: &str,
) -> Result<()> {
    let free = ledger.free_of(account).await?;
    let answer = Moved { account, amount, transaction, free };
    output.answer(&answer, || format!("{amount} SUB {done}; {free} SUB is free now (transaction {transaction})"))
}

fn list(home: &Home, output: Output) -> Result<()> {
    let keys = Keystore::new(home.accounts()).list()?;
    output.answer(&keys, || {
        if keys.is_empty() {
            return "no accounts yet; make one with `sublet account new NAME`".to_owned();
        }
        let mut rows = table(["NAME", "ADDRESS"]);
        rows.add_rows(keys.iter().map(|key| [key.name.clone(), key.address.to_string()]));
        rows.to_string()
    })
}

fn said_address(output: Output, name: &str, address: Address, done: &str) -> Result<()> {
    #[derive(Serialize)]
    struct Made<'a> {
        name: &'a str,
        address: Address,
    }
    output.answer(&Made { name, address }, || format!("account {name} {done}: {address}"))
}

/// For a new key: from a file, or twice from the terminal.
fn new_passphrase(file: Option<PathBuf>) -> Result<Passphrase> {
    match file {
        Some(file) => Ok(Passphrase::from_file(&file)?),
        None => ask_passphrase("New passphrase: "),
    }
}

//! `sublet provider`: rents out this computer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Address, Amount};
use sublet_chain::{Ledger, ProviderRecord};
use sublet_wire::solver::{OfferQuery, OfferView};

use crate::commands::account::take_out;
use crate::home::Home;
use crate::offers::book;
use crate::output::{Advise, Output, refuse};
use crate::roles::log::Talk;
use crate::roles::{begin, host, ledger, provider};
use crate::session::{As, Session};

/// What `init` writes. Prices are token units a second; 10^18 units are one SUB.
const FIRST: &str = include_str!("provider.toml");

/// Flags of `sublet provider`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet provider init\n  sublet provider run --account provider\n  sublet provider status --account provider"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a first configuration, to be looked at before `run`
    Init {
        /// Where to
        #[arg(default_value = "sublet.toml")]
        file: PathBuf,
    },
    /// Register, publish offers, serve agreements, collect the money; until ctrl-c. Machines run on
    Run {
        /// The host: a name in this home, or the path of its socket
        #[arg(long, default_value = host::DEFAULT, value_name = "NAME|SOCKET")]
        host: String,
        /// Configuration file with a [provider] section [default: sublet.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        who: As,
    },
    /// Show a provider's registration, money and offers
    Status(As),
    /// Move free tokens to the provider's wallet; stop its agent first, or let it do so with `withdraw_above`
    Withdraw {
        /// How much, in SUB
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
}

#[derive(Serialize)]
struct Status {
    account: Address,
    free: Amount,
    wallet: Amount,
    #[serde(flatten)]
    record: ProviderRecord,
    info: String,
    offers: Vec<OfferView>,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        match self.action {
            Action::Init { file } => init(&file, output)?,
            Action::Run { host, config, who } => run(home, output, &host, config, &who).await?,
            Action::Status(who) => status(home, output, who.address(home)?).await?,
            Action::Withdraw { amount, who } => withdraw(home, output, amount, &who).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn init(file: &Path, output: Output) -> Result<()> {
    if file.exists() {
        return refuse(format!("{} is there already", file.display()), "name another file, or edit this one");
    }
    std::fs::write(file, FIRST).with_context(|| format!("cannot write {}", file.display()))?;
    output.answer(&serde_json::json!({ "written": file }), || {
        format!(
            "{} is written; look at its prices, then:\n  sublet account new provider\n  sublet host run\n  sublet provider run --account provider",
            file.display()
        )
    })
}

async fn run(home: &Home, output: Output, host: &str, file: Option<PathBuf>, who: &As) -> Result<()> {
    let shutdown = begin(file.as_deref(), Talk::Changes)?;
    let network = home.network()?;
    let config = provider::configuration(&network, file)?;
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let socket = host::socket(home, host);
    let role = format!("provider-{}", config.name);
    let starting = provider::start(home, &network, &role, wallet, &socket, config);
    let Some(provider) = shutdown.run_until_cancelled(starting).await else { return Ok(()) };
    let provider = provider?;
    output.answer(&serde_json::json!({ "provider": account }), || format!("renting out as {account}"))?;
    provider.run(shutdown).await
}

async fn status(home: &Home, output: Output, account: Address) -> Result<()> {
    let session = Session::reader(home, output).await?;
    let Some(record) = session.ledger.provider(account).await? else {
        return refuse(format!("{account} is not registered as a provider"), "`sublet provider run` registers it");
    };
    let query = OfferQuery { provider: Some(account), all: true, ..OfferQuery::default() };
    let mut offers = Vec::new();
    for solver in session.solvers()? {
        offers.extend(book(&solver, &query).await?);
    }
    let (free, wallet) = (session.ledger.free_of(account).await?, session.ledger.token_balance(account).await?);
    let info = session.ledger.provider_info(account).await?.unwrap_or_default();
    let status = Status { account, free, wallet, record, info, offers };
    output.answer(&status, || {
        let s = &status;
        format!(
            "provider  {account}\nonline    {}\nuptime    {} s, last beat {}\nfree      {} SUB\nwallet    {} SUB\ninfo      {}\noffers    {}",
            if s.record.online { "yes" } else { "no" },
            s.record.uptime,
            s.record.last_beat,
            s.free,
            s.wallet,
            s.info,
            s.offers.len()
        )
    })
}

async fn withdraw(home: &Home, output: Output, amount: Amount, who: &As) -> Result<()> {
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let network = home.network()?;
    let ledger = ledger::open(home, &network, wallet)
        .await
        .advise(|| "stop the provider's agent first, or set `withdraw_above` in its configuration".to_owned())?;
    if ledger.provider(account).await?.is_none() {
        return refuse(
            format!("{account} is not registered as a provider"),
            format!("`sublet account withdraw {amount}` moves any account's free tokens"),
        );
    }
    take_out(ledger.as_ref(), output, account, amount).await
}

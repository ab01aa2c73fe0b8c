//! `sublet mediator`: judges disputed jobs on this computer, and names who else may.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Address, Amount, UnixTime};
use sublet_chain::{Branch, Call, Event, Ledger, MediatorRecord, MediatorSetRecord};
use sublet_market::MediatorSetId;
use sublet_mediator::{BadConfig, MediatorConfig};

use crate::commands::account::take_out;
use crate::home::Home;
use crate::output::{Advise, Output, refuse};
use crate::roles::log::Talk;
use crate::roles::{begin, host, ledger, mediator};
use crate::session::{As, Session, tx_key};

/// What `init` writes.
const FIRST: &str = include_str!("mediator.toml");
/// Its line that must differ between mediators of one home.
const NAME: &str = "name = \"my-court\"";

/// Flags of `sublet mediator`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet mediator create-set --member judge --member 0x… --member 0x… --panel 3 --fee 0.1\n  sublet mediator init\n  sublet mediator run --account judge\n  sublet mediator status --account judge\n  sublet mediator withdraw 2.5 --account judge\n  sublet mediator leave 1 --account judge\n  sublet mediator withdraw --bond --account judge\n\ndocs/howto/mediate.md goes through it step by step."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a first configuration, to be looked at before `run`
    Init {
        /// Where to; another name than the default becomes the mediator's
        #[arg(default_value = mediator::FILE)]
        file: PathBuf,
    },
    /// Register, post the bond, and judge until ctrl-c. Machines run on
    Run {
        /// The host that runs jobs again: a name in this home, or the path of its socket
        #[arg(long, default_value = host::DEFAULT, value_name = "NAME|SOCKET")]
        host: String,
        /// Configuration file with a [mediator] section [default: mediator.toml, else sublet.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        who: As,
    },
    /// Show a mediator's registration, money and sets
    Status(As),
    /// Move free tokens to the wallet, or get the bond back; stop `run` first
    Withdraw {
        /// How much of the free tokens, in SUB
        #[arg(required_unless_present = "bond")]
        amount: Option<Amount>,
        /// Retire, or take the bond back once its time is over
        #[arg(long, conflicts_with = "amount")]
        bond: bool,
        #[command(flatten)]
        who: As,
    },
    /// Leave a set: be drawn for none of its later disputes. Take it out of `sets` first, or the next `run` joins it again
    Leave {
        /// Its number
        set: u64,
        #[command(flatten)]
        who: As,
    },
    /// Name a set of mediators that offers and orders can agree on; prints its number. It never changes
    CreateSet {
        /// A member: its address, or the name of an account here; repeated for each
        #[arg(long = "member", value_name = "ADDRESS|NAME", required = true)]
        members: Vec<String>,
        /// How many of them are drawn for a dispute; odd
        #[arg(long, value_name = "NUMBER", default_value_t = 3)]
        panel: u8,
        /// What each vote earns, and each missing vote costs, in SUB
        #[arg(long, value_name = "SUB")]
        fee: Amount,
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
    record: MediatorRecord,
    sets: Vec<Seat>,
}

#[derive(Serialize)]
struct Seat {
    set: u64,
    joined: bool,
    fee: Amount,
    panel_size: u8,
    members: usize,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        match self.action {
            Action::Init { file } => init(&file, output)?,
            Action::Run { host, config, who } => run(home, output, &host, config, &who).await?,
            Action::Status(who) => status(home, output, who.address(home)?).await?,
            Action::Withdraw { amount: Some(amount), who, .. } => withdraw(home, output, amount, &who).await?,
            Action::Withdraw { amount: None, who, .. } => withdraw_bond(home, output, &who).await?,
            Action::Leave { set, who } => leave(home, output, MediatorSetId(set), &who).await?,
            Action::CreateSet { members, panel, fee, who } => {
                let named = |account| As { account, passphrase_file: None }.address(home);
                let members = members.into_iter().map(named).collect::<Result<_>>()?;
                create_set(home, output, members, panel, fee, &who).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn init(file: &Path, output: Output) -> Result<()> {
    if file.exists() {
        return refuse(format!("{} is there already", file.display()), "name another file, or edit this one");
    }
    let name = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_name(stem));
    let (text, flag) = match name {
        Some(name) => (FIRST.replace(NAME, &format!("name = {name:?}")), format!(" --config {}", file.display())),
        None => (FIRST.to_owned(), String::new()),
    };
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let account = name.unwrap_or("judge");
    output.answer(&serde_json::json!({ "written": file }), || {
        format!(
            "{} is written; look at its bond and sets, then:\n  sublet account new {account}\n  sublet host run\n  sublet mediator run --account {account}{flag}",
            file.display()
        )
    })
}

/// Whether a file's name can be a mediator's. What is looked for without being named says nothing.
fn is_name(stem: &str) -> bool {
    let named = MediatorConfig { name: stem.to_owned(), ..MediatorConfig::default() };
    !["mediator", "sublet"].contains(&stem) && named.check() != Err(BadConfig::Name)
}

async fn run(home: &Home, output: Output, host: &str, file: Option<PathBuf>, who: &As) -> Result<()> {
    let file = mediator::file(file);
    let shutdown = begin(file.as_deref(), Talk::Changes)?;
    let network = home.network()?;
    let config = mediator::configuration(&network, file)?;
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let socket = host::socket(home, host);
    let starting = mediator::start(home, &network, wallet, &socket, config);
    let Some(mediator) = shutdown.run_until_cancelled(starting).await else { return Ok(()) };
    let mediator = mediator?;
    output.answer(&serde_json::json!({ "mediator": account }), || format!("judging as {account}"))?;
    mediator.run(shutdown).await
}

async fn status(home: &Home, output: Output, account: Address) -> Result<()> {
    let session = Session::reader(home, output).await?;
    let Some(record) = session.ledger.mediator(account).await? else {
        return refuse(format!("{account} is not registered as a mediator"), "`sublet mediator run` registers it");
    };
    let mut sets = Vec::new();
    for set in 1..=session.ledger.mediator_set_count().await? {
        if let Some(known) = session.ledger.mediator_set(MediatorSetId(set)).await?
            && known.members.contains(&account)
        {
            sets.push(seat(set, account, &known));
        }
    }
    let (free, wallet) = (session.ledger.free_of(account).await?, session.ledger.token_balance(account).await?);
    let status = Status { account, free, wallet, record, sets };
    output.answer(&status, || {
        let s = &status;
        let retired = s.record.retired_at.map_or("no".to_owned(), |at| format!("since {at}"));
        let mut text = format!(
            "mediator  {account}\nbond      {} SUB, of which {} SUB is at stake\nretired   {retired}\nfree      {} SUB\nwallet    {} SUB",
            s.record.bond, s.record.at_stake, s.free, s.wallet
        );
        for seat in &s.sets {
            let serves = match (seat.joined, s.record.retired_at) {
                (true, None) => "serves",
                (true, Some(_)) => "served until it retired",
                (false, _) => "does not serve",
            };
            text.push_str(&format!(
                "\nset {:<5} {serves}; {} of {} members are drawn, {} SUB a vote",
                seat.set, seat.panel_size, seat.members, seat.fee
            ));
        }
        text
    })
}

fn seat(set: u64, account: Address, known: &MediatorSetRecord) -> Seat {
    Seat {
        set,
        joined: known.joined.contains(&account),
        fee: known.fee,
        panel_size: known.panel_size,
        members: known.members.len(),
    }
}

/// One that is not sending as this account already.
async fn sender(home: &Home, who: &As) -> Result<(Address, std::sync::Arc<sublet_chain::EvmLedger>)> {
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let ledger = ledger::open(home, &home.network()?, wallet).await;
    let ledger = ledger.advise(|| "stop `sublet mediator run` of this account first".to_owned())?;
    Ok((account, ledger))
}

async fn withdraw(home: &Home, output: Output, amount: Amount, who: &As) -> Result<()> {
    let (account, ledger) = sender(home, who).await?;
    if ledger.mediator(account).await?.is_none() {
        return refuse(
            format!("{account} is not registered as a mediator"),
            format!("`sublet account withdraw {amount}` moves any account's free tokens"),
        );
    }
    take_out(ledger.as_ref(), output, account, amount).await
}

/// First retires; once the bond's time is over, takes it back.
async fn withdraw_bond(home: &Home, output: Output, who: &As) -> Result<()> {
    let (account, ledger) = sender(home, who).await?;
    let record = ledger.mediator(account).await?;
    let record = record.with_context(|| format!("{account} is not registered as a mediator: it has no bond"))?;
    let unbonding = ledger.rules().court.unbonding;
    let Some(retired_at) = record.retired_at else {
        let landed = ledger.submit(&tx_key("retire"), &Call::RetireMediator).await?;
        let from = landed.events.iter().find_map(|event| match event {
            Event::BondRetired { withdrawable_at, .. } => Some(*withdrawable_at),
            _ => None,
        });
        let from = from.unwrap_or(UnixTime(0));
        let answer = serde_json::json!({ "account": account, "retired": true, "withdrawable_at": from, "transaction": landed.tx });
        return output.answer(&answer, || {
            format!("{account} is retired and is not drawn any more; ask again from {from} on, and its bond of {} SUB is free (transaction {})", record.bond, landed.tx)
        });
    };
    let (from, now) = (retired_at.plus(unbonding), ledger.head().await?.time);
    if now < from {
        return refuse(
            format!("the bond can be had from {from} on; that is in {} s", from.since(now)),
            "say the same again then; until then it is safe, and still answers for its seats",
        );
    }
    let landed = ledger.submit(&tx_key("unbond"), &Call::WithdrawBond(Branch::Court)).await?;
    let free = ledger.free_of(account).await?;
    let answer = serde_json::json!({ "account": account, "bond": record.bond, "transaction": landed.tx, "free": free });
    output.answer(&answer, || {
        format!("the bond of {} SUB is back; {free} SUB is free now (transaction {})", record.bond, landed.tx)
    })
}

async fn leave(home: &Home, output: Output, set: MediatorSetId, who: &As) -> Result<()> {
    let (account, ledger) = sender(home, who).await?;
    let known = ledger.mediator_set(set).await?;
    if !known.is_some_and(|known| known.joined.contains(&account)) {
        return refuse(
            format!("{account} does not serve set {}", set.0),
            format!("see its sets with `sublet mediator status --account {}`", who.account),
        );
    }
    let landed = ledger.submit(&tx_key("leave-set"), &Call::LeaveSet(set)).await?;
    let answer = serde_json::json!({ "account": account, "left": set, "transaction": landed.tx });
    output.answer(&answer, || {
        format!(
            "{account} serves set {} no more; it stays on panels it was drawn for (transaction {})",
            set.0, landed.tx
        )
    })
}

async fn create_set(
    home: &Home,
    output: Output,
    mut members: Vec<Address>,
    panel_size: u8,
    fee: Amount,
    who: &As,
) -> Result<()> {
    members.sort_unstable();
    if let Some(twice) = members.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is named twice", twice[0]);
    }
    let session = Session::sender(home, output, who.wallet(home)?).await?;
    let call = Call::CreateMediatorSet { members: members.clone(), panel_size, fee };
    let landed = session.ledger.submit(&tx_key("create-set"), &call).await?;
    let set = landed.events.iter().find_map(|event| match event {
        Event::MediatorSetCreated { set, .. } => Some(set.0),
        _ => None,
    });
    let set = set.context("the transaction created no set")?;
    let answer = serde_json::json!({
        "set": set, "members": members, "panel_size": panel_size, "fee": fee, "transaction": landed.tx });
    output.answer(&answer, || {
        format!(
            "set {set}: {panel_size} of {} members are drawn for each dispute, {fee} SUB a vote (transaction {})\nmembers serve it once they run with `sets = [{set}]`",
            members.len(),
            landed.tx
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_is_named_for_its_file() {
        assert!(FIRST.contains(NAME));
        for (stem, is) in [("judge-1", true), ("mediator", false), ("sublet", false), ("Judge", false), ("", false)] {
            assert_eq!(is_name(stem), is, "{stem}");
        }
    }
}

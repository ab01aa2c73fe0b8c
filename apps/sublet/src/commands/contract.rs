//! `sublet contract`: a contract that orders jobs by itself and is told how they ended, as an example to follow.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId, Seconds, U256};
use sublet_chain::{Call, CowsayAnswer, Event, JobState, Landed, Ledger, OnChainCowsay};
use sublet_market::{Class, Kind, Order, WorkloadDocument};
use sublet_wire::link::Agreement;
use tokio::time::sleep;

use crate::arguments::{address, price_of_hour};
use crate::commands::run::inputs;
use crate::home::Home;
use crate::jobs::wait_finished;
use crate::limits::Limits;
use crate::modules;
use crate::offers::refuse_hopeless;
use crate::output::{Output, Progress, refuse};
use crate::patience::Absence;
use crate::records::{Opened, Record, Records};
use crate::results::JobResult;
use crate::session::{As, Session, tx_key};
use crate::wish::{Check, Wish};

/// How long the order may wait for a provider.
const VALID_FOR: Seconds = Seconds(600);
/// A contract cannot accept; the provider is paid when this is over.
const CHALLENGE_WINDOW: Seconds = Seconds(30);
const POLL: Duration = Duration::from_millis(500);
/// Most of a result that is handed in: call data is paid for by the byte.
const MAX_DELIVERY: u64 = 64 << 10;

/// Flags of `sublet contract`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet contract deploy\n  sublet contract fund 0x… 5\n  sublet contract ask 0x… cowsay -i message=moo\n  sublet contract deliver 0x… job-3"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put a new example contract on the chain; the account owns it
    Deploy(As),
    /// Move tokens from the wallet into the contract's balance, which pays for its jobs
    Fund {
        /// The contract
        #[arg(value_parser = address)]
        contract: Address,
        /// How much, in SUB
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
    /// Have the contract order a job on chain, and hand it the result
    Ask {
        /// The contract
        #[arg(value_parser = address)]
        contract: Address,
        /// A module by NAME or NAME:VERSION, or the path of a module file
        module: String,
        /// An input of the module; may be repeated
        #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
        /// At most this price, SUB an hour; the module's own limit otherwise
        #[arg(long, value_name = "SUB")]
        max_price: Option<Amount>,
        #[command(flatten)]
        who: As,
    },
    /// Hand the contract a job's result; goes on where an interrupted `ask` stopped
    Deliver {
        /// The contract
        #[arg(value_parser = address)]
        contract: Address,
        /// Number of the job, like job-3
        job: JobId,
        #[command(flatten)]
        who: As,
    },
    /// Move the contract's free tokens to its owner's wallet
    Withdraw {
        /// The contract
        #[arg(value_parser = address)]
        contract: Address,
        /// How much, in SUB
        amount: Amount,
        #[command(flatten)]
        who: As,
    },
}

#[derive(Serialize)]
struct Delivered {
    contract: Address,
    job: JobId,
    /// What `onJobEnded` was told.
    told: CowsayAnswer,
    /// What the contract read out of the archive and put into its log.
    said: String,
    transaction: B256,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        match self.action {
            Action::Deploy(who) => deploy(home, output, &who).await?,
            Action::Fund { contract, amount, who } => fund(home, output, &who, contract, amount).await?,
            Action::Ask { contract, module, inputs, max_price, who } => {
                ask(home, output, &who, contract, &module, &inputs, max_price).await?;
            }
            Action::Deliver { contract, job, who } => deliver(home, output, &who, contract, job).await?,
            Action::Withdraw { contract, amount, who } => withdraw(home, output, &who, contract, amount).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn deploy(home: &Home, output: Output, who: &As) -> Result<()> {
    let session = Session::sender(home, output, who.wallet(home)?).await?;
    let progress = output.progress("deploying");
    let (contract, landed) = OnChainCowsay::deploy(&session.ledger, &tx_key("deploy example")).await?;
    progress.done();
    let (address, owner) = (contract.address(), contract.owner());
    let answer = serde_json::json!({ "contract": address, "owner": owner, "transaction": landed.tx });
    output.answer(&answer, || {
        format!(
            "contract  {address}\nowner     {owner}\nfund it   sublet contract fund {address} 5\nask it    sublet contract ask {address} cowsay -i message=moo"
        )
    })
}

async fn fund(home: &Home, output: Output, who: &As, contract: Address, amount: Amount) -> Result<()> {
    let wallet = who.wallet(home)?;
    let account = wallet.address();
    let session = Session::sender(home, output, wallet).await?;
    OnChainCowsay::at(&session.ledger, contract).await?;
    let held = session.ledger.token_balance(account).await?;
    if held < amount {
        let missing = amount.minus(held)?;
        return refuse(
            format!("the wallet holds {held} SUB; {missing} SUB is missing"),
            format!("on a local network, get some with `sublet account faucet {missing}`"),
        );
    }
    let progress = output.progress("depositing for the contract");
    if session.ledger.allowance(account).await? < amount {
        session.ledger.submit(&tx_key("approve"), &Call::Approve(amount)).await?;
    }
    let landed = session.ledger.submit(&tx_key("fund"), &Call::DepositFor { account: contract, amount }).await?;
    progress.done();
    moved(&session, contract, amount, &landed, "deposited for the contract").await
}

async fn withdraw(home: &Home, output: Output, who: &As, contract: Address, amount: Amount) -> Result<()> {
    let session = Session::sender(home, output, who.wallet(home)?).await?;
    let example = owned(&session, contract).await?;
    let free = session.ledger.free_of(contract).await?;
    ensure!(free >= amount, "the contract has {free} SUB to withdraw, not {amount}");
    let landed = example.withdraw(&tx_key("withdraw"), amount).await?;
    moved(&session, contract, amount, &landed, "withdrawn to the owner's wallet").await
}

async fn moved(session: &Session, contract: Address, amount: Amount, landed: &Landed, done: &str) -> Result<()> {
    let free = session.ledger.free_of(contract).await?;
    let answer = serde_json::json!({ "contract": contract, "amount": amount, "transaction": landed.tx, "free": free });
    session
        .output
        .answer(&answer, || format!("{amount} SUB {done}; {free} SUB of it is free now (transaction {})", landed.tx))
}

/// The contract, if the session's account may give it orders.
async fn owned(session: &Session, contract: Address) -> Result<OnChainCowsay<'_>> {
    let example = OnChainCowsay::at(&session.ledger, contract).await?;
    let account = session.ledger.account().context("no account was opened")?;
    ensure!(example.owner() == account, "only its owner {} can do this; {account} is not", example.owner());
    Ok(example)
}

async fn ask(
    home: &Home,
    output: Output,
    who: &As,
    contract: Address,
    module: &str,
    given: &[String],
    max_price: Option<Amount>,
) -> Result<()> {
    let module = modules::find(module)?;
    let digest = modules::image_digest(&module.image.name, module.image.digest)?;
    let mut job = module.render(&inputs(given)?, digest)?;
    // The example takes what it gets: an exact result would need somebody who disputes in time.
    job.class = Class::None;
    let (document, workload) = job.seal()?;
    let session = Session::sender(home, output, who.wallet(home)?).await?;
    let example = owned(&session, contract).await?;
    let most = session.ledger.rules().max_workload;
    ensure!(
        document.len() as u64 <= most,
        "the job has {} bytes; at most {most} can be placed on chain",
        document.len()
    );
    let max_price = max_price.map_or(module.defaults.max_price, price_of_hour);
    let escrow = max_price.over(module.defaults.duration)?;
    if session.ledger.free_of(contract).await? < escrow {
        return refuse(
            format!("the contract has less than the {escrow} SUB the job may cost"),
            format!("sublet contract fund {contract} {escrow}"),
        );
    }
    let wish = Wish {
        kind: Kind::Job,
        name: module.name.clone(),
        resources: job.resources,
        max_price: Some(max_price),
        bounds: Limits::of_contract(),
        duration: module.defaults.duration,
        check: Check::none(),
        challenge_window: CHALLENGE_WINDOW,
        provider: None,
        document: document.clone(),
        workload,
    };
    refuse_hopeless(&session, &wish).await?;
    let head = session.ledger.head().await?;
    let terms = (max_price, wish.bounds);
    let wanted = wish.order(contract, terms, session.link_key()?.peer_key(), head.time.plus(VALID_FOR));
    // The contract numbers its orders itself.
    let order = Order { nonce: U256::ZERO, ..wanted };
    let progress = output.progress("placing the order on chain");
    let landed = example.ask(&tx_key("ask"), &order, &document).await?;
    let placed = landed.events.iter().find_map(|event| match event {
        Event::OrderPlaced(placed) => Some(placed.hash),
        _ => None,
    });
    let hash = placed.context("the contract placed no order")?;
    progress.step(format!("order {hash} is placed; waiting for a solver to match it"));
    let records = Records::open(home).await?;
    let mut record = Record {
        order: hash,
        kind: Kind::Job,
        renter: contract,
        name: module.name.clone(),
        document: String::from_utf8(document)?,
        max_price,
        duration: order.duration,
        since: landed.block.number,
        valid_until: order.valid_until,
        opened: None,
        over: false,
    };
    records.put(&record).await?;
    let opened = wait_opened(&session, hash, landed.block.number, &order).await?;
    record.opened = Some(opened);
    records.put(&record).await?;
    records.close().await;
    progress.step(format!("job-{} is open with provider {}", opened.id, opened.provider));
    hand_over(&session, &example, JobId(opened.id), opened.provider, progress).await
}

/// Whoever opened it: the chain says so.
async fn wait_opened(session: &Session, hash: B256, since: u64, order: &Order) -> Result<Opened> {
    let mut from = since;
    loop {
        let head = session.ledger.head().await?;
        if head.block.number >= from {
            for located in session.ledger.events(from, head.block.number).await? {
                match located.event {
                    Event::JobOpened(opened) if opened.order == hash => {
                        let (id, provider) = (opened.id.0, opened.provider);
                        return Ok(Opened { id, provider, transaction: located.tx });
                    }
                    _ => {}
                }
            }
            from = head.block.number + 1;
        }
        if head.time > order.valid_until {
            return refuse(
                "nobody filled the order in time; nothing was paid",
                "see what there is with `sublet market`, and offer more",
            );
        }
        sleep(POLL).await;
    }
}

async fn deliver(home: &Home, output: Output, who: &As, contract: Address, job: JobId) -> Result<()> {
    let session = Session::sender(home, output, who.wallet(home)?).await?;
    let example = OnChainCowsay::at(&session.ledger, contract).await?;
    let record = session.ledger.job(job).await?.with_context(|| format!("the chain knows no {job}"))?;
    ensure!(record.renter == contract, "{job} was ordered by {}, not by this contract", record.renter);
    let progress = output.progress(format!("looking at {job}"));
    hand_over(&session, &example, job, record.provider, progress).await
}

/// Fetches the result, waits for the job's end, and hands the contract the archive.
async fn hand_over(
    session: &Session,
    example: &OnChainCowsay<'_>,
    job: JobId,
    provider: Address,
    progress: Progress,
) -> Result<()> {
    let result = JobResult::of(&session.home, job);
    if !result.is_here() {
        let run_by = session.ledger.job(job).await?.with_context(|| format!("the chain knows no {job}"))?.run_by;
        let link = session.provider(provider).await?;
        let fetched = async {
            let absence = Absence::until(run_by, session, &progress).await?;
            let finished = wait_finished(&link.client, Agreement::Job(job), &progress, &absence).await?;
            let (hash, _) =
                finished.map_err(|reason| anyhow::anyhow!("the provider could not run the job: {reason}"))?;
            progress.step("fetching the result");
            result.fetch(&link.client, job, hash).await
        };
        let fetched = fetched.await;
        link.close().await;
        fetched?;
    }
    progress.step("the result is here; waiting for the job to end, which nobody needs to sign for");
    let told = wait_told(session, example, job).await?;
    progress.step("handing the result to the contract");
    let archive = std::fs::read(result.archive()).context("the fetched archive cannot be read")?;
    ensure!(
        archive.len() as u64 <= MAX_DELIVERY,
        "the archive has {} bytes, too much to hand in as call data ({MAX_DELIVERY} at most)",
        archive.len()
    );
    let (said, transaction) = example.deliver(&tx_key("deliver"), job, &archive).await?;
    progress.done();
    let answer = Delivered { contract: example.address(), job, told, said, transaction };
    session.output.answer(&answer, || {
        format!(
            "{}\n{job} ended: {}\nresult      {}\non chain    in the log of transaction {transaction}",
            answer.said.trim_end_matches('\n'),
            answer.told.end,
            answer.told.result.unwrap_or_default()
        )
    })
}

/// Waits for the job's end and what the contract was told of it.
async fn wait_told(session: &Session, example: &OnChainCowsay<'_>, job: JobId) -> Result<CowsayAnswer> {
    loop {
        if let Some(told) = example.answer(job).await? {
            return Ok(told);
        }
        let record = session.ledger.job(job).await?.with_context(|| format!("the chain knows no {job}"))?;
        if record.state == JobState::Ended && example.answer(job).await?.is_none() {
            bail!("{job} ended ({}), but the contract was not told", record.end);
        }
        sleep(POLL).await;
    }
}

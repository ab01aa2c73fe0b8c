//! `sublet jobs`: what was ordered, how far it is, and its result.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId};
use sublet_chain::{Call, JobEnd, JobState, Ledger, TxKey};
use sublet_market::Kind;

use crate::disputes::{self, Source};
use crate::home::Home;
use crate::jobs::{Pending, ended, inspect, see_through};
use crate::ordering;
use crate::output::{self, Advise, Output, Progress, table};
use crate::records::{Opened, Record, Records};
use crate::results::JobResult;
use crate::session::{As, Session};

/// Flags of `sublet jobs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet jobs list\n  sublet jobs show job-3\n  sublet jobs result job-3\n  sublet jobs dispute job-3\n  sublet jobs refuse job-4"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the jobs ordered from this home
    List,
    /// Show one job as the chain has it, and its dispute
    Show {
        /// Number, like job-3, or a module's name for its newest run
        job: String,
    },
    /// Fetch, check and accept a job's result; goes on where an interrupted `run` stopped. Of a disputed job, from a
    /// mediator if its provider has none
    Result {
        /// Number or module
        job: String,
        /// Leave it to you to accept, dispute or refuse it
        #[arg(long)]
        no_accept: bool,
        #[command(flatten)]
        who: As,
    },
    /// Accept a submitted result on chain, without waiting for the challenge window
    Accept {
        /// Number or module
        job: String,
        #[command(flatten)]
        who: As,
    },
    /// Have mediators run a job of class exact again and judge its result; locks their fees
    Dispute {
        /// Number or module
        job: String,
        #[command(flatten)]
        who: As,
    },
    /// Refuse the result of a job of class none: its cost is shared with the provider
    Refuse {
        /// Number or module
        job: String,
        #[command(flatten)]
        who: As,
    },
    /// Do what is due in a dispute and no mediator did: draw the panel, or end it
    PushOn {
        /// Number or module
        job: String,
        #[command(flatten)]
        who: As,
    },
    /// Take back an order that nobody filled yet, named by its hash
    Cancel {
        /// The order's hash, from `sublet jobs list`
        order: B256,
        #[command(flatten)]
        who: As,
    },
}

#[derive(Serialize)]
struct Row {
    job: Option<JobId>,
    order: B256,
    module: String,
    state: String,
    result_here: bool,
}

#[derive(Serialize)]
struct Done {
    job: JobId,
    transaction: B256,
    paid: Amount,
    refunded: Amount,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let session = Session::reader(home, output).await?;
        let records = Records::open(home).await?;
        ordering::catch_up(&session, &records).await?;
        match self.action {
            Action::List => list(&session, &records).await?,
            Action::Show { job } => show(&session, &records, &job).await?,
            Action::Result { job, no_accept, who } => return result(&session, &records, &job, no_accept, &who).await,
            Action::Accept { job, who } => accept(&session, &records, &job, &who).await?,
            Action::Dispute { job, who } => dispute(&session, &records, &job, &who).await?,
            Action::Refuse { job, who } => refuse(&session, &records, &job, &who).await?,
            Action::PushOn { job, who } => push_on(&session, &records, &job, &who).await?,
            Action::Cancel { order, who } => cancel(&session, order, &who).await?,
        }
        records.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(session: &Session, records: &Records) -> Result<()> {
    let mut rows = Vec::new();
    for record in records.all(Kind::Job).await? {
        let job = record.opened.map(|opened| JobId(opened.id));
        let state = match job {
            Some(id) => session.ledger.job(id).await?.map_or("unknown".to_owned(), |job| match job.state {
                JobState::Ended => job.end.to_string(),
                JobState::None | JobState::Open | JobState::Submitted | JobState::Disputed => job.state.to_string(),
            }),
            None if record.over => "not filled".to_owned(),
            None => "waiting to be filled".to_owned(),
        };
        let result_here = job.is_some_and(|id| JobResult::of(&session.home, id).is_here());
        rows.push(Row { job, order: record.order, module: record.name, state, result_here });
    }
    session.output.answer(&rows, || {
        if rows.is_empty() {
            return "no jobs yet; try `sublet run cowsay -i message=moo`".to_owned();
        }
        let mut lines = table(["JOB", "MODULE", "STATE", "RESULT", "ORDER"]);
        for row in &rows {
            let job = row.job.map_or("-".to_owned(), |id| id.to_string());
            let here = if row.result_here { "here" } else { "-" };
            lines.add_row([job, row.module.clone(), row.state.clone(), here.to_owned(), row.order.to_string()]);
        }
        lines.to_string()
    })
}

async fn show(session: &Session, records: &Records, which: &str) -> Result<()> {
    let (id, record, opened) = records.job(which).await?;
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    let end = ended(session, &record, opened).await?;
    let dispute = session.ledger.dispute(id).await?;
    #[derive(Serialize)]
    struct View<'a> {
        job: JobId,
        module: &'a str,
        chain: &'a sublet_chain::JobRecord,
        dispute: &'a Option<sublet_chain::DisputeRecord>,
        end: &'a Option<crate::jobs::Settled>,
    }
    session.output.answer(&View { job: id, module: &record.name, chain: &job, dispute: &dispute, end: &end }, || {
        let mut text = format!(
            "{id}\nmodule    {}\nstate     {}\nprovider  {}\nprice     {}\nheld      {} SUB",
            record.name, job.state, job.provider, job.price, job.escrow
        );
        if job.state == JobState::Submitted {
            let (how, until) = (disputes::objection(job.class), disputes::objections_until(&job));
            text.push_str(&format!("\nobject    with `sublet jobs {how} {id}`, until {until}"));
        }
        if let Some(dispute) = &dispute {
            text.push_str(&format!("\n{}", disputes::describe(dispute)));
        }
        if let Some(end) = &end {
            text.push_str(&format!(
                "\nend       {}\npaid      {} SUB\nrefunded  {} SUB\nsettled   {}",
                end.end, end.money.paid, end.money.refunded, end.transaction
            ));
        }
        if let Some(cost) = end.as_ref().and_then(|end| end.dispute) {
            text.push_str(&format!(
                "\nfees      {} SUB to mediators, {} SUB of the fees came back, {} SUB for votes that are missing",
                cost.to_mediators, cost.fees_back, cost.for_missing_votes
            ));
        }
        text
    })
}

async fn result(session: &Session, records: &Records, which: &str, no_accept: bool, who: &As) -> Result<ExitCode> {
    let (id, record, opened) = records.job(which).await?;
    let result = JobResult::of(&session.home, id);
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    // What a provider handed over is not the result any more once mediators found it wrong.
    let replaced = job.end == JobEnd::Overturned && result.found_by().is_none();
    let (mut pending, mut doubt) = (None, None);
    if !result.is_here() || no_accept || replaced {
        let progress = session.output.progress(format!("fetching the result of {id}"));
        let outcome = obtain(session, &record, opened, &result, no_accept, who, &progress).await;
        progress.done();
        (pending, doubt) = outcome?;
    }
    if !result.is_here() {
        bail!("{id} ended without its result being fetched, and its provider keeps it no longer");
    }
    let code = result.exit_code()?;
    #[derive(Serialize)]
    struct View<'a> {
        job: JobId,
        exit_code: u8,
        stdout: &'a str,
        stderr: &'a str,
        folder: std::path::PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        found_by: Option<Address>,
        #[serde(skip_serializing_if = "Option::is_none")]
        doubt: Option<&'a str>,
        #[serde(flatten)]
        pending: &'a Option<Pending>,
    }
    let (stdout, stderr) = (result.stream("stdout")?, result.stream("stderr")?);
    let (folder, found_by) = (result.folder().to_owned(), result.found_by());
    let view =
        View { job: id, exit_code: code, stdout: &stdout, stderr: &stderr, folder, found_by, doubt, pending: &pending };
    session.output.answer(&view, || {
        let stdout = stdout.trim_end_matches('\n');
        let mut text = format!("{stdout}\n{id}\nexit code   {code}\nfiles       {}", result.folder().display());
        if let Some(mediator) = found_by {
            text.push_str(&format!("\nfound by    mediator {mediator}"));
        }
        if let Some(doubt) = doubt {
            text.push_str(&format!("\ndoubtful    {doubt}"));
        }
        if let Some(pending) = &pending {
            text.push_str(&format!("\n{}", pending.describe(id)));
        }
        text
    })?;
    Ok(ExitCode::from(code))
}

/// Said of a result that only its provider vouches for.
const WITHHELD: &str = "its provider handed it to you, but not to the mediators, so nobody confirms it";

/// Gets the result here: from the provider, and if it hands none over and the job was disputed, from who ran it again. With
/// it, what the renter may do about it, or why not to trust it.
async fn obtain(
    session: &Session,
    record: &Record,
    opened: Opened,
    result: &JobResult,
    no_accept: bool,
    who: &As,
    progress: &Progress,
) -> Result<(Option<Pending>, Option<&'static str>)> {
    let id = JobId(opened.id);
    let disputed = session.ledger.dispute(id).await?.is_some();
    if !disputed {
        let wallet = who.wallet(&session.home)?;
        if no_accept {
            return Ok((Some(inspect(session, &wallet, record, opened, result, progress).await?), None));
        }
        see_through(session, &wallet, record, opened, result, progress).await?;
        return Ok((None, None));
    }
    let next = || format!("see who found what with `sublet jobs show {id}`");
    match disputes::fetch(session, opened.provider, id, result, progress).await.advise(next)? {
        Source::Provider => Ok((None, None)),
        Source::Mediator(mediator) => {
            result.note_finder(mediator)?;
            Ok((None, None))
        }
        Source::Nobody if result.is_here() => Ok((None, Some(WITHHELD))),
        Source::Nobody => {
            let end = ended(session, record, opened).await?.with_context(|| format!("{id} has not ended"))?;
            let why = format!(
                "{id} has no result: its provider withheld it from the mediators, and no mediator found one; {} (transaction {})",
                end.money, end.transaction
            );
            output::refuse(why, next())
        }
    }
}

async fn dispute(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, ..) = records.job(which).await?;
    let wallet = who.wallet(&session.home)?;
    let progress = session.output.progress(format!("disputing the result of {id}"));
    let raised = disputes::raise(session, &wallet, id).await;
    progress.done();
    let raised = raised?;
    session.output.answer(&raised, || {
        format!(
            "{id} is disputed: {} of {} mediators of set {} that may be drawn run it again; {} SUB is locked for them (transaction {})\nsee how far they are with `sublet jobs show {id}`",
            raised.panel_size.min(raised.electorate), raised.electorate, raised.mediator_set, raised.fees, raised.transaction
        )
    })
}

async fn refuse(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, record, opened) = records.job(which).await?;
    let wallet = who.wallet(&session.home)?;
    let progress = session.output.progress(format!("refusing the result of {id}"));
    let landed = disputes::refuse(session, &wallet, id).await;
    progress.done();
    let landed = landed?;
    let end = ended(session, &record, opened).await?.with_context(|| format!("{id} was refused but has not ended"))?;
    let done = Done { job: id, transaction: landed.tx, paid: end.money.paid, refunded: end.money.refunded };
    session.output.answer(&done, || {
        format!(
            "{id} refused: {} SUB paid, half of its cost; {} SUB came back (transaction {})",
            done.paid, done.refunded, done.transaction
        )
    })
}

async fn push_on(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, ..) = records.job(which).await?;
    let wallet = who.wallet(&session.home)?;
    let (what, landed) = disputes::push_on(session, &wallet, id).await?;
    let answer = serde_json::json!({ "job": id, "done": what, "transaction": landed.tx });
    session.output.answer(&answer, || match what {
        "drawn" => format!("the panel of {id} is drawn (transaction {})", landed.tx),
        _ => format!("the dispute of {id} is resolved (transaction {})", landed.tx),
    })
}

async fn accept(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, record, opened) = records.job(which).await?;
    let wallet = who.wallet(&session.home)?;
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    disputes::check_submitted(&job, id)?;
    let sender = Session::sender(&session.home, session.output, wallet).await?;
    let progress = session.output.progress(format!("accepting {id}"));
    let landed = sender.ledger.submit(&TxKey::passing(format!("accept {id}")), &Call::AcceptJob(id)).await?;
    progress.done();
    let end = ended(session, &record, opened).await?.with_context(|| format!("{id} was accepted but has not ended"))?;
    let done = Done { job: id, transaction: landed.tx, paid: end.money.paid, refunded: end.money.refunded };
    session.output.answer(&done, || {
        format!(
            "{id} accepted: {} SUB paid, {} SUB came back (transaction {})",
            done.paid, done.refunded, done.transaction
        )
    })
}

async fn cancel(session: &Session, order: B256, who: &As) -> Result<()> {
    let wallet = who.wallet(&session.home)?;
    let mut last = None;
    for solver in session.solvers()? {
        match ordering::take_back(session, &wallet, &solver, order).await {
            Ok(view) => {
                return session.output.answer(&view, || format!("order {order} is taken back; nothing was paid"));
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => bail!("network.json names no solver"),
    }
}

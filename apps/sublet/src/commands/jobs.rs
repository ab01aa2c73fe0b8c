//! `sublet jobs`: what was ordered, how far it is, and its result.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Amount, B256, JobId};
use sublet_chain::{Call, JobState, Ledger, TxKey};
use sublet_market::Kind;

use crate::home::Home;
use crate::jobs::{ended, see_through};
use crate::ordering;
use crate::output::{Output, table};
use crate::records::Records;
use crate::results::JobResult;
use crate::session::{As, Session};

/// Flags of `sublet jobs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sublet jobs list\n  sublet jobs show job-3\n  sublet jobs result job-3")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the jobs ordered from this home
    List,
    /// Show one job as the chain has it
    Show {
        /// Number, like job-3, or a module's name for its newest run
        job: String,
    },
    /// Fetch, check and accept a job's result; goes on where an interrupted `run` stopped
    Result {
        /// Number or module
        job: String,
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
        match self.action {
            Action::List => list(&session, &records).await?,
            Action::Show { job } => show(&session, &records, &job).await?,
            Action::Result { job, who } => return result(&session, &records, &job, &who).await,
            Action::Accept { job, who } => accept(&session, &records, &job, &who).await?,
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
            None => "not filled".to_owned(),
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
    #[derive(Serialize)]
    struct View<'a> {
        job: JobId,
        module: &'a str,
        chain: &'a sublet_chain::JobRecord,
        end: &'a Option<crate::jobs::Settled>,
    }
    session.output.answer(&View { job: id, module: &record.name, chain: &job, end: &end }, || {
        let mut text = format!(
            "{id}\nmodule    {}\nstate     {}\nprovider  {}\nprice     {} SUB an hour\nheld      {} SUB",
            record.name,
            job.state,
            job.provider,
            job.price.per_hour(),
            job.escrow
        );
        if let Some(end) = &end {
            text.push_str(&format!(
                "\nend       {}\npaid      {} SUB\nrefunded  {} SUB\nsettled   {}",
                end.end, end.paid, end.refunded, end.transaction
            ));
        }
        text
    })
}

async fn result(session: &Session, records: &Records, which: &str, who: &As) -> Result<ExitCode> {
    let (id, record, opened) = records.job(which).await?;
    let result = JobResult::of(&session.home, id);
    if !result.is_here() {
        let wallet = who.wallet(&session.home)?;
        let progress = session.output.progress(format!("fetching the result of {id}"));
        let outcome = see_through(session, &wallet, &record, opened, &result, &progress).await;
        progress.done();
        outcome?;
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
    }
    let (stdout, stderr) = (result.stream("stdout")?, result.stream("stderr")?);
    let view = View { job: id, exit_code: code, stdout: &stdout, stderr: &stderr, folder: result.folder().to_owned() };
    session.output.answer(&view, || {
        let stdout = stdout.trim_end_matches('\n');
        format!("{stdout}\n{id}\nexit code   {code}\nfiles       {}", result.folder().display())
    })?;
    Ok(ExitCode::from(code))
}

async fn accept(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, record, opened) = records.job(which).await?;
    let wallet = who.wallet(&session.home)?;
    let sender = Session::sender(&session.home, session.output, wallet).await?;
    let progress = session.output.progress(format!("accepting {id}"));
    let landed = sender.ledger.submit(&TxKey::passing(format!("accept {id}")), &Call::AcceptJob(id)).await?;
    progress.done();
    let end = ended(session, &record, opened).await?.with_context(|| format!("{id} was accepted but has not ended"))?;
    let done = Done { job: id, transaction: landed.tx, paid: end.paid, refunded: end.refunded };
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

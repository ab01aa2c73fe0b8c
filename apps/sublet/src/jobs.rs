//! A job after it opened: hand it over, wait, fetch and check the result, accept it, see it settled.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sublet_base::{Amount, B256, JobId};
use sublet_chain::{Call, Event, JobEnd, JobState, Ledger, ReadError, SubmitError, TxKey, Wallet};
use sublet_client::peer::{PeerClient, PeerError};
use sublet_market::Acceptance;
use sublet_wire::link::{Agreement, MachineState, Status};
use tokio::time::sleep;

use crate::output::Progress;
use crate::records::{Opened, Record};
use crate::results::{JobResult, MAX_ARCHIVE};
use crate::session::Session;

/// How long a provider may take to notice a new agreement.
const HANDOVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(250);
/// A short job is over before the first of those looks; this one is doubled up to [`POLL`].
const FIRST_POLL: Duration = Duration::from_millis(20);

/// How a job ended for its renter.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settled {
    /// Why it ended.
    pub(crate) end: JobEnd,
    /// To the provider, token units.
    pub(crate) paid: Amount,
    /// Back to the renter, token units.
    pub(crate) refunded: Amount,
    /// What was locked for it, token units.
    pub(crate) at_most: Amount,
    /// keccak256 of the result archive.
    pub(crate) result_hash: B256,
    /// The transaction that settled it.
    pub(crate) transaction: B256,
}

/// From the open job to the settled one. May be called again after any interruption.
pub(crate) async fn see_through(
    session: &Session,
    wallet: &Wallet,
    record: &Record,
    opened: Opened,
    result: &JobResult,
    progress: &Progress,
) -> Result<Settled> {
    let id = JobId(opened.id);
    if let Some(settled) = ended(session, record, opened).await? {
        return Ok(settled);
    }
    let link = session.provider(opened.provider).await?;
    let outcome = tokio::select! {
        outcome = serve(&link.client, session, wallet, record, id, result, progress) => outcome,
        end = wait_ended(session, wallet, record, opened) => end.and_then(|settled| refuse_unfinished(id, &settled).map(|()| settled)),
    };
    let outcome = match outcome {
        Err(error) => match ended(session, record, opened).await {
            Ok(Some(settled)) => refuse_unfinished(id, &settled).map(|()| settled),
            _ => Err(error),
        },
        fine => fine,
    };
    link.close().await;
    outcome
}

async fn serve(
    client: &PeerClient,
    session: &Session,
    wallet: &Wallet,
    record: &Record,
    id: JobId,
    result: &JobResult,
    progress: &Progress,
) -> Result<Settled> {
    let agreement = Agreement::Job(id);
    progress.step("handing the job to the provider");
    client.handover(agreement, &record.document, HANDOVER).await?;
    let (result_hash, cost) = wait_finished(client, agreement, progress).await?;
    progress.step("fetching the result");
    fetch(client, id, result_hash, result).await?;
    progress.step("the result's hash is right; accepting it");
    let acceptance = Acceptance { job: id, result_hash, cost };
    let signed = wallet.sign_acceptance(acceptance, &session.ledger.domain())?;
    client.accept(signed.acceptance, signed.signature).await?;
    progress.step("waiting for the settlement");
    let opened = record.opened.context("the job is not open")?;
    wait_ended(session, wallet, record, opened).await
}

/// Fetches, checks and unpacks the result. Nothing is kept of a wrong one.
pub(crate) async fn fetch(client: &PeerClient, id: JobId, hash: B256, result: &JobResult) -> Result<()> {
    sublet_daemon::create_private_dir(result.folder())?;
    let partial = result.folder().join("result.tar.partial");
    let mut file =
        tokio::fs::File::create(&partial).await.with_context(|| format!("cannot write {}", partial.display()))?;
    let fetched = client.result(id, hash, MAX_ARCHIVE, &mut file).await;
    if let Err(error) = fetched {
        let _ = tokio::fs::remove_file(&partial).await;
        return Err(error.into());
    }
    file.sync_all().await?;
    tokio::fs::rename(&partial, result.archive()).await?;
    result.unpack()
}

/// Waits until the provider has a result; its hash and what is asked for it.
pub(crate) async fn wait_finished(
    client: &PeerClient,
    agreement: Agreement,
    progress: &Progress,
) -> Result<(B256, Amount)> {
    let mut pause = FIRST_POLL;
    loop {
        match client.status(agreement).await {
            Ok(Status { state: MachineState::Finished { result_hash, cost, .. }, .. }) => {
                return Ok((result_hash, cost));
            }
            Ok(Status { state: MachineState::Failed { reason }, .. }) => {
                bail!("the provider could not run the job: {reason}")
            }
            Ok(Status { state, .. }) => progress.step(sentence(&state)),
            // The provider may be restarting; the chain's clock, not ours, decides when it was too long.
            Err(PeerError::Transport(_) | PeerError::Silent(_)) => {
                progress.step("the provider does not answer; waiting")
            }
            Err(error) => return Err(error.into()),
        }
        sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
}

/// A machine's state for people.
pub(crate) fn sentence(state: &MachineState) -> String {
    match state {
        MachineState::Waiting => "the provider waits for the workload".to_owned(),
        MachineState::Preparing { progress } => format!("preparing: {progress}"),
        MachineState::Booting { progress } => format!("starting: {progress}"),
        MachineState::Ready { .. } => "ready".to_owned(),
        MachineState::Running => "running".to_owned(),
        MachineState::Finished { exit_code, .. } => format!("finished with exit code {exit_code}"),
        MachineState::Failed { reason } => format!("failed: {reason}"),
        MachineState::Ended => "ended".to_owned(),
    }
}

/// Waits for the end. A job whose time is over without a result is expired here, so that the money comes back.
async fn wait_ended(session: &Session, wallet: &Wallet, record: &Record, opened: Opened) -> Result<Settled> {
    loop {
        let look = async {
            let settled = ended(session, record, opened).await?;
            if settled.is_none() {
                expire_if_late(session, wallet, JobId(opened.id)).await?;
            }
            Ok::<_, anyhow::Error>(settled)
        };
        match look.await {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            // The chain is down for a moment: wait for it, nothing is lost.
            Err(error) if error.downcast_ref::<ReadError>().is_some_and(ReadError::is_retryable) => {}
            Err(error) => return Err(error),
        }
        sleep(POLL).await;
    }
}

async fn expire_if_late(session: &Session, wallet: &Wallet, id: JobId) -> Result<()> {
    let (Some(job), head) = (session.ledger.job(id).await?, session.ledger.head().await?) else { return Ok(()) };
    if job.state != JobState::Open || head.time <= job.run_by {
        return Ok(());
    }
    let sender = Session::sender(&session.home, session.output, wallet.clone()).await?;
    match sender.ledger.submit(&TxKey::passing(format!("expire {id}")), &Call::ExpireJob(id)).await {
        // Somebody else may have been quicker; the next look tells.
        Ok(_) | Err(SubmitError::Refused(_) | SubmitError::Reverted { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How the job ended, if it has.
pub(crate) async fn ended(session: &Session, record: &Record, opened: Opened) -> Result<Option<Settled>> {
    let id = JobId(opened.id);
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    if job.state != JobState::Ended {
        return Ok(None);
    }
    let head = session.ledger.head().await?.block.number;
    for located in session.ledger.events(record.since, head).await?.into_iter().rev() {
        if let Event::JobEnded { id: which, end, result, split } = located.event
            && which == id
        {
            return Ok(Some(Settled {
                end,
                paid: split.paid,
                refunded: split.refunded,
                at_most: record.max_price.over(record.duration)?,
                result_hash: result.unwrap_or_default(),
                transaction: located.tx,
            }));
        }
    }
    bail!("{id} has ended, but the node has no record of how")
}

/// An end without a result is a failure of the command, whoever's fault; the refund is said.
fn refuse_unfinished(id: JobId, settled: &Settled) -> Result<()> {
    match settled.end {
        JobEnd::Settled | JobEnd::Accepted | JobEnd::Finalized | JobEnd::Upheld => Ok(()),
        JobEnd::None
        | JobEnd::Rejected
        | JobEnd::Expired
        | JobEnd::Refused
        | JobEnd::Overturned
        | JobEnd::Inconclusive => {
            bail!(
                "{id} was {}; {} SUB was paid and {} SUB came back (transaction {})",
                settled.end,
                settled.paid,
                settled.refunded,
                settled.transaction
            )
        }
    }
}

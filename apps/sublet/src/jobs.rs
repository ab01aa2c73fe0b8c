//! A job after it opened: hand it over, wait, fetch and check the result, accept it, see it settled.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sublet_base::{Amount, B256, JobId, Price, Seconds, UnixTime};
use sublet_chain::{Call, Event, JobEnd, JobState, Ledger, Located, SubmitError, TxKey, Wallet};
use sublet_client::peer::{PeerClient, PeerError};
use sublet_daemon::Backoff;
use sublet_market::Acceptance;
use sublet_wire::link::{Agreement, MachineState, Status};
use tokio::time::{Instant, sleep, timeout};

use crate::disputes;
use crate::money::Money;
use crate::output::{Advise, Progress, refuse};
use crate::patience::{Absence, patiently, provider_is_away};
use crate::records::{Opened, Record};
use crate::results::JobResult;
use crate::session::Session;

/// How long a provider may take to notice a new agreement.
const HANDOVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(250);
/// A short job is over before the first of those looks; this one is doubled up to [`POLL`].
const FIRST_POLL: Duration = Duration::from_millis(20);
/// How long the refund of a job that the provider gave up is waited for, so that it can be said.
const REJECTION: Duration = Duration::from_secs(20);

/// Seconds are counted up by the provider, and the blocks' are whole ones.
const ROUNDING: u64 = 2;

/// How a job ended for its renter.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settled {
    /// Why it ended.
    pub(crate) end: JobEnd,
    /// Where the money went.
    #[serde(flatten)]
    pub(crate) money: Money,
    /// What was locked for it, token units.
    pub(crate) at_most: Amount,
    /// keccak256 of the result archive.
    pub(crate) result_hash: B256,
    /// The transaction that settled it.
    pub(crate) transaction: B256,
    /// What a dispute of it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dispute: Option<DisputeCost>,
}

/// Where the fees that the renter locked for mediators went, token units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DisputeCost {
    /// To mediators.
    pub(crate) to_mediators: Amount,
    /// Back to the renter.
    pub(crate) fees_back: Amount,
    /// To the renter, from the bonds of mediators that did not vote.
    pub(crate) for_missing_votes: Amount,
}

impl DisputeCost {
    /// From what happened to job `id`; nothing if it was never disputed.
    fn of(id: JobId, events: &[Located]) -> Result<Option<Self>> {
        let (mut fees, mut for_missing_votes) = (None, Amount::ZERO);
        for located in events {
            match located.event {
                Event::DisputeResolved { id: which, paid, back, .. } if which == id => fees = Some((paid, back)),
                Event::MediatorSlashed { id: which, to_renter, .. } if which == id => {
                    for_missing_votes = for_missing_votes.plus(to_renter)?;
                }
                _ => {}
            }
        }
        Ok(fees.map(|(to_mediators, fees_back)| Self { to_mediators, fees_back, for_missing_votes }))
    }
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
    let settled = patiently(progress, async || ended(session, record, opened).await).await?;
    if let Some(settled) = &settled {
        refuse_unfinished(id, settled)?;
        if result.is_here() {
            return Ok(settled.clone());
        }
    }
    let link = patiently(progress, async || session.provider(opened.provider).await).await?;
    let job =
        Running { session, wallet, record, opened, result, progress, client: &link.client, since: Instant::now() };
    let outcome = match settled {
        // It is over and paid, but never arrived here; the provider keeps it for a while.
        Some(settled) => result.fetch(&link.client, id, settled.result_hash).await.map(|()| settled),
        None => job.to_its_end().await,
    };
    link.close().await;
    outcome
}

/// Gives the provider the job, and lets it be.
pub(crate) async fn hand_over(session: &Session, record: &Record, opened: Opened, progress: &Progress) -> Result<()> {
    progress.step("handing the job to the provider");
    let link = patiently(progress, async || session.provider(opened.provider).await).await?;
    let handed = link.client.handover(Agreement::Job(JobId(opened.id)), &record.document, HANDOVER).await;
    link.close().await;
    Ok(handed?)
}

/// A result that is here and on chain, and waits for a word of its renter.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pending {
    /// keccak256 of the archive that is here.
    pub(crate) result_hash: B256,
    /// What the provider put on chain.
    pub(crate) submitted: B256,
    /// The command that objects.
    pub(crate) objection: &'static str,
    /// What it asks for it, token units.
    pub(crate) cost: Amount,
    /// Last second to object; after it the result counts as accepted.
    pub(crate) objections_until: UnixTime,
    /// How long that is from now.
    pub(crate) seconds_left: u64,
}

impl Pending {
    /// For people.
    pub(crate) fn describe(&self, id: JobId) -> String {
        let differs = match self.submitted == self.result_hash {
            true => String::new(),
            false => format!("\nsubmitted   {}, which is not what it handed over", self.submitted),
        };
        format!(
            "price       {} SUB asked\nresult      {}{differs}\nnot accepted until you say so with `sublet jobs accept {id}`; `sublet jobs {} {id}` objects.\nFrom {} on, in {} s, it counts as accepted",
            self.cost,
            self.result_hash,
            self.objection,
            self.objections_until.plus(Seconds(1)),
            self.seconds_left
        )
    }
}

/// From the open job to the result here and on chain, without a word about it. May be called again after any interruption.
pub(crate) async fn inspect(
    session: &Session,
    wallet: &Wallet,
    record: &Record,
    opened: Opened,
    result: &JobResult,
    progress: &Progress,
) -> Result<Pending> {
    let link = patiently(progress, async || session.provider(opened.provider).await).await?;
    let job =
        Running { session, wallet, record, opened, result, progress, client: &link.client, since: Instant::now() };
    let looked = tokio::select! {
        looked = job.look() => looked,
        settled = job.wait_ended() => settled.and_then(|settled| {
            refuse_unfinished(job.id(), &settled)?;
            bail!("{}", how_it_ended(job.id(), &settled))
        }),
    };
    link.close().await;
    looked
}

/// An open job, its provider within reach.
struct Running<'a> {
    session: &'a Session,
    wallet: &'a Wallet,
    record: &'a Record,
    opened: Opened,
    result: &'a JobResult,
    progress: &'a Progress,
    client: &'a PeerClient,
    /// When this command knew that it is open.
    since: Instant,
}

/// What serving came to.
enum Served {
    Ended(Settled),
    /// The provider will not go on with it, and says why.
    GivenUp(String),
    /// The result is here, but its provider asks too much for it; what it asks.
    Overcharged(String),
}

impl Running<'_> {
    fn id(&self) -> JobId {
        JobId(self.opened.id)
    }

    async fn to_its_end(&self) -> Result<Settled> {
        let outcome = tokio::select! {
            served = self.serve() => served,
            settled = self.wait_ended() => settled.map(Served::Ended),
        };
        match outcome {
            Ok(Served::Ended(settled)) => {
                refuse_unfinished(self.id(), &settled)?;
                if !self.result.is_here() {
                    // Declared and paid before it arrived here.
                    self.result.fetch(self.client, self.id(), settled.result_hash).await?;
                }
                Ok(settled)
            }
            Ok(Served::GivenUp(reason)) => self.given_up(&reason).await,
            Ok(Served::Overcharged(why)) => {
                let (folder, id) = (self.result.folder().display(), self.id());
                let next = format!(
                    "the result is in {folder}; `sublet jobs accept {id}` pays for it once it is on chain, where no more than the true time can be asked"
                );
                refuse(why, next)
            }
            // Whatever went wrong here, the chain says what became of the money.
            Err(error) => match ended(self.session, self.record, self.opened).await {
                Ok(Some(settled)) => match refuse_unfinished(self.id(), &settled) {
                    Ok(()) if self.result.is_here() => Ok(settled),
                    Ok(()) => Err(error),
                    unfinished => unfinished.map(|()| settled),
                },
                _ => Err(error).advise(|| format!("nothing is lost: go on with `sublet jobs result {}`", self.id())),
            },
        }
    }

    /// The provider rejects the job now, unless it is too late for that.
    async fn given_up<T>(&self, reason: &str) -> Result<T> {
        let why = format!("the provider could not run the job: {reason}");
        match timeout(REJECTION, self.wait_ended()).await {
            Ok(settled) => bail!("{why}; {}", how_it_ended(self.id(), &settled?)),
            Err(_) => refuse(
                why,
                format!("its money comes back once its time is over: `sublet jobs result {}` takes it", self.id()),
            ),
        }
    }

    /// Gets the result and says yes to it.
    async fn serve(&self) -> Result<Served> {
        let served = self.with_provider(async |absence| {
            let (result_hash, cost) = match self.obtain(absence).await? {
                Ok(finished) => finished,
                Err(reason) => return Ok(Some(Served::GivenUp(reason))),
            };
            if let Some(much) = self.overcharge(cost).await? {
                return Ok(Some(Served::Overcharged(much)));
            }
            self.progress.step("the result's hash is right; accepting it");
            let acceptance = Acceptance { job: self.id(), result_hash, cost };
            let signed = self.wallet.sign_acceptance(acceptance, &self.session.ledger.domain())?;
            self.client.accept(signed.acceptance, signed.signature).await?;
            Ok(None)
        });
        if let Some(other) = served.await? {
            return Ok(other);
        }
        self.progress.step("waiting for the settlement");
        self.wait_ended().await.map(Served::Ended)
    }

    /// What is too much about `cost`, if it is. What a provider asks for more time than it had the job is not signed for, nor would
    /// the contract pay it.
    async fn overcharge(&self, cost: Amount) -> Result<Option<String>> {
        let id = self.id();
        let (job, now) = patiently(self.progress, async || {
            let job = self.session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
            Ok((job, self.session.ledger.head().await?.time))
        })
        .await?;
        // Blocks may be far apart: our own clock counts as well.
        too_much(cost, job.price, now.since(job.opened_at).max(self.since.elapsed().as_secs()))
    }

    /// Gets the result and waits until it is on chain.
    async fn look(&self) -> Result<Pending> {
        let id = self.id();
        let (result_hash, cost) = match self.with_provider(async |absence| self.obtain(absence).await).await? {
            Ok(finished) => finished,
            Err(reason) => return self.given_up(&reason).await,
        };
        self.progress.step("the result is here; the provider puts it on chain when nobody accepts it within a minute");
        loop {
            let (job, now) = patiently(self.progress, async || {
                let job = self.session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
                Ok((job, self.session.ledger.head().await?.time))
            })
            .await?;
            if let (JobState::Submitted, Some(submitted)) = (job.state, job.result) {
                let objections_until = disputes::objections_until(&job);
                let seconds_left = objections_until.since(now);
                let objection = disputes::objection(job.class);
                return Ok(Pending { result_hash, submitted, objection, cost, objections_until, seconds_left });
            }
            if job.state != JobState::Open {
                disputes::check_submitted(&job, id)?;
            }
            sleep(POLL).await;
        }
    }

    /// Does `work` with the provider, from the start each time it went away in between.
    async fn with_provider<T>(&self, work: impl AsyncFn(&Absence<'_>) -> Result<T>) -> Result<T> {
        let job = patiently(self.progress, async || Ok(self.session.ledger.job(self.id()).await?)).await?;
        let deadline = job.with_context(|| format!("the chain knows no {}", self.id()))?.run_by;
        let absence =
            patiently(self.progress, async || Absence::until(deadline, self.session, self.progress).await).await?;
        loop {
            match work(&absence).await {
                Err(error) if error.downcast_ref::<PeerError>().is_some_and(provider_is_away) => {
                    absence.begins();
                    sleep(POLL).await;
                }
                answer => return answer,
            }
        }
    }

    /// Hands the job over and fetches its result: the hash and what is asked for it, or why the provider gave it up.
    async fn obtain(&self, absence: &Absence<'_>) -> Result<Result<(B256, Amount), String>> {
        let (id, agreement) = (self.id(), Agreement::Job(self.id()));
        absence.step("handing the job to the provider");
        self.client.handover(agreement, &self.record.document, HANDOVER).await?;
        let finished = wait_finished(self.client, agreement, self.progress, absence).await?;
        if let Ok((result_hash, _)) = finished {
            self.progress.step("fetching the result");
            self.result.fetch(self.client, id, result_hash).await?;
        }
        Ok(finished)
    }

    /// Waits for the end. A job whose time is over without a result is expired here, so that the money comes back.
    async fn wait_ended(&self) -> Result<Settled> {
        loop {
            let settled = patiently(self.progress, async || {
                let settled = ended(self.session, self.record, self.opened).await?;
                if settled.is_none() {
                    expire_if_late(self.session, self.wallet, self.id()).await?;
                }
                Ok(settled)
            });
            if let Some(settled) = settled.await? {
                return Ok(settled);
            }
            sleep(POLL).await;
        }
    }
}

/// Why `cost` is more than `price` can come to for a job that was open for so many seconds.
fn too_much(cost: Amount, price: Price, seconds: u64) -> Result<Option<String>> {
    let open = Seconds(u32::try_from(seconds.saturating_add(ROUNDING)).unwrap_or(u32::MAX));
    let most = price.over(open)?;
    let much = || format!("the provider asks {cost} SUB, more than the {most} SUB of the {open} it had the job");
    Ok((cost > most).then(much))
}

/// Waits until the provider has a result: its hash and what is asked for it; or until it gives the job up, and why.
pub(crate) async fn wait_finished(
    client: &PeerClient,
    agreement: Agreement,
    progress: &Progress,
    absence: &Absence<'_>,
) -> Result<Result<(B256, Amount), String>> {
    let mut pause = FIRST_POLL;
    // We ask again ourselves, and want to say soon that nobody answers.
    let client = client.clone().with_backoff(Backoff::default().attempts(1));
    loop {
        let status = client.status(agreement).await;
        if status.is_ok() {
            absence.ends();
        }
        match status {
            Ok(Status { state: MachineState::Finished { result_hash, cost, .. }, .. }) => {
                return Ok(Ok((result_hash, cost)));
            }
            Ok(Status { state: MachineState::Failed { reason }, .. }) => {
                return Ok(Err(reason.as_str().to_owned()));
            }
            Ok(Status { state, .. }) => progress.step(sentence(&state)),
            // The provider may be restarting; the chain's clock, not ours, decides when it was too long.
            Err(error) if provider_is_away(&error) => absence.begins(),
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
    let events = session.ledger.events(record.since, head).await?;
    let dispute = DisputeCost::of(id, &events)?;
    for located in events.into_iter().rev() {
        if let Event::JobEnded { id: which, end, result, split } = located.event
            && which == id
        {
            return Ok(Some(Settled {
                end,
                money: Money::from(&split),
                at_most: record.max_price.over(record.duration)?,
                result_hash: result.unwrap_or_default(),
                transaction: located.tx,
                dispute,
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
            bail!("{}", how_it_ended(id, settled))
        }
    }
}

/// An end without a result, and where the money went.
fn how_it_ended(id: JobId, settled: &Settled) -> String {
    format!("{id} is over ({}): {} (transaction {})", settled.end, settled.money, settled.transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_signed_for_more_time_than_passed() -> Result<()> {
        // A second that has begun is paid whole, on either side of the block's.
        for (cost, seconds) in [(0, 0), (14, 0), (70, 8)] {
            assert_eq!(too_much(Amount(cost), Price(7), seconds)?, None, "{cost} for {seconds} s");
        }
        for (cost, seconds) in [(15, 0), (71, 8), (u128::MAX, 8)] {
            assert!(too_much(Amount(cost), Price(7), seconds)?.is_some(), "{cost} for {seconds} s");
        }
        Ok(())
    }
}

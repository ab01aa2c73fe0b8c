//! A job's result contested: what the renter may do and when, how far the mediators are, and the result they found.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId, UnixTime};
use sublet_chain::{
    Call, DisputeRecord, DisputeStage, JobEnd, JobRecord, JobState, Landed, Ledger, SeatRecord, SeatStage, Wallet,
};
use sublet_client::peer::PeerError;
use sublet_daemon::Backoff;
use sublet_market::Class;

use crate::output::{self, Advise, Progress};
use crate::results::JobResult;
use crate::session::{PeerLink, Session, tx_key};

/// What a renter may do about a submitted result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// Mediators judge: class exact.
    Dispute,
    /// The cost is shared: class none.
    Refuse,
}

/// What a dispute came to lock, and who may be drawn.
#[derive(Serialize)]
pub(crate) struct Raised {
    pub(crate) job: JobId,
    pub(crate) transaction: B256,
    pub(crate) fees: Amount,
    pub(crate) mediator_set: u64,
    pub(crate) electorate: u8,
    pub(crate) panel_size: u8,
}

/// Contests the result of `id`, after saying everything that would make the contract refuse.
pub(crate) async fn raise(session: &Session, wallet: &Wallet, id: JobId) -> Result<Raised> {
    let job = object(session, wallet.address(), id, Objection::Dispute).await?;
    let set = session.ledger.mediator_set(job.mediator_set).await?;
    let set = set.with_context(|| format!("the chain knows no set {} of mediators", job.mediator_set.0))?;
    let fees = set.fees();
    session.require_free(wallet.address(), fees).await.with_context(|| {
        format!("a dispute locks {fees} SUB, {} SUB for each of {} mediators", set.fee, set.panel_size)
    })?;
    let landed = send(session, wallet, "dispute", Call::Dispute(id)).await?;
    let electorate = session.ledger.dispute(id).await?.map_or(0, |dispute| dispute.electorate);
    let (mediator_set, panel_size) = (job.mediator_set.0, set.panel_size);
    Ok(Raised { job: id, transaction: landed.tx, fees, mediator_set, electorate, panel_size })
}

/// Refuses the result of `id`, likewise.
pub(crate) async fn refuse(session: &Session, wallet: &Wallet, id: JobId) -> Result<Landed> {
    object(session, wallet.address(), id, Objection::Refuse).await?;
    send(session, wallet, "refuse", Call::RefuseJob(id)).await
}

/// Does what is due in a dispute and nobody did: draws the panel, or ends it. What was done.
pub(crate) async fn push_on(session: &Session, wallet: &Wallet, id: JobId) -> Result<(&'static str, Landed)> {
    let known = session.ledger.dispute(id).await?.with_context(|| format!("{id} is not disputed"));
    let dispute = known.advise(|| format!("contest its result with `sublet jobs dispute {id}`"))?;
    let head = session.ledger.head().await?;
    let (what, call) = match due(&dispute, id, head.block.number) {
        Ok(due) => due,
        Err((why, next)) => return output::refuse(why, next),
    };
    Ok((what, send(session, wallet, what, call).await?))
}

/// What anybody may do now in a dispute; else why nothing, and what then.
fn due(dispute: &DisputeRecord, id: JobId, block: u64) -> Result<(&'static str, Call), (String, String)> {
    let again = || format!("say `sublet jobs push-on {id}` again then");
    match dispute.stage {
        DisputeStage::Armed if block < dispute.draw_from => {
            Err((format!("the panel can be drawn from block {} on; now is block {block}", dispute.draw_from), again()))
        }
        DisputeStage::Armed => Ok(("drawn", Call::Draw(id))),
        DisputeStage::Over => Ok(("resolved", Call::Resolve(id))),
        DisputeStage::Commit | DisputeStage::Reveal => {
            let why = format!("mediators have until {} for what they are at ({})", deadline(dispute), dispute.stage);
            Err((why, again()))
        }
        DisputeStage::Resolved | DisputeStage::None => {
            Err((format!("the dispute of {id} is over"), format!("see how it ended with `sublet jobs show {id}`")))
        }
    }
}

async fn send(session: &Session, wallet: &Wallet, what: &str, call: Call) -> Result<Landed> {
    let sender = Session::sender(&session.home, session.output, wallet.clone()).await?;
    Ok(sender.ledger.submit(&tx_key(what), &call).await?)
}

/// The job, if this account may object to its result now, this way.
async fn object(session: &Session, me: Address, id: JobId, how: Objection) -> Result<JobRecord> {
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    if job.renter != me {
        return output::refuse(
            format!("{id} was ordered by {}, not by {me}: only its renter can object", job.renter),
            "name the account that ordered it with --account",
        );
    }
    match (job.class, how) {
        (Class::None, Objection::Dispute) => {
            return output::refuse(
                format!("{id} is of class none: there is nobody to judge its result"),
                format!("refuse it with `sublet jobs refuse {id}`: its cost is then shared"),
            );
        }
        (Class::Exact, Objection::Refuse) => {
            return output::refuse(
                format!("{id} is of class exact: its result is not refused but disputed"),
                format!("mediators judge after `sublet jobs dispute {id}`"),
            );
        }
        (Class::None, Objection::Refuse) | (Class::Exact, Objection::Dispute) => {}
    }
    check_submitted(&job, id)?;
    let (now, until) = (session.ledger.head().await?.time, objections_until(&job));
    if now > until {
        return output::refuse(
            format!(
                "too late: objections to the result of {id} were possible until {until}, {} s ago",
                now.since(until)
            ),
            format!("it counts as accepted; fetch it with `sublet jobs result {id}`"),
        );
    }
    Ok(job)
}

/// Says how a job stands, unless its result waits for a word of its renter.
pub(crate) fn check_submitted(job: &JobRecord, id: JobId) -> Result<()> {
    match job.state {
        JobState::Submitted => Ok(()),
        JobState::Open => output::refuse(
            format!("the provider has put no result of {id} on chain yet"),
            format!("it has until {}; look with `sublet jobs show {id}`", job.run_by),
        ),
        JobState::Disputed => output::refuse(
            format!("{id} is disputed already"),
            format!("see how far the mediators are with `sublet jobs show {id}`"),
        ),
        JobState::Ended => output::refuse(
            format!("{id} is over: {}", job.end),
            format!("see where its money went with `sublet jobs show {id}`"),
        ),
        JobState::None => bail!("the chain knows no {id}"),
    }
}

/// The command by which the renter objects.
pub(crate) fn objection(class: Class) -> &'static str {
    match class {
        Class::None => "refuse",
        Class::Exact => "dispute",
    }
}

/// Last second to object.
pub(crate) fn objections_until(job: &JobRecord) -> UnixTime {
    job.submitted_at.unwrap_or_default().plus(job.challenge_window)
}

/// What ends the stage a dispute is at.
fn deadline(dispute: &DisputeRecord) -> String {
    let at = match dispute.stage {
        DisputeStage::Commit => dispute.commit_by,
        DisputeStage::Reveal => dispute.reveal_by,
        DisputeStage::None | DisputeStage::Armed | DisputeStage::Over | DisputeStage::Resolved => None,
    };
    at.map_or_else(|| format!("block {}", dispute.draw_from), |at| at.to_string())
}

/// A dispute for people.
pub(crate) fn describe(dispute: &DisputeRecord) -> String {
    let mut text = format!("dispute   {}", dispute.stage);
    match dispute.stage {
        DisputeStage::Armed => text.push_str(&format!(
            "; {} of set {} may be drawn, from block {} on",
            dispute.electorate, dispute.mediator_set.0, dispute.draw_from
        )),
        DisputeStage::Commit | DisputeStage::Reveal => text.push_str(&format!(" until {}", deadline(dispute))),
        DisputeStage::None | DisputeStage::Over | DisputeStage::Resolved => {}
    }
    text.push_str(&format!("\nsubmitted {}", dispute.result));
    for seat in &dispute.panel {
        text.push_str(&format!("\nmediator  {}  {}", seat.mediator, word(seat, dispute.result)));
    }
    text
}

/// A seat for people.
fn word(seat: &SeatRecord, submitted: B256) -> String {
    match (seat.stage, seat.vote) {
        (SeatStage::Revealed, Some(vote)) if vote == submitted => "found the submitted result".to_owned(),
        (SeatStage::Revealed, Some(B256::ZERO)) => "the provider withheld what it must hand over".to_owned(),
        (SeatStage::Revealed, Some(vote)) => format!("found another result: {vote}"),
        (SeatStage::Committed, _) => "has voted, sealed".to_owned(),
        (SeatStage::Drawn, _) | (SeatStage::Revealed, None) => "has not voted".to_owned(),
    }
}

/// Where the result of a disputed job came from.
pub(crate) enum Source {
    Provider,
    Mediator(Address),
    /// The provider was overturned for what it withheld, and no mediator found a result.
    Nobody,
}

/// Fetches the result of a disputed job: from its provider, unless that was overturned, else what the panel found. Fails with
/// what each of those asked said.
pub(crate) async fn fetch(
    session: &Session,
    provider: Address,
    id: JobId,
    result: &JobResult,
    progress: &Progress,
) -> Result<Source> {
    let Some(dispute) = session.ledger.dispute(id).await? else { bail!("{id} was never disputed") };
    let job = session.ledger.job(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    let mut answers = Vec::new();
    if job.end != JobEnd::Overturned {
        progress.step("asking the provider for the result");
        match fetch_from(session.provider(provider).await?, id, dispute.result, result).await {
            Ok(()) => return Ok(Source::Provider),
            Err(error) => answers.push(format!("\n  - the provider: {}", why(&error))),
        }
    }
    for seat in to_ask(&dispute, job.end) {
        let (mediator, Some(hash)) = (seat.mediator, seat.vote) else { continue };
        progress.step(format!("asking mediator {mediator} for what it found"));
        let fetched = match session.mediator(mediator).await {
            Ok(link) => fetch_from(link, id, hash, result).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(()) => return Ok(Source::Mediator(mediator)),
            Err(error) => answers.push(format!("\n  - mediator {mediator}: {}", why(&error))),
        }
    }
    if answers.is_empty() {
        return Ok(Source::Nobody);
    }
    bail!("nobody hands the result of {id} over:{}", answers.concat())
}

async fn fetch_from(link: PeerLink, id: JobId, hash: B256, result: &JobResult) -> Result<()> {
    let client = link.client.clone().with_backoff(SOON);
    let fetched = result.fetch(&client, id, hash).await;
    link.close().await;
    fetched
}

/// There may be somebody else to ask.
const SOON: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(2), attempts: 2 };

/// The other side's own words, where it said something.
fn why(error: &anyhow::Error) -> String {
    match error.downcast_ref::<PeerError>() {
        Some(PeerError::Refused(refusal)) => refusal.message.to_string(),
        Some(PeerError::Transport(_) | PeerError::Silent(_)) => "it does not answer".to_owned(),
        _ => format!("{error:#}"),
    }
}

/// Seats that found a result, the commonest first. After a verdict for a result, only those that found that one.
fn to_ask(dispute: &DisputeRecord, end: JobEnd) -> Vec<&SeatRecord> {
    let weight = |seat: &SeatRecord| dispute.panel.iter().filter(|other| other.vote == seat.vote).count();
    let mut seats: Vec<&SeatRecord> = dispute.panel.iter().filter(|seat| seat.vote.is_some()).collect();
    seats.sort_by_key(|seat| std::cmp::Reverse(weight(seat)));
    let judged = matches!(end, JobEnd::Upheld | JobEnd::Overturned);
    let verdict = seats.first().and_then(|seat| seat.vote).filter(|vote| judged && *vote != B256::ZERO);
    seats.retain(|seat| seat.vote != Some(B256::ZERO) && verdict.is_none_or(|verdict| seat.vote == Some(verdict)));
    seats
}

#[cfg(test)]
mod tests {
    use sublet_base::Seconds;
    use sublet_market::MediatorSetId;

    use super::*;

    fn dispute(votes: &[Option<B256>]) -> DisputeRecord {
        let seats = votes.iter().zip(1..).map(|(vote, place)| SeatRecord {
            mediator: Address::repeat_byte(place),
            stage: if vote.is_some() { SeatStage::Revealed } else { SeatStage::Drawn },
            commitment: None,
            vote: *vote,
        });
        DisputeRecord {
            stage: DisputeStage::Resolved,
            renter: Address::ZERO,
            provider: Address::ZERO,
            mediator_set: MediatorSetId(1),
            result: B256::repeat_byte(0xaa),
            duration: Seconds(60),
            electorate: 3,
            draw_from: 10,
            draw_until: 265,
            commit_by: Some(UnixTime(100)),
            reveal_by: Some(UnixTime(200)),
            panel: seats.collect(),
        }
    }

    #[test]
    fn the_commonest_result_is_asked_for_first_and_withheld_ones_never() {
        let (right, odd) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let record = dispute(&[Some(odd), Some(right), Some(B256::ZERO), Some(right), None]);
        let asked = |record, end| to_ask(record, end).iter().map(|seat| seat.vote).collect::<Vec<_>>();
        assert_eq!(asked(&record, JobEnd::Inconclusive), [Some(right), Some(right), Some(odd)]);
        // What a minority found is not the result.
        assert_eq!(asked(&record, JobEnd::Overturned), [Some(right), Some(right)]);
        let withheld = dispute(&[Some(B256::ZERO), Some(odd), Some(B256::ZERO)]);
        assert_eq!(asked(&withheld, JobEnd::Overturned), [Some(odd)], "better than nothing");
    }

    #[test]
    fn people_read_who_found_what_and_until_when() {
        let mut record = dispute(&[Some(B256::repeat_byte(0xaa)), Some(B256::ZERO), None]);
        let text = describe(&record);
        assert!(text.starts_with("dispute   resolved\nsubmitted 0xaaaa"), "{text}");
        assert!(text.contains("found the submitted result") && text.contains("withheld"), "{text}");
        record.stage = DisputeStage::Commit;
        assert!(describe(&record).starts_with("dispute   committing until 1970-01-01 00:01:40 UTC"));
    }
}

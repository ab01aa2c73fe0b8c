//! A job, from the provider's side.
//!
//! ```text
//! Open: document (handed over, or on chain) -> create -> start -> exited -> acceptance ? SettleJob : SubmitJob     (unable in time: RejectJob)
//! Submitted: acceptance ? SettleJob : window over ? FinalizeJob
//! Ended: keep the result for a while if nobody fetched it -> delete the machine
//! ```
//! A machine that breaks is made again while there is time: a job may be run twice, since only its result counts.

use sublet_base::{Seconds, UnixTime};
use sublet_chain::{DisputeRecord, DisputeStage, JobEnd, JobRecord, JobState};
use sublet_machine::{Guest, Phase};
use sublet_market::{Class, JobDocument};
use sublet_wire::host::MachineView;

use super::{Action, OnHost, Policy, Send, delay, look_up, nearly, reject, wind_up};
use crate::case::{Case, Finished, Note};
use crate::verdict::Verdict;

pub(super) fn decide(case: &Case, job: &JobRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    match job.state {
        // An acceptance is good as long as nobody expires the job.
        JobState::Open if now > job.run_by => Some(Action::Send(match &case.acceptance {
            Some(acceptance) => Send::SettleJob(Box::new(acceptance.clone())),
            None => Send::ExpireJob,
        })),
        JobState::Open => open(case, job, host, now, policy),
        JobState::Submitted => submitted(case, job, now),
        JobState::Ended => ended(case, job, host, now, policy),
        // As `Disputed` it comes with its dispute.
        JobState::Disputed | JobState::None => None,
    }
}

fn open(case: &Case, job: &JobRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    if let Some(finished) = &case.finished {
        return hand_in(case, job, finished, host, now, policy);
    }
    if let Some(action) = look_up(case) {
        return Some(action);
    }
    let may_reject = now <= job.start_by;
    if case.failed.is_some() {
        return match host {
            _ if may_reject => Some(Action::Send(Send::RejectJob)),
            OnHost::Here(_) => Some(Action::Delete),
            OnHost::Silent | OnHost::Absent => None,
        };
    }
    let last_moment = may_reject && now >= nearly(job.start_by, job.opened_at, policy);
    let decline = || Some(reject(case, Send::RejectJob, delay(case, host)));
    let Some(document) = &case.document else {
        return if last_moment { decline() } else { None };
    };
    match host {
        // The host had no room, or was away: better to say so while it costs nothing.
        OnHost::Silent | OnHost::Absent if last_moment && case.started_at.is_none() => decline(),
        OnHost::Silent => None,
        OnHost::Absent => again(case, job, document, now, policy).or(Some(Action::Create)),
        OnHost::Here(machine) => work(case, job, document, machine, now, policy),
    }
}

/// Why no other attempt makes sense, if none does.
fn again(case: &Case, job: &JobRecord, document: &str, now: UnixTime, policy: &Policy) -> Option<Action> {
    if case.creations >= policy.creations && !case.may_exist {
        return Some(failed("the machine broke too often"));
    }
    // Until `start_by` the whole duration is left.
    let no_time = now > job.start_by && now.plus(timeout_of(document)) > job.run_by;
    no_time.then(|| failed("there is no time left to run it"))
}

fn work(
    case: &Case,
    job: &JobRecord,
    document: &str,
    machine: &MachineView,
    now: UnixTime,
    policy: &Policy,
) -> Option<Action> {
    if let Some(result) = machine.result {
        return Some(Action::Note(Note::Finished(Finished { result, at: now })));
    }
    let timeout = timeout_of(document);
    let ran = case.started_at.map_or(0, |at| now.since(at));
    let overdue = ran > u64::from(timeout.0);
    let used = Seconds(u32::try_from(ran).unwrap_or(u32::MAX)).min(timeout);
    match (&machine.phase, &machine.guest) {
        (Phase::Failed(reason), _) => {
            let hopeless = case.creations >= policy.creations || again(case, job, document, now, policy).is_some();
            Some(if hopeless { failed(reason) } else { Action::Delete })
        }
        (_, Guest::GaveUp { reason }) => Some(judge(case, Verdict::gave_up(reason, used), now)),
        (Phase::Stopped, _) if overdue => Some(judge(case, Verdict::timeout(timeout), now)),
        (Phase::Stopped, _) if case.starts >= policy.starts => {
            Some(judge(case, Verdict::gave_up("its machine kept stopping without a result", used), now))
        }
        (Phase::Stopped, _) => Some(Action::Start),
        (Phase::Running | Phase::Paused, _) if overdue => Some(Action::Stop),
        (
            Phase::Creating
            | Phase::Starting
            | Phase::Running
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Deleting
            | Phase::Deleted,
            Guest::Silent | Guest::Ready { .. } | Guest::Exited { .. },
        ) => None,
    }
}

/// There is a result: paid at once by the renter's acceptance, else declared in time.
fn hand_in(
    case: &Case,
    job: &JobRecord,
    finished: &Finished,
    host: OnHost<'_>,
    now: UnixTime,
    policy: &Policy,
) -> Option<Action> {
    if let Some(acceptance) = &case.acceptance {
        return Some(Action::Send(Send::SettleJob(Box::new(acceptance.clone()))));
    }
    if case.verdict.is_some() {
        return declare(job, finished, now, policy);
    }
    // Never declare a result that cannot be handed over: if the host lost it, run the job again.
    match (host, case.missing_since) {
        (OnHost::Absent, None) => return Some(Action::Note(Note::Missing(Some(now)))),
        (OnHost::Absent, Some(since)) if now >= since.plus(policy.patience) => return Some(Action::Delete),
        (OnHost::Here(_), Some(_)) => return Some(Action::Note(Note::Missing(None))),
        (OnHost::Absent, Some(_)) => return None,
        (OnHost::Silent, _) | (OnHost::Here(_), None) => {}
    }
    declare(job, finished, now, policy)
}

/// Puts the result on chain once the renter had time to accept it, or time is short. A contract that is called back has
/// nobody who would sign.
fn declare(job: &JobRecord, finished: &Finished, now: UnixTime, policy: &Policy) -> Option<Action> {
    let waited = job.callback || now >= finished.at.plus(policy.acceptance_wait);
    let last_moment = now >= nearly(job.run_by, job.opened_at, policy);
    let (result, used) = (finished.result.hash, finished.result.seconds);
    (waited || last_moment).then_some(Action::Send(Send::SubmitJob { result, used }))
}

fn submitted(case: &Case, job: &JobRecord, now: UnixTime) -> Option<Action> {
    if let Some(acceptance) = case.acceptance.as_ref().filter(|a| Some(a.acceptance.result_hash) == job.result) {
        return Some(Action::Send(Send::SettleJob(Box::new(acceptance.clone()))));
    }
    let until = job.submitted_at?.plus(job.challenge_window);
    (now > until).then_some(Action::Send(Send::FinalizeJob))
}

fn ended(case: &Case, job: &JobRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    let wanted = match job.end {
        JobEnd::Finalized | JobEnd::Upheld | JobEnd::Inconclusive | JobEnd::Accepted | JobEnd::Settled => !case.fetched,
        JobEnd::None | JobEnd::Rejected | JobEnd::Expired | JobEnd::Refused | JobEnd::Overturned => false,
    };
    match case.ended_at {
        Some(at) if wanted && now < at.plus(policy.retention) => None,
        Some(_) | None => wind_up(case, host, now, policy),
    }
}

/// Blocks, and seconds, that mediators have for what anybody may do, before the pledge is worth doing it.
const LATE: u64 = 60;

/// The result stays where it is while mediators judge. What they leave undone is done, or the pledge would stay locked.
pub(super) fn hurry(dispute: &DisputeRecord, block: u64, now: UnixTime) -> Option<Action> {
    match dispute.stage {
        DisputeStage::Armed => {
            (block >= dispute.draw_from.saturating_add(LATE)).then_some(Action::Send(Send::DrawPanel))
        }
        DisputeStage::Over => (now.since(dispute.reveal_by?) >= LATE).then_some(Action::Send(Send::ResolveDispute)),
        DisputeStage::Commit | DisputeStage::Reveal | DisputeStage::Resolved | DisputeStage::None => None,
    }
}

/// Ends a job that has no result by its renter's doing. A result that others may run again and compare is never made up.
fn judge(case: &Case, verdict: Verdict, now: UnixTime) -> Action {
    match case.opened.class {
        Class::None => Action::Note(Note::Judged(verdict, now)),
        Class::Exact => failed(&verdict.reason),
    }
}

fn failed(reason: &str) -> Action {
    Action::Note(Note::Failed(reason.to_owned()))
}

/// The document was checked when it was handed over; one that no longer reads is not waited for.
fn timeout_of(document: &str) -> Seconds {
    serde_json::from_str::<JobDocument>(document).map_or(Seconds(0), |job| job.timeout)
}

//! A job, from the provider's side.
//!
//! ```text
//! Open: document (handed over, or on chain) -> create -> start -> exited -> acceptance ? SettleJob : SubmitJob     (unable in time: RejectJob)
//! Submitted: window over ? FinalizeJob : acceptance ? SettleJob
//! Ended: keep the result for a while if nobody fetched it -> delete the machine
//! ```
//! A machine that breaks or stops is made or started again while there is time: a job may be run twice, since only its
//! result counts.

use sublet_base::{Seconds, UnixTime};
use sublet_chain::{DisputeRecord, DisputeStage, JobEnd, JobRecord, JobState};
use sublet_machine::{Guest, Phase};
use sublet_market::{Class, JobDocument};
use sublet_wire::host::MachineView;
use sublet_wire::verdict::Verdict;

use super::{Action, OnHost, Policy, Send, delay, look_up, nearly, reject, wind_up};
use crate::case::{Case, Finished, Note};

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
    let may_reject = now <= job.start_by;
    if case.failed.is_some() {
        return match host {
            _ if may_reject => Some(Action::Send(Send::RejectJob)),
            OnHost::Here(_) => Some(Action::Delete),
            OnHost::Silent | OnHost::Absent => None,
        };
    }
    // What does not run by now is better declined while that costs nothing.
    if may_reject && now >= nearly(job.start_by, job.opened_at, policy) && !runs(case, host) {
        return Some(reject(case, Send::RejectJob, delay(case, host)));
    }
    if let Some(action) = look_up(case) {
        return Some(action);
    }
    let document = case.document.as_deref()?;
    match host {
        OnHost::Silent => None,
        OnHost::Absent => again(case, job, now, policy).or(Some(Action::Create)),
        OnHost::Here(machine) => work(case, job, document, machine, now, policy),
    }
}

/// Whether the task is under way, as far as can be told.
fn runs(case: &Case, host: OnHost<'_>) -> bool {
    match host {
        OnHost::Silent => case.started_at.is_some(),
        OnHost::Absent => false,
        OnHost::Here(machine) => match machine.phase {
            _ if machine.result.is_some() => true,
            Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming | Phase::Stopping => true,
            Phase::Stopped => case.starts > 0,
            Phase::Creating | Phase::Starting | Phase::Failed(_) | Phase::Deleting | Phase::Deleted => false,
        },
    }
}

/// Why no other attempt makes sense, if none does.
fn again(case: &Case, job: &JobRecord, now: UnixTime, policy: &Policy) -> Option<Action> {
    if case.creations >= policy.creations && !case.may_exist {
        return Some(failed("the machine broke too often"));
    }
    // Most tasks end long before their timeout.
    let no_time = now >= nearly(job.run_by, job.opened_at, policy);
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
    let used = Seconds(u32::try_from(ran).unwrap_or(u32::MAX)).min(timeout);
    let out_of_time = now >= nearly(job.run_by, job.opened_at, policy);
    match (&machine.phase, &machine.guest) {
        (Phase::Failed(reason), _) => {
            let hopeless = case.creations >= policy.creations || again(case, job, now, policy).is_some();
            Some(if hopeless { failed(reason) } else { Action::Delete })
        }
        (_, Guest::GaveUp { reason }) => Some(gave_up(case, reason, used, now)),
        // One uninterrupted run lasted as long as it may: mediators who run it again come to the same.
        (Phase::Running | Phase::Paused, _) if ran > u64::from(timeout.0) => {
            Some(Action::Note(Note::Judged(Verdict::timeout(timeout), now)))
        }
        (Phase::Running | Phase::Paused, _) if out_of_time => {
            Some(unfinished(case, "it had not ended when the time for it was up", used, now))
        }
        // By its task or by its host, nobody can tell: it is run again while there is time.
        (Phase::Stopped, _) if out_of_time || case.starts >= policy.starts => {
            Some(unfinished(case, "its machine kept stopping without a result", used, now))
        }
        (Phase::Stopped, _) => Some(Action::Start),
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

/// There is a result: paid at once by the renter's acceptance, else declared in time. At the last moment it is declared
/// even so: an acceptance is settled after that as well, and one that the contract does not take must not cost the pledge.
fn hand_in(
    case: &Case,
    job: &JobRecord,
    finished: &Finished,
    host: OnHost<'_>,
    now: UnixTime,
    policy: &Policy,
) -> Option<Action> {
    let last_moment = now >= nearly(job.run_by, job.opened_at, policy);
    match (&case.acceptance, &case.verdict) {
        (Some(_), _) if last_moment => return Some(submit(finished)),
        (Some(acceptance), _) => return Some(Action::Send(Send::SettleJob(Box::new(acceptance.clone())))),
        (None, Some(_)) => {
            // It was judged while it ran.
            let runs = matches!(host, OnHost::Here(m) if matches!(m.phase, Phase::Running | Phase::Paused));
            let stop = (runs && !last_moment).then_some(Action::Stop);
            return stop.or_else(|| declare(job, finished, now, policy));
        }
        (None, None) => {}
    }
    // Never declare a result that cannot be handed over: if the host lost it, run the job again. A host that crashed may
    // still have the machine, and have forgotten what it said of it.
    let lost = match host {
        OnHost::Silent => return declare(job, finished, now, policy),
        OnHost::Absent => true,
        OnHost::Here(machine) => machine.result.is_none_or(|result| result.hash != finished.result.hash),
    };
    match (lost, case.missing_since) {
        (true, None) => Some(Action::Note(Note::Missing(Some(now)))),
        (true, Some(since)) if now >= since.plus(policy.patience) => Some(Action::Delete),
        (true, Some(_)) => None,
        (false, Some(_)) => Some(Action::Note(Note::Missing(None))),
        (false, None) => declare(job, finished, now, policy),
    }
}

/// Puts the result on chain once the renter had time to accept it, or time is short. A contract that is called back has
/// nobody who would sign.
fn declare(job: &JobRecord, finished: &Finished, now: UnixTime, policy: &Policy) -> Option<Action> {
    let waited = job.callback || now >= finished.at.plus(policy.acceptance_wait);
    let last_moment = now >= nearly(job.run_by, job.opened_at, policy);
    (waited || last_moment).then(|| submit(finished))
}

fn submit(finished: &Finished) -> Action {
    let (result, used) = (finished.result.hash, finished.result.seconds);
    Action::Send(Send::SubmitJob { result, used })
}

fn submitted(case: &Case, job: &JobRecord, now: UnixTime) -> Option<Action> {
    if now > job.submitted_at?.plus(job.challenge_window) {
        return Some(Action::Send(Send::FinalizeJob));
    }
    let acceptance = case.acceptance.as_ref().filter(|a| Some(a.acceptance.result_hash) == job.result)?;
    Some(Action::Send(Send::SettleJob(Box::new(acceptance.clone()))))
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

/// Ends a job that did not end in its time. That a machine had to be made anew is its host's doing, not the renter's.
fn unfinished(case: &Case, reason: &str, used: Seconds, now: UnixTime) -> Action {
    if case.creations > 1 { failed(reason) } else { gave_up(case, reason, used, now) }
}

/// Ends a job that has no result by its renter's doing. A result that others may run again and compare is never made up.
fn gave_up(case: &Case, reason: &str, used: Seconds, now: UnixTime) -> Action {
    match case.opened.class {
        Class::None => Action::Note(Note::Judged(Verdict::gave_up(reason, used), now)),
        Class::Exact => failed(reason),
    }
}

fn failed(reason: &str) -> Action {
    Action::Note(Note::Failed(reason.to_owned()))
}

/// The document was checked when it was handed over; one that no longer reads is not waited for.
fn timeout_of(document: &str) -> Seconds {
    serde_json::from_str::<JobDocument>(document).map_or(Seconds(0), |job| job.timeout)
}

//! A lease, from the provider's side.
//!
//! ```text
//! Open: document -> create -> start -> login answers -> StartLease     (in time, else RejectLease)
//! Active: keep it running, collect rent; ran out: stop -> grace -> CloseLease (for nothing); topped up: start again
//! Ended: delete the machine
//! ```

use sublet_base::{Amount, UnixTime};
use sublet_chain::{LeaseRecord, LeaseState};
use sublet_machine::{Guest, Phase};
use sublet_market::sums;

use super::{Action, OnHost, Policy, Send, delay, look_up, nearly, reject, wind_up};
use crate::case::{Case, Note};

pub(super) fn decide(
    case: &Case,
    lease: &LeaseRecord,
    host: OnHost<'_>,
    now: UnixTime,
    policy: &Policy,
) -> Option<Action> {
    match lease.state {
        LeaseState::Open if now > lease.start_by => Some(Action::Send(Send::ExpireLease)),
        LeaseState::Open => open(case, lease, host, now, policy),
        LeaseState::Active => active(case, lease, host, now, policy),
        LeaseState::Ended => wind_up(case, host, now, policy),
        LeaseState::None => None,
    }
}

fn open(case: &Case, lease: &LeaseRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    let unable = case.failed.is_some() || now >= nearly(lease.start_by, lease.opened_at, policy);
    if !unable && let Some(action) = look_up(case) {
        return Some(action);
    }
    let decline = || Some(reject(case, Send::RejectLease, delay(case, host)));
    match host {
        OnHost::Here(machine) => match (&machine.phase, &machine.guest) {
            // Ready at the last moment still counts.
            (Phase::Running, Guest::Ready { .. }) if case.failed.is_none() => Some(Action::Send(Send::StartLease)),
            _ if unable => decline(),
            (Phase::Failed(reason), _) | (_, Guest::GaveUp { reason }) => {
                Some(Action::Note(Note::Failed(reason.clone())))
            }
            (Phase::Stopped, Guest::Silent | Guest::Ready { .. } | Guest::Exited { .. }) => Some(Action::Start),
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
        },
        _ if unable => decline(),
        OnHost::Silent => None,
        OnHost::Absent => case.document.as_ref().map(|_| Action::Create),
    }
}

fn active(case: &Case, lease: &LeaseRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    let used = u64::from(lease.paid_seconds.0) + u64::from(lease.owed_seconds.0);
    match (used >= u64::from(lease.duration.0), case.ran_out_at) {
        (true, None) => return Some(Action::Note(Note::RanOut(Some(now)))),
        (false, Some(_)) => return Some(Action::Note(Note::RanOut(None))),
        (true, Some(since)) => return ran_out(lease, since, host, now, policy),
        (false, None) => {}
    }
    if let Some(action) = keep_running(case, lease, host, now, policy) {
        return Some(action);
    }
    (lease.owed_seconds >= policy.settle_every).then_some(Action::Send(Send::SettleLease))
}

/// The machine stands still until it is topped up or the grace is over.
fn ran_out(lease: &LeaseRecord, since: UnixTime, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    if now >= since.plus(policy.grace) {
        // A top-up of this very moment must not turn it into leaving without notice.
        return Some(Action::Send(Send::CloseLease { max_penalty: Amount::ZERO }));
    }
    if let OnHost::Here(machine) = host {
        match machine.phase {
            Phase::Running | Phase::Paused => return Some(Action::Stop),
            Phase::Creating
            | Phase::Stopped
            | Phase::Starting
            | Phase::Pausing
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Failed(_)
            | Phase::Deleting
            | Phase::Deleted => {}
        }
    }
    (lease.owed_seconds.0 > 0).then_some(Action::Send(Send::SettleLease))
}

/// A machine that stopped is started again; one that is lost ends the lease, at the provider's cost.
fn keep_running(case: &Case, lease: &LeaseRecord, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    let lost = match host {
        OnHost::Silent => return None,
        OnHost::Absent => true,
        OnHost::Here(machine) => match machine.phase {
            Phase::Failed(_) | Phase::Deleting | Phase::Deleted => true,
            Phase::Stopped if case.missing_since.is_none() => return Some(Action::Start),
            Phase::Creating
            | Phase::Stopped
            | Phase::Starting
            | Phase::Running
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming
            | Phase::Stopping => false,
        },
    };
    match (lost, case.missing_since) {
        (true, None) => Some(Action::Note(Note::Missing(Some(now)))),
        (true, Some(since)) if now >= since.plus(policy.patience) => {
            let max_penalty = sums::notice_penalty(lease.price, lease.notice, lease.notice_at, now, lease.pledge);
            Some(Action::Send(Send::CloseLease { max_penalty }))
        }
        (false, Some(_)) => Some(Action::Note(Note::Missing(None))),
        (true, Some(_)) | (false, None) => None,
    }
}

//! What to do next, decided purely: from what is remembered ([`Case`]), what the chain says, what the host has, and the
//! chain's time. The decision is level-triggered: it never matters how things came to be as they are, so a restart, a
//! missed event or a repeated one changes nothing. At most one action for each agreement at a time.
//!
//! Where an answer is missing (chain or host silent) nothing is decided: money and machines move on definite answers only.

mod account;
mod job;
mod lease;
#[cfg(test)]
pub(crate) mod tests;
mod till;

use std::collections::BTreeMap;

use sublet_base::{Amount, B256, MachineId, Seconds, UnixTime};
use sublet_chain::{DisputeRecord, JobRecord, JobState, LeaseRecord, LeaseState};
use sublet_market::SignedAcceptance;
use sublet_wire::host::MachineView;
use sublet_wire::link::Agreement;
use sublet_wire::workload::Mark;

pub use account::{AccountAction, AccountPolicy, AccountView, decide_account};
pub use till::{MOST_AT_ONCE, Till, next_settlement};

use crate::case::{Case, Note, agreement_of};

/// Patience and habits. Times are the chain's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Before a deadline by this much, it counts as reached: transactions take a block or two.
    pub margin: Seconds,
    /// Rent is collected when this much is owed.
    pub settle_every: Seconds,
    /// A lease that ran out may be topped up for this long before it is closed and its disk deleted.
    pub grace: Seconds,
    /// How long a machine is asked to stop before it is killed.
    pub stop_grace: Seconds,
    /// A machine the host does not show is given up after this.
    pub patience: Seconds,
    /// A finished job waits this long for the renter's acceptance before its result is submitted.
    pub acceptance_wait: Seconds,
    /// A result nobody fetched is kept this long after its job ended.
    pub retention: Seconds,
    /// Machines made for one job at most.
    pub creations: u32,
    /// Starts of one job's machine at most: one that keeps stopping does so by its task.
    pub starts: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            margin: Seconds(15),
            settle_every: Seconds(3600),
            grace: Seconds(600),
            stop_grace: Seconds(10),
            patience: Seconds(60),
            acceptance_wait: Seconds(45),
            retention: Seconds(600),
            creations: 3,
            starts: 6,
        }
    }
}

/// What the chain says about an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnChain {
    /// A lease.
    Lease(Box<LeaseRecord>),
    /// A job.
    Job(Box<JobRecord>),
    /// A job that mediators judge.
    Disputed {
        /// How far they are.
        dispute: Box<DisputeRecord>,
        /// The newest block when that was asked.
        block: u64,
    },
    /// It knows no such agreement: a node that lags, or a chain that was replaced. With the time since when it says so from
    /// a head above the opening; without one if it has shown the agreement before.
    Nothing(Option<UnixTime>),
}

/// A transaction about one agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// The rent begins.
    StartLease,
    /// It cannot be served.
    RejectLease,
    /// Gets most of the pledge back when it was not started in time.
    ExpireLease,
    /// Collects rent.
    SettleLease,
    /// Ends it.
    CloseLease {
        /// The most of the pledge that may go.
        max_penalty: Amount,
    },
    /// It cannot be served.
    RejectJob,
    /// Declares the result.
    SubmitJob {
        /// keccak256 of the archive.
        result: B256,
        /// How long it ran.
        used: Seconds,
    },
    /// Is paid by the renter's acceptance.
    SettleJob(Box<SignedAcceptance>),
    /// Is paid because the renter was silent.
    FinalizeJob,
    /// Gets most of the pledge back when there was no result in time.
    ExpireJob,
    /// Draws the panel that no mediator draws.
    DrawPanel,
    /// Ends the dispute that no mediator ends.
    ResolveDispute,
}

/// The next thing to do about one agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write it down; nothing else.
    Note(Note),
    /// Ask the chain for the document, then note [`Note::Handed`] or [`Note::Unplaced`].
    LookUp,
    /// Note [`Note::Creating`], then create the machine.
    Create,
    /// Note [`Note::Starting`], start the machine, then note [`Note::Started`].
    Start,
    /// Stop the machine; its disk stays.
    Stop,
    /// Delete the machine, then note [`Note::Removed`].
    Delete,
    /// Send a transaction.
    Send(Send),
    /// Everything is over: end the journal's entry.
    Finish,
}

/// What the host says about one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHost<'a> {
    /// The host does not answer.
    Silent,
    /// It has no such machine.
    Absent,
    /// It has.
    Here(&'a MachineView),
}

/// Decides about one agreement. `None`: wait.
#[must_use]
pub fn decide(
    case: &Case,
    chain: Option<&OnChain>,
    host: OnHost<'_>,
    now: UnixTime,
    policy: &Policy,
) -> Option<Action> {
    let chain = chain?;
    // What stands there under this name was another agreement's: nothing may be told from it, and nothing sold with it.
    if case.foreign {
        return (host != OnHost::Silent).then_some(Action::Delete);
    }
    match (chain, case.id()) {
        (OnChain::Lease(lease), Agreement::Lease(_)) => lease::decide(case, lease, host, now, policy),
        (OnChain::Job(job), Agreement::Job(_)) => job::decide(case, job, host, now, policy),
        (OnChain::Disputed { dispute, block }, Agreement::Job(_)) => job::hurry(dispute, *block, now),
        // A node that lags must not cost a machine, and a machine is made only for what the chain has shown.
        (OnChain::Nothing(Some(since)), _)
            if case.creations == 0 && now > (*since).max(case.opened.start_by).plus(DISBELIEF) =>
        {
            wind_up(case, host, now, policy)
        }
        (OnChain::Nothing(_) | OnChain::Lease(_) | OnChain::Job(_) | OnChain::Disputed { .. }, _) => None,
    }
}

/// For how long a chain must know nothing of an agreement that it opened to be believed.
const DISBELIEF: Seconds = Seconds(600);

/// How long something may take before another decision about the agreement is due. `None`: nothing presses.
#[must_use]
pub fn time_left(chain: Option<&OnChain>, now: UnixTime, policy: &Policy) -> Option<Seconds> {
    let (opened_at, deadlines) = match chain? {
        OnChain::Lease(lease) if lease.state == LeaseState::Open => (lease.opened_at, vec![lease.start_by]),
        OnChain::Job(job) if job.state == JobState::Open => (job.opened_at, vec![job.start_by, job.run_by]),
        OnChain::Lease(_) | OnChain::Job(_) | OnChain::Disputed { .. } | OnChain::Nothing(_) => return None,
    };
    let next = deadlines.into_iter().map(|deadline| nearly(deadline, opened_at, policy)).find(|at| *at > now)?;
    Some(Seconds(u32::try_from(next.since(now)).unwrap_or(u32::MAX)))
}

/// Machines that bear the name of an agreement of this mark but belong to no case: left by a lost store or by an agreement
/// long over.
///
/// Only true once every event up to the chain's head has become a case.
#[must_use]
pub fn orphans(
    cases: &BTreeMap<Agreement, Case>,
    host: &BTreeMap<MachineId, MachineView>,
    mark: &Mark,
) -> Vec<MachineId> {
    let orphaned = |id: &&MachineId| agreement_of(id, mark).is_some_and(|agreement| !cases.contains_key(&agreement));
    host.keys().filter(orphaned).cloned().collect()
}

/// The agreement is over: note it, remove the machine, close the case.
fn wind_up(case: &Case, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    let Some(ended_at) = case.ended_at else {
        return Some(Action::Note(Note::Ended(now)));
    };
    match host {
        OnHost::Silent => None,
        OnHost::Here(_) => Some(Action::Delete),
        // Deleting again also ends a creation that was cut short by a crash and that the host does not show yet.
        OnHost::Absent if case.may_exist => Some(Action::Delete),
        // Its renter may still ask why.
        OnHost::Absent if case.failed.is_some() && now < ended_at.plus(policy.patience) => None,
        OnHost::Absent => Some(Action::Finish),
    }
}

/// The order may have been placed on chain together with its document; then nobody hands it over.
fn look_up(case: &Case) -> Option<Action> {
    let unknown = case.document.is_none() && case.failed.is_none() && !case.unplaced;
    (unknown && case.opened.order.is_some()).then_some(Action::LookUp)
}

/// Rejects, saying why first.
fn reject(case: &Case, send: Send, reason: String) -> Action {
    match case.failed {
        Some(_) => Action::Send(send),
        None => Action::Note(Note::Failed(reason)),
    }
}

/// Why something was not ready at the last moment.
fn delay(case: &Case, host: OnHost<'_>) -> String {
    let reason = match (host, &case.hindered) {
        _ if case.document.is_none() => "the workload was not handed over in time",
        (OnHost::Silent, _) => "the host did not answer in time",
        (OnHost::Absent, Some(reason)) => return format!("the host could not make the machine in time: {reason}"),
        (OnHost::Absent, None) => "the host did not make the machine in time",
        (OnHost::Here(_), _) => "the machine was not ready in time",
    };
    reason.to_owned()
}

/// When it is time to act although `deadline` is not reached: a margin before, less for short periods.
fn nearly(deadline: UnixTime, opened_at: UnixTime, policy: &Policy) -> UnixTime {
    let whole = deadline.since(opened_at);
    UnixTime(deadline.0.saturating_sub(u64::from(policy.margin.0).min(whole / 4)))
}

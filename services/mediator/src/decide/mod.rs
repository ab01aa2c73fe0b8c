//! What to do next about one dispute, decided purely: from what is remembered ([`Case`]), what the chain says, what the
//! host has, and the chain's time. Level-triggered: it never matters how things came to be as they are.
//!
//! ```text
//! Armed:    on our turn, Draw
//! Commit:   drawn: document -> create -> start -> found, and the archive asked for -> seal a vote -> Commit
//! Reveal:   Reveal what was sealed
//! Over:     on our turn, Resolve
//! Resolved: keep the archive for the renter for a while -> drop it, delete the machine -> finish
//! ```
//! At most one action for each dispute at a time, besides asking its provider ([`wanted`]), which goes on meanwhile.

mod run;
#[cfg(test)]
mod tests;
mod vote;

use std::collections::BTreeMap;

use sublet_base::{Address, B256, JobId, MachineId, Seconds, UnixTime};
use sublet_chain::{DisputeRecord, DisputeStage, SeatStage};
use sublet_market::agreement::{CourtRules, commitment};
use sublet_wire::host::MachineView;
use sublet_wire::workload::Mark;

pub use vote::{lapsed, patience, wanted};

use crate::case::{Ballot, Case, Note, job_of};

/// Patience and habits. Times are the chain's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a provider is asked in vain before its silence is a verdict; a quarter of the time to commit if absent.
    pub patience: Option<Seconds>,
    /// And at least this often.
    pub asks: u32,
    /// What the court grants to commit besides the job's duration.
    pub commit_slack: Seconds,
    /// Before the end of the time to commit by this much, a vote is due: transactions take a block or two.
    pub margin: Seconds,
    /// An archive is kept for its renter for this long after the dispute.
    pub retention: Seconds,
    /// Machines made for one dispute at most.
    pub creations: u32,
    /// Starts of one machine at most.
    pub starts: u32,
    /// Blocks that each mediator of a set leaves to the one before it, to do what anybody may do.
    pub turn: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            patience: None,
            asks: 3,
            commit_slack: CourtRules::default().commit_slack,
            margin: Seconds(60),
            retention: Seconds(24 * 3600),
            creations: 3,
            starts: 6,
            turn: 2,
        }
    }
}

/// What the chain says about a dispute, and when it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// As of the newest block.
    pub dispute: &'a DisputeRecord,
    /// The newest block.
    pub block: u64,
    /// The block in which it was first seen at this stage.
    pub stage_since: u64,
    /// The chain's time.
    pub now: UnixTime,
    /// How many others have their turn before us.
    pub turn: u64,
}

/// A transaction about one dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// Draws the panel.
    Draw,
    /// Binds us to our vote.
    Commit(B256),
    /// Shows it.
    Reveal(Ballot),
    /// Ends the dispute.
    Resolve,
}

/// The next thing to do about one dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write it down; nothing else.
    Note(Note),
    /// Note [`Note::Creating`], then create the machine.
    Create,
    /// Note [`Note::Starting`], start the machine, then note [`Note::Started`].
    Start,
    /// Copy the machine's archive into our own folder, then note [`Note::Kept`].
    Keep,
    /// Delete the machine, then note [`Note::Removed`].
    Delete,
    /// Choose a salt and note [`Note::Sealed`] with this vote.
    Seal(B256),
    /// Send a transaction.
    Send(Send),
    /// Delete the archive, then note [`Note::Dropped`].
    Drop,
    /// Everything is over: delete what a crash may have left of an archive, then end the journal's entry.
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

/// Decides about one dispute. `None`: wait.
#[must_use]
pub fn decide(case: &Case, me: Address, seen: Option<Seen<'_>>, host: OnHost<'_>, policy: &Policy) -> Option<Action> {
    let seen = seen?;
    // What stands there under this name was another dispute's: nothing may be told from it.
    if case.foreign {
        return (host != OnHost::Silent).then_some(Action::Delete);
    }
    let dispute = seen.dispute;
    match dispute.stage {
        // A node that lags.
        DisputeStage::None => None,
        DisputeStage::Armed => {
            let due = dispute.draw_from.saturating_add(seen.turn * policy.turn);
            (seen.block >= due).then_some(Action::Send(Send::Draw))
        }
        DisputeStage::Commit => match dispute.seat(me) {
            Some(seat) if seat.stage == SeatStage::Drawn => commit(case, me, seen, host, policy),
            Some(_) | None => clean_up(case, host),
        },
        DisputeStage::Reveal => {
            missed(case, me, dispute).or_else(|| reveal(case, me, dispute)).or_else(|| clean_up(case, host))
        }
        DisputeStage::Over => {
            let due = seen.stage_since.saturating_add(seen.turn * policy.turn);
            let resolve = || (seen.block >= due).then_some(Action::Send(Send::Resolve));
            missed(case, me, dispute).or_else(resolve).or_else(|| clean_up(case, host))
        }
        DisputeStage::Resolved => resolved(case, seen.now, host, policy),
    }
}

/// Drawn, and nothing said yet: a vote first, whatever else there is to do.
fn commit(case: &Case, me: Address, seen: Seen<'_>, host: OnHost<'_>, policy: &Policy) -> Option<Action> {
    if let Some(ballot) = &case.ballot {
        return Some(Action::Send(Send::Commit(commitment(case.id(), me, ballot.hash, ballot.salt))));
    }
    vote::verdict(case, seen, policy).map(Action::Seal).or_else(|| run::run(case, host, seen.now, policy))
}

/// What our seat costs us is worth a line in the log.
fn missed(case: &Case, me: Address, dispute: &DisputeRecord) -> Option<Action> {
    let silent = dispute.seat(me).is_some_and(|seat| seat.stage == SeatStage::Drawn);
    (silent && !case.missed).then_some(Action::Note(Note::Missed))
}

fn reveal(case: &Case, me: Address, dispute: &DisputeRecord) -> Option<Action> {
    // One that another installation of this mediator committed, only that one can reveal.
    let seat = dispute.seat(me).filter(|seat| seat.stage == SeatStage::Committed)?;
    let ballot = case.ballot.as_ref()?;
    let ours = commitment(case.id(), me, ballot.hash, ballot.salt);
    (seat.commitment == Some(ours)).then_some(Action::Send(Send::Reveal(*ballot)))
}

/// The machine is not needed any more, once its archive is ours.
fn clean_up(case: &Case, host: OnHost<'_>) -> Option<Action> {
    match host {
        OnHost::Silent => None,
        OnHost::Here(machine) if case.found.is_some() && !case.kept && shows(case, machine) => Some(Action::Keep),
        OnHost::Here(_) => Some(Action::Delete),
        // Deleting again also ends a creation that was cut short by a crash and that the host does not show yet.
        OnHost::Absent => case.may_exist.then_some(Action::Delete),
    }
}

/// Whether the archive of what was found can be had while this machine is there.
fn shows(case: &Case, machine: &MachineView) -> bool {
    case.timed_out.is_some() || machine.result == case.found
}

fn resolved(case: &Case, now: UnixTime, host: OnHost<'_>, policy: &Policy) -> Option<Action> {
    let Some(over_at) = case.over_at else { return Some(Action::Note(Note::Over(now))) };
    let kept_long_enough = now >= over_at.plus(policy.retention);
    // An archive that could not be kept until now must not keep its machine for ever.
    if kept_long_enough && matches!(host, OnHost::Here(_)) {
        return Some(Action::Delete);
    }
    if let Some(action) = clean_up(case, host) {
        return Some(action);
    }
    match (host, case.kept) {
        (OnHost::Silent, _) if case.may_exist => None,
        (_, true) if !kept_long_enough => None,
        (_, true) => Some(Action::Drop),
        (_, false) => Some(Action::Finish),
    }
}

/// Machines that bear a name of this mark but belong to no case: left by a lost store or by a dispute long over.
///
/// Only true once every event up to the chain's head has become a case.
#[must_use]
pub fn orphans<C>(cases: &BTreeMap<JobId, C>, host: &BTreeMap<MachineId, MachineView>, mark: &Mark) -> Vec<MachineId> {
    let orphaned = |id: &&MachineId| job_of(id, mark).is_some_and(|job| !cases.contains_key(&job));
    host.keys().filter(orphaned).cloned().collect()
}

/// How many members of a set come before `me` in doing what anybody may do for this job; the first differs from job to job.
#[must_use]
pub fn turn_of(members: &[Address], me: Address, job: JobId) -> u64 {
    let count = members.len().max(1) as u64;
    let place = members.iter().position(|member| *member == me).map_or(0, |place| place as u64);
    (place + job.0) % count
}

//! Agreements: what a lease or a job does at each call, and what money moves, exactly as the contract decides it.
//!
//! [`Lease`] and [`Job`] are synchronous: a call with its caller and the chain's time goes in, the [`Effect`]s come out,
//! or a [`Denied`] and nothing has changed. A disputed job waits for its [`Dispute`], whose panel is drawn from the
//! mediators on the [`Bench`].

mod bench;
mod clock;
mod dispute;
mod job;
mod lease;
mod money;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_court;

pub use bench::{Bench, BenchCall, Bond, BondEffect};
pub use clock::{Rules, Uptime};
pub use dispute::{
    CourtEffect, CourtMoment, CourtRules, Dispute, DisputeCall, DisputeState, Hearing, Purse, Vote, commitment,
};
pub use job::{Job, JobCall, JobEnd, JobState, JobTerms};
pub use lease::{Lease, LeaseCall, LeaseEnd, LeaseState, LeaseTerms};
pub use money::{Effect, Held, Party, Pot};

use sublet_base::{Amount, Seconds, UnixTime};
use thiserror::Error;

/// Who calls, as far as an agreement distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Who pays.
    Renter,
    /// Who is paid.
    Provider,
    /// Anybody else.
    Stranger,
    /// The contract that judges disputes; no person.
    Court,
}

/// When a call happens: the block's time and the provider's uptime record at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The block's timestamp.
    pub now: UnixTime,
    /// The provider's record before the call.
    pub uptime: Uptime,
}

/// Why a call is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// The agreement's state does not know this call.
    #[error("the agreement is {0}, which does not allow this call")]
    State(&'static str),
    /// Only the other party, or one of the parties, may do it.
    #[error("this call is not for {0:?}")]
    Caller(Caller),
    /// The stage's time is over.
    #[error("too late: the deadline was {0}")]
    TooLate(UnixTime),
    /// The stage's time is not over yet.
    #[error("too early: possible from {0}")]
    TooEarly(UnixTime),
    /// The lease would be longer than the offer allows.
    #[error("it would last {total} s; the offer allows {max}")]
    TooLong {
        /// With the top-up.
        total: u64,
        /// The offer's.
        max: Seconds,
    },
    /// A number that must not be zero is.
    #[error("zero {0}")]
    Zero(&'static str),
    /// Nobody knows whether the machine is still there.
    #[error("the provider has not been heard of since {0}")]
    Stale(UnixTime),
    /// The provider would lose more than it said.
    #[error("closing now costs {penalty}, and at most {most} was said")]
    PenaltyTooHigh {
        /// What it costs.
        penalty: Amount,
        /// What was said.
        most: Amount,
    },
    /// Notice was given before.
    #[error("notice was already given at {0}")]
    AlreadyNoticed(UnixTime),
    /// The accepted result is not the submitted one.
    #[error("the result differs from the submitted one")]
    OtherResult,
    /// The cost is more than the escrow or the declared cost.
    #[error("the cost {cost} exceeds {max}")]
    CostTooHigh {
        /// Asked.
        cost: Amount,
        /// The most.
        max: Amount,
    },
    /// Only the provider itself may take less than it declared.
    #[error("the cost {cost} is below {min}, which only the provider itself may settle for")]
    CostTooLow {
        /// Asked.
        cost: Amount,
        /// The least.
        min: Amount,
    },
    /// Exact results are disputed, not refused.
    #[error("a result of class exact cannot be refused")]
    NotRefusable,
    /// Unchecked results are refused, not disputed.
    #[error("a result of class none cannot be disputed")]
    NotDisputable,
    /// The block that decides who is drawn is not over yet.
    #[error("too early: possible from block {0}")]
    TooEarlyBlock(u64),
    /// No member of the set.
    #[error("the set of mediators does not list the caller")]
    NotListed,
    /// Not drawn for this panel.
    #[error("the caller has no seat on this panel")]
    NotSeated,
    /// The caller's own vote is at another stage.
    #[error("the caller's vote is at another stage")]
    VoteStage,
    /// What is revealed is not what was committed.
    #[error("what is revealed is not what was committed")]
    OtherVote,
    /// The account has no bond.
    #[error("there is no bond")]
    NoBond,
    /// More than the contract stores.
    #[error("a bond of {0} is more than the contract can store")]
    BondTooLarge(Amount),
    /// Seats on panels still answer with the bond.
    #[error("{0} of the bond is at stake on panels")]
    AtStake(Amount),
}

/// Refuses everybody but `allowed`.
fn only(allowed: Caller, caller: Caller) -> Result<(), Denied> {
    if caller == allowed { Ok(()) } else { Err(Denied::Caller(caller)) }
}

fn not_after(deadline: UnixTime, now: UnixTime) -> Result<(), Denied> {
    if now <= deadline { Ok(()) } else { Err(Denied::TooLate(deadline)) }
}

fn after(deadline: UnixTime, now: UnixTime) -> Result<(), Denied> {
    if now > deadline { Ok(()) } else { Err(Denied::TooEarly(deadline.plus(Seconds(1)))) }
}

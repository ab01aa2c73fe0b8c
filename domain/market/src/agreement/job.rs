//! A job: one run of a module, paid once.
//!
//! ```text
//! Open ──submit──▶ Submitted ──dispute──▶ Disputed
//!  │ reject             │ settle · accept      │ rule
//!  │ settle             │ finalize · refuse    │
//!  │ expire             │                      │
//!  └──────────▶ Ended ◀─┴──────────────────────┘
//! ```
//! A disputed job waits for the court: what happens there is [`super::Dispute`], what it decides comes back as `rule`.

use sublet_base::{Amount, AmountOverflow, B256, Bps, Price, Seconds, UnixTime};

use super::lease::reward;
use super::money::{Effect, Held, Party, Pot};
use super::{Caller, Denied, Moment, after, not_after, only};
use crate::{Class, Verdict, sums};

/// What was agreed when the job was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTerms {
    /// Token units a second: the offer's.
    pub price: Price,
    /// The offer's.
    pub pledge_bps: Bps,
    /// Longest run that is paid.
    pub duration: Seconds,
    /// The provider may reject until this long after opening.
    pub start_within: Seconds,
    /// How long the renter may object.
    pub challenge_window: Seconds,
    /// How the result is checked.
    pub class: Class,
    /// For whoever opened it.
    pub solver_fee: Amount,
}

/// Why a job is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobEnd {
    /// The provider declined in time.
    Rejected,
    /// No result in time.
    Expired,
    /// By the renter's signature.
    Settled,
    /// By the renter's own call.
    Accepted,
    /// By the renter's silence.
    Finalized,
    /// The renter refused the result.
    Refused,
    /// Mediators found the result right.
    Upheld,
    /// Mediators found the result wrong, or withheld.
    Overturned,
    /// Mediators did not agree.
    Inconclusive,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Money is locked, the provider works.
    Open {
        /// Last second to reject.
        start_by: UnixTime,
        /// Last second to submit.
        run_by: UnixTime,
    },
    /// A result is declared.
    Submitted {
        /// keccak256 of the archive.
        result: B256,
        /// `price * min(used, now - opened_at, duration)`.
        declared: Amount,
        /// Last second to object.
        challenge_until: UnixTime,
    },
    /// Mediators look at the result; everything stays held.
    Disputed {
        /// keccak256 of the archive.
        result: B256,
        /// What the provider declared.
        declared: Amount,
    },
    /// Over; nothing is held.
    Ended(JobEnd),
}

/// A call of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobCall {
    /// `rejectJob`
    Reject,
    /// `submitJob`
    Submit {
        /// keccak256 of the archive.
        result: B256,
        /// How long it ran, as the provider says: never longer than since it was opened.
        used: Seconds,
    },
    /// `settleJob`, with the renter's acceptance of exactly this checked.
    Settle {
        /// What the renter accepted.
        result: B256,
        /// What the renter pays.
        cost: Amount,
    },
    /// `acceptJob`
    Accept,
    /// `finalizeJob`
    Finalize,
    /// `expireJob`
    Expire,
    /// `refuseJob`
    Refuse,
    /// `dispute` of the court, which calls `disputeJob` for the renter.
    Dispute,
    /// `ruleJob`
    Rule(Verdict),
}

/// A job and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    terms: JobTerms,
    opened_at: UnixTime,
    /// `price * duration`: what was locked for the provider, and the most a run can cost.
    whole: Amount,
    held: Held,
    state: JobState,
}

impl Job {
    /// Opens a job at `now`; what it holds is locked from both sides.
    ///
    /// # Errors
    /// [`AmountOverflow`] if escrow or pledge leave the range of a balance.
    pub fn open(terms: JobTerms, now: UnixTime) -> Result<Self, AmountOverflow> {
        let escrow = terms.price.over(terms.duration)?;
        let pledge = sums::pledge(escrow, terms.pledge_bps)?;
        let start_by = now.plus(terms.start_within);
        let state = JobState::Open { start_by, run_by: start_by.plus(terms.duration) };
        Ok(Self { terms, opened_at: now, whole: escrow, held: Held { escrow, pledge, fee: terms.solver_fee }, state })
    }

    /// What was agreed.
    #[must_use]
    pub fn terms(&self) -> &JobTerms {
        &self.terms
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> JobState {
        self.state
    }

    /// Does what `call` does, or nothing.
    ///
    /// # Errors
    /// [`Denied`]; the job is unchanged.
    pub fn apply(&mut self, call: JobCall, caller: Caller, at: Moment) -> Result<Vec<Effect>, Denied> {
        match self.state {
            JobState::Open { start_by, run_by } => self.apply_open(call, caller, at.now, start_by, run_by),
            JobState::Submitted { result, declared, challenge_until } => {
                self.apply_submitted(call, caller, at.now, (result, declared, challenge_until))
            }
            JobState::Disputed { declared, .. } => self.apply_disputed(call, caller, declared),
            JobState::Ended(_) => Err(Denied::State("ended")),
        }
    }

    fn apply_open(
        &mut self,
        call: JobCall,
        caller: Caller,
        now: UnixTime,
        start_by: UnixTime,
        run_by: UnixTime,
    ) -> Result<Vec<Effect>, Denied> {
        let mut out = Vec::new();
        match call {
            JobCall::Reject => {
                only(Caller::Provider, caller)?;
                not_after(start_by, now)?;
                self.end(JobEnd::Rejected, Amount::ZERO, &mut out);
            }
            JobCall::Submit { result, used } => {
                only(Caller::Provider, caller)?;
                not_after(run_by, now)?;
                if result == B256::ZERO {
                    return Err(Denied::Zero("result"));
                }
                let used = used.min(elapsed(self.opened_at, now));
                let declared = sums::job_cost(self.terms.price, used, self.terms.duration, self.held.escrow);
                let challenge_until = now.plus(self.terms.challenge_window);
                self.state = JobState::Submitted { result, declared, challenge_until };
            }
            JobCall::Settle { cost, .. } => {
                self.check_most(cost)?;
                Self::check_cost(cost, self.whole, caller)?;
                self.end(JobEnd::Settled, cost, &mut out);
            }
            JobCall::Expire => {
                after(run_by, now)?;
                let penalty = sums::part(self.held.pledge, sums::EXPIRY_PENALTY);
                self.held.slash(penalty, reward(penalty, caller), &mut out);
                self.end(JobEnd::Expired, Amount::ZERO, &mut out);
            }
            JobCall::Accept | JobCall::Finalize | JobCall::Refuse | JobCall::Dispute | JobCall::Rule(_) => {
                return Err(Denied::State("open"));
            }
        }
        Ok(out)
    }

    fn apply_submitted(
        &mut self,
        call: JobCall,
        caller: Caller,
        now: UnixTime,
        (submitted, declared, challenge_until): (B256, Amount, UnixTime),
    ) -> Result<Vec<Effect>, Denied> {
        let mut out = Vec::new();
        match call {
            JobCall::Settle { result, cost } => {
                self.check_most(cost)?;
                if result != submitted {
                    return Err(Denied::OtherResult);
                }
                Self::check_cost(cost, declared, caller)?;
                self.end(JobEnd::Settled, cost, &mut out);
            }
            JobCall::Accept => {
                only(Caller::Renter, caller)?;
                self.end(JobEnd::Accepted, declared, &mut out);
            }
            JobCall::Finalize => {
                after(challenge_until, now)?;
                self.end(JobEnd::Finalized, declared, &mut out);
            }
            JobCall::Refuse => {
                only(Caller::Renter, caller)?;
                not_after(challenge_until, now)?;
                match self.terms.class {
                    Class::None => self.end(JobEnd::Refused, sums::half(declared), &mut out),
                    Class::Exact => return Err(Denied::NotRefusable),
                }
            }
            JobCall::Dispute => {
                only(Caller::Renter, caller)?;
                not_after(challenge_until, now)?;
                match self.terms.class {
                    Class::Exact => self.state = JobState::Disputed { result: submitted, declared },
                    Class::None => return Err(Denied::NotDisputable),
                }
            }
            JobCall::Reject | JobCall::Submit { .. } | JobCall::Expire | JobCall::Rule(_) => {
                return Err(Denied::State("submitted"));
            }
        }
        Ok(out)
    }

    fn apply_disputed(&mut self, call: JobCall, caller: Caller, declared: Amount) -> Result<Vec<Effect>, Denied> {
        let mut out = Vec::new();
        match call {
            JobCall::Rule(verdict) => {
                only(Caller::Court, caller)?;
                match verdict {
                    Verdict::Upheld => self.end(JobEnd::Upheld, declared, &mut out),
                    Verdict::Overturned => {
                        self.held.empty(Pot::Pledge, Party::Renter, &mut out);
                        self.end(JobEnd::Overturned, Amount::ZERO, &mut out);
                    }
                    Verdict::Inconclusive => self.end(JobEnd::Inconclusive, sums::half(declared), &mut out),
                }
            }
            JobCall::Reject
            | JobCall::Submit { .. }
            | JobCall::Settle { .. }
            | JobCall::Accept
            | JobCall::Finalize
            | JobCall::Expire
            | JobCall::Refuse
            | JobCall::Dispute => return Err(Denied::State("disputed")),
        }
        Ok(out)
    }

    fn check_most(&self, cost: Amount) -> Result<(), Denied> {
        if cost > self.whole { Err(Denied::CostTooHigh { cost, max: self.whole }) } else { Ok(()) }
    }

    /// A renter cannot pay less than declared for work by sending its own acceptance.
    fn check_cost(cost: Amount, min: Amount, caller: Caller) -> Result<(), Denied> {
        if cost < min && caller != Caller::Provider { Err(Denied::CostTooLow { cost, min }) } else { Ok(()) }
    }

    /// Pays the cost, and whatever is left goes back; the solver is paid for success only.
    fn end(&mut self, reason: JobEnd, cost: Amount, out: &mut Vec<Effect>) {
        let fee_to = match reason {
            JobEnd::Settled | JobEnd::Accepted | JobEnd::Finalized | JobEnd::Upheld => Party::Solver,
            JobEnd::Rejected | JobEnd::Expired | JobEnd::Refused | JobEnd::Overturned | JobEnd::Inconclusive => {
                Party::Renter
            }
        };
        self.held.pay(Pot::Escrow, Party::Provider, cost, out);
        self.held.empty(Pot::Escrow, Party::Renter, out);
        self.held.empty(Pot::Fee, fee_to, out);
        self.held.empty(Pot::Pledge, Party::Provider, out);
        self.state = JobState::Ended(reason);
    }
}

fn elapsed(since: UnixTime, now: UnixTime) -> Seconds {
    Seconds(u32::try_from(now.since(since)).unwrap_or(u32::MAX))
}

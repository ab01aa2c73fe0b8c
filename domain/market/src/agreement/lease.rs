//! A lease: a machine paid by the second of its provider's uptime.
//!
//! ```text
//! Open ──start──▶ Active ──settle · topUp · giveNotice──▶ Active
//!  │ reject · cancel · expire │ close · fault
//!  └──────────▶ Ended ◀───────┘
//! ```
//! Rent is counted in seconds: what was paid for plus what is held is always what was bought.

use sublet_base::{Amount, Bps, Price, Seconds, UnixTime};

use super::money::{Effect, Held, Party, Pot};
use super::{Caller, Denied, Moment, Rules, after, not_after, only};
use crate::sums;

/// What was agreed when the lease was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Token units a second: the offer's.
    pub price: Price,
    /// The offer's.
    pub pledge_bps: Bps,
    /// Rent bought at first: the order's.
    pub duration: Seconds,
    /// With all top-ups: the offer's.
    pub max_duration: Seconds,
    /// The provider starts at latest this long after opening.
    pub start_within: Seconds,
    /// Warning the provider owes.
    pub notice: Seconds,
    /// The least that is paid.
    pub min_charge: Seconds,
    /// For whoever opened it.
    pub solver_fee: Amount,
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseEnd {
    /// The provider declined in time.
    Rejected,
    /// The renter withdrew before the start.
    Cancelled,
    /// The provider did not start in time.
    Expired,
    /// The renter closed it.
    ClosedByRenter,
    /// The provider closed it.
    ClosedByProvider,
    /// The rent was used up.
    RanOut,
    /// The provider fell silent.
    Faulted,
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Money is locked, nothing runs.
    Open {
        /// Last second for the provider to start.
        start_by: UnixTime,
    },
    /// Rent accrues.
    Active {
        /// `U` at the last settlement.
        since: u64,
        /// Seconds paid.
        paid: u64,
        /// Seconds bought, top-ups included.
        bought: u64,
        /// When the provider gave notice.
        notice_at: Option<UnixTime>,
    },
    /// Over; nothing is held.
    Ended(LeaseEnd),
}

/// A call of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCall {
    /// `startLease`
    Start,
    /// `rejectLease`
    Reject,
    /// `cancelLease`
    Cancel,
    /// `expireLease`
    Expire,
    /// `settleLease`
    Settle,
    /// `topUpLease`
    TopUp(Seconds),
    /// `giveNotice`
    GiveNotice,
    /// `closeLease`
    Close {
        /// The most the caller is ready to lose of its pledge.
        max_penalty: Amount,
    },
    /// `faultLease`
    Fault,
}

/// A lease and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    terms: LeaseTerms,
    rules: Rules,
    held: Held,
    state: LeaseState,
}

/// An active lease's numbers, to be written back only when a call succeeds.
#[derive(Clone, Copy)]
struct Meter {
    since: u64,
    paid: u64,
    bought: u64,
    notice_at: Option<UnixTime>,
}

impl Lease {
    /// Opens a lease at `now`; what it holds is locked from both sides.
    ///
    /// # Errors
    /// [`sublet_base::AmountOverflow`] if escrow or pledge leave the range of a balance.
    pub fn open(terms: LeaseTerms, rules: Rules, now: UnixTime) -> Result<Self, sublet_base::AmountOverflow> {
        let escrow = terms.price.over(terms.duration)?;
        let pledge = sums::pledge(escrow, terms.pledge_bps)?;
        let state = LeaseState::Open { start_by: now.plus(terms.start_within) };
        Ok(Self { terms, rules, held: Held { escrow, pledge, fee: terms.solver_fee }, state })
    }

    /// What was agreed.
    #[must_use]
    pub fn terms(&self) -> &LeaseTerms {
        &self.terms
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.state
    }

    /// Does what `call` does, or nothing.
    ///
    /// # Errors
    /// [`Denied`]; the lease is unchanged.
    pub fn apply(&mut self, call: LeaseCall, caller: Caller, at: Moment) -> Result<Vec<Effect>, Denied> {
        match self.state {
            LeaseState::Open { start_by } => self.apply_open(call, caller, at, start_by),
            LeaseState::Active { since, paid, bought, notice_at } => {
                self.apply_active(call, caller, at, Meter { since, paid, bought, notice_at })
            }
            LeaseState::Ended(_) => Err(Denied::State("ended")),
        }
    }

    fn apply_open(
        &mut self,
        call: LeaseCall,
        caller: Caller,
        at: Moment,
        start_by: UnixTime,
    ) -> Result<Vec<Effect>, Denied> {
        let mut out = Vec::new();
        match call {
            LeaseCall::Start => {
                only(Caller::Provider, caller)?;
                not_after(start_by, at.now)?;
                out.push(Effect::Beat);
                self.held.empty(Pot::Fee, Party::Solver, &mut out);
                let since = at.uptime.at(at.now, &self.rules);
                self.state =
                    LeaseState::Active { since, paid: 0, bought: u64::from(self.terms.duration.0), notice_at: None };
            }
            LeaseCall::Reject => {
                only(Caller::Provider, caller)?;
                not_after(start_by, at.now)?;
                self.end(LeaseEnd::Rejected, &mut out);
            }
            LeaseCall::Cancel => {
                only(Caller::Renter, caller)?;
                let least = sums::rent(self.terms.price, u64::from(self.terms.min_charge.0), self.held.escrow);
                self.held.pay(Pot::Escrow, Party::Provider, least, &mut out);
                self.end(LeaseEnd::Cancelled, &mut out);
            }
            LeaseCall::Expire => {
                after(start_by, at.now)?;
                let penalty = sums::part(self.held.pledge, sums::EXPIRY_PENALTY);
                self.held.slash(penalty, reward(penalty, caller), &mut out);
                self.end(LeaseEnd::Expired, &mut out);
            }
            LeaseCall::Settle
            | LeaseCall::TopUp(_)
            | LeaseCall::GiveNotice
            | LeaseCall::Close { .. }
            | LeaseCall::Fault => {
                return Err(Denied::State("open"));
            }
        }
        Ok(out)
    }

    fn apply_active(
        &mut self,
        call: LeaseCall,
        caller: Caller,
        at: Moment,
        mut meter: Meter,
    ) -> Result<Vec<Effect>, Denied> {
        let mut out = Vec::new();
        match call {
            LeaseCall::Start | LeaseCall::Reject | LeaseCall::Cancel | LeaseCall::Expire => {
                return Err(Denied::State("active"));
            }
            LeaseCall::Settle => self.settle(&mut meter, at.uptime.at(at.now, &self.rules), &mut out),
            LeaseCall::TopUp(length) => self.top_up(&mut meter, length, at, &mut out)?,
            LeaseCall::GiveNotice => {
                only(Caller::Provider, caller)?;
                if let Some(given) = meter.notice_at {
                    return Err(Denied::AlreadyNoticed(given));
                }
                meter.notice_at = Some(at.now);
            }
            LeaseCall::Close { max_penalty } => {
                let reason = self.close(&mut meter, caller, at, max_penalty, &mut out)?;
                self.end(reason, &mut out);
                return Ok(out);
            }
            LeaseCall::Fault => {
                after(at.uptime.last_beat.plus(self.rules.fault_after), at.now)?;
                self.settle(&mut meter, at.uptime.credited, &mut out);
                let penalty = self.held.pledge.min(self.held.escrow);
                self.held.slash(penalty, reward(penalty, caller), &mut out);
                self.end(LeaseEnd::Faulted, &mut out);
                return Ok(out);
            }
        }
        let Meter { since, paid, bought, notice_at } = meter;
        self.state = LeaseState::Active { since, paid, bought, notice_at };
        Ok(out)
    }

    /// Pays for uptime up to `until`, as far as the escrow goes. Time after run-out is never billed.
    fn settle(&mut self, meter: &mut Meter, until: u64, out: &mut Vec<Effect>) {
        let due = until.saturating_sub(meter.since);
        self.pay_seconds(meter, due, out);
        meter.since = meter.since.max(until);
    }

    fn pay_seconds(&mut self, meter: &mut Meter, due: u64, out: &mut Vec<Effect>) {
        let seconds = due.min(meter.bought - meter.paid);
        let amount = sums::rent(self.terms.price, seconds, self.held.escrow);
        self.held.pay(Pot::Escrow, Party::Provider, amount, out);
        meter.paid += seconds;
    }

    fn top_up(&mut self, meter: &mut Meter, length: Seconds, at: Moment, out: &mut Vec<Effect>) -> Result<(), Denied> {
        if length.0 == 0 {
            return Err(Denied::Zero("seconds"));
        }
        if at.now.since(at.uptime.last_beat) > u64::from(self.rules.max_gap.0) {
            return Err(Denied::Stale(at.uptime.last_beat));
        }
        let total = meter.bought + u64::from(length.0);
        let max = self.terms.max_duration;
        if total > u64::from(max.0) {
            return Err(Denied::TooLong { total, max });
        }
        // In range whenever the offer was checked at its longest duration; rounding follows the whole, not the part.
        let sum = |seconds: u64| Some(Amount(self.terms.price.0.checked_mul(u128::from(seconds))?));
        let pledge_of = |seconds| sums::pledge(sum(seconds)?, self.terms.pledge_bps).ok();
        let (Some(escrow), Some(before), Some(after)) =
            (sum(u64::from(length.0)), pledge_of(meter.bought), pledge_of(total))
        else {
            return Err(Denied::TooLong { total, max });
        };
        let pledge = Amount(after.0.saturating_sub(before.0));
        let (Ok(escrow_held), Ok(pledge_held)) = (self.held.escrow.plus(escrow), self.held.pledge.plus(pledge)) else {
            return Err(Denied::TooLong { total, max });
        };
        let unpaid = self.held.escrow;
        self.settle(meter, at.uptime.at(at.now, &self.rules), out);
        self.held.escrow = Amount(escrow_held.0 - (unpaid.0 - self.held.escrow.0));
        self.held.pledge = pledge_held;
        meter.bought = total;
        let locks = [(Party::Caller, Pot::Escrow, escrow), (Party::Provider, Pot::Pledge, pledge)];
        out.extend(locks.into_iter().filter(|l| l.2 > Amount::ZERO).map(|(from, pot, amount)| Effect::Lock {
            from,
            pot,
            amount,
        }));
        Ok(())
    }

    /// Settles and takes what closing costs the closer, unless that is more than it said; the pots are emptied by the caller.
    fn close(
        &mut self,
        meter: &mut Meter,
        caller: Caller,
        at: Moment,
        max_penalty: Amount,
        out: &mut Vec<Effect>,
    ) -> Result<LeaseEnd, Denied> {
        if matches!(caller, Caller::Stranger | Caller::Court) {
            return Err(Denied::Caller(caller));
        }
        let until = at.uptime.at(at.now, &self.rules);
        let runs_out = until.saturating_sub(meter.since) >= meter.bought - meter.paid;
        let penalty = match caller {
            Caller::Provider if !runs_out => {
                sums::notice_penalty(self.terms.price, self.terms.notice, meter.notice_at, at.now, self.held.pledge)
            }
            Caller::Provider | Caller::Renter | Caller::Stranger | Caller::Court => Amount::ZERO,
        };
        if penalty > max_penalty {
            return Err(Denied::PenaltyTooHigh { penalty, most: max_penalty });
        }
        self.settle(meter, until, out);
        if runs_out {
            return Ok(LeaseEnd::RanOut);
        }
        if caller == Caller::Renter {
            let missing = u64::from(self.terms.min_charge.0).saturating_sub(meter.paid);
            self.pay_seconds(meter, missing, out);
            return Ok(LeaseEnd::ClosedByRenter);
        }
        self.held.slash(penalty, Amount::ZERO, out);
        Ok(LeaseEnd::ClosedByProvider)
    }

    /// Whatever is left goes back to where it came from.
    fn end(&mut self, reason: LeaseEnd, out: &mut Vec<Effect>) {
        self.held.empty(Pot::Escrow, Party::Renter, out);
        self.held.empty(Pot::Fee, Party::Renter, out);
        self.held.empty(Pot::Pledge, Party::Provider, out);
        self.state = LeaseState::Ended(reason);
    }
}

/// What a third party earns for calling; the parties themselves earn nothing.
pub(super) fn reward(penalty: Amount, caller: Caller) -> Amount {
    match caller {
        Caller::Stranger | Caller::Court => sums::part(penalty, sums::REWARD),
        Caller::Renter | Caller::Provider => Amount::ZERO,
    }
}

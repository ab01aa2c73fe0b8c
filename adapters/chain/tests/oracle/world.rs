//! The domain's side: one agreement, its dispute, the bench, and what each call does to whose balance.

use sublet_base::{Address, Amount, B256, JobId, LeaseId};
use sublet_market::MediatorSetId;
use sublet_market::agreement::{
    Bench, BenchCall, BondEffect, Caller, CourtEffect, CourtMoment, CourtRules, Denied, Dispute, DisputeCall, Effect,
    Hearing, Held, Job, JobCall, JobState, Lease, LeaseCall, LeaseState, Moment, Party, Purse,
};

/// Mediators that exist besides the parties.
pub(crate) const MEDIATORS: usize = 5;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Renter,
    Provider,
    Stranger,
    Mediator(usize),
}

impl Who {
    pub(crate) fn caller(self) -> Caller {
        match self {
            Self::Renter => Caller::Renter,
            Self::Provider => Caller::Provider,
            Self::Stranger | Self::Mediator(_) => Caller::Stranger,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Lease(LeaseCall),
    Job(JobCall),
    Court(DisputeCall),
    Bench(BenchCall),
}

/// Who everybody is on chain.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) renter: Address,
    pub(crate) provider: Address,
    pub(crate) stranger: Address,
    pub(crate) mediators: [Address; MEDIATORS],
    /// The court itself.
    pub(crate) court: Address,
}

impl Cast {
    pub(crate) fn of(&self, who: Who) -> Address {
        match who {
            Who::Renter => self.renter,
            Who::Provider => self.provider,
            Who::Stranger => self.stranger,
            Who::Mediator(number) => self.mediators[number],
        }
    }

    pub(crate) fn everybody(&self) -> Vec<Address> {
        [self.renter, self.provider, self.stranger, self.court].into_iter().chain(self.mediators).collect()
    }

    fn purse(&self, purse: Purse) -> Address {
        match purse {
            Purse::Renter => self.renter,
            Purse::Provider => self.provider,
            Purse::Mediator(account) => account,
            Purse::Fees | Purse::Bond(_) => self.court,
        }
    }
}

/// When a call happens, on both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) moment: Moment,
    pub(crate) block: u64,
}

impl At {
    fn court(&self) -> CourtMoment {
        CourtMoment { now: self.moment.now, block: self.block }
    }
}

/// A free balance that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Gain(Address, Amount),
    Loss(Address, Amount),
}

#[derive(Clone)]
pub(crate) enum Agreement {
    Lease(LeaseId, Lease),
    Job(JobId, Job),
}

/// What a dispute of the job would be about.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) id: MediatorSetId,
    pub(crate) panel_size: u8,
    pub(crate) fee: Amount,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) cast: Cast,
    pub(crate) agreement: Agreement,
    pub(crate) set: Set,
    pub(crate) dispute: Option<Dispute>,
    pub(crate) bench: Bench,
}

impl World {
    pub(crate) fn held(&self) -> Held {
        match &self.agreement {
            Agreement::Lease(_, lease) => *lease.held(),
            Agreement::Job(_, job) => *job.held(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end().is_some()
    }

    /// How it ended, in a word.
    pub(crate) fn end(&self) -> Option<String> {
        match &self.agreement {
            Agreement::Lease(_, lease) => match lease.state() {
                LeaseState::Ended(end) => Some(format!("{end:?}")),
                LeaseState::Open { .. } | LeaseState::Active { .. } => None,
            },
            Agreement::Job(_, job) => match job.state() {
                JobState::Ended(end) => Some(format!("{end:?}")),
                JobState::Open { .. } | JobState::Submitted { .. } | JobState::Disputed { .. } => None,
            },
        }
    }

    /// Does the call, or nothing.
    pub(crate) fn apply(&mut self, step: Step, who: Who, at: At) -> Result<Vec<Change>, Denied> {
        let before = self.clone();
        let answer = self.try_apply(step, who, at);
        if answer.is_err() {
            *self = before;
        }
        answer
    }

    fn try_apply(&mut self, step: Step, who: Who, at: At) -> Result<Vec<Change>, Denied> {
        match step {
            Step::Lease(call) => {
                let Agreement::Lease(_, lease) = &mut self.agreement else { unreachable!("rolled for this agreement") };
                let effects = lease.apply(call, who.caller(), at.moment)?;
                Ok(self.of_agreement(&effects, self.cast.of(who)))
            }
            Step::Job(call) => {
                let effects = self.job().apply(call, who.caller(), at.moment)?;
                let mut changes = self.of_agreement(&effects, self.cast.of(who));
                if call == JobCall::Dispute {
                    changes.extend(self.raise(at)?);
                }
                Ok(changes)
            }
            Step::Court(call) => {
                let Some(dispute) = &mut self.dispute else { return Err(Denied::State("not disputed")) };
                let effects = dispute.apply(call, self.cast.of(who), at.court(), &mut self.bench)?;
                self.of_court(&effects, at)
            }
            Step::Bench(call) => {
                let account = self.cast.of(who);
                let moved = self.bench.apply(call, account, at.moment.now, &CourtRules::default())?;
                Ok(match moved {
                    Some(BondEffect::Posted(amount)) => flow(account, self.cast.court, amount),
                    Some(BondEffect::Returned(amount)) => flow(self.cast.court, account, amount),
                    None => vec![],
                })
            }
        }
    }

    fn job(&mut self) -> &mut Job {
        match &mut self.agreement {
            Agreement::Job(_, job) => job,
            Agreement::Lease(..) => unreachable!("rolled for this agreement"),
        }
    }

    fn raise(&mut self, at: At) -> Result<Vec<Change>, Denied> {
        let Agreement::Job(id, job) = &self.agreement else { unreachable!("only jobs are disputed") };
        let JobState::Disputed { result, .. } = job.state() else { unreachable!("just disputed") };
        let hearing = Hearing {
            job: *id,
            renter: self.cast.renter,
            provider: self.cast.provider,
            set: self.set.id,
            panel_size: self.set.panel_size,
            fee: self.set.fee,
            result,
            duration: job.terms().duration,
        };
        let raised = Dispute::raise(hearing, CourtRules::default(), at.block, &self.bench);
        let (dispute, effects) = raised.expect("the set's fees are small");
        self.dispute = Some(dispute);
        self.of_court(&effects, at)
    }

    fn of_agreement(&self, effects: &[Effect], caller: Address) -> Vec<Change> {
        let account = |party| match party {
            Party::Renter => self.cast.renter,
            Party::Provider => self.cast.provider,
            Party::Solver => self.cast.stranger,
            Party::Caller => caller,
        };
        let change = |effect: &Effect| match *effect {
            Effect::Pay { to, amount, .. } => Some(Change::Gain(account(to), amount)),
            Effect::Lock { from, amount, .. } => Some(Change::Loss(account(from), amount)),
            Effect::Beat => None,
        };
        effects.iter().filter_map(change).collect()
    }

    fn of_court(&mut self, effects: &[CourtEffect], at: At) -> Result<Vec<Change>, Denied> {
        let mut changes = Vec::new();
        for effect in effects {
            match *effect {
                CourtEffect::Move { from, to, amount } => {
                    changes.extend(flow(self.cast.purse(from), self.cast.purse(to), amount));
                }
                CourtEffect::Rule(verdict) => {
                    let ruled = self.job().apply(JobCall::Rule(verdict), Caller::Court, at.moment)?;
                    changes.extend(self.of_agreement(&ruled, self.cast.court));
                }
            }
        }
        Ok(changes)
    }
}

fn flow(from: Address, to: Address, amount: Amount) -> Vec<Change> {
    vec![Change::Loss(from, amount), Change::Gain(to, amount)]
}

/// The result every honest run gives.
pub(crate) const RESULT: B256 = B256::repeat_byte(5);
/// Some other result.
pub(crate) const OTHER: B256 = B256::repeat_byte(6);

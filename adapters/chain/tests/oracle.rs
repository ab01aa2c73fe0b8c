//! One set of rules, two implementations: the same calls at the same times go to `domain/market` and to the contract,
//! which must agree on what is refused, on every balance, and on what is still held.

mod common;

use std::collections::BTreeSet;

use common::{Net, Outcome, offer, order};
use sublet_base::{Address, Amount, B256, Bps, JobId, LeaseId, Price, Seconds, U256, UnixTime};
use sublet_chain::{Call, EvmLedger, Ledger, SubmitError, TxKey, Wallet};
use sublet_market::agreement::{
    Caller, Denied, Effect, Held, Job, JobCall, JobState, JobTerms, Lease, LeaseCall, LeaseState, LeaseTerms, Moment,
    Party, Rules, Uptime,
};
use sublet_market::{Acceptance, Class, Kind};

const STORIES: u64 = 60;
const CALLS: u64 = 12;
/// Calls made of an agreement that is over: all must be refused.
const ENCORE: u64 = 2;
const PRICE: Price = Price(1_000_000_000_000_007);
const PLEDGE: Bps = Bps(12_345);
const FEE: Amount = Amount(77_777);
const RESULT: B256 = B256::repeat_byte(5);

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Mostly who may call this, else anybody.
    fn caller(&mut self, step: Step) -> Caller {
        let usual = match step {
            Step::Lease(LeaseCall::Start | LeaseCall::Reject | LeaseCall::GiveNotice) => Caller::Provider,
            Step::Job(JobCall::Reject | JobCall::Submit { .. }) => Caller::Provider,
            Step::Lease(LeaseCall::Cancel | LeaseCall::Close) | Step::Job(JobCall::Accept | JobCall::Refuse) => {
                Caller::Renter
            }
            Step::Lease(_) | Step::Job(_) => Caller::Stranger,
        };
        let anybody = [Caller::Renter, Caller::Provider, Caller::Stranger][self.roll(3) as usize];
        if self.roll(3) == 0 { anybody } else { usual }
    }

    fn wait(&mut self) -> u32 {
        let range = [3, 3, 30, 150, 150, 700, 9_000][self.roll(7) as usize];
        self.roll(range) as u32
    }
}

enum Agreement {
    Lease(LeaseId, Lease),
    Job(JobId, Job),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Lease(LeaseCall),
    Job(JobCall),
}

impl Agreement {
    fn apply(&mut self, step: Step, caller: Caller, at: Moment) -> Result<Vec<Effect>, Denied> {
        match (self, step) {
            (Self::Lease(_, lease), Step::Lease(call)) => lease.apply(call, caller, at),
            (Self::Job(_, job), Step::Job(call)) => job.apply(call, caller, at),
            (Self::Lease(..) | Self::Job(..), _) => unreachable!("steps are rolled for their agreement"),
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Lease(id, lease) => Self::Lease(*id, lease.clone()),
            Self::Job(id, job) => Self::Job(*id, job.clone()),
        }
    }

    fn held(&self) -> Held {
        match self {
            Self::Lease(_, lease) => *lease.held(),
            Self::Job(_, job) => *job.held(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Lease(_, lease) => matches!(lease.state(), LeaseState::Ended(_)),
            Self::Job(_, job) => matches!(job.state(), JobState::Ended(_)),
        }
    }

    fn end(&self) -> Option<String> {
        match self {
            Self::Lease(_, lease) => match lease.state() {
                LeaseState::Ended(end) => Some(format!("{end:?}")),
                LeaseState::Open { .. } | LeaseState::Active { .. } => None,
            },
            Self::Job(_, job) => match job.state() {
                JobState::Ended(end) => Some(format!("{end:?}")),
                JobState::Open { .. } | JobState::Submitted { .. } | JobState::Disputed { .. } => None,
            },
        }
    }

    fn roll(&self, dice: &mut Dice) -> Step {
        match self {
            Self::Lease(_, lease) => {
                let open = matches!(lease.state(), LeaseState::Open { .. });
                let calls = [
                    LeaseCall::Start,
                    LeaseCall::Settle,
                    LeaseCall::Settle,
                    LeaseCall::TopUp(Seconds(dice.roll(900) as u32)),
                    LeaseCall::TopUp(Seconds(dice.roll(90) as u32)),
                    LeaseCall::GiveNotice,
                    LeaseCall::Close,
                    LeaseCall::Fault,
                    LeaseCall::Fault,
                    LeaseCall::Expire,
                    LeaseCall::Reject,
                    LeaseCall::Cancel,
                ];
                let likely = if open && dice.roll(3) > 0 { 0 } else { dice.roll(12) };
                Step::Lease(calls[likely as usize])
            }
            Self::Job(_, job) => {
                let declared = match job.state() {
                    JobState::Submitted { declared, .. } | JobState::Disputed { declared, .. } => declared.0,
                    JobState::Open { .. } | JobState::Ended(_) => 5,
                };
                let most = job.held().escrow.0;
                let cost = [0, declared, most, most + 1, declared.saturating_sub(1)][dice.roll(5) as usize];
                let result = if dice.roll(6) == 0 { B256::repeat_byte(6) } else { RESULT };
                let calls = [
                    JobCall::Submit { result, used: Seconds(dice.roll(400) as u32) },
                    JobCall::Submit { result: RESULT, used: Seconds(3) },
                    JobCall::Settle { result, cost: Amount(cost) },
                    JobCall::Finalize,
                    JobCall::Refuse,
                    JobCall::Accept,
                    JobCall::Expire,
                    JobCall::Reject,
                ];
                Step::Job(calls[dice.roll(8) as usize])
            }
        }
    }
}

struct Stage {
    net: Net,
    renter: (EvmLedger, Wallet),
    provider: (EvmLedger, Wallet),
    stranger: (EvmLedger, Wallet),
    nonce: u64,
}

impl Stage {
    fn of(&self, caller: Caller) -> &(EvmLedger, Wallet) {
        match caller {
            Caller::Renter => &self.renter,
            Caller::Provider => &self.provider,
            // No story lets the court itself call.
            Caller::Stranger | Caller::Court => &self.stranger,
        }
    }

    fn party(&self, party: Party, caller: Caller) -> Address {
        match party {
            Party::Renter => self.renter.1.address(),
            Party::Provider => self.provider.1.address(),
            Party::Solver => self.stranger.1.address(),
            Party::Caller => self.of(caller).1.address(),
        }
    }

    async fn now(&self) -> Result<UnixTime, Box<dyn std::error::Error>> {
        Ok(self.renter.0.head().await?.time)
    }

    /// The provider's record as it is stored: what `providerOf` reports, without the time since the beat.
    async fn uptime(&self) -> Result<Uptime, Box<dyn std::error::Error>> {
        let record = self.renter.0.provider(self.provider.1.address()).await?.ok_or("no provider")?;
        let gap = self.now().await?.since(record.last_beat).min(u64::from(Rules::default().max_gap.0));
        Ok(Uptime { credited: record.uptime - gap, last_beat: record.last_beat })
    }

    async fn balances(&self) -> Result<[(Address, Amount); 3], Box<dyn std::error::Error>> {
        let mut all =
            [Caller::Renter, Caller::Provider, Caller::Stranger].map(|c| (self.of(c).1.address(), Amount::ZERO));
        for (account, free) in &mut all {
            *free = self.renter.0.free_of(*account).await?;
        }
        Ok(all)
    }

    async fn open(&mut self, kind: Kind, dice: &mut Dice) -> Result<Agreement, Box<dyn std::error::Error>> {
        self.provider.0.submit(&TxKey::passing("beat"), &Call::Beat).await?;
        self.nonce += 1;
        let mut offered = offer(&self.provider.0, &self.provider.1, kind).await?.offer;
        (offered.price, offered.pledge_bps, offered.max_duration) = (PRICE, PLEDGE, Seconds(2_000));
        offered.start_within = Seconds(dice.roll(300) as u32 + 10);
        let mut ordered =
            order(&self.renter.0, &self.renter.1, kind, 200 + dice.roll(400) as u32, self.nonce).await?.order;
        (ordered.solver_fee, ordered.nonce) = (FEE, U256::from(self.nonce));
        let domain = self.renter.0.domain();
        let (start_within, duration, window) = (offered.start_within, ordered.duration, ordered.challenge_window);
        let (max_duration, notice, min_charge) = (offered.max_duration, offered.notice, offered.min_charge);
        let pair = (self.provider.1.sign_offer(offered, &domain)?, self.renter.1.sign_order(ordered, &domain)?);
        let opening = TxKey::passing(format!("open-{}", self.nonce));
        let landed = self.stranger.0.submit(&opening, &Call::Open(Box::new(pair))).await?;
        let (id, now) = (landed.opened().ok_or("nothing opened")?, self.now().await?);
        let (price, pledge_bps, solver_fee) = (PRICE, PLEDGE, FEE);
        Ok(match kind {
            Kind::Lease => {
                let terms = LeaseTerms {
                    price,
                    pledge_bps,
                    duration,
                    max_duration,
                    start_within,
                    notice,
                    min_charge,
                    solver_fee,
                };
                Agreement::Lease(LeaseId(id), Lease::open(terms, Rules::default(), now)?)
            }
            Kind::Job => {
                let (challenge_window, class) = (window, Class::None);
                let terms = JobTerms { price, pledge_bps, duration, start_within, challenge_window, class, solver_fee };
                Agreement::Job(JobId(id), Job::open(terms, now)?)
            }
        })
    }

    fn call(&self, agreement: &Agreement, step: Step) -> Result<Call, Box<dyn std::error::Error>> {
        Ok(match (agreement, step) {
            (Agreement::Lease(id, _), Step::Lease(call)) => match call {
                LeaseCall::Start => Call::StartLease(*id),
                LeaseCall::Reject => Call::RejectLease(*id),
                LeaseCall::Cancel => Call::CancelLease(*id),
                LeaseCall::Expire => Call::ExpireLease(*id),
                LeaseCall::Settle => Call::SettleLease(*id),
                LeaseCall::TopUp(length) => Call::TopUpLease(*id, length),
                LeaseCall::GiveNotice => Call::GiveNotice(*id),
                LeaseCall::Close => Call::CloseLease(*id),
                LeaseCall::Fault => Call::FaultLease(*id),
            },
            (Agreement::Job(id, _), Step::Job(call)) => match call {
                JobCall::Reject => Call::RejectJob(*id),
                JobCall::Submit { result, used } => Call::SubmitJob { job: *id, result, used },
                JobCall::Settle { result, cost } => {
                    let acceptance = Acceptance { job: *id, result_hash: result, cost };
                    Call::SettleJob(self.renter.1.sign_acceptance(acceptance, &self.renter.0.domain())?)
                }
                JobCall::Accept => Call::AcceptJob(*id),
                JobCall::Finalize => Call::FinalizeJob(*id),
                JobCall::Expire => Call::ExpireJob(*id),
                JobCall::Refuse => Call::RefuseJob(*id),
                JobCall::Dispute => Call::Dispute(*id),
                JobCall::Rule(_) => return Err("only the court rules".into()),
            },
            (Agreement::Lease(..) | Agreement::Job(..), _) => return Err("mixed up".into()),
        })
    }

    async fn held(&self, agreement: &Agreement) -> Result<Held, Box<dyn std::error::Error>> {
        Ok(match agreement {
            Agreement::Lease(id, _) => {
                let lease = self.renter.0.lease(*id).await?.ok_or("no lease")?;
                Held { escrow: lease.escrow, pledge: lease.pledge, fee: lease.solver_fee }
            }
            Agreement::Job(id, _) => {
                let job = self.renter.0.job(*id).await?.ok_or("no job")?;
                Held { escrow: job.escrow, pledge: job.pledge, fee: job.solver_fee }
            }
        })
    }

    /// Makes one call on both sides. Returns whether it went through.
    async fn compare(
        &self,
        agreement: &mut Agreement,
        step: Step,
        caller: Caller,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        let (before, uptime, asked_at) = (self.balances().await?, self.uptime().await?, self.now().await?);
        // Blocks have whole seconds of a clock that runs: too close to a deadline, nobody can say which side it is on.
        let verdict = |now: UnixTime| agreement.copy().apply(step, caller, Moment { now, uptime }).is_ok();
        if (0..4).any(|later| verdict(asked_at.plus(Seconds(later))) != verdict(asked_at)) {
            return Ok(false);
        }
        let key = TxKey::passing("call");
        match self.of(caller).0.submit(&key, &self.call(agreement, step)?).await {
            Err(SubmitError::Refused(refusal)) => {
                assert!(
                    !verdict(asked_at),
                    "the contract refuses {step:?} by {caller:?}, the domain does not: {refusal}"
                );
                Ok(false)
            }
            Err(error) => Err(error.into()),
            Ok(_) => {
                let now = self.now().await?;
                let effects = agreement.apply(step, caller, Moment { now, uptime });
                let effects =
                    effects.map_err(|denied| format!("the domain refuses {step:?} by {caller:?}: {denied}"))?;
                let mut expected = before;
                for effect in &effects {
                    let (party, amount, gains) = match *effect {
                        Effect::Pay { to, amount, .. } => (to, amount, true),
                        Effect::Lock { from, amount, .. } => (from, amount, false),
                        Effect::Beat => continue,
                    };
                    let account = self.party(party, caller);
                    for (_, free) in expected.iter_mut().filter(|b| b.0 == account) {
                        *free = if gains { free.plus(amount)? } else { free.minus(amount)? };
                    }
                }
                assert_eq!(self.balances().await?, expected, "balances after {step:?} by {caller:?}");
                assert_eq!(self.held(agreement).await?, agreement.held(), "what is held after {step:?} by {caller:?}");
                Ok(true)
            }
        }
    }
}

async fn compare_stories(kind: Kind) -> Outcome {
    let net = Net::start().await?;
    let (renter, provider) = (net.person("renter", 900).await?, net.provider("provider").await?);
    let stranger = net.person("stranger", 900).await?;
    let mut stage = Stage { net, renter, provider, stranger, nonce: 0 };
    let (mut agreed, mut ends) = (0, BTreeSet::new());
    for story in 0..STORIES {
        let mut dice = Dice(story * 7_919 + 13);
        let mut agreement = stage.open(kind, &mut dice).await?;
        let mut encore = 0;
        for _ in 0..CALLS {
            encore += u64::from(agreement.is_over());
            if encore > ENCORE {
                break;
            }
            stage.net.pass(dice.wait()).await?;
            if dice.roll(3) == 0 {
                stage.provider.0.submit(&TxKey::passing("beat"), &Call::Beat).await?;
            }
            let step = agreement.roll(&mut dice);
            let caller = dice.caller(step);
            agreed += u64::from(stage.compare(&mut agreement, step, caller).await?);
        }
        if let Some(end) = agreement.end() {
            ends.insert(end);
        }
    }
    assert!(agreed > STORIES && ends.len() >= 6, "only {agreed} calls and {ends:?}: the stories prove little");
    Ok(())
}

#[tokio::test]
async fn leases_are_decided_alike_by_domain_and_contract() -> Outcome {
    compare_stories(Kind::Lease).await
}

#[tokio::test]
async fn jobs_are_decided_alike_by_domain_and_contract() -> Outcome {
    compare_stories(Kind::Job).await
}

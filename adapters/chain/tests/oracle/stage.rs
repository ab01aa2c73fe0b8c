//! The chain's side: people with money, and each call made on both sides and compared.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use sublet_base::{Address, Amount, B256, Bps, JobId, LeaseId, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_chain::{
    Branch, Call, DisputeStage, Event, EvmLedger, Ledger, MediatorRecord, Refusal, SeatStage, SubmitError, TxKey,
    Wallet,
};
use sublet_market::agreement::{
    Bench, BenchCall, Denied, Dispute, DisputeCall, DisputeState, Held, Job, JobCall, JobState, JobTerms, Lease,
    LeaseCall, LeaseState, LeaseTerms, Moment, Rules, Uptime, Vote,
};
use sublet_market::{Acceptance, Class, Kind, sums};

use crate::common::{Net, offer, order};
use crate::dice::Dice;
use crate::refusals::alike;
use crate::story::Pause;
use crate::world::{Agreement, At, Cast, Change, MEDIATORS, Set, Step, Who, World};

pub(crate) type Failure = Box<dyn std::error::Error>;

pub(crate) const PRICE: Price = Price(1_000_000_000_000_007);
const PLEDGE: Bps = Bps(12_345);
const FEE: Amount = Amount(77_777);
/// Odd, so that halves of it round.
const VOTE_FEE: Amount = Amount(1_000_003);
/// Two more than a majority needs, one fewer than all.
const PANEL: u8 = 3;

/// What both sides made of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    /// A deadline is too close to say which side of it the next block is on.
    Skipped,
}

/// The chain and everybody on it.
pub(crate) struct Stage {
    net: Net,
    people: [(EvmLedger, Wallet); 3],
    mediators: Vec<(EvmLedger, Wallet)>,
    cast: Cast,
    set: Set,
    bench: Bench,
    nonce: u64,
    /// What was ever refused, and what was ever done, by name.
    pub(crate) refused: BTreeSet<String>,
    pub(crate) done: BTreeSet<String>,
}

impl Stage {
    /// Everybody has money; mediators and the provider have bonds, and all of them are in one set.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let net = Net::start().await?;
        let (renter, provider) = (net.person("renter", 900).await?, net.provider("provider").await?);
        let stranger = net.person("stranger", 900).await?;
        let mut mediators = Vec::new();
        for number in 0..MEDIATORS {
            mediators.push(net.person(&format!("mediator-{number}"), 10).await?);
        }
        let accounts: Vec<Address> = mediators.iter().map(|m| m.1.address()).collect();
        let cast = Cast {
            renter: renter.1.address(),
            provider: provider.1.address(),
            stranger: stranger.1.address(),
            mediators: accounts.clone().try_into().map_err(|_| "too few mediators")?,
            court: renter.0.branch(Branch::Court),
        };
        let mut bench = Bench::default();
        for (ledger, wallet) in mediators.iter().chain([&provider]) {
            let bond = Amount(VOTE_FEE.0 * 13 / 2);
            let call = Call::RegisterMediator { peer_key: PeerKey([8; 32]), bond };
            ledger.submit(&TxKey::passing("bond"), &call).await?;
            bench.apply(BenchCall::Register { bond }, wallet.address(), UnixTime(0), &Default::default())?;
        }
        let mut members: Vec<Address> = accounts.into_iter().chain([cast.provider]).collect();
        members.sort_unstable();
        let call = Call::CreateMediatorSet { members: members.clone(), panel_size: PANEL, fee: VOTE_FEE };
        let landed = stranger.0.submit(&TxKey::passing("set"), &call).await?;
        let created = |event: &Event| if let Event::MediatorSetCreated { set, .. } = event { Some(*set) } else { None };
        let id = landed.find(created).ok_or("no set")?;
        bench.create_set(id, &members);
        // All but one, and the provider, whom its own disputes leave out.
        for (ledger, wallet) in mediators[1..].iter().chain([&provider]) {
            ledger.submit(&TxKey::passing("join"), &Call::JoinSet(id)).await?;
            bench.apply(BenchCall::Join(id), wallet.address(), UnixTime(0), &Default::default())?;
        }
        let set = Set { id, panel_size: PANEL, fee: VOTE_FEE };
        let people = [renter, provider, stranger];
        let (refused, done) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { net, people, mediators, cast, set, bench, nonce: 0, refused, done })
    }

    fn of(&self, who: Who) -> &(EvmLedger, Wallet) {
        match who {
            Who::Renter => &self.people[0],
            Who::Provider => &self.people[1],
            Who::Stranger => &self.people[2],
            Who::Mediator(number) => &self.mediators[number],
        }
    }

    fn eyes(&self) -> &EvmLedger {
        &self.people[0].0
    }

    pub(crate) async fn pass(&self, pause: Pause) -> Result<(), Failure> {
        self.net.pass(pause.seconds).await?;
        for _ in 0..pause.blocks {
            self.net.rpc("evm_mine", serde_json::json!([])).await?;
        }
        Ok(())
    }

    /// The newest block's time.
    pub(crate) async fn now(&self) -> Result<UnixTime, Failure> {
        Ok(self.eyes().head().await?.time)
    }

    pub(crate) async fn beat(&self) -> Result<(), Failure> {
        self.of(Who::Provider).0.submit(&TxKey::passing("beat"), &Call::Beat).await?;
        Ok(())
    }

    /// The provider's record as it is stored: what `providerOf` reports, without the time since the beat.
    async fn uptime(&self, now: UnixTime) -> Result<Uptime, Failure> {
        let record = self.eyes().provider(self.cast.provider).await?.ok_or("no provider")?;
        let gap = now.since(record.last_beat).min(u64::from(Rules::default().max_gap.0));
        Ok(Uptime { credited: record.uptime - gap, last_beat: record.last_beat })
    }

    async fn balances(&self) -> Result<Vec<(Address, Amount)>, Failure> {
        let ask = |account| async move { Ok::<_, Failure>((account, self.eyes().free_of(account).await?)) };
        try_join_all(self.cast.everybody().into_iter().map(ask)).await
    }

    /// Opens an agreement on both sides.
    pub(crate) async fn open(&mut self, kind: Kind, class: Class, dice: &mut Dice) -> Result<World, Failure> {
        self.beat().await?;
        self.nonce += 1;
        let (provider, renter) = (self.of(Who::Provider), self.of(Who::Renter));
        let mut offered = offer(&provider.0, &provider.1, kind).await?.offer;
        (offered.price, offered.pledge_bps, offered.max_duration) = (PRICE, PLEDGE, Seconds(2_000));
        (offered.start_within, offered.mediator_set) = (Seconds(dice.seconds(300).0 + 10), self.set.id);
        let mut ordered = order(&renter.0, &renter.1, kind, 200 + dice.seconds(400).0, self.nonce).await?.order;
        (ordered.solver_fee, ordered.nonce) = (FEE, U256::from(self.nonce));
        (ordered.class, ordered.mediator_set) = (class, self.set.id);
        ordered.max_start_within = offered.start_within;
        if class == Class::Exact {
            ordered.challenge_window = offered.max_challenge_window;
        }
        let domain = renter.0.domain();
        let (start_within, duration, challenge_window) =
            (offered.start_within, ordered.duration, ordered.challenge_window);
        let (max_duration, notice, min_charge) = (offered.max_duration, offered.notice, offered.min_charge);
        let pair = (provider.1.sign_offer(offered, &domain)?, renter.1.sign_order(ordered, &domain)?);
        let opening = TxKey::passing(format!("open-{}", self.nonce));
        let landed = self.of(Who::Stranger).0.submit(&opening, &Call::Open(Box::new(pair))).await?;
        let (id, now) = (landed.opened().ok_or("nothing opened")?, self.eyes().head().await?.time);
        let (price, pledge_bps, solver_fee) = (PRICE, PLEDGE, FEE);
        let agreement = match kind {
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
                let terms = JobTerms { price, pledge_bps, duration, start_within, challenge_window, class, solver_fee };
                Agreement::Job(JobId(id), Job::open(terms, now)?)
            }
        };
        let (cast, set, bench) = (self.cast.clone(), self.set.clone(), self.bench.clone());
        Ok(World { cast, agreement, set, dispute: None, bench })
    }

    /// The story is over; what it did to the bonds stays.
    pub(crate) fn leave(&mut self, world: World) {
        self.bench = world.bench;
    }

    fn call(&self, agreement: &Agreement, step: Step) -> Result<Call, Failure> {
        Ok(match (agreement, step) {
            (Agreement::Lease(id, _), Step::Lease(call)) => match call {
                LeaseCall::Start => Call::StartLease(*id),
                LeaseCall::Reject => Call::RejectLease(*id),
                LeaseCall::Cancel => Call::CancelLease(*id),
                LeaseCall::Expire => Call::ExpireLease(*id),
                LeaseCall::Settle => Call::SettleLease(*id),
                LeaseCall::TopUp(length) => Call::TopUpLease(*id, length),
                LeaseCall::GiveNotice => Call::GiveNotice(*id),
                LeaseCall::Close { max_penalty } => Call::CloseLease { id: *id, max_penalty },
                LeaseCall::Fault => Call::FaultLease(*id),
            },
            (Agreement::Job(id, _), Step::Job(call)) => match call {
                JobCall::Reject => Call::RejectJob(*id),
                JobCall::Submit { result, used } => Call::SubmitJob { job: *id, result, used },
                JobCall::Settle { result, cost } => {
                    let acceptance = Acceptance { job: *id, result_hash: result, cost };
                    Call::SettleJob(self.of(Who::Renter).1.sign_acceptance(acceptance, &self.eyes().domain())?)
                }
                JobCall::Accept => Call::AcceptJob(*id),
                JobCall::Finalize => Call::FinalizeJob(*id),
                JobCall::Expire => Call::ExpireJob(*id),
                JobCall::Refuse => Call::RefuseJob(*id),
                JobCall::Dispute => Call::Dispute(*id),
                JobCall::Rule(_) => return Err("only the court itself rules".into()),
            },
            (Agreement::Job(id, _), Step::Court(call)) => match call {
                DisputeCall::Draw { .. } => Call::Draw(*id),
                DisputeCall::Commit(commitment) => Call::CommitVote { job: *id, commitment },
                DisputeCall::Reveal { result, salt } => Call::RevealVote { job: *id, result, salt },
                DisputeCall::Resolve => Call::Resolve(*id),
            },
            (_, Step::Bench(call)) => match call {
                BenchCall::Register { bond } => Call::RegisterMediator { peer_key: PeerKey([8; 32]), bond },
                BenchCall::Retire => Call::RetireMediator,
                BenchCall::Withdraw => Call::WithdrawBond(Branch::Court),
                BenchCall::Join(set) => Call::JoinSet(set),
                BenchCall::Leave(set) => Call::LeaveSet(set),
            },
            (Agreement::Lease(..) | Agreement::Job(..), _) => return Err("mixed up".into()),
        })
    }

    /// The step with what the chain knows filled in: a draw's outcome is the deciding block's hash.
    async fn informed(&self, world: &World, step: Step) -> Result<Step, Failure> {
        let (Step::Court(DisputeCall::Draw { .. }), Some(number)) =
            (step, world.dispute.as_ref().and_then(Dispute::seed_block))
        else {
            return Ok(step);
        };
        let seed = self.eyes().block(number).await?.map_or(B256::ZERO, |block| block.hash);
        Ok(Step::Court(DisputeCall::Draw { seed }))
    }

    /// Makes one call on both sides, which must agree on whether and why it is refused, and on everything it changes.
    pub(crate) async fn compare(&mut self, world: &mut World, step: Step, who: Who) -> Result<Outcome, Failure> {
        let head = self.eyes().head().await?;
        let (before, uptime) = (self.balances().await?, self.uptime(head.time).await?);
        let step = self.informed(world, step).await?;
        let at = |now, block| At { moment: Moment { now, uptime }, block };
        let verdict = |later, blocks| {
            let at = at(head.time.plus(Seconds(later)), head.block.number + blocks);
            world.clone().apply(step, who, at).map(drop)
        };
        // Blocks have whole seconds of a clock that runs, and a refusal is given by the block before the one to come.
        if (0..4).any(|later| [0, 1].into_iter().any(|blocks| verdict(later, blocks) != verdict(0, 0))) {
            return Ok(Outcome::Skipped);
        }
        let name = format!("{step:?}").split(['{', '(', ' ', ')']).take(2).collect::<Vec<_>>().join("(");
        match self.of(who).0.submit(&TxKey::passing("call"), &self.call(&world.agreement, step)?).await {
            Err(SubmitError::Refused(refusal)) => {
                self.check_refusal(world, step, who, at(head.time, head.block.number), &before, &refusal);
                Ok(Outcome::Refused)
            }
            Err(error) => Err(error.into()),
            Ok(landed) => {
                let now = self.eyes().head().await?.time;
                let changes = world.apply(step, who, at(now, landed.block.number));
                let changes = changes.map_err(|denied| format!("the domain refuses {step:?} by {who:?}: {denied}"))?;
                assert_eq!(self.balances().await?, changed(before, &changes), "balances after {step:?} by {who:?}");
                self.check_state(world).await.map_err(|error| format!("after {step:?} by {who:?}: {error}"))?;
                self.done.insert(name);
                Ok(Outcome::Done)
            }
        }
    }

    fn check_refusal(
        &mut self,
        world: &World,
        step: Step,
        who: Who,
        at: At,
        before: &[(Address, Amount)],
        refusal: &Refusal,
    ) {
        match (world.clone().apply(step, who, at), refusal) {
            (Err(denied), _) => {
                assert!(
                    alike(&denied, refusal),
                    "{step:?} by {who:?}: the domain says `{denied}`, the contract `{refusal}`"
                );
                self.refused.insert(kind(&denied));
            }
            (Ok(changes), Refusal::Short { account, .. }) => {
                let has = before.iter().find(|b| b.0 == *account).map_or(0, |b| b.1.0);
                let lost = changes.iter().filter_map(|change| match change {
                    Change::Loss(who, amount) if who == account => Some(amount.0),
                    Change::Loss(..) | Change::Gain(..) => None,
                });
                assert!(lost.sum::<u128>() > has, "{step:?} by {who:?}: {refusal}");
                self.refused.insert("Short".to_owned());
            }
            (Ok(_), _) => panic!("the contract refuses {step:?} by {who:?}, the domain does not: {refusal}"),
        }
    }

    /// What is held and where everything stands, as the chain has it.
    async fn check_state(&self, world: &World) -> Result<(), Failure> {
        let held = match &world.agreement {
            Agreement::Lease(id, lease) => self.check_lease(*id, lease).await?,
            Agreement::Job(id, job) => self.check_job(*id, job).await?,
        };
        assert_eq!(held, world.held(), "what is held");
        if let (Agreement::Job(id, _), Some(dispute)) = (&world.agreement, &world.dispute) {
            self.check_dispute(*id, dispute).await?;
        }
        let set = self.eyes().mediator_set(world.set.id).await?.ok_or("no set")?;
        assert_eq!(set.joined, world.bench.joined(world.set.id).collect::<Vec<_>>(), "who serves");
        for mediator in self.cast.mediators {
            let record = self.eyes().mediator(mediator).await?;
            let has = |m: &MediatorRecord| (m.bond, m.at_stake, m.retired_at);
            let bond = world.bench.bond(mediator);
            let expected = (bond.amount, bond.at_stake, bond.retired_at);
            assert_eq!(record.as_ref().map_or((Amount::ZERO, Amount::ZERO, None), has), expected, "bond of {mediator}");
        }
        Ok(())
    }

    async fn check_lease(&self, id: LeaseId, lease: &Lease) -> Result<Held, Failure> {
        let found = self.eyes().lease(id).await?.ok_or("no lease")?;
        let state = match lease.state() {
            LeaseState::Open { start_by } => {
                assert_eq!(found.start_by, start_by);
                ("Open".to_owned(), "None".to_owned())
            }
            LeaseState::Active { paid, bought, notice_at, .. } => {
                assert_eq!((u64::from(found.paid_seconds.0), u64::from(found.duration.0)), (paid, bought));
                assert_eq!(found.notice_at, notice_at);
                ("Active".to_owned(), "None".to_owned())
            }
            LeaseState::Ended(end) => ("Ended".to_owned(), format!("{end:?}")),
        };
        assert_eq!((format!("{:?}", found.state), format!("{:?}", found.end)), state);
        Ok(Held { escrow: found.escrow, pledge: found.pledge, fee: found.solver_fee })
    }

    async fn check_job(&self, id: JobId, job: &Job) -> Result<Held, Failure> {
        let found = self.eyes().job(id).await?.ok_or("no job")?;
        let state = match job.state() {
            JobState::Open { start_by, run_by } => {
                assert_eq!((found.start_by, found.run_by), (start_by, run_by));
                ("Open".to_owned(), "None".to_owned())
            }
            JobState::Submitted { result, declared, challenge_until } => {
                let cost = sums::job_cost(found.price, found.used, found.duration, found.escrow);
                assert_eq!(cost, declared, "what {} are declared to cost", found.used);
                let until = found.submitted_at.map(|at| at.plus(found.challenge_window));
                assert_eq!((found.result, until), (Some(result), Some(challenge_until)));
                ("Submitted".to_owned(), "None".to_owned())
            }
            JobState::Disputed { result, .. } => {
                assert_eq!(found.result, Some(result));
                ("Disputed".to_owned(), "None".to_owned())
            }
            JobState::Ended(end) => ("Ended".to_owned(), format!("{end:?}")),
        };
        assert_eq!((format!("{:?}", found.state), format!("{:?}", found.end)), state);
        Ok(Held { escrow: found.escrow, pledge: found.pledge, fee: found.solver_fee })
    }

    async fn check_dispute(&self, id: JobId, dispute: &Dispute) -> Result<(), Failure> {
        let found = self.eyes().dispute(id).await?.ok_or("no dispute")?;
        match dispute.state() {
            DisputeState::Armed { at, electorate } => {
                assert_eq!(found.stage, DisputeStage::Armed);
                assert_eq!((found.draw_from, found.draw_until), (at + 3, at + 258));
                assert_eq!(usize::from(found.electorate), electorate.len());
            }
            DisputeState::Voting { panel, commit_by, reveal_by } => {
                assert!(matches!(found.stage, DisputeStage::Commit | DisputeStage::Reveal | DisputeStage::Over));
                assert_eq!((found.commit_by, found.reveal_by), (Some(*commit_by), Some(*reveal_by)));
                let seats: Vec<_> = panel.iter().map(|(mediator, vote)| (*mediator, seat(*vote))).collect();
                let there: Vec<_> = found.panel.iter().map(|s| (s.mediator, (s.stage, s.commitment, s.vote))).collect();
                assert_eq!(there, seats, "the panel");
            }
            DisputeState::Resolved(_) => assert_eq!(found.stage, DisputeStage::Resolved),
        }
        Ok(())
    }
}

fn seat(vote: Vote) -> (SeatStage, Option<B256>, Option<B256>) {
    match vote {
        Vote::Silent => (SeatStage::Drawn, None, None),
        Vote::Committed(word) => (SeatStage::Committed, Some(word), None),
        Vote::Revealed(word) => (SeatStage::Revealed, None, Some(word)),
    }
}

fn changed(mut balances: Vec<(Address, Amount)>, changes: &[Change]) -> Vec<(Address, Amount)> {
    for change in changes {
        for (account, free) in &mut balances {
            match *change {
                Change::Gain(who, amount) if who == *account => free.0 += amount.0,
                Change::Loss(who, amount) if who == *account => free.0 -= amount.0,
                Change::Gain(..) | Change::Loss(..) => {}
            }
        }
    }
    balances
}

/// A refusal's name.
fn kind(denied: &Denied) -> String {
    format!("{denied:?}").split(['{', '(', ' ']).next().unwrap_or_default().to_owned()
}

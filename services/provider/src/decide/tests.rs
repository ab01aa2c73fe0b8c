//! Decisions in a simulated world: the chain is `domain/market`'s own machines, the host a map of machines, and the
//! process is killed between writing down and doing, as often as the generated story wants.

use proptest::prelude::*;
use sublet_base::{Address, Amount, B256, Bps, Digest, GiB, JobId, LeaseId, MiB, PeerKey, Price, Vcpus};
use sublet_chain::{JobEnd, JobState, LeaseEnd, LeaseState};
use sublet_machine::{DriverKind, Guest, ImageRef, Phase};
use sublet_market::agreement::{
    self, Caller, Effect, Job, JobCall, JobTerms, Lease, LeaseCall, LeaseTerms, Moment, Party, Pot, Rules, Uptime,
};
use sublet_market::{Acceptance, Class, MediatorSetId};
use sublet_wire::host::TaskResult;

use super::*;
use crate::case::Opened;

const OPENED: u64 = 1_000_000;
const HASH: B256 = B256::repeat_byte(7);
const TIMEOUT: u32 = 60;

enum Contract {
    Lease(Box<Lease>),
    Job(Box<Job>),
}

/// A world with one agreement in it.
struct World {
    now: UnixTime,
    uptime: Uptime,
    contract: Contract,
    opened: Opened,
    /// The journal: all that survives a kill.
    notes: Vec<Note>,
    machine: Option<MachineView>,
    host_up: bool,
    finished: bool,
    slashed: u128,
    earned: u128,
    policy: Policy,
}

/// Where a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Never,
    BeforeEffect,
    AfterEffect,
}

fn opened(agreement: Agreement, start_within: u32) -> Opened {
    Opened {
        agreement,
        renter: Address::repeat_byte(2),
        offer: B256::repeat_byte(3),
        workload: B256::repeat_byte(4),
        peer_key: PeerKey([5; 32]),
        class: Class::None,
        price: Price(10),
        duration: Seconds(200),
        start_by: UnixTime(OPENED + u64::from(start_within)),
    }
}

fn lease_world() -> World {
    let terms = LeaseTerms {
        price: Price(10),
        pledge_bps: Bps(10_000),
        duration: Seconds(200),
        max_duration: Seconds(2_000),
        start_within: Seconds(120),
        notice: Seconds(100),
        min_charge: Seconds(5),
        solver_fee: Amount(3),
    };
    let lease = Lease::open(terms, Rules::default(), UnixTime(OPENED)).expect("in range");
    World::new(Contract::Lease(Box::new(lease)), opened(Agreement::Lease(LeaseId(7)), 120))
}

fn job_world() -> World {
    let terms = JobTerms {
        price: Price(10),
        pledge_bps: Bps(10_000),
        duration: Seconds(200),
        start_within: Seconds(120),
        challenge_window: Seconds(50),
        class: Class::None,
        solver_fee: Amount(3),
    };
    let job = Job::open(terms, UnixTime(OPENED)).expect("in range");
    World::new(Contract::Job(Box::new(job)), opened(Agreement::Job(JobId(7)), 120))
}

fn document() -> String {
    serde_json::json!({ "module": { "name": "m", "version": "1.0.0" },
        "image": { "name": "m", "digest": Digest([1; 32]) }, "argv": ["/bin/true"], "env": {}, "inputs": {},
        "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 1 }, "class": "none", "timeout": TIMEOUT })
    .to_string()
}

fn acceptance() -> SignedAcceptance {
    let acceptance = Acceptance { job: JobId(7), result_hash: HASH, cost: Amount(30) };
    SignedAcceptance { acceptance, signature: "0x00".parse().expect("hex") }
}

impl World {
    fn new(contract: Contract, opened: Opened) -> Self {
        let now = UnixTime(OPENED);
        Self {
            now,
            uptime: Uptime { credited: 5, last_beat: now },
            contract,
            opened,
            notes: vec![],
            machine: None,
            host_up: true,
            finished: false,
            slashed: 0,
            earned: 0,
            policy: Policy::default(),
        }
    }

    fn case(&self) -> Case {
        let mut case = Case::new(self.opened.clone());
        self.notes.iter().for_each(|note| case.learn(note));
        case
    }

    fn pass_time(&mut self, seconds: u64) {
        self.now = UnixTime(self.now.0 + seconds);
    }

    fn over(&self) -> bool {
        match &self.contract {
            Contract::Lease(l) => matches!(l.state(), agreement::LeaseState::Ended(_)),
            Contract::Job(j) => matches!(j.state(), agreement::JobState::Ended(_)),
        }
    }

    fn on_chain(&self) -> OnChain {
        match &self.contract {
            Contract::Lease(l) => OnChain::Lease(Box::new(self.lease_record(l))),
            Contract::Job(j) => OnChain::Job(Box::new(job_record(j))),
        }
    }

    fn lease_record(&self, lease: &Lease) -> LeaseRecord {
        use agreement::LeaseState as S;
        let terms = lease.terms();
        let (state, paid, owed, bought) = match lease.state() {
            S::Open { .. } => (LeaseState::Open, 0, 0, u64::from(terms.duration.0)),
            S::Active { since, paid, bought, .. } => {
                let elapsed = self.uptime.at(self.now, &Rules::default()).saturating_sub(since);
                (LeaseState::Active, paid, elapsed.min(bought - paid), bought)
            }
            S::Ended(_) => (LeaseState::Ended, 0, 0, 0),
        };
        let seconds = |n: u64| Seconds(u32::try_from(n).expect("small"));
        LeaseRecord {
            state,
            end: LeaseEnd::None,
            renter: self.opened.renter,
            provider: Address::repeat_byte(1),
            price: terms.price,
            pledge_bps: terms.pledge_bps,
            duration: seconds(bought),
            max_duration: terms.max_duration,
            notice: terms.notice,
            min_charge: terms.min_charge,
            opened_at: UnixTime(OPENED),
            start_by: UnixTime(OPENED).plus(terms.start_within),
            started_at: None,
            notice_at: None,
            paid_seconds: seconds(paid),
            owed_seconds: seconds(owed),
            escrow: lease.held().escrow,
            pledge: lease.held().pledge,
            solver_fee: lease.held().fee,
            solver: Address::ZERO,
        }
    }

    fn call_lease(&mut self, call: LeaseCall, caller: Caller) -> bool {
        let at = Moment { now: self.now, uptime: self.uptime };
        let Contract::Lease(lease) = &mut self.contract else { return false };
        let answer = lease.apply(call, caller, at);
        self.count(answer)
    }

    fn call_job(&mut self, call: JobCall, caller: Caller) -> bool {
        let at = Moment { now: self.now, uptime: self.uptime };
        let Contract::Job(job) = &mut self.contract else { return false };
        let answer = job.apply(call, caller, at);
        self.count(answer)
    }

    fn count(&mut self, answer: Result<Vec<Effect>, agreement::Denied>) -> bool {
        let Ok(effects) = answer else { return false };
        for effect in effects {
            match effect {
                Effect::Beat => self.uptime = self.uptime.beat(self.now, &Rules::default()),
                Effect::Pay { pot: Pot::Pledge, to: Party::Renter | Party::Caller, amount } => self.slashed += amount.0,
                Effect::Pay { pot: Pot::Escrow, to: Party::Provider, amount } => self.earned += amount.0,
                Effect::Pay { .. } | Effect::Lock { .. } => {}
            }
        }
        true
    }

    /// Decides once and does it; true if there was something to do.
    fn step(&mut self, kill: Kill) -> bool {
        if self.finished {
            return false;
        }
        let (case, chain) = (self.case(), self.on_chain());
        let host = match &self.machine {
            _ if !self.host_up => OnHost::Silent,
            None => OnHost::Absent,
            Some(machine) => OnHost::Here(machine),
        };
        let Some(action) = decide(&case, Some(&chain), host, self.now, &self.policy) else { return false };
        match action {
            Action::Note(note) => self.notes.push(note),
            Action::Create => {
                assert!(case.document.is_some() && !matches!(chain_over(&chain), Some(true)), "created for nothing");
                if !case.may_exist {
                    self.notes.push(Note::Creating);
                }
                if kill != Kill::BeforeEffect {
                    self.machine = Some(machine(case.machine()));
                }
            }
            Action::Start => {
                self.notes.push(Note::Starting(self.now));
                if kill != Kill::BeforeEffect {
                    self.set_phase(Phase::Running);
                }
                if kill == Kill::Never {
                    self.notes.push(Note::Started);
                }
            }
            Action::Stop => self.set_phase(Phase::Stopped),
            Action::Delete => {
                if kill != Kill::BeforeEffect {
                    self.machine = None;
                }
                if kill == Kill::Never {
                    self.notes.push(Note::Removed);
                }
            }
            Action::Send(send) if kill != Kill::BeforeEffect => {
                assert!(self.send(&send), "the contract refused {send:?} at {:?} of {chain:?}", self.now);
            }
            Action::Send(_) => {}
            Action::Finish => {
                assert!(self.machine.is_none() && self.over(), "closed too early");
                self.finished = true;
            }
        }
        true
    }

    fn send(&mut self, send: &Send) -> bool {
        let mine = Caller::Provider;
        match send {
            Send::StartLease => self.call_lease(LeaseCall::Start, mine),
            Send::RejectLease => self.call_lease(LeaseCall::Reject, mine),
            Send::ExpireLease => self.call_lease(LeaseCall::Expire, mine),
            Send::SettleLease => self.call_lease(LeaseCall::Settle, mine),
            Send::CloseLease => self.call_lease(LeaseCall::Close, mine),
            Send::RejectJob => self.call_job(JobCall::Reject, mine),
            Send::SubmitJob { result, used } => self.call_job(JobCall::Submit { result: *result, used: *used }, mine),
            Send::SettleJob(a) => {
                let call = JobCall::Settle { result: a.acceptance.result_hash, cost: a.acceptance.cost };
                self.call_job(call, mine)
            }
            Send::FinalizeJob => self.call_job(JobCall::Finalize, mine),
            Send::ExpireJob => self.call_job(JobCall::Expire, mine),
        }
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(machine) = &mut self.machine {
            machine.phase = phase;
            if machine.result.is_none() {
                machine.guest = Guest::Silent;
            }
        }
    }

    /// The guest does what it is there for.
    fn guest_succeeds(&mut self) {
        let lease = matches!(self.contract, Contract::Lease(_));
        let Some(machine) = self.machine.as_mut().filter(|m| m.phase == Phase::Running) else { return };
        if lease {
            machine.guest = Guest::Ready { ssh_host_key: "ssh-ed25519 AAAA".into() };
        } else {
            machine.guest = Guest::Exited { code: 0 };
            machine.phase = Phase::Stopped;
            machine.result = Some(TaskResult { exit_code: 0, bytes: 9, hash: HASH, seconds: Seconds(3) });
        }
    }

    fn beat(&mut self) {
        self.uptime = self.uptime.beat(self.now, &Rules::default());
    }

    /// As many steps as there are; it must come to rest.
    fn settle_down(&mut self) {
        for _ in 0..200 {
            if !self.step(Kill::Never) {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.notes);
    }

    /// Everything works and everybody else is gone: it must end by itself.
    fn run_out(&mut self) {
        self.host_up = true;
        for _ in 0..400 {
            self.settle_down();
            if self.finished {
                return;
            }
            self.guest_succeeds();
            self.settle_down();
            self.pass_time(20);
            self.beat();
        }
        panic!("never ends: {:?} {:?}", self.case(), self.on_chain());
    }
}

fn chain_over(chain: &OnChain) -> Option<bool> {
    match chain {
        OnChain::Lease(l) => Some(l.state == LeaseState::Ended),
        OnChain::Job(j) => Some(j.state == JobState::Ended),
        OnChain::Nothing => None,
    }
}

fn machine(id: MachineId) -> MachineView {
    MachineView {
        id,
        driver: DriverKind::Fake,
        resources: sublet_machine::Resources { vcpus: Vcpus(1), memory: MiB(64), disk: GiB(1), pids: 64 },
        image: ImageRef { name: "m".into(), digest: Digest([1; 32]) },
        phase: Phase::Stopped,
        guest: Guest::Silent,
        result: None,
        kernel: None,
    }
}

fn job_record(job: &Job) -> JobRecord {
    use agreement::JobEnd as E;
    use agreement::JobState as S;
    let terms = job.terms();
    let start_by = UnixTime(OPENED).plus(terms.start_within);
    let (state, end, submitted_at, result) = match job.state() {
        S::Open { .. } => (JobState::Open, JobEnd::None, None, None),
        S::Submitted { result, challenge_until, .. } => {
            let at = UnixTime(challenge_until.0 - u64::from(terms.challenge_window.0));
            (JobState::Submitted, JobEnd::None, Some(at), Some(result))
        }
        S::Ended(end) => {
            let end = match end {
                E::Rejected => JobEnd::Rejected,
                E::Expired => JobEnd::Expired,
                E::Settled => JobEnd::Settled,
                E::Accepted => JobEnd::Accepted,
                E::Finalized => JobEnd::Finalized,
                E::Refused => JobEnd::Refused,
            };
            (JobState::Ended, end, None, None)
        }
    };
    JobRecord {
        state,
        end,
        class: terms.class,
        renter: Address::repeat_byte(2),
        provider: Address::repeat_byte(1),
        price: terms.price,
        pledge_bps: terms.pledge_bps,
        duration: terms.duration,
        challenge_window: terms.challenge_window,
        mediator_set: MediatorSetId(0),
        opened_at: UnixTime(OPENED),
        start_by,
        run_by: start_by.plus(terms.duration),
        submitted_at,
        used: Seconds(0),
        result,
        escrow: job.held().escrow,
        pledge: job.held().pledge,
        solver_fee: job.held().fee,
        solver: Address::ZERO,
    }
}

#[derive(Clone, Copy, Debug)]
enum Story {
    Step(Kill),
    Wait(u64),
    Beat,
    HandOver,
    GuestSucceeds,
    GuestDies,
    GuestGivesUp,
    MachineLost,
    MachineFails,
    HostToggles,
    RenterAccepts,
    RenterCalls(u8),
    TopUp,
}

fn stories() -> impl Strategy<Value = Vec<Story>> {
    let kill = prop_oneof![4 => Just(Kill::Never), 1 => Just(Kill::BeforeEffect), 1 => Just(Kill::AfterEffect)];
    let story = prop_oneof![
        12 => kill.prop_map(Story::Step),
        4 => (0u64..30).prop_map(Story::Wait),
        1 => (0u64..700).prop_map(Story::Wait),
        2 => Just(Story::Beat),
        2 => Just(Story::HandOver),
        3 => Just(Story::GuestSucceeds),
        1 => Just(Story::GuestDies),
        1 => Just(Story::GuestGivesUp),
        1 => Just(Story::MachineLost),
        1 => Just(Story::MachineFails),
        1 => Just(Story::HostToggles),
        1 => Just(Story::RenterAccepts),
        1 => (0u8..4).prop_map(Story::RenterCalls),
        1 => Just(Story::TopUp),
    ];
    prop::collection::vec(story, 0..60)
}

fn live(world: &mut World, story: Story) {
    match story {
        Story::Step(kill) => {
            world.step(kill);
        }
        Story::Wait(seconds) => world.pass_time(seconds),
        Story::Beat => world.beat(),
        Story::HandOver => {
            if !world.finished && world.case().document.is_none() {
                world.notes.push(Note::Handed(document()));
            }
        }
        Story::GuestSucceeds => world.guest_succeeds(),
        Story::GuestDies => world.set_phase(Phase::Stopped),
        Story::GuestGivesUp => {
            if let Some(machine) = world.machine.as_mut().filter(|m| m.phase == Phase::Running) {
                machine.guest = Guest::GaveUp { reason: "no such program".into() };
            }
        }
        Story::MachineLost => world.machine = None,
        Story::MachineFails => world.set_phase(Phase::Failed("broken".into())),
        Story::HostToggles => world.host_up = !world.host_up,
        Story::RenterAccepts => {
            if world.case().finished.is_some() {
                world.notes.push(Note::Accepted(Some(Box::new(acceptance()))));
            }
        }
        Story::RenterCalls(which) => {
            world.call_lease(
                [LeaseCall::Cancel, LeaseCall::Close, LeaseCall::Settle, LeaseCall::Expire][usize::from(which)],
                Caller::Renter,
            );
            world.call_job(
                [JobCall::Accept, JobCall::Refuse, JobCall::Finalize, JobCall::Expire][usize::from(which)],
                Caller::Renter,
            );
        }
        Story::TopUp => {
            world.call_lease(LeaseCall::TopUp(Seconds(50)), Caller::Stranger);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn whatever_happens_it_ends_with_no_machine_and_no_money_held(is_lease: bool, story in stories()) {
        let mut world = if is_lease { lease_world() } else { job_world() };
        for event in story {
            live(&mut world, event);
        }
        world.run_out();
        prop_assert!(world.over() && world.machine.is_none());
    }

    /// Kills alone, however many, cost the provider nothing as long as it is back in time.
    #[test]
    fn kills_never_cost_the_pledge(is_lease: bool, kills in prop::collection::vec((0u8..3, 0u64..2), 0..25)) {
        let mut world = if is_lease { lease_world() } else { job_world() };
        live(&mut world, Story::HandOver);
        for (kill, wait) in kills {
            world.step([Kill::Never, Kill::BeforeEffect, Kill::AfterEffect][usize::from(kill)]);
            world.guest_succeeds();
            world.pass_time(wait);
        }
        world.run_out();
        prop_assert_eq!(world.slashed, 0);
        prop_assert_eq!(world.earned, if is_lease { 2_000 } else { 30 });
    }
}

#[test]
fn a_lease_runs_out_waits_for_a_top_up_and_is_closed() {
    let mut world = lease_world();
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.guest_succeeds();
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Lease(l) if l.state == LeaseState::Active));
    world.pass_time(200);
    world.settle_down();
    assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Stopped), "stopped, not deleted");
    assert_eq!(world.earned, 2_000);
    live(&mut world, Story::TopUp);
    world.settle_down();
    assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Running), "started again");
    world.pass_time(60);
    world.settle_down();
    world.pass_time(u64::from(world.policy.grace.0));
    world.settle_down();
    assert!(world.over() && world.finished && world.machine.is_none());
    assert_eq!((world.earned, world.slashed), (2_500, 0));
}

#[test]
fn what_cannot_be_served_is_rejected_before_it_costs_the_pledge() {
    for make in [lease_world, job_world] {
        let mut silent = make();
        silent.pass_time(106);
        silent.settle_down();
        assert!(silent.over(), "rejected at the last moment");
        assert_eq!(silent.case().failed.as_deref(), Some("the workload was not handed over in time"));
        assert!(!silent.finished, "its renter may still ask why");

        let mut hostless = make();
        live(&mut hostless, Story::HandOver);
        hostless.host_up = false;
        hostless.pass_time(106);
        hostless.settle_down();
        assert!(hostless.over());
        for mut world in [silent, hostless] {
            world.run_out();
            assert_eq!((world.slashed, world.earned), (0, 0));
        }
    }
}

#[test]
fn an_accepted_job_is_settled_at_once_and_a_silent_renter_pays_later() {
    let run = |accept: bool| {
        let mut world = job_world();
        live(&mut world, Story::HandOver);
        world.settle_down();
        world.guest_succeeds();
        world.settle_down();
        assert!(world.case().finished.is_some() && !world.over());
        if accept {
            live(&mut world, Story::RenterAccepts);
        }
        world
    };
    let mut accepted = run(true);
    accepted.settle_down();
    assert!(accepted.over());
    let mut silent = run(false);
    silent.pass_time(45);
    silent.settle_down();
    assert!(matches!(silent.on_chain(), OnChain::Job(j) if j.state == JobState::Submitted));
    silent.pass_time(51);
    silent.settle_down();
    assert!(silent.over() && silent.machine.is_some(), "finalized; the result is kept for a while");
    for mut world in [accepted, silent] {
        world.run_out();
        assert_eq!((world.earned, world.slashed), (30, 0));
    }
}

/// A renter whose job never ends, dies or cannot start gains nothing: the provider is paid for the time it ran.
#[test]
fn a_job_that_fails_by_its_renters_doing_is_paid() {
    let run = |ending: Story, wait: u64| {
        let mut world = job_world();
        live(&mut world, Story::HandOver);
        world.settle_down();
        world.pass_time(wait);
        live(&mut world, ending);
        world.settle_down();
        let verdict = world.case().verdict.expect("the agent judged it");
        world.run_out();
        assert_eq!((world.slashed, world.finished), (0, true), "{ending:?}");
        (verdict.exit_code, world.earned)
    };
    assert_eq!(run(Story::Beat, 61), (124, 600), "the whole timeout");
    assert_eq!(run(Story::GuestGivesUp, 20), (125, 200));
    let mut world = job_world();
    live(&mut world, Story::HandOver);
    for _ in 0..6 {
        world.settle_down();
        live(&mut world, Story::GuestDies);
    }
    world.settle_down();
    assert_eq!(world.case().verdict.map(|v| v.exit_code), Some(125));
}

#[test]
fn nothing_is_decided_without_the_chains_answer() {
    let world = lease_world();
    let case = world.case();
    assert_eq!(decide(&case, None, OnHost::Absent, UnixTime(u64::MAX), &world.policy), None);
    let soon = UnixTime(OPENED + 300);
    assert_eq!(decide(&case, Some(&OnChain::Nothing), OnHost::Absent, soon, &world.policy), None);
}

#[test]
fn only_machines_named_like_an_agreement_can_be_orphans() {
    let names = ["lease-7", "lease-8", "job-9", "lease-07", "web1", "lease-x", "job-"];
    let host = names.map(|n| n.parse::<MachineId>().map(|id| (id.clone(), machine(id))));
    let host: BTreeMap<_, _> = host.into_iter().flatten().collect();
    let case = lease_world().case();
    let cases = BTreeMap::from([(case.id(), case)]);
    let found: Vec<_> = orphans(&cases, &host).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["job-9", "lease-8"]);
}

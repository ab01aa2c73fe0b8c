//! A simulated world with one agreement in it: the chain is `domain/market`'s own machines, the host a map of machines, and a kill may
//! strike between writing down and doing.

use sublet_base::{
    Address, Amount, B256, Bps, Digest, GiB, JobId, LeaseId, MachineId, MiB, PeerKey, Price, Seconds, UnixTime, Vcpus,
};
use sublet_chain::{JobEnd, JobRecord, JobState, LeaseEnd, LeaseRecord, LeaseState};
use sublet_machine::{DriverKind, Event, Guest, ImageRef, Lifecycle, Observed, Phase};
use sublet_market::agreement::{
    self, Caller, Effect, Job, JobCall, JobTerms, Lease, LeaseCall, LeaseTerms, Moment, Party, Pot, Rules, Uptime,
};
use sublet_market::{Acceptance, Class, MediatorSetId, SignedAcceptance};
use sublet_wire::host::{MachineView, TaskResult};
use sublet_wire::link::Agreement;
use sublet_wire::workload::Mark;

use crate::case::{Case, Note, Opened, machine_of};
use crate::decide::{Action, OnChain, OnHost, Policy, Send, decide};

pub(super) const OPENED: u64 = 1_000_000;
pub(super) const NO_ROOM: &str = "no room: 2 vCPU asked for, 1 of 8 free";
const HASH: B256 = B256::repeat_byte(7);
const TIMEOUT: u32 = 60;

enum Contract {
    Lease(Box<Lease>),
    Job(Box<Job>),
}

/// A world with one agreement in it.
pub(super) struct World {
    now: UnixTime,
    uptime: Uptime,
    contract: Contract,
    opened: Opened,
    /// The document, if it was placed on chain with its order.
    pub(super) placed: Option<String>,
    /// The journal: all that survives a kill.
    pub(super) notes: Vec<Note>,
    pub(super) machine: Option<MachineView>,
    pub(super) host_up: bool,
    pub(super) room: bool,
    /// Whether settlements arrive.
    pub(super) till: bool,
    pub(super) finished: bool,
    pub(super) slashed: u128,
    pub(super) earned: u128,
    pub(super) policy: Policy,
}

/// Where a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    Never,
    BeforeEffect,
    AfterEffect,
}

/// Who is the provider here.
pub(super) const PROVIDER: Address = Address::repeat_byte(1);

/// What its machines bear.
pub(super) fn mark() -> Mark {
    Mark::of(PROVIDER, 1, Address::repeat_byte(0xc0))
}

pub(crate) fn opened(agreement: Agreement, start_within: u32) -> Opened {
    Opened {
        agreement,
        renter: Address::repeat_byte(2),
        offer: B256::repeat_byte(3),
        order: Some(B256::repeat_byte(6)),
        workload: B256::repeat_byte(4),
        peer_key: PeerKey([5; 32]),
        class: Class::None,
        price: Price(10),
        duration: Seconds(200),
        start_by: UnixTime(OPENED + u64::from(start_within)),
    }
}

pub(super) fn lease_world() -> World {
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

pub(super) fn job_world() -> World {
    job_world_of(Class::None)
}

pub(super) fn job_world_of(class: Class) -> World {
    let terms = JobTerms {
        price: Price(10),
        pledge_bps: Bps(10_000),
        duration: Seconds(200),
        start_within: Seconds(120),
        challenge_window: Seconds(50),
        class,
        solver_fee: Amount(3),
    };
    let job = Job::open(terms, UnixTime(OPENED)).expect("in range");
    World::new(Contract::Job(Box::new(job)), Opened { class, ..opened(Agreement::Job(JobId(7)), 120) })
}

pub(super) fn document() -> String {
    serde_json::json!({ "module": { "name": "m", "version": "1.0.0" },
        "image": { "name": "m", "digest": Digest([1; 32]) }, "argv": ["/bin/true"], "env": {}, "inputs": {},
        "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 1 }, "class": "none", "timeout": TIMEOUT })
    .to_string()
}

pub(super) fn acceptance() -> SignedAcceptance {
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
            placed: None,
            notes: vec![],
            machine: None,
            host_up: true,
            room: true,
            till: true,
            finished: false,
            slashed: 0,
            earned: 0,
            policy: Policy::default(),
        }
    }

    pub(super) fn case(&self) -> Case {
        let mut case = Case::new(self.opened.clone());
        self.notes.iter().for_each(|note| case.learn(note));
        case
    }

    pub(super) fn now(&self) -> UnixTime {
        self.now
    }

    pub(super) fn pass_time(&mut self, seconds: u64) {
        self.now = UnixTime(self.now.0 + seconds);
    }

    pub(super) fn over(&self) -> bool {
        match &self.contract {
            Contract::Lease(l) => matches!(l.state(), agreement::LeaseState::Ended(_)),
            Contract::Job(j) => matches!(j.state(), agreement::JobState::Ended(_)),
        }
    }

    pub(super) fn on_chain(&self) -> OnChain {
        match &self.contract {
            Contract::Lease(l) => OnChain::Lease(Box::new(self.lease_record(l))),
            Contract::Job(j) => OnChain::Job(Box::new(job_record(j, self.placed.is_some()))),
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
            provider: PROVIDER,
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

    pub(super) fn call_lease(&mut self, call: LeaseCall, caller: Caller) -> bool {
        let at = Moment { now: self.now, uptime: self.uptime };
        let Contract::Lease(lease) = &mut self.contract else { return false };
        let answer = lease.apply(call, caller, at);
        self.count(answer)
    }

    pub(super) fn call_job(&mut self, call: JobCall, caller: Caller) -> bool {
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
    pub(super) fn step(&mut self, kill: Kill) -> bool {
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
            Action::LookUp if kill == Kill::BeforeEffect => {}
            Action::LookUp => self.notes.push(self.placed.clone().map_or(Note::Unplaced, Note::Handed)),
            Action::Create => {
                assert!(case.document.is_some() && !matches!(chain_over(&chain), Some(true)), "created for nothing");
                if !case.may_exist {
                    self.notes.push(Note::Creating);
                }
                if !self.room && kill != Kill::BeforeEffect {
                    self.notes.push(Note::Hindered(NO_ROOM.to_owned()));
                    // The agent rests before it tries again.
                    return false;
                }
                if kill != Kill::BeforeEffect {
                    self.machine = Some(machine(machine_of(case.id(), &mark())));
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
            Action::Send(Send::SettleJob(_)) if !self.till => return false,
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

    pub(super) fn send(&mut self, send: &Send) -> bool {
        let mine = Caller::Provider;
        match send {
            Send::StartLease => self.call_lease(LeaseCall::Start, mine),
            Send::RejectLease => self.call_lease(LeaseCall::Reject, mine),
            Send::ExpireLease => self.call_lease(LeaseCall::Expire, mine),
            Send::SettleLease => self.call_lease(LeaseCall::Settle, mine),
            Send::CloseLease { max_penalty } => self.call_lease(LeaseCall::Close { max_penalty: *max_penalty }, mine),
            Send::RejectJob => self.call_job(JobCall::Reject, mine),
            Send::SubmitJob { result, used } => self.call_job(JobCall::Submit { result: *result, used: *used }, mine),
            Send::SettleJob(a) => {
                let call = JobCall::Settle { result: a.acceptance.result_hash, cost: a.acceptance.cost };
                self.call_job(call, mine)
            }
            Send::FinalizeJob => self.call_job(JobCall::Finalize, mine),
            Send::ExpireJob => self.call_job(JobCall::Expire, mine),
            Send::DrawPanel | Send::ResolveDispute => panic!("nothing is disputed here"),
        }
    }

    /// The host looks at a machine that it took to run, and reports what a real one does.
    pub(super) fn host_finds(&mut self, seen: Observed) {
        let Some(machine) = self.machine.as_mut().filter(|m| m.phase == Phase::Running) else { return };
        let mut life = Lifecycle::new();
        for event in [Event::Done, Event::Start, Event::Done, Event::Observed(seen)] {
            life.apply(event).expect("allowed");
        }
        (machine.phase, machine.guest) = (life.phase().clone(), life.guest().clone());
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(machine) = &mut self.machine {
            machine.phase = phase;
            if machine.result.is_none() {
                machine.guest = Guest::Silent;
            }
        }
    }

    /// The guest does what it is there for.
    pub(super) fn guest_succeeds(&mut self) {
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

    pub(super) fn beat(&mut self) {
        self.uptime = self.uptime.beat(self.now, &Rules::default());
    }

    /// As many steps as there are; it must come to rest.
    pub(super) fn settle_down(&mut self) {
        for _ in 0..200 {
            if !self.step(Kill::Never) {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.notes);
    }

    /// Everything works and everybody else is gone: it must end by itself.
    pub(super) fn run_out(&mut self) {
        self.host_up = true;
        self.room = true;
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
        OnChain::Disputed { .. } => Some(false),
        OnChain::Nothing(_) => None,
    }
}

pub(super) fn machine(id: MachineId) -> MachineView {
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

fn job_record(job: &Job, callback: bool) -> JobRecord {
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
        S::Disputed { result, .. } => (JobState::Disputed, JobEnd::None, Some(UnixTime(OPENED)), Some(result)),
        S::Ended(end) => {
            let end = match end {
                E::Rejected => JobEnd::Rejected,
                E::Expired => JobEnd::Expired,
                E::Settled => JobEnd::Settled,
                E::Accepted => JobEnd::Accepted,
                E::Finalized => JobEnd::Finalized,
                E::Refused => JobEnd::Refused,
                E::Upheld => JobEnd::Upheld,
                E::Overturned => JobEnd::Overturned,
                E::Inconclusive => JobEnd::Inconclusive,
            };
            (JobState::Ended, end, None, None)
        }
    };
    JobRecord {
        state,
        end,
        class: terms.class,
        renter: Address::repeat_byte(2),
        provider: PROVIDER,
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
        callback,
    }
}

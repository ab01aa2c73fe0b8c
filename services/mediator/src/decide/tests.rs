//! Decisions in a simulated world: the court is `domain/market`'s own machine, the host one machine, and the process is
//! killed between writing down and doing, as often as the generated story wants.

mod stories;

use sublet_base::{Amount, Digest, GiB, MiB, PeerKey, Vcpus};
use sublet_chain::SeatRecord;
use sublet_machine::{DriverKind, Guest, ImageRef, Phase, Resources};
use sublet_market::MediatorSetId;
use sublet_market::agreement::{
    Bench, BenchCall, CourtEffect, CourtMoment, CourtRules, Dispute, DisputeCall, DisputeState, Hearing, Purse, Vote,
};
use sublet_wire::host::TaskResult;

use super::*;
use crate::case::{Raised, Silence};

const JOB: JobId = JobId(7);
const FEE: Amount = Amount(100);
const SUBMITTED: B256 = B256::repeat_byte(0xaa);
const OTHER: B256 = B256::repeat_byte(0xbb);
const START: u64 = 1_000_000;

fn address(n: u8) -> Address {
    Address::repeat_byte(n)
}

const ME: u8 = 1;

fn raised() -> Raised {
    Raised {
        job: JOB,
        set: MediatorSetId(1),
        renter: address(8),
        provider: address(9),
        submitted: SUBMITTED,
        workload: B256::repeat_byte(3),
        peer_key: PeerKey([5; 32]),
    }
}

fn result(hash: B256) -> TaskResult {
    TaskResult { exit_code: 0, bytes: 10, hash, seconds: Seconds(1) }
}

fn machine(phase: Phase, guest: Guest, result: Option<TaskResult>) -> MachineView {
    MachineView {
        id: machine_name(),
        driver: DriverKind::Fake,
        resources: Resources { vcpus: Vcpus(1), memory: MiB(64), disk: GiB(1), pids: 64 },
        image: ImageRef { name: "x".into(), digest: Digest([0; 32]) },
        phase,
        guest,
        result,
        kernel: None,
    }
}

fn machine_name() -> MachineId {
    crate::case::machine_of(JOB, &Mark::of(address(ME), 1, address(0xc0)))
}

/// What the provider does when it is asked, and what our run gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Truth {
    gives_document: bool,
    gives_archive: bool,
    /// What running the job gives; nothing if it cannot be run here.
    gives: Option<B256>,
}

/// Where a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Never,
    BeforeEffect,
    AfterEffect,
}

/// A world with one dispute in it, seen from one mediator.
struct World {
    now: UnixTime,
    block: u64,
    bench: Bench,
    dispute: Dispute,
    truth: Truth,
    /// The journal: all that survives a kill.
    notes: Vec<Note>,
    finished: bool,
    machine: Option<MachineView>,
    host_up: bool,
    file: bool,
    stage_since: (DisputeStage, u64),
    salts: u8,
    /// What reached the chain.
    committed: Vec<B256>,
    revealed: Vec<B256>,
    lost: u128,
}

impl World {
    fn new(truth: Truth) -> Self {
        let rules = CourtRules::default();
        let now = UnixTime(START);
        let mut bench = Bench::default();
        let members: Vec<Address> = (1..=3).map(address).collect();
        bench.create_set(raised().set, &members);
        for member in &members {
            bench.apply(BenchCall::Join(raised().set), *member, now, &rules).expect("joins");
            bench.apply(BenchCall::Register { bond: Amount(1_000) }, *member, now, &rules).expect("registers");
        }
        let raised = raised();
        let hearing = Hearing {
            job: JOB,
            renter: raised.renter,
            provider: raised.provider,
            set: raised.set,
            panel_size: 3,
            fee: FEE,
            result: SUBMITTED,
            duration: Seconds(600),
        };
        let (dispute, _) = Dispute::raise(hearing, rules, 10, &bench).expect("in range");
        Self {
            now,
            block: 10,
            bench,
            dispute,
            truth,
            notes: vec![],
            finished: false,
            machine: None,
            host_up: true,
            file: false,
            stage_since: (DisputeStage::Armed, 10),
            salts: 0,
            committed: vec![],
            revealed: vec![],
            lost: 0,
        }
    }

    fn case(&self) -> Case {
        let mut case = Case::new(raised());
        self.notes.iter().for_each(|note| case.learn(note));
        case
    }

    fn pass_time(&mut self, seconds: u64) {
        self.now = UnixTime(self.now.0 + seconds);
        self.block += 1 + seconds / 12;
    }

    fn record(&self) -> DisputeRecord {
        let hearing = self.dispute.hearing();
        let mut record = DisputeRecord {
            stage: DisputeStage::Armed,
            renter: hearing.renter,
            provider: hearing.provider,
            mediator_set: MediatorSetId(1),
            result: hearing.result,
            duration: hearing.duration,
            electorate: 3,
            draw_from: 13,
            draw_until: 268,
            commit_by: None,
            reveal_by: None,
            panel: vec![],
        };
        match self.dispute.state() {
            DisputeState::Armed { at, .. } => (record.draw_from, record.draw_until) = (at + 3, at + 258),
            DisputeState::Resolved(_) => record.stage = DisputeStage::Resolved,
            DisputeState::Voting { panel, commit_by, reveal_by } => {
                let silent = panel.iter().any(|(_, vote)| *vote == Vote::Silent);
                let secret = panel.iter().any(|(_, vote)| matches!(vote, Vote::Committed(_)));
                record.stage = match () {
                    () if silent && self.now <= *commit_by => DisputeStage::Commit,
                    () if secret && self.now <= *reveal_by => DisputeStage::Reveal,
                    () => DisputeStage::Over,
                };
                (record.commit_by, record.reveal_by) = (Some(*commit_by), Some(*reveal_by));
                record.panel = panel.iter().map(seat).collect();
            }
        }
        record
    }

    fn call(&mut self, call: DisputeCall, caller: Address) -> bool {
        let at = CourtMoment { now: self.now, block: self.block };
        match self.dispute.apply(call, caller, at, &mut self.bench) {
            Ok(effects) => {
                for effect in effects {
                    if let CourtEffect::Move { from: Purse::Bond(who), amount, .. } = effect
                        && who == address(ME)
                    {
                        self.lost += amount.0;
                    }
                }
                true
            }
            Err(_) => false,
        }
    }

    /// One look, one decision, one action, perhaps cut short.
    fn act(&mut self, kill: Kill) -> Option<Action> {
        if self.finished {
            return None;
        }
        let record = self.record();
        if self.stage_since.0 != record.stage {
            self.stage_since = (record.stage, self.block);
        }
        let case = self.case();
        let action = {
            let seen =
                Seen { dispute: &record, block: self.block, stage_since: self.stage_since.1, now: self.now, turn: 0 };
            let host = match (&self.machine, self.host_up) {
                (_, false) => OnHost::Silent,
                (None, true) => OnHost::Absent,
                (Some(machine), true) => OnHost::Here(machine),
            };
            decide(&case, address(ME), Some(seen), host, &Policy::default())
        }?;
        self.execute(&case, action.clone(), kill);
        Some(action)
    }

    fn execute(&mut self, case: &Case, action: Action, kill: Kill) {
        let note_first = match &action {
            Action::Create if !case.may_exist => Some(Note::Creating),
            Action::Start => Some(Note::Starting),
            _ => None,
        };
        self.notes.extend(note_first);
        if kill == Kill::BeforeEffect {
            return;
        }
        let note_after = match action {
            Action::Note(note) => Some(note),
            Action::Create => {
                if self.host_up && self.machine.is_none() {
                    self.machine = Some(machine(Phase::Stopped, Guest::Silent, None));
                }
                None
            }
            Action::Start => {
                if let Some(machine) = self.machine.as_mut().filter(|_| self.host_up) {
                    machine.phase = Phase::Running;
                }
                self.host_up.then_some(Note::Started)
            }
            Action::Keep => {
                self.file = self.host_up;
                self.host_up.then_some(Note::Kept)
            }
            Action::Delete => {
                if self.host_up {
                    self.machine = None;
                }
                self.host_up.then_some(Note::Removed)
            }
            Action::Seal(hash) => {
                self.salts += 1;
                Some(Note::Sealed(Ballot { hash, salt: B256::repeat_byte(self.salts) }))
            }
            Action::Send(send) => {
                self.send(send);
                None
            }
            Action::Drop => {
                self.file = false;
                Some(Note::Dropped)
            }
            Action::Finish => {
                (self.file, self.finished) = (false, true);
                None
            }
        };
        if kill != Kill::AfterEffect {
            self.notes.extend(note_after);
        }
    }

    fn send(&mut self, send: Send) {
        let me = address(ME);
        match send {
            Send::Draw => {
                self.call(DisputeCall::Draw { seed: B256::repeat_byte(1) }, me);
            }
            Send::Commit(commitment) => {
                if self.call(DisputeCall::Commit(commitment), me) {
                    self.committed.push(commitment);
                }
            }
            Send::Reveal(ballot) => {
                if self.call(DisputeCall::Reveal { result: ballot.hash, salt: ballot.salt }, me) {
                    self.revealed.push(ballot.hash);
                }
            }
            Send::Resolve => {
                self.call(DisputeCall::Resolve, me);
            }
        }
    }

    /// One question to the provider, if one is wanted.
    fn ask(&mut self) {
        let (case, record) = (self.case(), self.record());
        if !wanted(&case, &record, address(ME)) {
            return;
        }
        if lapsed(&case, self.now, Seconds(80)) {
            self.notes.push(Note::Unasked);
        }
        if case.document.is_none() {
            match self.truth.gives_document {
                true => self.notes.push(Note::Document("{}".into())),
                false => return self.notes.push(Note::Unanswered(self.now)),
            }
        }
        match self.truth.gives_archive {
            true => self.notes.push(Note::Archive),
            false => self.notes.push(Note::Unanswered(self.now)),
        }
    }

    /// The guest gets on with its work.
    fn run_guest(&mut self) {
        let Some(machine) = self.machine.as_mut().filter(|m| m.phase == Phase::Running) else { return };
        match self.truth.gives {
            Some(hash) => {
                (machine.phase, machine.guest) = (Phase::Stopped, Guest::Exited { code: 0 });
                machine.result = Some(result(hash));
            }
            None => machine.guest = Guest::GaveUp { reason: "no such program".into() },
        }
    }

    /// The other two members do whatever is left to do, honestly.
    fn others(&mut self, vote: B256) {
        for other in [address(2), address(3)] {
            let salt = B256::repeat_byte(other.0[0]);
            self.call(DisputeCall::Commit(commitment(JOB, other, vote, salt)), other);
            self.call(DisputeCall::Reveal { result: vote, salt }, other);
        }
    }

    fn over(&self) -> bool {
        matches!(self.dispute.state(), DisputeState::Resolved(_))
    }

    /// Everything works from now on, until it is over.
    fn calm(&mut self, others: B256) {
        self.host_up = true;
        for _ in 0..20_000 {
            if self.finished {
                return;
            }
            self.ask();
            self.run_guest();
            self.others(others);
            if self.act(Kill::Never).is_none() {
                self.pass_time(30);
            }
        }
        panic!("it never ends: {:?} {:?}", self.record(), self.case());
    }
}

fn seat((mediator, vote): &(Address, Vote)) -> SeatRecord {
    let (stage, commitment, revealed) = match vote {
        Vote::Silent => (SeatStage::Drawn, None, None),
        Vote::Committed(commitment) => (SeatStage::Committed, Some(*commitment), None),
        Vote::Revealed(vote) => (SeatStage::Revealed, None, Some(*vote)),
    };
    SeatRecord { mediator: *mediator, stage, commitment, vote: revealed }
}

const HONEST: Truth = Truth { gives_document: true, gives_archive: true, gives: Some(SUBMITTED) };

#[test]
fn a_verdict_for_every_way_a_provider_and_a_run_can_go() {
    let table = [
        ("all is right", HONEST, Some(SUBMITTED)),
        ("a wrong result", Truth { gives: Some(OTHER), ..HONEST }, Some(OTHER)),
        ("wrong, and its archive withheld", Truth { gives: Some(OTHER), gives_archive: false, ..HONEST }, Some(OTHER)),
        ("right, but withheld", Truth { gives_archive: false, ..HONEST }, Some(B256::ZERO)),
        ("gone", Truth { gives_document: false, gives_archive: false, gives: Some(SUBMITTED) }, Some(B256::ZERO)),
        ("cannot be run here", Truth { gives: None, ..HONEST }, None),
        ("nor is its archive shown", Truth { gives: None, gives_archive: false, ..HONEST }, Some(B256::ZERO)),
    ];
    for (name, truth, vote) in table {
        let mut world = World::new(truth);
        world.calm(vote.unwrap_or(SUBMITTED));
        assert_eq!(world.revealed, vote.into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(world.lost, if vote.is_some() { 0 } else { FEE.0 }, "{name}: silence costs a fee, a vote nothing");
        assert!(world.machine.is_none() && !world.file, "{name}: something is left");
    }
}

#[test]
fn silence_is_a_verdict_only_after_patience_and_several_questions() {
    let record = World::new(HONEST).record();
    let policy = Policy::default();
    let waits = u64::from(patience(&record, &policy).0);
    assert_eq!(waits, (600 + 3600) / 4);
    let at = |silence, now| {
        let mut case = Case::new(raised());
        case.silence = silence;
        let dispute = DisputeRecord { commit_by: Some(UnixTime(START + 100_000)), ..record.clone() };
        let seen = Seen { dispute: &dispute, block: 1, stage_since: 1, now: UnixTime(now), turn: 0 };
        vote::verdict(&case, seen, &policy)
    };
    let silence = |times, asked| Some(Silence { since: UnixTime(START), last: UnixTime(START + asked), times });
    assert_eq!(at(None, START + 10 * waits), None, "never asked");
    assert_eq!(at(silence(2, waits), START + waits), None, "hardly asked");
    assert_eq!(at(silence(3, waits - 1), START + waits), None, "not for long enough");
    assert_eq!(at(silence(3, waits - 1), START + 10 * waits), None, "nobody asked meanwhile");
    assert_eq!(at(silence(3, waits), START + waits), Some(B256::ZERO));
}

#[test]
fn silence_counts_only_while_somebody_asks_and_afresh_after_the_document() {
    let mut case = Case::new(raised());
    case.learn(&Note::Unanswered(UnixTime(START)));
    assert!(!lapsed(&case, UnixTime(START + 80), Seconds(80)) && lapsed(&case, UnixTime(START + 81), Seconds(80)));
    case.learn(&Note::Unasked);
    case.learn(&Note::Unanswered(UnixTime(START + 500)));
    assert_eq!(case.silence.map(|s| (s.since, s.times)), Some((UnixTime(START + 500), 1)));
    case.learn(&Note::Document("{}".into()));
    assert_eq!(case.silence, None, "it answers");

    let step = |note: &Note| sublet_store::StepRecord {
        step: note.step().0.to_owned(),
        state: note.step().1,
        data: serde_json::to_value(note).expect("a note"),
    };
    let entry = sublet_store::Entry {
        key: "dispute/job-7".into(),
        kind: crate::case::KIND.into(),
        payload: serde_json::to_value(raised()).expect("a case"),
        state: sublet_store::EntryState::Open,
        steps: vec![step(&Note::Unanswered(UnixTime(START))), step(&Note::Missed)],
    };
    let taken_up = Case::from_entry(&entry).expect("readable");
    assert_eq!((taken_up.silence, taken_up.missed), (None, true), "a former process's questions do not count");
}

#[test]
fn a_timeout_is_voted_for_only_if_its_provider_submitted_it() {
    let document = serde_json::json!({ "module": { "name": "m", "version": "1.0.0" },
        "image": { "name": "m", "digest": Digest([1; 32]) }, "argv": ["/bin/true"], "env": {}, "inputs": {},
        "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 1 }, "class": "exact", "timeout": 60 })
    .to_string();
    let timeout = sublet_wire::verdict::Verdict::timeout(Seconds(60)).result();
    for (submitted, found) in [(timeout.hash, Some(timeout)), (SUBMITTED, None)] {
        let mut case = Case::new(Raised { submitted, ..raised() });
        case.learn(&Note::Document(document.clone()));
        let running = machine(Phase::Running, Guest::Silent, None);
        let mut next = |now| {
            let action = run::run(&case, OnHost::Here(&running), UnixTime(START + now), &Policy::default());
            if let Some(Action::Note(note)) = &action {
                case.learn(note);
            }
            action
        };
        assert_eq!(next(0), Some(Action::Note(Note::Runs(UnixTime(START)))));
        assert_eq!(next(60), None);
        assert_eq!(next(61), found.map(|_| Action::Note(Note::TimedOut(Seconds(60)))));
        assert_eq!(next(62), found.map(|_| Action::Keep), "its renter may want it");
        assert_eq!(case.found, found);
    }
}

#[test]
fn an_archive_that_cannot_be_kept_does_not_keep_its_machine_for_ever() {
    let mut case = Case::new(raised());
    for note in [Note::Creating, Note::Found(result(OTHER)), Note::Over(UnixTime(START))] {
        case.learn(&note);
    }
    let dispute = DisputeRecord { stage: DisputeStage::Resolved, ..World::new(HONEST).record() };
    let full = machine(Phase::Stopped, Guest::Exited { code: 0 }, Some(result(OTHER)));
    let policy = Policy::default();
    let at = |now| {
        let seen = Seen { dispute: &dispute, block: 20, stage_since: 1, now: UnixTime(START + now), turn: 0 };
        decide(&case, address(ME), Some(seen), OnHost::Here(&full), &policy)
    };
    let retention = u64::from(policy.retention.0);
    assert_eq!((at(retention - 1), at(retention)), (Some(Action::Keep), Some(Action::Delete)));
}

/// Where blocks were replaced, its number may have been another dispute's, whose machine must not vote here.
#[test]
fn a_machine_of_a_former_dispute_says_nothing_about_this_one() {
    let mut case = Case::new(raised());
    case.learn(&Note::Foreign);
    case.learn(&Note::Document("{}".into()));
    let dispute = World::new(HONEST).record();
    let former = machine(Phase::Stopped, Guest::Exited { code: 0 }, Some(result(OTHER)));
    let seen = Seen { dispute: &dispute, block: 1, stage_since: 1, now: UnixTime(START), turn: 0 };
    let act = |case: &Case, host| decide(case, address(ME), Some(seen), host, &Policy::default());
    assert_eq!(act(&case, OnHost::Here(&former)), Some(Action::Delete));
    assert_eq!((act(&case, OnHost::Absent), act(&case, OnHost::Silent)), (Some(Action::Delete), None));
    case.learn(&Note::Removed);
    assert_ne!(act(&case, OnHost::Absent), Some(Action::Delete));
}

#[test]
fn our_own_trouble_with_the_link_does_not_count_against_a_right_result() {
    let mut case = Case::new(raised());
    case.learn(&Note::Document("{}".into()));
    case.learn(&Note::Found(result(SUBMITTED)));
    let dispute = DisputeRecord { commit_by: Some(UnixTime(START + 100)), ..World::new(HONEST).record() };
    let seen = |now| Seen { dispute: &dispute, block: 1, stage_since: 1, now: UnixTime(now), turn: 0 };
    assert_eq!(vote::verdict(&case, seen(START + 39), &Policy::default()), None, "it may still show its archive");
    assert_eq!(vote::verdict(&case, seen(START + 40), &Policy::default()), Some(SUBMITTED));
}

#[test]
fn what_anybody_may_do_is_done_in_turns() {
    let members: Vec<Address> = (1..=3).map(address).collect();
    let turns = |job| members.iter().map(|m| turn_of(&members, *m, JobId(job))).collect::<Vec<_>>();
    assert_eq!((turns(3), turns(4)), (vec![0, 1, 2], vec![1, 2, 0]));
    let world = World::new(HONEST);
    let dispute = world.record();
    let at = |block, turn| {
        let seen = Seen { dispute: &dispute, block, stage_since: 10, now: world.now, turn };
        decide(&world.case(), address(ME), Some(seen), OnHost::Absent, &Policy::default())
    };
    assert_eq!(at(12, 0), None, "too early for anybody");
    assert_eq!(at(13, 0), Some(Action::Send(Send::Draw)));
    assert_eq!((at(14, 1), at(15, 1)), (None, Some(Action::Send(Send::Draw))));
}

#[test]
fn who_is_not_drawn_runs_nothing() {
    let mut world = World::new(HONEST);
    world.pass_time(60);
    world.act(Kill::Never);
    let mut record = world.record();
    assert_eq!(record.stage, DisputeStage::Commit);
    record.panel.retain(|seat| seat.mediator != address(ME));
    let mut case = world.case();
    case.learn(&Note::Document("{}".into()));
    assert!(!wanted(&case, &record, address(ME)));
    let seen = Seen { dispute: &record, block: world.block, stage_since: 1, now: world.now, turn: 0 };
    assert_eq!(decide(&case, address(ME), Some(seen), OnHost::Absent, &Policy::default()), None);
}

#[test]
fn a_vote_of_another_installation_is_left_alone() {
    let mut case = Case::new(raised());
    case.learn(&Note::Sealed(Ballot { hash: SUBMITTED, salt: B256::repeat_byte(1) }));
    let foreign = (address(ME), Vote::Committed(B256::repeat_byte(9)));
    let dispute =
        DisputeRecord { stage: DisputeStage::Reveal, panel: vec![seat(&foreign)], ..World::new(HONEST).record() };
    let seen = Seen { dispute: &dispute, block: 20, stage_since: 1, now: UnixTime(START), turn: 0 };
    assert_eq!(decide(&case, address(ME), Some(seen), OnHost::Absent, &Policy::default()), None);
}

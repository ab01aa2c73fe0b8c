//! Decisions in a simulated world: generated stories, and by hand what they hardly reach.

mod job;
mod lease;
mod stories;
mod world;

use sublet_machine::Phase;

use super::*;
use crate::case::machine_of;
use stories::{Story, live};
pub(crate) use world::opened;
use world::{NO_ROOM, OPENED, document, job_world, lease_world, machine, mark};

/// An open lease, for other tests.
pub(crate) fn lease_on_chain() -> OnChain {
    lease_world().on_chain()
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

        let mut full = make();
        live(&mut full, Story::HandOver);
        full.room = false;
        full.settle_down();
        assert!(full.case().failed.is_none(), "there may be room yet");
        full.pass_time(106);
        full.settle_down();
        assert!(full.over());
        let said = full.case().failed.unwrap_or_default();
        assert!(said.contains(NO_ROOM), "{said}");

        for mut world in [silent, hostless, full] {
            world.run_out();
            assert_eq!((world.slashed, world.earned), (0, 0));
        }
    }
}

#[test]
fn a_document_on_chain_needs_nobody_to_hand_it_over() {
    for make in [lease_world, job_world] {
        let mut world = make();
        world.placed = Some(document());
        world.settle_down();
        assert_eq!(world.case().document.as_deref(), Some(&*document()));
        assert!(world.machine.is_some(), "served without a word from its renter");

        let mut silent = make();
        silent.settle_down();
        let case = silent.case();
        assert!(case.unplaced && case.document.is_none() && silent.machine.is_none(), "{case:?}");
        let chain = silent.on_chain();
        let again = decide(&case, Some(&chain), OnHost::Absent, UnixTime(OPENED), &silent.policy);
        assert_eq!(again, None, "the chain is asked once");
    }
    // Journals of older versions do not know the order; its renter will hand the document over.
    let mut old = job_world().case();
    old.opened.order = None;
    let chain = job_world().on_chain();
    assert_eq!(decide(&old, Some(&chain), OnHost::Absent, UnixTime(OPENED), &Policy::default()), None);
}

#[test]
fn nothing_is_decided_without_the_chains_answer() {
    let world = lease_world();
    let case = world.case();
    assert_eq!(decide(&case, None, OnHost::Absent, UnixTime(u64::MAX), &world.policy), None);
    let after = |case: &Case, since: Option<u64>, now: u64| {
        let chain = OnChain::Nothing(since.map(|at| UnixTime(OPENED + at)));
        decide(case, Some(&chain), OnHost::Absent, UnixTime(OPENED + now), &world.policy)
    };
    assert_eq!(after(&case, Some(0), 300), None, "a node that lags");
    assert_eq!(after(&case, Some(300), 900), None, "not for long enough");
    assert!(matches!(after(&case, Some(300), 901), Some(Action::Note(Note::Ended(_)))), "a chain that was replaced");
    assert_eq!(after(&case, None, 100_000), None, "it has shown it");
    let mut served = lease_world();
    live(&mut served, Story::HandOver);
    served.settle_down();
    assert_eq!(after(&served.case(), Some(0), 100_000), None, "no answer at all costs a machine");
}

#[test]
fn at_the_last_moment_what_does_not_run_is_declined_whatever_else_is_to_do() {
    for make in [lease_world, job_world] {
        let world = make();
        let (chain, mut case) = (world.on_chain(), world.case());
        let at = |case: &Case, host: OnHost<'_>, now: u64| {
            decide(case, Some(&chain), host, UnixTime(OPENED + now), &world.policy)
        };
        assert_eq!(at(&case, OnHost::Absent, 104), Some(Action::LookUp));
        let declined = at(&case, OnHost::Absent, 105);
        assert!(matches!(declined, Some(Action::Note(Note::Failed(_)))), "{declined:?}: looks up instead");
        case.learn(&Note::Handed(document()));
        case.learn(&Note::Creating);
        let mut slow = machine(machine_of(case.id(), &mark()));
        for phase in [Phase::Creating, Phase::Starting, Phase::Stopped] {
            slow.phase = phase;
            let declined = at(&case, OnHost::Here(&slow), 105);
            assert!(matches!(declined, Some(Action::Note(Note::Failed(_)))), "{declined:?} while {:?}", slow.phase);
        }
    }
}

#[test]
fn nothing_may_take_longer_than_until_the_next_decision_is_due() {
    let left = |world: &world::World, at| time_left(Some(&world.on_chain()), UnixTime(OPENED + at), &world.policy);
    let (lease, job) = (lease_world(), job_world());
    assert_eq!([0, 104, 105].map(|at| left(&lease, at)), [Some(Seconds(105)), Some(Seconds(1)), None]);
    let table = [0, 104, 105, 304, 305].map(|at| left(&job, at).map(|s| s.0));
    assert_eq!(table, [Some(105), Some(1), Some(200), Some(1), None]);
    assert_eq!(time_left(None, UnixTime(OPENED), &job.policy), None);
}

#[test]
fn only_machines_named_like_an_agreement_can_be_orphans() {
    let ours = ["lease-7", "lease-8", "job-9", "lease-07", "lease-x", "job-"].map(|name| format!("{name}-{}", mark()));
    let names = ours.iter().map(String::as_str).chain(["web1", "lease-8", "lease-8-02020202"]);
    let host = names.map(|n| n.parse::<MachineId>().map(|id| (id.clone(), machine(id))));
    let host: BTreeMap<_, _> = host.flatten().collect();
    let case = lease_world().case();
    let cases = BTreeMap::from([(case.id(), case)]);
    let found: Vec<_> = orphans(&cases, &host, &mark()).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["job-9", "lease-8"].map(|name| format!("{name}-{}", mark())));
}

//! Decisions in a simulated world: generated stories, and by hand what they hardly reach.

mod job;
mod lease;
mod stories;
mod world;

use super::*;
use stories::{Story, live};
use world::{NO_ROOM, OPENED, document, job_world, lease_world, machine};

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
        assert_eq!(world.case().document, Some(document()));
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

//! What only leases do.

use sublet_base::{Amount, Seconds};
use sublet_chain::LeaseState;
use sublet_machine::Phase;
use sublet_market::agreement::{Caller, LeaseCall};

use super::stories::{Story, live};
use super::world::{World, lease_world};
use crate::decide::{Action, OnChain, OnHost, Send, decide};

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

fn running() -> World {
    let mut world = lease_world();
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.guest_succeeds();
    world.settle_down();
    world
}

#[test]
fn a_top_up_in_the_last_moment_costs_no_pledge() {
    let mut world = running();
    world.pass_time(200);
    world.settle_down();
    world.pass_time(u64::from(world.policy.grace.0) - 20);
    world.beat();
    world.pass_time(20);
    let machine = world.machine.clone().expect("stopped, not deleted");
    let (case, chain) = (world.case(), world.on_chain());
    let close = decide(&case, Some(&chain), OnHost::Here(&machine), world.now(), &world.policy);
    assert_eq!(close, Some(Action::Send(Send::CloseLease { max_penalty: Amount::ZERO })));
    assert!(world.call_lease(LeaseCall::TopUp(Seconds(50)), Caller::Renter), "topped up before the close lands");
    assert!(!world.send(&Send::CloseLease { max_penalty: Amount::ZERO }), "the contract refuses it");
    world.settle_down();
    assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Running), "decided again, and started");
    assert_eq!(world.slashed, 0);
}

#[test]
fn a_lost_machine_costs_the_notice_that_was_owed_and_no_more() {
    let mut world = running();
    live(&mut world, Story::MachineLost);
    world.settle_down();
    world.pass_time(u64::from(world.policy.patience.0));
    let close = decide(&world.case(), Some(&world.on_chain()), OnHost::Absent, world.now(), &world.policy);
    assert_eq!(close, Some(Action::Send(Send::CloseLease { max_penalty: Amount(1_000) })));
    world.settle_down();
    assert_eq!((world.over(), world.slashed), (true, 1_000));
}

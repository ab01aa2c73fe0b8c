//! What only leases do.

use sublet_chain::LeaseState;
use sublet_machine::Phase;

use super::stories::{Story, live};
use super::world::lease_world;
use crate::decide::OnChain;

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

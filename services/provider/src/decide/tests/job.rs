//! What only jobs do.

use sublet_chain::JobState;

use super::stories::{Story, live};
use super::world::job_world;
use crate::decide::OnChain;

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

//! What only jobs do.

use sublet_base::{Address, B256, Seconds, UnixTime};
use sublet_chain::{DisputeRecord, DisputeStage, JobState};
use sublet_machine::Phase;
use sublet_market::{Class, MediatorSetId};

use super::stories::{Story, live};
use super::world::{Kill, OPENED, document, job_world, job_world_of};
use crate::decide::{Action, OnChain, OnHost, Policy, Send, decide};

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

#[test]
fn a_contract_that_is_called_back_is_not_waited_for() {
    let mut world = job_world();
    world.placed = Some(document());
    world.settle_down();
    world.guest_succeeds();
    live(&mut world, Story::Step(Kill::Never));
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Job(j) if j.state == JobState::Submitted));
}

/// The contract takes an acceptance as long as nobody expires the job; its own provider must not be the one.
#[test]
fn an_acceptance_is_settled_even_after_the_last_second_to_submit() {
    let mut world = job_world();
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.guest_succeeds();
    live(&mut world, Story::Step(Kill::Never));
    live(&mut world, Story::RenterAccepts);
    world.pass_time(100_000);
    world.settle_down();
    assert!(world.over());
    world.run_out();
    assert_eq!((world.earned, world.slashed), (30, 0));
}

/// A contract account may sign what it denies later: that must cost the provider nothing but a transaction.
#[test]
fn an_acceptance_that_is_never_settled_does_not_keep_the_result_back() {
    let mut world = job_world();
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.guest_succeeds();
    live(&mut world, Story::Step(Kill::Never));
    live(&mut world, Story::RenterAccepts);
    world.till = false;
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Job(j) if j.state == JobState::Open));
    world.pass_time(305);
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Job(j) if j.state == JobState::Submitted));
    world.pass_time(51);
    world.settle_down();
    assert!(world.over());
    world.run_out();
    assert_eq!((world.earned, world.slashed), (30, 0));
}

/// A host that crashed may still have the machine, and not know any more what the task's result was.
#[test]
fn a_result_that_the_host_forgot_is_not_declared() {
    let mut world = job_world();
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.guest_succeeds();
    live(&mut world, Story::Step(Kill::Never));
    assert!(world.case().finished.is_some());
    let forgetful = world.machine.as_mut().expect("a machine");
    (forgetful.result, forgetful.phase) = (None, Phase::Stopped);
    world.policy.acceptance_wait = Seconds(0);
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Job(j) if j.state == JobState::Open), "{:?}", world.on_chain());
    world.pass_time(61);
    world.settle_down();
    assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Running), "it is run again");
}

/// What the host did is not the renter's doing, nor worth the pledge.
#[test]
fn a_machine_that_dies_with_its_host_is_run_again() {
    let cases =
        [Class::None, Class::Exact].map(|class| [Story::MachineDies, Story::MachineVanishes].map(|s| (class, s)));
    for (class, death) in cases.into_iter().flatten() {
        let mut world = job_world_of(class);
        live(&mut world, Story::HandOver);
        world.settle_down();
        world.pass_time(20);
        live(&mut world, death);
        world.host_up = false;
        // Longer than its timeout.
        world.pass_time(60);
        world.settle_down();
        world.host_up = true;
        world.settle_down();
        assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Running), "{class:?}");
        assert_eq!((world.case().verdict, world.case().failed), (None, None), "{class:?}");
        world.guest_succeeds();
        world.run_out();
        assert_eq!((world.earned, world.slashed), (30, 0), "{class:?}");
    }
}

#[test]
fn a_machine_that_keeps_stopping_cannot_outlast_the_time_for_its_job() {
    let mut world = job_world();
    live(&mut world, Story::HandOver);
    for _ in 0..5 {
        world.settle_down();
        world.pass_time(59);
        live(&mut world, Story::MachineDies);
    }
    assert!(world.case().verdict.is_none(), "it may still end well");
    world.settle_down();
    world.pass_time(10);
    world.settle_down();
    assert!(matches!(world.on_chain(), OnChain::Job(j) if j.state == JobState::Submitted));
    world.run_out();
    assert_eq!(world.slashed, 0);
}

/// Others who run it again come to the same archive.
#[test]
fn a_timeout_is_a_result_of_an_exact_job_too() {
    let mut world = job_world_of(Class::Exact);
    live(&mut world, Story::HandOver);
    world.settle_down();
    world.pass_time(61);
    world.settle_down();
    assert_eq!(world.case().verdict.map(|v| v.exit_code), Some(124));
    assert_eq!(world.machine.as_ref().map(|m| m.phase.clone()), Some(Phase::Stopped), "it does not run on");
    world.run_out();
    assert_eq!((world.earned, world.slashed), (600, 0));
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
        live(&mut world, Story::MachineDies);
    }
    world.settle_down();
    assert_eq!(world.case().verdict.map(|v| v.exit_code), Some(125));
}

#[test]
fn what_mediators_leave_undone_is_done_late() {
    let dispute = |stage| DisputeRecord {
        stage,
        renter: Address::repeat_byte(2),
        provider: Address::repeat_byte(1),
        mediator_set: MediatorSetId(1),
        result: B256::repeat_byte(7),
        duration: Seconds(60),
        electorate: 3,
        draw_from: 100,
        draw_until: 355,
        commit_by: Some(UnixTime(OPENED + 100)),
        reveal_by: Some(UnixTime(OPENED + 200)),
        panel: vec![],
    };
    let world = job_world();
    let next = |stage, block, now| {
        let chain = OnChain::Disputed { dispute: Box::new(dispute(stage)), block };
        decide(&world.case(), Some(&chain), OnHost::Absent, UnixTime(OPENED + now), &Policy::default())
    };
    use DisputeStage as D;
    let send = |send| Some(Action::Send(send));
    assert_eq!((next(D::Armed, 159, 0), next(D::Armed, 160, 0)), (None, send(Send::DrawPanel)));
    assert_eq!((next(D::Over, 0, 259), next(D::Over, 0, 260)), (None, send(Send::ResolveDispute)));
    for waiting in [D::Commit, D::Reveal, D::Resolved] {
        assert_eq!(next(waiting, 10_000, 10_000), None, "{waiting}");
    }
}

//! Whatever happens in whatever order, kills included, an agreement ends with no machine left and no money held.

use proptest::prelude::*;
use sublet_base::{Amount, Seconds};
use sublet_machine::{Guest, Observed, Phase};
use sublet_market::agreement::{Caller, JobCall, LeaseCall};

use super::world::{Kill, World, acceptance, document, job_world, lease_world};
use crate::case::Note;

#[derive(Clone, Copy, Debug)]
pub(super) enum Story {
    Step(Kill),
    Wait(u64),
    Beat,
    HandOver,
    GuestSucceeds,
    MachineDies,
    MachineVanishes,
    GuestGivesUp,
    MachineLost,
    MachineFails,
    HostToggles,
    RoomToggles,
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
        1 => Just(Story::MachineDies),
        1 => Just(Story::MachineVanishes),
        1 => Just(Story::GuestGivesUp),
        1 => Just(Story::MachineLost),
        1 => Just(Story::MachineFails),
        1 => Just(Story::HostToggles),
        1 => Just(Story::RoomToggles),
        1 => Just(Story::RenterAccepts),
        1 => (0u8..4).prop_map(Story::RenterCalls),
        1 => Just(Story::TopUp),
    ];
    prop::collection::vec(story, 0..60)
}

pub(super) fn live(world: &mut World, story: Story) {
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
        Story::MachineDies => world.host_finds(Observed::Stopped),
        Story::MachineVanishes => world.host_finds(Observed::Absent),
        Story::GuestGivesUp => {
            if let Some(machine) = world.machine.as_mut().filter(|m| m.phase == Phase::Running) {
                machine.guest = Guest::GaveUp { reason: "no such program".into() };
            }
        }
        Story::MachineLost => world.machine = None,
        Story::MachineFails => world.set_phase(Phase::Failed("broken".into())),
        Story::HostToggles => world.host_up = !world.host_up,
        Story::RoomToggles => world.room = !world.room,
        Story::RenterAccepts => {
            if world.case().finished.is_some() {
                world.notes.push(Note::Accepted(Some(Box::new(acceptance()))));
            }
        }
        Story::RenterCalls(which) => {
            world.call_lease(
                [LeaseCall::Cancel, CLOSE, LeaseCall::Settle, LeaseCall::Expire][usize::from(which)],
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

/// As a renter closes, whom it costs no pledge.
const CLOSE: LeaseCall = LeaseCall::Close { max_penalty: Amount::ZERO };

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

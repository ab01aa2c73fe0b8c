//! Whatever happens in whatever order, kills included: one vote at most, which is true, and nothing is left.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Act(Kill),
    Ask,
    Guest,
    Others,
    Pass(u64),
    Host(bool),
    HostLoses,
}

fn step() -> impl Strategy<Value = Step> {
    let kill = prop_oneof![3 => Just(Kill::Never), 1 => Just(Kill::BeforeEffect), 1 => Just(Kill::AfterEffect)];
    prop_oneof![
        6 => kill.prop_map(Step::Act),
        2 => Just(Step::Ask),
        2 => Just(Step::Guest),
        1 => Just(Step::Others),
        2 => (1u64..400).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Host),
        1 => Just(Step::HostLoses),
    ]
}

fn truth() -> impl Strategy<Value = Truth> {
    let gives = prop_oneof![Just(Some(SUBMITTED)), Just(Some(OTHER)), Just(None)];
    (any::<bool>(), any::<bool>(), gives).prop_map(|(gives_document, shows, gives)| Truth {
        gives_document,
        gives_archive: gives_document && shows,
        gives,
    })
}

proptest! {
    #[test]
    fn whatever_happens_one_vote_at_most_and_nothing_left(truth in truth(), story in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new(truth);
        for step in story {
            match step {
                Step::Act(kill) => drop(world.act(kill)),
                Step::Ask => world.ask(),
                Step::Guest => world.run_guest(),
                Step::Others => world.others(SUBMITTED),
                Step::Pass(seconds) => world.pass_time(seconds),
                Step::Host(up) => world.host_up = up,
                Step::HostLoses => world.machine = None,
            }
            prop_assert!(world.committed.len() <= 1, "a second vote");
        }
        world.calm(SUBMITTED);
        prop_assert!(world.over());
        prop_assert!(world.machine.is_none() && !world.file, "something is left");
        prop_assert_eq!(world.committed.len(), world.revealed.len(), "what is committed is revealed");
        // A vote is never made up.
        for vote in &world.revealed {
            let honest = match *vote {
                B256::ZERO => !truth.gives_archive && truth.gives != Some(OTHER) || !truth.gives_document,
                hash => Some(hash) == truth.gives && truth.gives_document,
            };
            prop_assert!(honest, "{truth:?} gave the vote {vote}");
        }
    }
}

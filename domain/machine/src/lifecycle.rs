//! A machine's life on its host, as a state machine: events in, effects out, nothing done here.
//!
//! ```text
//! Creating ─▶ Stopped ◀─▶ Starting ─▶ Running ◀─▶ Pausing/Resuming ◀─▶ Paused
//!     │          ▲                       │ stop, task over, gave up       │
//!     ▼          └────── Stopping ◀──────┴────────────────────────────────┘
//!   Failed            delete, from anywhere: Deleting ─▶ Deleted (terminal)
//! ```
//! The caller stores the state after each event and before it acts on the effects. After a crash it loads the state,
//! looks at the machine, and applies [`Event::Observed`]: the effects finish whatever was under way.
//! One operation is under way at a time. A delete that comes meanwhile cuts a stop short, waits for anything else, and
//! then beats everything.

use serde::{Deserialize, Serialize};
use sublet_base::Seconds;
use thiserror::Error;

use crate::Observed;

/// How long a machine is asked to stop when nobody said.
pub const DEFAULT_GRACE: Seconds = Seconds(10);

/// Where a machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its disks are being made.
    Creating,
    /// It exists, nothing runs.
    Stopped,
    /// Its process is being started.
    Starting,
    /// Its process runs; [`Guest`] says how far it is inside.
    Running,
    /// It is being paused.
    Pausing,
    /// Its processors stand still.
    Paused,
    /// They are about to go on.
    Resuming,
    /// It is being stopped.
    Stopping,
    /// Something failed for good; only a delete is left.
    Failed(String),
    /// Its traces are being removed.
    Deleting,
    /// Nothing is left.
    Deleted,
}

/// What the inside of the machine has reported since its last start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guest {
    /// Nothing yet.
    Silent,
    /// A login answers.
    Ready {
        /// `ssh-ed25519 AAAA…`.
        ssh_host_key: String,
    },
    /// The task ended and its result is stored.
    Exited {
        /// Exit code, or 128 + signal.
        code: i32,
    },
    /// It could not do what it was told, or broke a limit. Never said of what the host could not do.
    GaveUp {
        /// Why.
        reason: String,
    },
}

/// What happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to run.
    Start,
    /// Somebody wants it to stop.
    Stop(Seconds),
    /// Somebody wants it to stand still.
    Pause,
    /// Somebody wants it to go on.
    Resume,
    /// Somebody wants it gone.
    Delete,
    /// Somebody wants it gone that a restarted host cannot look at: whatever was under way is nobody's.
    DeleteUnseen,
    /// The operation under way succeeded.
    Done,
    /// The operation under way failed.
    Undone(String),
    /// The guest reported.
    Reported(Guest),
    /// Somebody looked: after a restart of the host, or because the channel broke.
    Observed(Observed),
}

/// What the host must do next, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Call the driver's `create`.
    Create,
    /// Call `start`.
    Start,
    /// Tell the guest to shut down, then call `stop`.
    Stop(Seconds),
    /// Call `pause`.
    Pause,
    /// Call `resume`.
    Resume,
    /// Call `kill` while the stop goes on.
    Kill,
    /// Call `delete`.
    Delete,
    /// Connect to the guest channel, unless connected.
    Listen,
    /// Leave the guest channel.
    HangUp,
}

/// Why an event was refused. The state did not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Another operation is under way; try again when it is over.
    #[error("the machine is {0:?}; try again when that is over")]
    Busy(Phase),
    /// The phase never allows it.
    #[error("the machine is {0:?}, which does not allow it")]
    WrongPhase(Phase),
    /// The task ran once and its result stands.
    #[error("the machine's task has ended; create another machine to run it again")]
    TaskOver,
}

/// A machine's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    phase: Phase,
    guest: Guest,
    doomed: bool,
}

impl Lifecycle {
    /// A machine that is being created; the first effect is [`Effect::Create`].
    #[must_use]
    pub fn new() -> Self {
        Self { phase: Phase::Creating, guest: Guest::Silent, doomed: false }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What its inside reported.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// True while the host is working on it: [`Event::Done`] or [`Event::Undone`] is still to come.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self.phase {
            Phase::Creating
            | Phase::Starting
            | Phase::Pausing
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Deleting => true,
            Phase::Stopped | Phase::Running | Phase::Paused | Phase::Failed(_) | Phase::Deleted => false,
        }
    }

    /// Takes the event and says what to do.
    ///
    /// # Errors
    /// [`Denied`]; the state is then as before.
    pub fn apply(&mut self, event: Event) -> Result<Vec<Effect>, Denied> {
        match event {
            Event::Start => self.start(),
            Event::Stop(grace) => self.stop(grace),
            Event::Pause => self.pause(),
            Event::Resume => self.resume(),
            Event::Delete => Ok(self.delete()),
            Event::DeleteUnseen => Ok(self.delete_unseen()),
            Event::Done => self.done(),
            Event::Undone(reason) => self.undone(reason),
            Event::Reported(guest) => Ok(self.reported(guest)),
            Event::Observed(observed) => Ok(self.observed(observed)),
        }
    }

    fn start(&mut self) -> Result<Vec<Effect>, Denied> {
        match self.phase {
            Phase::Starting | Phase::Running => Ok(vec![]),
            Phase::Stopped if matches!(self.guest, Guest::Exited { .. }) => Err(Denied::TaskOver),
            Phase::Stopped => {
                self.guest = Guest::Silent;
                self.phase = Phase::Starting;
                Ok(vec![Effect::Start])
            }
            _ => Err(self.denied()),
        }
    }

    fn stop(&mut self, grace: Seconds) -> Result<Vec<Effect>, Denied> {
        match self.phase {
            Phase::Stopped | Phase::Stopping => Ok(vec![]),
            Phase::Running | Phase::Paused => {
                self.phase = Phase::Stopping;
                Ok(vec![Effect::Stop(grace)])
            }
            _ => Err(self.denied()),
        }
    }

    fn pause(&mut self) -> Result<Vec<Effect>, Denied> {
        match self.phase {
            Phase::Paused | Phase::Pausing => Ok(vec![]),
            Phase::Running => {
                self.phase = Phase::Pausing;
                Ok(vec![Effect::Pause])
            }
            _ => Err(self.denied()),
        }
    }

    fn resume(&mut self) -> Result<Vec<Effect>, Denied> {
        match self.phase {
            Phase::Running | Phase::Resuming => Ok(vec![]),
            Phase::Paused => {
                self.phase = Phase::Resuming;
                Ok(vec![Effect::Resume])
            }
            _ => Err(self.denied()),
        }
    }

    fn delete(&mut self) -> Vec<Effect> {
        match self.phase {
            Phase::Deleting | Phase::Deleted => vec![],
            Phase::Stopping => {
                self.doomed = true;
                vec![Effect::Kill]
            }
            Phase::Creating | Phase::Starting | Phase::Pausing | Phase::Resuming => {
                self.doomed = true;
                vec![]
            }
            Phase::Stopped | Phase::Running | Phase::Paused | Phase::Failed(_) => {
                self.phase = Phase::Deleting;
                vec![Effect::HangUp, Effect::Delete]
            }
        }
    }

    fn delete_unseen(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Deleted {
            return vec![];
        }
        self.doomed = false;
        self.phase = Phase::Deleting;
        vec![Effect::HangUp, Effect::Delete]
    }

    fn done(&mut self) -> Result<Vec<Effect>, Denied> {
        let (next, effects) = match self.phase {
            Phase::Creating => (Phase::Stopped, vec![]),
            Phase::Starting => (Phase::Running, vec![Effect::Listen]),
            Phase::Pausing => (Phase::Paused, vec![Effect::HangUp]),
            Phase::Resuming => (Phase::Running, vec![Effect::Listen]),
            Phase::Stopping => (Phase::Stopped, vec![Effect::HangUp]),
            Phase::Deleting => (Phase::Deleted, vec![]),
            Phase::Stopped | Phase::Running | Phase::Paused | Phase::Failed(_) | Phase::Deleted => {
                return Err(self.denied());
            }
        };
        Ok(self.settle(next, effects))
    }

    fn undone(&mut self, reason: String) -> Result<Vec<Effect>, Denied> {
        let (next, effects) = match self.phase {
            Phase::Creating | Phase::Starting | Phase::Stopping | Phase::Deleting => (Phase::Failed(reason), vec![]),
            Phase::Pausing => (Phase::Running, vec![Effect::Listen]),
            Phase::Resuming => (Phase::Paused, vec![]),
            Phase::Stopped | Phase::Running | Phase::Paused | Phase::Failed(_) | Phase::Deleted => {
                return Err(self.denied());
            }
        };
        if self.phase == Phase::Deleting {
            // Deleting again at once would spin; whoever wants it gone asks again.
            self.phase = next;
            self.doomed = false;
            return Ok(effects);
        }
        Ok(self.settle(next, effects))
    }

    /// The operation under way is over: goes where it led, or does what came meanwhile, a delete or the guest's end.
    fn settle(&mut self, next: Phase, effects: Vec<Effect>) -> Vec<Effect> {
        self.phase = next;
        if self.doomed && self.phase != Phase::Deleted {
            self.doomed = false;
            return self.delete();
        }
        if self.is_over() && matches!(self.phase, Phase::Running | Phase::Paused) {
            self.phase = Phase::Stopping;
            return vec![Effect::Stop(DEFAULT_GRACE)];
        }
        effects
    }

    /// True once the guest has said its last word.
    fn is_over(&self) -> bool {
        match self.guest {
            Guest::Exited { .. } | Guest::GaveUp { .. } => true,
            Guest::Silent | Guest::Ready { .. } => false,
        }
    }

    fn reported(&mut self, guest: Guest) -> Vec<Effect> {
        // One that reports after its last word, or after a stop, is late.
        if self.is_over() || !matches!(self.phase, Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming) {
            return vec![];
        }
        self.guest = guest;
        if self.is_busy() { vec![] } else { self.settle(self.phase.clone(), vec![]) }
    }

    fn observed(&mut self, seen: Observed) -> Vec<Effect> {
        let alive = matches!(seen, Observed::Running | Observed::Paused);
        match self.phase {
            Phase::Creating => vec![Effect::Create],
            Phase::Deleting => vec![Effect::Delete],
            Phase::Stopping if alive => vec![Effect::Stop(DEFAULT_GRACE)],
            Phase::Starting if seen == Observed::Stopped => vec![Effect::Start],
            Phase::Pausing if seen == Observed::Running => vec![Effect::Pause],
            Phase::Resuming if seen == Observed::Paused => vec![Effect::Resume],
            Phase::Stopped if alive => {
                self.phase = Phase::Stopping;
                vec![Effect::Stop(DEFAULT_GRACE)]
            }
            Phase::Stopped | Phase::Stopping if seen == Observed::Stopped => self.settle(Phase::Stopped, vec![]),
            Phase::Failed(_) | Phase::Deleted => vec![],
            Phase::Starting | Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming if alive => {
                self.found_alive(seen)
            }
            Phase::Stopped
            | Phase::Starting
            | Phase::Running
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming
            | Phase::Stopping => self.found_dead(seen),
        }
    }

    fn found_alive(&mut self, seen: Observed) -> Vec<Effect> {
        match seen {
            // Its guest can say nothing, so nobody waits for it.
            Observed::Paused => self.settle(Phase::Paused, vec![Effect::HangUp]),
            _ => self.settle(Phase::Running, vec![Effect::Listen]),
        }
    }

    fn found_dead(&mut self, seen: Observed) -> Vec<Effect> {
        // Why it died nobody said, so it is not the guest's word: it may be started again.
        let next =
            if seen == Observed::Stopped { Phase::Stopped } else { Phase::Failed("the machine has vanished".into()) };
        self.settle(next, vec![Effect::HangUp])
    }

    fn denied(&self) -> Denied {
        if self.is_busy() { Denied::Busy(self.phase.clone()) } else { Denied::WrongPhase(self.phase.clone()) }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(life: &mut Lifecycle, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        events.into_iter().flat_map(|event| life.apply(event).expect("allowed")).collect()
    }

    #[test]
    fn a_task_runs_ends_and_is_stopped_but_never_runs_twice() {
        let mut life = Lifecycle::new();
        let effects = run(
            &mut life,
            [Event::Done, Event::Start, Event::Done, Event::Reported(Guest::Exited { code: 3 }), Event::Done],
        );
        assert_eq!(effects, [Effect::Start, Effect::Listen, Effect::Stop(DEFAULT_GRACE), Effect::HangUp]);
        assert_eq!((life.phase(), life.guest()), (&Phase::Stopped, &Guest::Exited { code: 3 }));
        assert_eq!(life.apply(Event::Start), Err(Denied::TaskOver));
    }

    #[test]
    fn a_delete_waits_for_the_operation_under_way_and_then_beats_it() {
        let mut life = Lifecycle::new();
        assert_eq!(life.apply(Event::Delete), Ok(vec![]));
        assert_eq!(run(&mut life, [Event::Done]), [Effect::HangUp, Effect::Delete]);
        assert_eq!(run(&mut life, [Event::Done]), []);
        assert_eq!(life.phase(), &Phase::Deleted);
    }

    #[test]
    fn a_delete_does_not_wait_for_a_stop_to_take_its_grace() {
        let mut life = Lifecycle::new();
        run(&mut life, [Event::Done, Event::Start, Event::Done, Event::Stop(Seconds(3600))]);
        assert_eq!(run(&mut life, [Event::Delete]), [Effect::Kill]);
        assert_eq!(run(&mut life, [Event::Done]), [Effect::HangUp, Effect::Delete]);
    }

    #[test]
    fn a_machine_that_died_while_the_host_was_away_said_nothing_and_may_run_again() {
        let mut life = Lifecycle::new();
        run(&mut life, [Event::Done, Event::Start, Event::Done]);
        assert_eq!(run(&mut life, [Event::Observed(Observed::Stopped)]), [Effect::HangUp]);
        assert_eq!((life.phase(), life.guest()), (&Phase::Stopped, &Guest::Silent));
        assert_eq!(run(&mut life, [Event::Start]), [Effect::Start]);
    }

    fn any_guest() -> impl Strategy<Value = Guest> {
        prop_oneof![
            Just(Guest::Ready { ssh_host_key: "k".into() }),
            any::<i32>().prop_map(|code| Guest::Exited { code }),
            Just(Guest::GaveUp { reason: "r".into() }),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Stop(Seconds(1))),
            Just(Event::Pause),
            Just(Event::Resume),
            Just(Event::Delete),
            Just(Event::DeleteUnseen),
            Just(Event::Done),
            Just(Event::Undone("no".into())),
            any_guest().prop_map(Event::Reported),
            prop_oneof![
                Just(Observed::Absent),
                Just(Observed::Stopped),
                Just(Observed::Running),
                Just(Observed::Paused)
            ]
            .prop_map(Event::Observed),
        ]
    }

    fn operations(effects: &[Effect]) -> usize {
        effects.iter().filter(|e| !matches!(e, Effect::Listen | Effect::HangUp | Effect::Kill)).count()
    }

    proptest! {
        /// An operation is ordered exactly when the machine becomes busy, so no two ever overlap and none is forgotten.
        #[test]
        fn busy_means_one_operation_under_way(events in prop::collection::vec(any_event(), 0..60)) {
            let mut life = Lifecycle::new();
            for event in events {
                let (before, was_busy) = (life.clone(), life.is_busy());
                let looked = matches!(event, Event::Observed(_) | Event::DeleteUnseen);
                match life.apply(event.clone()) {
                    Err(_) => prop_assert_eq!(&life, &before),
                    Ok(effects) => {
                        let ordered = operations(&effects);
                        prop_assert!(ordered <= 1, "{:?} after {:?}", effects, event);
                        let over = matches!(event, Event::Done | Event::Undone(_)) || looked;
                        if !was_busy || over {
                            prop_assert_eq!(ordered == 1, life.is_busy(), "{:?} {:?} -> {:?}", before, event, life);
                        } else {
                            prop_assert_eq!(ordered, 0, "{:?} {:?}", before, event);
                        }
                    }
                }
            }
        }

        /// Whatever happened, a delete and its answers lead to the end, and the end absorbs.
        #[test]
        fn a_delete_always_leads_to_the_end(events in prop::collection::vec(any_event(), 0..40)) {
            let mut life = Lifecycle::new();
            for event in events {
                life.apply(event).ok();
            }
            for _ in 0..2 {
                life.apply(Event::Delete).expect("a delete is always accepted");
                life.apply(Event::Done).ok();
            }
            if life.phase() != &Phase::Deleted {
                life.apply(Event::Done).expect("the delete is under way");
            }
            prop_assert_eq!(life.phase(), &Phase::Deleted);
            for event in [Event::Start, Event::Delete, Event::Done, Event::Observed(Observed::Running)] {
                life.apply(event).ok();
                prop_assert_eq!(life.phase(), &Phase::Deleted);
            }
        }

        /// A machine whose guest is over does not stay up.
        #[test]
        fn a_guest_that_is_over_is_stopped(events in prop::collection::vec(any_event(), 0..40)) {
            let mut life = Lifecycle::new();
            for event in events {
                life.apply(event).ok();
                prop_assert!(!(life.is_over() && matches!(life.phase(), Phase::Running | Phase::Paused)), "{:?}", life);
            }
        }

        /// What is stored is what is read back.
        #[test]
        fn it_survives_being_stored(events in prop::collection::vec(any_event(), 0..20)) {
            let mut life = Lifecycle::new();
            for event in events {
                life.apply(event).ok();
            }
            let text = serde_json::to_string(&life).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Lifecycle>(&text).expect("parses"), life);
        }
    }
}

//! Who has taken what. Refuses to promise more than there is.

use std::collections::BTreeMap;

use sublet_base::{GiB, MachineId, MiB, Vcpus};
use sublet_machine::Resources;
use thiserror::Error;

/// What is promised, to whom, out of what.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    total: Resources,
    taken: BTreeMap<MachineId, Resources>,
}

/// Not enough of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no room: {asked} {what} asked for, {free} of {total} free")]
pub(crate) struct Refused {
    what: &'static str,
    asked: u32,
    free: u32,
    total: u32,
}

impl Ledger {
    pub(crate) fn new(total: Resources) -> Self {
        Self { total, taken: BTreeMap::new() }
    }

    pub(crate) fn total(&self) -> Resources {
        self.total
    }

    /// What is left; nothing where more is taken than there is, as after capacity was lowered.
    pub(crate) fn free(&self) -> Resources {
        let sum = |of: fn(&Resources) -> u32| self.taken.values().map(|r| u64::from(of(r))).sum::<u64>();
        let left = |total: u32, taken: u64| u32::try_from(u64::from(total).saturating_sub(taken)).unwrap_or(0);
        Resources {
            vcpus: Vcpus(left(self.total.vcpus.0, sum(|r| r.vcpus.0))),
            memory: MiB(left(self.total.memory.0, sum(|r| r.memory.0))),
            disk: GiB(left(self.total.disk.0, sum(|r| r.disk.0))),
            pids: left(self.total.pids, sum(|r| r.pids)),
        }
    }

    /// Takes `wanted` for `id`, unless it is not there. Repeating it for the same machine changes nothing.
    pub(crate) fn take(&mut self, id: &MachineId, wanted: Resources) -> Result<(), Refused> {
        if self.taken.contains_key(id) {
            return Ok(());
        }
        let (free, total) = (self.free(), self.total);
        let needs = [
            ("vCPU", wanted.vcpus.0, free.vcpus.0, total.vcpus.0),
            ("MiB of memory", wanted.memory.0, free.memory.0, total.memory.0),
            ("GiB of disk", wanted.disk.0, free.disk.0, total.disk.0),
            ("processes", wanted.pids, free.pids, total.pids),
        ];
        match needs.into_iter().find(|(_, asked, free, _)| asked > free) {
            Some((what, asked, free, total)) => Err(Refused { what, asked, free, total }),
            None => {
                self.taken.insert(id.clone(), wanted);
                Ok(())
            }
        }
    }

    /// Counts what a machine has taken already, whether or not there is room.
    pub(crate) fn adopt(&mut self, id: &MachineId, taken: Resources) {
        self.taken.insert(id.clone(), taken);
    }

    /// Gives back what `id` has. Harmless if it has nothing.
    pub(crate) fn release(&mut self, id: &MachineId) {
        self.taken.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(vcpus: u32, memory: u32) -> Resources {
        Resources { vcpus: Vcpus(vcpus), memory: MiB(memory), disk: GiB(1), pids: 8 }
    }

    fn id(number: usize) -> MachineId {
        format!("m{number}").parse().expect("valid")
    }

    proptest! {
        #[test]
        fn it_never_promises_more_than_there_is(steps in prop::collection::vec((0usize..6, 1u32..8, 1u32..800, any::<bool>()), 0..80)) {
            let total = Resources { vcpus: Vcpus(16), memory: MiB(1600), disk: GiB(4), pids: 64 };
            let mut ledger = Ledger::new(total);
            for (number, vcpus, memory, take) in steps {
                if take {
                    ledger.take(&id(number), some(vcpus, memory)).ok();
                } else {
                    ledger.release(&id(number));
                }
                let sum: u32 = ledger.taken.values().map(|r| r.memory.0).sum();
                prop_assert!(sum <= total.memory.0);
                prop_assert_eq!(ledger.free().memory.0, total.memory.0 - sum);
                prop_assert!(ledger.taken.len() <= 4, "a GiB of disk each");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_short_and_a_release_makes_room() {
        let mut ledger = Ledger::new(some(2, 100));
        ledger.take(&id(1), some(1, 60)).expect("fits");
        let refused =
            ledger.take(&id(2), Resources { disk: GiB(0), pids: 0, ..some(1, 60) }).expect_err("does not fit");
        assert_eq!(refused.to_string(), "no room: 60 MiB of memory asked for, 40 of 100 free");
        ledger.release(&id(1));
        ledger.take(&id(2), some(1, 60)).expect("fits now");
    }
}

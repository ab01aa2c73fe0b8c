//! The provider's uptime: the clock that leases are billed by.

use sublet_base::{Seconds, UnixTime};

/// The contract's constants about beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest time one beat vouches for.
    pub max_gap: Seconds,
    /// Silence after which anyone may fault the provider's leases.
    pub fault_after: Seconds,
}

impl Default for Rules {
    /// The values the contract is compiled with.
    fn default() -> Self {
        Self { max_gap: Seconds(600), fault_after: Seconds(3600) }
    }
}

/// A provider's record: credited seconds and the last beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// Seconds credited at the last beat.
    pub credited: u64,
    /// When that was.
    pub last_beat: UnixTime,
}

impl Uptime {
    /// `U(now)`: monotone, continuous at a beat, stopped `max_gap` after it.
    #[must_use]
    pub fn at(&self, now: UnixTime, rules: &Rules) -> u64 {
        self.credited.saturating_add(now.since(self.last_beat).min(u64::from(rules.max_gap.0)))
    }

    /// The record after a beat.
    #[must_use]
    pub fn beat(&self, now: UnixTime, rules: &Rules) -> Self {
        Self { credited: self.at(now, rules), last_beat: now.max(self.last_beat) }
    }
}

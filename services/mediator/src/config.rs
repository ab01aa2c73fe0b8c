//! The `[mediator]` section.

use serde::{Deserialize, Serialize};
use sublet_base::{Amount, MiB, Seconds};
use sublet_chain::Rules;
use sublet_machine::DriverKind;
use sublet_market::MediatorSetId;
use thiserror::Error;

use crate::account::AccountPolicy;
use crate::decide::Policy;

/// How a mediator judges. Durations are seconds, money is token units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediatorConfig {
    /// What it is called in this home: names its folder.
    pub name: String,
    /// URL of the gateway that renters reach it through.
    pub relay: Option<String>,
    /// Bond to have posted. A vote that is not cast costs one fee of the set out of it.
    pub bond: Amount,
    /// Sets to serve. It must be a member of each.
    pub sets: Vec<MediatorSetId>,
    /// Which driver runs jobs again; the host chooses if absent.
    pub driver: Option<DriverKind>,
    /// How long a provider is asked in vain before its silence is a verdict; a quarter of the time to commit if absent.
    pub patience: Option<Seconds>,
    /// Keeps an archive for its renter for this long after the dispute.
    pub retention: Seconds,
    /// Largest archive taken from a provider, MiB. One that is larger counts as not handed over.
    pub max_archive_mib: u32,
    /// Withdraws when the free balance is above this; never if absent.
    pub withdraw_above: Option<Amount>,
    /// What a withdrawal leaves.
    pub keep: Amount,
    /// Where a new store starts to read: no later than the oldest dispute that is not over, such as the contract's deployment. The
    /// disputed jobs may be older.
    pub from_block: u64,
}

impl Default for MediatorConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            name: "mediator".into(),
            relay: None,
            bond: Amount::ZERO,
            sets: Vec::new(),
            driver: None,
            patience: None,
            retention: policy.retention,
            max_archive_mib: 2048,
            withdraw_above: None,
            keep: Amount::ZERO,
            from_block: 0,
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadConfig {
    /// It becomes a folder.
    #[error("`name` is made of a-z, 0-9 and -, at most 63 of them")]
    Name,
    /// Nobody could draw it.
    #[error("`bond` must not be zero")]
    NoBond,
    /// Nothing to do.
    #[error("`sets` names no set of mediators to serve")]
    NoSets,
    /// There is no set 0.
    #[error("there is no set 0: sets are numbered from 1")]
    SetZero,
    /// A verdict without asking.
    #[error("`patience` must be at least {} s", MIN_PATIENCE.0)]
    Patience,
}

/// Fewer seconds would turn a slow network into a verdict.
pub(crate) const MIN_PATIENCE: Seconds = Seconds(5);

impl MediatorConfig {
    /// Refuses what cannot work, before anything is done.
    ///
    /// # Errors
    /// [`BadConfig`], the first reason found.
    pub fn check(&self) -> Result<(), BadConfig> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=63).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return Err(BadConfig::Name);
        }
        if self.bond == Amount::ZERO {
            return Err(BadConfig::NoBond);
        }
        if self.sets.is_empty() {
            return Err(BadConfig::NoSets);
        }
        if self.sets.contains(&MediatorSetId(0)) {
            return Err(BadConfig::SetZero);
        }
        if self.patience.is_some_and(|p| p < MIN_PATIENCE) { Err(BadConfig::Patience) } else { Ok(()) }
    }

    /// The habits decisions are made by.
    pub(crate) fn policy(&self, rules: &Rules) -> Policy {
        let commit_slack = rules.court.commit_slack;
        Policy { patience: self.patience, retention: self.retention, commit_slack, ..Policy::default() }
    }

    pub(crate) fn account_policy(&self) -> AccountPolicy {
        AccountPolicy { bond: self.bond, withdraw_above: self.withdraw_above, keep: self.keep }
    }

    /// Largest archive taken from a provider, bytes.
    pub(crate) fn max_archive(&self) -> u64 {
        MiB(self.max_archive_mib).bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let good = MediatorConfig { bond: Amount(1), sets: vec![MediatorSetId(1)], ..MediatorConfig::default() };
        assert_eq!(good.check(), Ok(()));
        let bad = [
            (MediatorConfig { name: "../x".into(), ..good.clone() }, BadConfig::Name),
            (MediatorConfig { bond: Amount::ZERO, ..good.clone() }, BadConfig::NoBond),
            (MediatorConfig { sets: vec![], ..good.clone() }, BadConfig::NoSets),
            (MediatorConfig { sets: vec![MediatorSetId(0)], ..good.clone() }, BadConfig::SetZero),
            (MediatorConfig { patience: Some(Seconds(4)), ..good.clone() }, BadConfig::Patience),
        ];
        for (config, why) in bad {
            assert_eq!(config.check(), Err(why));
        }
    }
}

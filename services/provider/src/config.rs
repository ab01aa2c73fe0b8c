//! The `[provider]` section.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, Bps, Price, Seconds, UnixTime};
use sublet_machine::DriverKind;
use sublet_market::{InvalidDocument, Kind, MediatorSetId, Resources};
use thiserror::Error;

use crate::decide::{AccountPolicy, Policy};
use crate::offers::{self, Signing};

/// The contract's limit for a provider's info, bytes.
const MAX_INFO: usize = 512;

/// How a provider rents out its host. Durations are seconds, money is token units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// What it calls itself, for people.
    pub name: String,
    /// URL of the gateway it is reached through, if it has no address of its own.
    pub relay: Option<String>,
    /// What it offers.
    pub offers: Vec<OfferConfig>,
    /// How long an offer is signed for; renewed when three quarters are over.
    pub offer_validity: Seconds,
    /// Beats this often.
    pub beat_every: Seconds,
    /// Stops beating when the host has been silent for this long.
    pub host_patience: Seconds,
    /// Collects rent when this much is owed.
    pub settle_every: Seconds,
    /// Keeps a lease's disk for this long after its rent ran out.
    pub grace: Seconds,
    /// Waits this long for a renter's acceptance before a result goes on chain.
    pub acceptance_wait: Seconds,
    /// Keeps a result nobody fetched for this long after its job ended.
    pub retention: Seconds,
    /// Withdraws when the free balance is above this; never if absent.
    pub withdraw_above: Option<Amount>,
    /// What a withdrawal leaves for pledges.
    pub keep: Amount,
    /// Block in which the contract was deployed: where a new store starts to read.
    pub from_block: u64,
}

/// One offer. Its capacity is measured on the host unless it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferConfig {
    /// Distinguishes it from the provider's other offers.
    pub name: String,
    /// Lease or job.
    pub kind: Kind,
    /// What each agreement gets.
    pub resources: Resources,
    /// Token units a second.
    pub price: Price,
    /// Which driver its machines use; the host chooses if absent.
    #[serde(default)]
    pub driver: Option<DriverKind>,
    /// Agreements at once; as many as its share of the host has room for if absent.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// Collateral as a share of the escrow, 10 000 is 1:1.
    #[serde(default = "defaults::pledge")]
    pub pledge_bps: Bps,
    /// Shortest agreement.
    #[serde(default = "defaults::min_duration")]
    pub min_duration: Seconds,
    /// Longest agreement.
    #[serde(default = "defaults::max_duration")]
    pub max_duration: Seconds,
    /// Starts within this, or pays.
    #[serde(default = "defaults::start_within")]
    pub start_within: Seconds,
    /// Warning before it ends a lease.
    #[serde(default = "defaults::notice")]
    pub notice: Seconds,
    /// A lease costs at least this long.
    #[serde(default = "defaults::min_charge")]
    pub min_charge: Seconds,
    /// Who judges; 0 for nobody.
    #[serde(default)]
    pub mediator_set: MediatorSetId,
    /// Longest challenge window it puts up with.
    #[serde(default = "defaults::window")]
    pub max_challenge_window: Seconds,
}

mod defaults {
    use sublet_base::{Bps, Seconds};

    pub(super) fn pledge() -> Bps {
        Bps(10_000)
    }
    pub(super) fn min_duration() -> Seconds {
        Seconds(10)
    }
    pub(super) fn max_duration() -> Seconds {
        Seconds(30 * 24 * 3600)
    }
    pub(super) fn start_within() -> Seconds {
        Seconds(300)
    }
    pub(super) fn notice() -> Seconds {
        Seconds(3600)
    }
    pub(super) fn min_charge() -> Seconds {
        Seconds(60)
    }
    pub(super) fn window() -> Seconds {
        Seconds(24 * 3600)
    }
}

impl Default for ProviderConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            name: "provider".into(),
            relay: None,
            offers: Vec::new(),
            offer_validity: Seconds(7 * 24 * 3600),
            beat_every: Seconds(180),
            host_patience: Seconds(300),
            settle_every: policy.settle_every,
            grace: policy.grace,
            acceptance_wait: policy.acceptance_wait,
            retention: policy.retention,
            withdraw_above: None,
            keep: Amount::ZERO,
            from_block: 0,
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadConfig {
    /// Two offers have the same name.
    #[error("two offers are called `{0}`")]
    SameName(String),
    /// Nobody could open it.
    #[error("the offer `{name}` is refused: {why}")]
    Offer {
        /// Which.
        name: String,
        /// What is wrong.
        why: InvalidDocument,
    },
    /// What goes on chain is too long.
    #[error("name and relay together take {0} bytes on chain; the most is {MAX_INFO}")]
    InfoTooLong(usize),
    /// Beats would come too late.
    #[error("`beat_every` must be between 1 s and 300 s")]
    Beat,
}

impl ProviderConfig {
    /// Refuses what cannot work, before anything is done.
    ///
    /// # Errors
    /// [`BadConfig`], the first reason found.
    pub fn check(&self) -> Result<(), BadConfig> {
        if !(1..=300).contains(&self.beat_every.0) {
            return Err(BadConfig::Beat);
        }
        let info = self.info().len();
        if info > MAX_INFO {
            return Err(BadConfig::InfoTooLong(info));
        }
        for (position, wanted) in self.offers.iter().enumerate() {
            if self.offers[..position].iter().any(|o| o.name == wanted.name) {
                return Err(BadConfig::SameName(wanted.name.clone()));
            }
            // Everything but who and when.
            let sample =
                Signing { provider: Address::repeat_byte(1), epoch: 0, now: UnixTime(0), validity: Seconds(1) };
            let offer = offers::offer(wanted, wanted.capacity.unwrap_or(1), sample);
            offer.check().map_err(|why| BadConfig::Offer { name: wanted.name.clone(), why })?;
        }
        Ok(())
    }

    /// The habits decisions are made by.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            settle_every: self.settle_every,
            grace: self.grace,
            acceptance_wait: self.acceptance_wait,
            retention: self.retention,
            ..Policy::default()
        }
    }

    pub(crate) fn account_policy(&self) -> AccountPolicy {
        AccountPolicy {
            beat_every: self.beat_every,
            host_patience: self.host_patience,
            withdraw_above: self.withdraw_above,
            keep: self.keep,
        }
    }

    /// What goes on chain about this provider: a JSON object.
    pub(crate) fn info(&self) -> String {
        let mut info = serde_json::Map::new();
        info.insert("name".into(), self.name.clone().into());
        if let Some(relay) = &self.relay {
            info.insert("relay".into(), relay.clone().into());
        }
        serde_json::Value::Object(info).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(offers: serde_json::Value) -> ProviderConfig {
        serde_json::from_value(serde_json::json!({ "offers": offers })).expect("a configuration")
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let offer = |name: &str, price: u32| {
            serde_json::json!({ "name": name, "kind": "job", "price": price.to_string(),
                "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 1 } })
        };
        assert_eq!(config(serde_json::json!([offer("a", 1), offer("b", 1)])).check(), Ok(()));
        let twice = config(serde_json::json!([offer("a", 1), offer("a", 2)]));
        assert_eq!(twice.check(), Err(BadConfig::SameName("a".into())));
        let free = config(serde_json::json!([offer("a", 0)])).check();
        assert!(matches!(free, Err(BadConfig::Offer { .. })), "{free:?}");
        let wordy = ProviderConfig { name: "x".repeat(600), ..config(serde_json::json!([])) };
        assert!(matches!(wordy.check(), Err(BadConfig::InfoTooLong(_))));
        let lazy = ProviderConfig { beat_every: Seconds(601), ..config(serde_json::json!([])) };
        assert_eq!(lazy.check(), Err(BadConfig::Beat));
    }
}

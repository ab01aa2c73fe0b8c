//! The `[provider]` section.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, Bps, Price, Seconds, UnixTime};
use sublet_machine::DriverKind;
use sublet_market::{InvalidDocument, Kind, MediatorSetId, Resources};
use sublet_wire::provider::{BadInfo, ProviderInfo};
use thiserror::Error;

use crate::decide::{AccountPolicy, Policy};
use crate::offers::{self, Signing};

/// How a provider rents out its host. Durations are seconds, money is token units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// What it calls itself, for people; names its folder in the home too.
    pub name: String,
    /// URL of the gateway that it is reached through. There has to be one; who runs this fills it in from the network.
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
#[derive(Debug, Error)]
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
    /// Nobody could reach it.
    #[error("`relay` names no gateway")]
    NoGateway,
    /// Nobody would read what goes on chain about it.
    #[error("`name` and `relay` cannot be published")]
    Info(#[from] BadInfo),
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
        self.info()?;
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

    /// What goes on chain about this provider.
    pub(crate) fn info(&self) -> Result<String, BadConfig> {
        let relay = self.relay.clone().ok_or(BadConfig::NoGateway)?;
        Ok(ProviderInfo { name: self.name.clone(), relay }.to_text()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(offers: serde_json::Value) -> ProviderConfig {
        let config = serde_json::json!({ "relay": "http://127.0.0.1:3340", "offers": offers });
        serde_json::from_value(config).expect("a configuration")
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let offer = |name: &str, price: u32| {
            serde_json::json!({ "name": name, "kind": "job", "price": price.to_string(),
                "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 1 } })
        };
        let good = config(serde_json::json!([offer("a", 1), offer("b", 1)]));
        assert!(good.check().is_ok(), "{:?}", good.check());
        assert_eq!(good.info().expect("it can be published"), r#"{"name":"provider","relay":"http://127.0.0.1:3340"}"#);
        let twice = config(serde_json::json!([offer("a", 1), offer("a", 2)])).check();
        assert!(matches!(&twice, Err(BadConfig::SameName(name)) if name == "a"), "{twice:?}");
        let free = config(serde_json::json!([offer("a", 0)])).check();
        assert!(matches!(free, Err(BadConfig::Offer { .. })), "{free:?}");
        // What a renter would not read, it must not register; and the name becomes a folder.
        for name in ["", "My Computer", "../x", "a\nb", &"x".repeat(64)] {
            let named = ProviderConfig { name: name.into(), ..good.clone() }.check();
            assert!(matches!(named, Err(BadConfig::Info(BadInfo::Name))), "{name}: {named:?}");
        }
        let wordy = ProviderConfig { relay: Some(format!("http://{}", "x".repeat(500))), ..good.clone() }.check();
        assert!(matches!(wordy, Err(BadConfig::Info(BadInfo::TooLong(_)))), "{wordy:?}");
        let nowhere = ProviderConfig { relay: None, ..good.clone() }.check();
        assert!(matches!(nowhere, Err(BadConfig::NoGateway)), "{nowhere:?}");
        let lazy = ProviderConfig { beat_every: Seconds(601), ..good }.check();
        assert!(matches!(lazy, Err(BadConfig::Beat)), "{lazy:?}");
    }
}

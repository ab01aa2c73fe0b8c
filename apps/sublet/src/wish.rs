//! What a renter wants, before anybody agreed to it.

use rand::Rng;
use serde::Serialize;
use sublet_base::{Address, Amount, B256, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_market::{Class, Kind, MediatorSetId, Order, Resources};

use crate::limits::Limits;

/// A machine or a run of a module, and its limits.
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) resources: Resources,
    /// Most it may cost a second; without it, the price of the cheapest offer that fits now.
    pub(crate) max_price: Option<Price>,
    /// The worst terms that will do.
    pub(crate) bounds: Limits,
    pub(crate) duration: Seconds,
    pub(crate) check: Check,
    pub(crate) challenge_window: Seconds,
    /// Only this provider.
    pub(crate) provider: Option<Address>,
    /// The sealed workload and its hash.
    pub(crate) document: Vec<u8>,
    pub(crate) workload: B256,
}

/// How a job goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// The order's class.
    pub(crate) class: Class,
    /// Who judges; 0 for nobody.
    pub(crate) mediator_set: MediatorSetId,
    /// What a panel of theirs is paid, which the pledge has to cover.
    #[serde(skip)]
    pub(crate) panel_fees: Amount,
    /// Why nobody judges a result that its module would have judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unchecked: Option<String>,
}

impl Wish {
    /// The order of it, with a number of its own.
    pub(crate) fn order(
        &self,
        renter: Address,
        (max_price, limits): (Price, Limits),
        peer_key: PeerKey,
        valid_until: UnixTime,
    ) -> Order {
        Order {
            renter,
            kind: self.kind,
            resources: self.resources,
            max_price,
            duration: self.duration,
            workload: self.workload,
            peer_key,
            class: self.check.class,
            mediator_set: self.check.mediator_set,
            challenge_window: self.challenge_window,
            min_pledge_bps: limits.min_pledge,
            max_start_within: limits.max_start_within,
            min_notice: limits.min_notice,
            max_min_charge: limits.max_min_charge,
            provider: self.provider.unwrap_or(Address::ZERO),
            solver: Address::ZERO,
            solver_fee: Amount::ZERO,
            valid_until,
            nonce: U256::from_be_bytes(rand::rng().random::<[u8; 32]>()),
        }
    }

    /// The order as offers are held against it, whatever they cost.
    pub(crate) fn at_any_price(&self) -> Order {
        self.order(Address::ZERO, (Price(u128::MAX), self.bounds), PeerKey([0; 32]), UnixTime(0))
    }
}

impl Check {
    /// Nobody judges, and nobody was meant to.
    pub(crate) fn none() -> Self {
        Self { class: Class::None, mediator_set: MediatorSetId(0), panel_fees: Amount::ZERO, unchecked: None }
    }

    /// These mediators judge.
    pub(crate) fn exact(mediator_set: MediatorSetId, panel_fees: Amount) -> Self {
        Self { class: Class::Exact, mediator_set, panel_fees, unchecked: None }
    }

    /// For people, as one line.
    pub(crate) fn describe(&self) -> String {
        match (&self.unchecked, self.class) {
            (Some(why), _) => format!("judged by nobody: {why}"),
            (None, Class::Exact) => format!("judged by mediators of set {}", self.mediator_set.0),
            (None, Class::None) => "judged by nobody: a result of class none is accepted or refused".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unchecked_says_so() {
        let check = Check { unchecked: Some("because".into()), ..Check::none() };
        assert_eq!(check.describe(), "judged by nobody: because");
        let json = serde_json::to_value(&check).expect("JSON");
        assert_eq!(json, serde_json::json!({ "class": "none", "mediator_set": 0, "unchecked": "because" }));
        assert_eq!(serde_json::to_value(Check::none()).expect("JSON").get("unchecked"), None);
    }
}

//! The door: wire documents into the market's, every field inside its bounds, and back.

use sublet_base::{Bps, GiB, MiB, Seconds, U256, UnixTime, Vcpus};
use sublet_market as market;
use thiserror::Error;

use super::document::{Class, Kind, Offer, Order, Resources, SignedOffer, SignedOrder};

/// Largest whole number JSON carries safely through every language: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a wire document is no document of the market.
#[derive(Debug, Error)]
pub enum InvalidDocument {
    /// A number no JSON reader is sure to keep.
    #[error("{0} is above 2^53 - 1")]
    TooLarge(&'static str),
    /// Not hex, or too long.
    #[error("the signature cannot be read")]
    Signature(#[source] market::InvalidSignature),
    /// Its terms make no sense for anybody.
    #[error("the document makes no sense")]
    Terms(#[source] market::InvalidDocument),
}

fn bounded(value: u64, field: &'static str) -> Result<u64, InvalidDocument> {
    if value > MAX_SAFE_INTEGER { Err(InvalidDocument::TooLarge(field)) } else { Ok(value) }
}

impl From<Kind> for market::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Lease => Self::Lease,
            Kind::Job => Self::Job,
        }
    }
}

impl From<market::Kind> for Kind {
    fn from(kind: market::Kind) -> Self {
        match kind {
            market::Kind::Lease => Self::Lease,
            market::Kind::Job => Self::Job,
        }
    }
}

impl From<Class> for market::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::None => Self::None,
            Class::Exact => Self::Exact,
        }
    }
}

impl From<market::Class> for Class {
    fn from(class: market::Class) -> Self {
        match class {
            market::Class::None => Self::None,
            market::Class::Exact => Self::Exact,
        }
    }
}

impl From<Resources> for market::Resources {
    fn from(r: Resources) -> Self {
        Self {
            vcpus: Vcpus(r.vcpus),
            memory: MiB(r.memory_mib),
            disk: GiB(r.disk_gib),
            gpus: r.gpus,
            traits: market::Traits(r.traits),
        }
    }
}

impl From<market::Resources> for Resources {
    fn from(r: market::Resources) -> Self {
        Self { vcpus: r.vcpus.0, memory_mib: r.memory.0, disk_gib: r.disk.0, gpus: r.gpus, traits: r.traits.0 }
    }
}

impl TryFrom<Offer> for market::Offer {
    type Error = InvalidDocument;

    fn try_from(offer: Offer) -> Result<Self, InvalidDocument> {
        let document = Self {
            provider: offer.provider,
            kind: offer.kind.into(),
            resources: offer.resources.into(),
            price: offer.price,
            pledge_bps: Bps(offer.pledge_bps),
            capacity: offer.capacity,
            min_duration: Seconds(offer.min_duration),
            max_duration: Seconds(offer.max_duration),
            start_within: Seconds(offer.start_within),
            notice: Seconds(offer.notice),
            min_charge: Seconds(offer.min_charge),
            mediator_set: market::MediatorSetId(bounded(offer.mediator_set, "mediatorSet")?),
            max_challenge_window: Seconds(offer.max_challenge_window),
            valid_until: UnixTime(bounded(offer.valid_until, "validUntil")?),
            epoch: bounded(offer.epoch, "epoch")?,
        };
        document.check().map_err(InvalidDocument::Terms)?;
        Ok(document)
    }
}

impl From<market::Offer> for Offer {
    fn from(offer: market::Offer) -> Self {
        Self {
            provider: offer.provider,
            kind: offer.kind.into(),
            resources: offer.resources.into(),
            price: offer.price,
            pledge_bps: offer.pledge_bps.0,
            capacity: offer.capacity,
            min_duration: offer.min_duration.0,
            max_duration: offer.max_duration.0,
            start_within: offer.start_within.0,
            notice: offer.notice.0,
            min_charge: offer.min_charge.0,
            mediator_set: offer.mediator_set.0,
            max_challenge_window: offer.max_challenge_window.0,
            valid_until: offer.valid_until.0,
            epoch: offer.epoch,
        }
    }
}

impl TryFrom<Order> for market::Order {
    type Error = InvalidDocument;

    fn try_from(order: Order) -> Result<Self, InvalidDocument> {
        let document = Self {
            renter: order.renter,
            kind: order.kind.into(),
            resources: order.resources.into(),
            max_price: order.max_price,
            duration: Seconds(order.duration),
            workload: order.workload,
            peer_key: order.peer_key,
            class: order.class.into(),
            mediator_set: market::MediatorSetId(bounded(order.mediator_set, "mediatorSet")?),
            challenge_window: Seconds(order.challenge_window),
            min_pledge_bps: Bps(order.min_pledge_bps),
            max_start_within: Seconds(order.max_start_within),
            min_notice: Seconds(order.min_notice),
            max_min_charge: Seconds(order.max_min_charge),
            provider: order.provider,
            solver: order.solver,
            solver_fee: order.solver_fee,
            valid_until: UnixTime(bounded(order.valid_until, "validUntil")?),
            nonce: U256::from(order.nonce),
        };
        document.check().map_err(InvalidDocument::Terms)?;
        Ok(document)
    }
}

impl From<market::Order> for Order {
    fn from(order: market::Order) -> Self {
        Self {
            renter: order.renter,
            kind: order.kind.into(),
            resources: order.resources.into(),
            max_price: order.max_price,
            duration: order.duration.0,
            workload: order.workload,
            peer_key: order.peer_key,
            class: order.class.into(),
            mediator_set: order.mediator_set.0,
            challenge_window: order.challenge_window.0,
            min_pledge_bps: order.min_pledge_bps.0,
            max_start_within: order.max_start_within.0,
            min_notice: order.min_notice.0,
            max_min_charge: order.max_min_charge.0,
            provider: order.provider,
            solver: order.solver,
            solver_fee: order.solver_fee,
            valid_until: order.valid_until.0,
            nonce: order.nonce,
        }
    }
}

impl TryFrom<SignedOffer> for market::SignedOffer {
    type Error = InvalidDocument;

    fn try_from(signed: SignedOffer) -> Result<Self, InvalidDocument> {
        let signature = signed.signature.parse().map_err(InvalidDocument::Signature)?;
        Ok(Self { offer: signed.offer.try_into()?, signature })
    }
}

impl From<market::SignedOffer> for SignedOffer {
    fn from(signed: market::SignedOffer) -> Self {
        Self { offer: signed.offer.into(), signature: signed.signature.to_string() }
    }
}

impl TryFrom<SignedOrder> for market::SignedOrder {
    type Error = InvalidDocument;

    fn try_from(signed: SignedOrder) -> Result<Self, InvalidDocument> {
        let signature = signed.signature.parse().map_err(InvalidDocument::Signature)?;
        Ok(Self { order: signed.order.try_into()?, signature })
    }
}

impl From<market::SignedOrder> for SignedOrder {
    fn from(signed: market::SignedOrder) -> Self {
        Self { order: signed.order.into(), signature: signed.signature.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> serde_json::Value {
        serde_json::json!({
            "renter": "0x1111111111111111111111111111111111111111", "kind": "job",
            "resources": {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1, "gpus": 0, "traits": format!("0x{}", "00".repeat(32))},
            "maxPrice": "340282366920938463463374607431768211455", "duration": 1, "workload": format!("0x{}", "22".repeat(32)),
            "peerKey": "33".repeat(32), "class": "none", "mediatorSet": 0, "challengeWindow": 0,
            "minPledgeBps": 10_000, "maxStartWithin": 300, "minNotice": 3_600, "maxMinCharge": 60,
            "provider": "0x0000000000000000000000000000000000000000", "solver": "0x0000000000000000000000000000000000000000",
            "solverFee": "0", "validUntil": 9_007_199_254_740_991u64, "nonce": "0x1"
        })
    }

    #[test]
    fn documents_survive_the_journey() {
        let wire: Order = serde_json::from_value(order()).unwrap();
        let document = market::Order::try_from(wire.clone()).unwrap();
        assert_eq!(document.max_price.0, u128::MAX);
        assert_eq!(Order::from(document), wire);
        assert_eq!(serde_json::to_value(&wire).unwrap(), order());
    }

    #[test]
    fn fields_out_of_bounds_are_refused() {
        for (field, value) in [
            ("validUntil", serde_json::json!(9_007_199_254_740_992u64)),
            ("solverFee", serde_json::json!("1")),
            ("duration", serde_json::json!(0)),
            ("maxPrice", serde_json::json!(5)),
            ("maxPrice", serde_json::json!("-5")),
            ("peerKey", serde_json::json!("zz")),
            ("renter", serde_json::json!("0x11")),
            ("minPledgeBps", serde_json::json!(1 << 24)),
            ("surprise", serde_json::json!(1)),
        ] {
            let mut json = order();
            json[field] = value.clone();
            let parsed: Result<Order, _> = serde_json::from_value(json);
            let refused = parsed.map_or(true, |wire| market::Order::try_from(wire).is_err());
            assert!(refused, "{field} = {value} should be refused");
        }
        for limit in ["minPledgeBps", "maxStartWithin", "minNotice", "maxMinCharge"] {
            let mut json = order();
            json.as_object_mut().unwrap().remove(limit);
            assert!(serde_json::from_value::<Order>(json).is_err(), "an order without {limit} should be refused");
        }
    }
}

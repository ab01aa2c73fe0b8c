//! Does an offer fill an order? The one list of rules that only the two documents decide, as the contract's `open` has them.
//!
//! What depends on the chain's present (balances, capacity left, beats, cancellations) is the solver's to look up.

use std::fmt;

use sublet_base::{Address, Bps, Price, Seconds};
use thiserror::Error;

use crate::{Class, Kind, MediatorSetId, Offer, Order, Traits};

/// A size that an order limits from below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// Virtual processors.
    Vcpus,
    /// Memory, MiB.
    Memory,
    /// Disk, GiB.
    Disk,
    /// Graphics processors.
    Gpus,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcpus => "vCPUs",
            Self::Memory => "MiB of memory",
            Self::Disk => "GiB of disk",
            Self::Gpus => "GPUs",
        })
    }
}

/// One reason why an offer does not fill an order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// A lease is not a job.
    #[error("it offers a {offered}, a {ordered} was ordered")]
    Kind {
        /// The offer's.
        offered: Kind,
        /// The order's.
        ordered: Kind,
    },
    /// The machine is too small.
    #[error("it has {offered} {size}, {ordered} were ordered")]
    TooSmall {
        /// In what.
        size: Size,
        /// The offer's.
        offered: u32,
        /// The order's.
        ordered: u32,
    },
    /// The order asks for traits the offer does not have.
    #[error("it lacks the traits that were ordered")]
    Traits {
        /// The offer's.
        offered: Traits,
        /// The order's.
        ordered: Traits,
    },
    /// Too expensive.
    #[error("it costs {price}, the order pays at most {max}")]
    Price {
        /// The offer's.
        price: Price,
        /// The order's.
        max: Price,
    },
    /// Too short or too long for the provider.
    #[error("it lasts from {min} to {max}, {ordered} were ordered")]
    Duration {
        /// The offer's shortest.
        min: Seconds,
        /// The offer's longest.
        max: Seconds,
        /// The order's.
        ordered: Seconds,
    },
    /// The order names another provider.
    #[error("it is from provider {offered}, the order names {ordered}")]
    Provider {
        /// The offer's.
        offered: Address,
        /// The order's.
        ordered: Address,
    },
    /// The two do not trust the same judges.
    #[error("its disputes go to mediator set {}, the order names {}", offered.0, ordered.0)]
    Mediators {
        /// The offer's.
        offered: MediatorSetId,
        /// The order's.
        ordered: MediatorSetId,
    },
    /// The renter wants longer to object than the provider waits.
    #[error("it waits {max} for objections, {ordered} were ordered")]
    Window {
        /// The offer's longest.
        max: Seconds,
        /// The order's.
        ordered: Seconds,
    },
    /// The provider risks too little.
    #[error("it pledges {offered} of what is paid, at least {ordered} was ordered")]
    PledgeShare {
        /// The offer's.
        offered: Bps,
        /// The order's.
        ordered: Bps,
    },
    /// The provider may take too long to start.
    #[error("it may take {offered} to start, at most {ordered} were ordered")]
    Start {
        /// The offer's.
        offered: Seconds,
        /// The order's.
        ordered: Seconds,
    },
    /// The provider may close the lease with too little warning.
    #[error("it gives {offered} of notice, at least {ordered} were ordered")]
    Notice {
        /// The offer's.
        offered: Seconds,
        /// The order's.
        ordered: Seconds,
    },
    /// Even a lease that is closed at once costs too much.
    #[error("it charges for {offered} at least, at most {ordered} were ordered")]
    LeastCharge {
        /// The offer's.
        offered: Seconds,
        /// The order's.
        ordered: Seconds,
    },
    /// Nothing, or more than a balance holds, would be pledged.
    #[error("its pledge for this duration is nothing, or more than a balance can hold")]
    Pledge,
}

/// Every reason why `offer` does not fill `order`; none means that it does.
#[must_use]
pub fn misfits(offer: &Offer, order: &Order) -> Vec<Misfit> {
    let mut found = Vec::new();
    if offer.kind != order.kind {
        found.push(Misfit::Kind { offered: offer.kind, ordered: order.kind });
    }
    let (have, want) = (&offer.resources, &order.resources);
    let sizes = [
        (Size::Vcpus, have.vcpus.0, want.vcpus.0),
        (Size::Memory, have.memory.0, want.memory.0),
        (Size::Disk, have.disk.0, want.disk.0),
        (Size::Gpus, have.gpus, want.gpus),
    ];
    found.extend(
        sizes
            .into_iter()
            .filter(|(_, offered, ordered)| offered < ordered)
            .map(|(size, offered, ordered)| Misfit::TooSmall { size, offered, ordered }),
    );
    if want.traits != Traits::NONE && want.traits != have.traits {
        found.push(Misfit::Traits { offered: have.traits, ordered: want.traits });
    }
    if offer.price > order.max_price {
        found.push(Misfit::Price { price: offer.price, max: order.max_price });
    }
    if order.duration < offer.min_duration || order.duration > offer.max_duration {
        found.push(Misfit::Duration { min: offer.min_duration, max: offer.max_duration, ordered: order.duration });
    }
    if order.provider != Address::ZERO && order.provider != offer.provider {
        found.push(Misfit::Provider { offered: offer.provider, ordered: order.provider });
    }
    if order.class == Class::Exact && offer.mediator_set != order.mediator_set {
        found.push(Misfit::Mediators { offered: offer.mediator_set, ordered: order.mediator_set });
    }
    if order.kind == Kind::Job && order.challenge_window > offer.max_challenge_window {
        found.push(Misfit::Window { max: offer.max_challenge_window, ordered: order.challenge_window });
    }
    found.extend(terms(offer, order));
    if !offer.pledge(order.duration).is_ok_and(|pledge| pledge.0 > 0) {
        found.push(Misfit::Pledge);
    }
    found
}

/// What the provider promises beyond size and price, against what the order puts up with.
fn terms(offer: &Offer, order: &Order) -> Vec<Misfit> {
    let mut found = Vec::new();
    if offer.pledge_bps < order.min_pledge_bps {
        found.push(Misfit::PledgeShare { offered: offer.pledge_bps, ordered: order.min_pledge_bps });
    }
    if offer.start_within > order.max_start_within {
        found.push(Misfit::Start { offered: offer.start_within, ordered: order.max_start_within });
    }
    if order.kind == Kind::Lease && offer.notice < order.min_notice {
        found.push(Misfit::Notice { offered: offer.notice, ordered: order.min_notice });
    }
    if order.kind == Kind::Lease && offer.min_charge > order.max_min_charge {
        found.push(Misfit::LeastCharge { offered: offer.min_charge, ordered: order.max_min_charge });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::tests::{offer, order};

    /// An offer and an order for a lease, with every term of the offer exactly at the order's limit.
    fn lease() -> (Offer, Order) {
        let offer = Offer { kind: Kind::Lease, ..offer() };
        let order = Order {
            kind: Kind::Lease,
            class: Class::None,
            min_pledge_bps: offer.pledge_bps,
            max_start_within: offer.start_within,
            min_notice: offer.notice,
            max_min_charge: offer.min_charge,
            ..order()
        };
        (offer, order)
    }

    #[test]
    fn a_term_beyond_the_orders_limit_by_one_is_a_misfit_of_its_own() {
        let (offer, order) = lease();
        assert_eq!(misfits(&offer, &order), []);
        type Worse = fn(&mut Offer);
        let worse: [(Worse, &str); 4] = [
            (|o| o.pledge_bps.0 -= 1, "it pledges 124.99 % of what is paid, at least 125 % was ordered"),
            (|o| o.start_within.0 += 1, "it may take 121 s to start, at most 120 s were ordered"),
            (|o| o.notice.0 -= 1, "it gives 599 s of notice, at least 600 s were ordered"),
            (|o| o.min_charge.0 += 1, "it charges for 31 s at least, at most 30 s were ordered"),
        ];
        for (change, sentence) in worse {
            let mut offer = offer.clone();
            change(&mut offer);
            let found: Vec<_> = misfits(&offer, &order).iter().map(ToString::to_string).collect();
            assert_eq!(found, [sentence]);
        }
    }

    #[test]
    fn a_job_is_neither_given_notice_nor_charged_at_least() {
        let order = Order { min_notice: Seconds(u32::MAX), max_min_charge: Seconds(0), ..order() };
        assert_eq!(misfits(&offer(), &order), []);
    }
}

//! Does an offer fill an order? The one list of rules that only the two documents decide, as the contract's `open` has them.
//!
//! What depends on the chain's present (balances, capacity left, beats, cancellations) is the solver's to look up.

use std::fmt;

use sublet_base::{Address, Price, Seconds};
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
    if !offer.pledge(order.duration).is_ok_and(|pledge| pledge.0 > 0) {
        found.push(Misfit::Pledge);
    }
    found
}

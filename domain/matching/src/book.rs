//! What the solver knows: the signed documents it holds and what the chain says about who signed them.

use std::collections::BTreeMap;

use sublet_base::{Address, Amount, B256, Seconds, UnixTime};
use sublet_market::{MediatorSetId, Offer, Order};

use crate::reason::Unusable;

/// An offer in the book. Cancelled ones are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOffer {
    /// What was signed: [`sublet_market::TypedData::signing_hash`].
    pub hash: B256,
    /// The offer, its signature checked.
    pub offer: Offer,
    /// Agreements of it that are open on chain, or being opened.
    pub open: u32,
    /// When it came, in the solver's own counting.
    pub received: u64,
}

/// An order in the book. Cancelled and filled ones are not in it, nor is one that is being opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOrder {
    /// What was signed.
    pub hash: B256,
    /// The order, its signature checked.
    pub order: Order,
    /// When it came, in the solver's own counting.
    pub received: u64,
}

/// A provider's record on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Takes new agreements.
    pub online: bool,
    /// When it last beat.
    pub last_beat: UnixTime,
    /// Offers of another epoch are void.
    pub epoch: u64,
}

/// An account's state on chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What can be locked.
    pub free: Amount,
    /// Set for registered providers.
    pub provider: Option<Provider>,
}

/// Everything a plan is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Offers, in any order.
    pub offers: Vec<OpenOffer>,
    /// Orders, in any order.
    pub orders: Vec<PendingOrder>,
    /// The accounts behind them; one that is missing has nothing.
    pub accounts: BTreeMap<Address, Account>,
    /// What a panel of each set of mediators costs; a set that is missing does not exist.
    pub panel_fees: BTreeMap<MediatorSetId, Amount>,
    /// Offers that the contract refused a moment ago, whoever ordered, and its words.
    pub refused: BTreeMap<B256, String>,
    /// Pairs of offer and order that the contract refused a moment ago, for a reason the plan does not know, and its words.
    pub apart: BTreeMap<(B256, B256), String>,
}

/// What this solver wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The chain's time.
    pub now: UnixTime,
    /// This solver's account: orders that name another are not its own to open.
    pub solver: Address,
    /// The least fee it works for.
    pub min_fee: Amount,
    /// Documents and beats must stay good this long, because opening takes a block or two.
    pub margin: Seconds,
    /// The contract's `MAX_GAP`: how old a beat may be at opening.
    pub max_beat_age: Seconds,
    /// Matches in one plan at most.
    pub max_matches: usize,
    /// Offers that are looked at to explain one unfilled order.
    pub explain: usize,
}

impl Policy {
    /// A policy at `now` that works for any fee and waits for nobody.
    #[must_use]
    pub fn at(now: UnixTime, solver: Address) -> Self {
        Self {
            now,
            solver,
            min_fee: Amount::ZERO,
            margin: Seconds(15),
            max_beat_age: Seconds(600),
            max_matches: 32,
            explain: 256,
        }
    }

    fn horizon(&self) -> UnixTime {
        self.now.plus(self.margin)
    }

    /// Is a document that says `valid_until` still good when it is opened?
    pub(crate) fn outlives(&self, valid_until: UnixTime) -> bool {
        valid_until >= self.horizon()
    }
}

impl Book {
    /// What `account` can lock.
    #[must_use]
    pub fn free(&self, account: Address) -> Amount {
        self.accounts.get(&account).map_or(Amount::ZERO, |a| a.free)
    }

    /// Why no order at all could open this offer now.
    #[must_use]
    pub fn unusable(&self, entry: &OpenOffer, policy: &Policy) -> Option<Unusable> {
        let offer = &entry.offer;
        let Some(provider) = self.accounts.get(&offer.provider).and_then(|a| a.provider) else {
            return Some(Unusable::Unregistered);
        };
        if offer.check().is_err() {
            return Some(Unusable::Invalid);
        }
        if !policy.outlives(offer.valid_until) {
            return Some(Unusable::Expired(offer.valid_until));
        }
        if provider.epoch != offer.epoch {
            return Some(Unusable::OldEpoch { offered: offer.epoch, current: provider.epoch });
        }
        if !provider.online {
            return Some(Unusable::Offline);
        }
        if policy.horizon().since(provider.last_beat) > u64::from(policy.max_beat_age.0) {
            return Some(Unusable::Silent { last_beat: provider.last_beat });
        }
        if entry.open >= offer.capacity {
            return Some(Unusable::Full { capacity: offer.capacity });
        }
        if let Some(why) = self.refused.get(&entry.hash) {
            return Some(Unusable::Refused(why.clone()));
        }
        let free = self.free(offer.provider);
        let least = offer.pledge(offer.min_duration.max(Seconds(1))).unwrap_or(Amount(u128::MAX));
        if least > free { Some(Unusable::PledgeShort { needed: least, free }) } else { None }
    }
}

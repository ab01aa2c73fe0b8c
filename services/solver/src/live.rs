//! The live part of the book in memory: what may be matched, and indexes to find it by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sublet_base::{Address, Amount, B256, Price, U256};
use sublet_market::{Kind, Order, SignedOffer, SignedOrder};
use sublet_matching::{Reason, Unusable};
use sublet_store::{InBatch, OrderState};
use sublet_wire::solver::{EventBody, OfferQuery, OfferView, Unfilled};

/// An offer that may be matched.
#[derive(Clone, Debug)]
pub(crate) struct LiveOffer {
    pub(crate) signed: SignedOffer,
    /// Agreements open on chain, as of the last look.
    pub(crate) open: u32,
    /// Its provider takes agreements, as of the last look.
    pub(crate) online: bool,
    /// Why nobody could open it, by the last plan; that it is full is in the counts.
    pub(crate) unusable: Option<Unusable>,
    /// Orders on their way to it.
    pub(crate) opening: u32,
    /// Position in the order of arrival.
    pub(crate) seq: u64,
}

impl LiveOffer {
    /// Agreements it still takes.
    pub(crate) fn free(&self) -> u32 {
        self.signed.offer.capacity.saturating_sub(self.open).saturating_sub(self.opening)
    }
}

/// Where an order is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) offer: B256,
    /// Its place in a transaction that opens several.
    pub(crate) batch: Option<InBatch>,
}

impl From<Opening> for OrderState {
    fn from(opening: Opening) -> Self {
        Self::Opening { offer: opening.offer, batch: opening.batch }
    }
}

/// An order that waits or is being opened.
#[derive(Clone, Debug)]
pub(crate) struct LiveOrder {
    pub(crate) signed: SignedOrder,
    /// What it is being opened against.
    pub(crate) opening: Option<Opening>,
    /// Why nothing fitted at the last plan, or why it was not opened.
    pub(crate) reasons: Vec<Unfilled>,
    /// The gist of what the last plan said, to know what is news.
    gist: Option<Reason>,
    /// Position in the order of arrival.
    pub(crate) seq: u64,
}

impl LiveOrder {
    /// One that waits.
    pub(crate) fn new(signed: SignedOrder, seq: u64) -> Self {
        Self { signed, opening: None, reasons: Vec::new(), gist: None, seq }
    }

    /// It is on chain without a signature: nobody is there who could post it again.
    pub(crate) fn is_placed(&self) -> bool {
        self.signed.signature.bytes().is_empty()
    }
}

/// Everything live.
#[derive(Default)]
pub(crate) struct Live {
    offers: HashMap<B256, LiveOffer>,
    orders: HashMap<B256, LiveOrder>,
    cheapest: BTreeSet<(Price, B256)>,
    offers_of: HashMap<Address, BTreeSet<B256>>,
    orders_of: HashMap<Address, BTreeSet<B256>>,
    last_seq: u64,
}

impl Live {
    /// The next position in the order of arrival.
    pub(crate) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    pub(crate) fn offers(&self) -> &HashMap<B256, LiveOffer> {
        &self.offers
    }

    pub(crate) fn orders(&self) -> &HashMap<B256, LiveOrder> {
        &self.orders
    }

    pub(crate) fn offer(&self, hash: B256) -> Option<&LiveOffer> {
        self.offers.get(&hash)
    }

    pub(crate) fn order(&self, hash: B256) -> Option<&LiveOrder> {
        self.orders.get(&hash)
    }

    pub(crate) fn insert_offer(&mut self, hash: B256, offer: LiveOffer) {
        self.last_seq = self.last_seq.max(offer.seq);
        self.cheapest.insert((offer.signed.offer.price, hash));
        self.offers_of.entry(offer.signed.offer.provider).or_default().insert(hash);
        self.offers.insert(hash, offer);
    }

    pub(crate) fn insert_order(&mut self, hash: B256, order: LiveOrder) {
        self.last_seq = self.last_seq.max(order.seq);
        self.orders_of.entry(order.signed.order.renter).or_default().insert(hash);
        self.orders.insert(hash, order);
    }

    pub(crate) fn remove_offer(&mut self, hash: B256) -> Option<LiveOffer> {
        let offer = self.offers.remove(&hash)?;
        self.cheapest.remove(&(offer.signed.offer.price, hash));
        unindex(&mut self.offers_of, offer.signed.offer.provider, hash);
        Some(offer)
    }

    pub(crate) fn remove_order(&mut self, hash: B256) -> Option<LiveOrder> {
        let order = self.orders.remove(&hash)?;
        unindex(&mut self.orders_of, order.signed.order.renter, hash);
        if let Some(offer) = order.opening.and_then(|opening| self.offers.get_mut(&opening.offer)) {
            offer.opening = offer.opening.saturating_sub(1);
        }
        Some(order)
    }

    /// Marks an order as on its way to an offer.
    pub(crate) fn begin_opening(&mut self, order: B256, opening: Opening) {
        if let Some(order) = self.orders.get_mut(&order) {
            order.opening = Some(opening);
            order.reasons.clear();
            order.gist = None;
            if let Some(offer) = self.offers.get_mut(&opening.offer) {
                offer.opening += 1;
            }
        }
    }

    /// Notes the transaction that an order on its way became part of.
    pub(crate) fn set_batch(&mut self, order: B256, batch: InBatch) {
        if let Some(opening) = self.orders.get_mut(&order).and_then(|order| order.opening.as_mut()) {
            opening.batch = Some(batch);
        }
    }

    /// Orders on their way.
    pub(crate) fn openings(&self) -> Vec<(B256, Opening)> {
        self.orders.iter().filter_map(|(hash, order)| order.opening.map(|opening| (*hash, opening))).collect()
    }

    /// Takes that back, and notes why.
    pub(crate) fn end_opening(&mut self, order: B256, reasons: Vec<Unfilled>) {
        let Some(order) = self.orders.get_mut(&order) else { return };
        let Some(opening) = order.opening.take() else { return };
        order.reasons = reasons;
        if let Some(offer) = self.offers.get_mut(&opening.offer) {
            offer.opening = offer.opening.saturating_sub(1);
        }
    }

    /// Notes why an order that waits is not filled; true if that is news. That it waits for the next round says less than
    /// whatever is known.
    pub(crate) fn set_reason(&mut self, order: B256, reason: Reason, told: Vec<Unfilled>) -> bool {
        let Some(order) = self.orders.get_mut(&order).filter(|order| order.opening.is_none()) else { return false };
        if reason == Reason::NextRound && !order.reasons.is_empty() {
            return false;
        }
        order.reasons = told;
        let gist = Some(reason.gist());
        std::mem::replace(&mut order.gist, gist.clone()) != gist
    }

    /// Notes what the chain says; true if that changes how many more agreements the offer takes.
    pub(crate) fn set_open(&mut self, offer: B256, open: u32) -> bool {
        let Some(offer) = self.offers.get_mut(&offer) else { return false };
        let before = offer.free();
        offer.open = open;
        before != offer.free()
    }

    /// Notes whether an offer's provider takes agreements; true if that is news.
    pub(crate) fn set_online(&mut self, offer: B256, online: bool) -> bool {
        let Some(offer) = self.offers.get_mut(&offer) else { return false };
        std::mem::replace(&mut offer.online, online) != online
    }

    /// Notes why nobody could open an offer; true if that is news.
    pub(crate) fn set_unusable(&mut self, offer: B256, unusable: Option<Unusable>) -> bool {
        let Some(offer) = self.offers.get_mut(&offer) else { return false };
        let unusable = unusable.filter(|why| !matches!(why, Unusable::Full { .. }));
        let before = std::mem::replace(&mut offer.unusable, unusable.clone());
        before.map(Unusable::gist) != unusable.map(Unusable::gist)
    }

    pub(crate) fn offers_of(&self, provider: Address) -> Vec<B256> {
        self.offers_of.get(&provider).into_iter().flatten().copied().collect()
    }

    pub(crate) fn count_orders_of(&self, renter: Address) -> usize {
        self.orders_of.get(&renter).map_or(0, BTreeSet::len)
    }

    pub(crate) fn count_offers_of(&self, provider: Address) -> usize {
        self.offers_of.get(&provider).map_or(0, BTreeSet::len)
    }

    /// Live orders with this nonce; a renter may have signed several, of which one fills.
    pub(crate) fn orders_with_nonce(&self, renter: Address, nonce: U256) -> Vec<B256> {
        let of_renter = self.orders_of.get(&renter).into_iter().flatten();
        of_renter
            .filter(|hash| self.orders.get(*hash).is_some_and(|o| o.signed.order.nonce == nonce))
            .copied()
            .collect()
    }

    /// What the renter's orders that wait may lock together with one more: of those with one nonce, which fill once, the
    /// dearest.
    pub(crate) fn most_locked_with(&self, more: &Order) -> Amount {
        let of_renter = self.orders_of.get(&more.renter).into_iter().flatten();
        let waiting = of_renter.filter_map(|hash| self.orders.get(hash)).filter(|order| order.opening.is_none());
        let mut dearest: BTreeMap<U256, u128> = BTreeMap::new();
        for order in waiting.map(|order| &order.signed.order).chain([more]) {
            let locked = order.most_locked().map_or(u128::MAX, |amount| amount.0);
            let of_nonce = dearest.entry(order.nonce).or_default();
            *of_nonce = locked.max(*of_nonce);
        }
        Amount(dearest.into_values().fold(0, u128::saturating_add))
    }

    /// A page of offers, cheapest first, and the mark of the next. `None` if the mark `after` has left the book.
    pub(crate) fn page(&self, query: &OfferQuery, limit: usize) -> Option<(Vec<OfferView>, Option<B256>)> {
        let start = match query.after {
            None => None,
            Some(hash) => Some((self.offers.get(&hash)?.signed.offer.price, hash)),
        };
        let from = start.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut found = Vec::new();
        for (price, hash) in self.cheapest.range((from, std::ops::Bound::Unbounded)) {
            if query.max_price.is_some_and(|max| *price > max) {
                break;
            }
            let Some(offer) = self.offers.get(hash).filter(|offer| wanted(offer, query)) else { continue };
            if found.len() == limit {
                let next = found.last().map(|view: &OfferView| view.hash);
                return Some((found, next));
            }
            found.push(view(*hash, offer));
        }
        Some((found, None))
    }
}

fn unindex(index: &mut HashMap<Address, BTreeSet<B256>>, account: Address, hash: B256) {
    if let Some(hashes) = index.get_mut(&account) {
        hashes.remove(&hash);
        if hashes.is_empty() {
            index.remove(&account);
        }
    }
}

fn wanted(live: &LiveOffer, query: &OfferQuery) -> bool {
    let offer = &live.signed.offer;
    query.kind.is_none_or(|kind| Kind::from(kind) == offer.kind)
        && query.vcpus.is_none_or(|least| offer.resources.vcpus.0 >= least)
        && query.memory_mib.is_none_or(|least| offer.resources.memory.0 >= least)
        && query.disk_gib.is_none_or(|least| offer.resources.disk.0 >= least)
        && query.provider.is_none_or(|provider| offer.provider == provider)
        && (query.all || (live.online && live.free() > 0 && live.unusable.is_none()))
}

/// An offer as the world sees it.
pub(crate) fn view(hash: B256, live: &LiveOffer) -> OfferView {
    OfferView {
        hash,
        offer: live.signed.offer.clone().into(),
        signature: live.signed.signature.to_string(),
        free: live.free(),
        online: live.online,
        unusable: live.unusable.as_ref().map(ToString::to_string),
    }
}

/// That an offer's room or standing is another now.
pub(crate) fn changed(offer: B256, live: &LiveOffer) -> EventBody {
    let unusable = live.unusable.as_ref().map(ToString::to_string);
    EventBody::OfferChanged { offer, free: live.free(), online: live.online, unusable }
}

#[cfg(test)]
mod tests {
    use sublet_base::{Bps, PeerKey, Seconds, UnixTime};
    use sublet_market::{Class, MediatorSetId, Resources};

    use super::*;
    use crate::unfilled;

    fn waiting() -> (Live, B256) {
        let order = Order {
            renter: Address::repeat_byte(1),
            kind: Kind::Lease,
            resources: Resources::default(),
            max_price: Price(5),
            duration: Seconds(10),
            workload: B256::repeat_byte(1),
            peer_key: PeerKey([1; 32]),
            class: Class::None,
            mediator_set: MediatorSetId(0),
            challenge_window: Seconds(0),
            min_pledge_bps: Bps(0),
            max_start_within: Seconds(600),
            min_notice: Seconds(0),
            max_min_charge: Seconds(60),
            provider: Address::ZERO,
            solver: Address::ZERO,
            solver_fee: Amount::ZERO,
            valid_until: UnixTime(10),
            nonce: U256::from(1),
        };
        let (mut live, hash) = (Live::default(), B256::repeat_byte(7));
        live.insert_order(hash, LiveOrder::new(SignedOrder::placed(order), 1));
        (live, hash)
    }

    #[test]
    fn only_a_new_reason_is_news_and_waiting_for_the_next_round_replaces_none() {
        let (mut live, hash) = waiting();
        let mut say = |reason: Reason| {
            let news = live.set_reason(hash, reason.clone(), vec![unfilled::told(&reason)]);
            (news, live.order(hash).unwrap().reasons[0].code.clone())
        };
        let poor = |free| Reason::BalanceTooLow { free: Amount(free), needed: Amount(9), missing: Amount(9 - free) };
        assert_eq!(say(Reason::NextRound), (true, "next-round".to_owned()));
        assert_eq!(say(poor(1)), (true, "balance-too-low".to_owned()));
        assert_eq!(say(poor(2)), (false, "balance-too-low".to_owned()), "only the balance is another");
        assert_eq!(say(Reason::NextRound), (false, "balance-too-low".to_owned()));
        assert_eq!(say(Reason::NoOffers(Kind::Lease)), (true, "no-offers".to_owned()));
    }
}

//! The plan itself.

use std::collections::BTreeMap;

use sublet_base::{Address, Amount, B256, Price};
use sublet_market::{Class, Kind, MediatorSetId, Order, Traits, misfits};

use crate::book::{Book, OpenOffer, PendingOrder, Policy};
use crate::index::{Bounded, Index};
use crate::reason::{Apart, Nearest, Obstacle, Reason, Unusable};

/// One pair to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The offer's hash.
    pub offer: B256,
    /// The order's hash.
    pub order: B256,
    /// What will be paid a second: the offer's price.
    pub price: Price,
    /// What the renter locks, the solver's fee included.
    pub locked: Amount,
    /// What the provider locks.
    pub pledge: Amount,
}

/// An order that this plan does not fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// Its hash.
    pub order: B256,
    /// Why.
    pub reason: Reason,
}

/// What to open now, and what not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pairs to open, earlier orders first.
    pub matches: Vec<Match>,
    /// Orders that wait, earlier ones first.
    pub unfilled: Vec<Unfilled>,
    /// Offers that nobody can open now, cheapest first.
    pub unusable: Vec<(B256, Unusable)>,
    /// How many places of the index were looked at: the plan's cost.
    pub looked_at: u64,
}

/// Sets of offers that an order may be confined to; each has an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Any(Kind),
    Provider(Kind, Address),
    Traits(Kind, Traits),
    Mediators(MediatorSetId),
}

/// The groups `entry` is in.
fn groups_of(entry: &OpenOffer) -> [Group; 4] {
    let offer = &entry.offer;
    [
        Group::Any(offer.kind),
        Group::Provider(offer.kind, offer.provider),
        Group::Traits(offer.kind, offer.resources.traits),
        Group::Mediators(offer.mediator_set),
    ]
}

/// The most specific group that has every offer the order can take.
fn group_for(order: &Order) -> Group {
    if order.provider != Address::ZERO {
        Group::Provider(order.kind, order.provider)
    } else if order.resources.traits != Traits::NONE {
        Group::Traits(order.kind, order.resources.traits)
    } else if order.class == Class::Exact {
        Group::Mediators(order.mediator_set)
    } else {
        Group::Any(order.kind)
    }
}

/// Decides which orders to open against which offers.
#[must_use]
pub fn plan(book: &Book, policy: &Policy) -> Plan {
    let mut planner = Planner::new(book, policy);
    let mut orders: Vec<&PendingOrder> = book.orders.iter().collect();
    orders.sort_by_key(|o| (o.received, o.hash));
    for entry in orders {
        match planner.fill(entry) {
            Ok((offer, locked, pledge)) => {
                let price = planner.take(offer, &entry.order, locked, pledge);
                let offer = planner.offers[offer].hash;
                planner.plan.matches.push(Match { offer, order: entry.hash, price, locked, pledge });
            }
            Err(reason) => planner.plan.unfilled.push(Unfilled { order: entry.hash, reason }),
        }
    }
    planner.plan
}

struct Planner<'a> {
    book: &'a Book,
    policy: &'a Policy,
    /// Cheapest first; of equals the earlier first.
    offers: Vec<&'a OpenOffer>,
    /// Places left, by position in `offers`; none for the unusable.
    left: Vec<u32>,
    unusable: BTreeMap<usize, Unusable>,
    indexes: BTreeMap<Group, Index>,
    free: BTreeMap<Address, Amount>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(book: &'a Book, policy: &'a Policy) -> Self {
        let mut offers: Vec<&OpenOffer> = book.offers.iter().collect();
        offers.sort_by_key(|o| (o.offer.price, o.received, o.hash));
        let mut left = Vec::with_capacity(offers.len());
        let mut unusable = BTreeMap::new();
        let mut members: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (position, entry) in offers.iter().enumerate() {
            if let Some(why) = book.unusable(entry, policy) {
                unusable.insert(position, why);
                left.push(0);
                continue;
            }
            left.push(entry.offer.capacity - entry.open);
            for group in groups_of(entry) {
                members.entry(group).or_default().push(position);
            }
        }
        let indexes = members
            .into_iter()
            .map(|(group, members)| (group, Index::new(members, |m| Bounded::from(&offers[m].offer))))
            .collect();
        let free = book.accounts.iter().map(|(address, account)| (*address, account.free)).collect();
        let named = unusable.iter().map(|(position, why)| (offers[*position].hash, why.clone())).collect();
        Self { book, policy, offers, left, unusable, indexes, free, plan: Plan { unusable: named, ..Plan::default() } }
    }

    fn free(&self, account: Address) -> Amount {
        self.free.get(&account).copied().unwrap_or(Amount::ZERO)
    }

    /// The offer to open, with what both sides lock; or why none.
    fn fill(&mut self, entry: &PendingOrder) -> Result<(usize, Amount, Amount), Reason> {
        let order = &entry.order;
        order.check()?;
        if !self.policy.outlives(order.valid_until) {
            return Err(Reason::Expired(order.valid_until));
        }
        if order.solver != Address::ZERO && order.solver != self.policy.solver {
            return Err(Reason::OtherSolver(order.solver));
        }
        if order.solver_fee < self.policy.min_fee {
            return Err(Reason::FeeTooLow { fee: order.solver_fee, least: self.policy.min_fee });
        }
        if order.class == Class::Exact && !self.book.panel_fees.contains_key(&order.mediator_set) {
            return Err(Reason::UnknownMediators(order.mediator_set));
        }
        let affordable = self.offers.partition_point(|o| o.offer.price <= order.max_price);
        let Some(position) = self.cheapest(entry, affordable) else {
            return Err(self.explain(entry));
        };
        let offer = &self.offers[position].offer;
        // Both were computed when the pair was found to fit, so they are in range.
        let locked = offer.escrow(order.duration).and_then(|e| e.plus(order.solver_fee)).unwrap_or(Amount(u128::MAX));
        let pledge = offer.pledge(order.duration).unwrap_or(Amount(u128::MAX));
        let free = self.free(order.renter);
        match locked.minus(free) {
            Ok(missing) if missing > Amount::ZERO => Err(Reason::BalanceTooLow { free, needed: locked, missing }),
            // Last, so that only an order that would be opened is told to wait.
            Ok(_) | Err(_) if self.plan.matches.len() >= self.policy.max_matches => Err(Reason::NextRound),
            Ok(_) | Err(_) => Ok((position, locked, pledge)),
        }
    }

    /// The cheapest usable offer before `end` that fits, whatever the order's price.
    fn cheapest(&mut self, entry: &PendingOrder, end: usize) -> Option<usize> {
        let order = &entry.order;
        let index = self.indexes.get(&group_for(order))?;
        let priced = |m: usize| Order { max_price: order.max_price.max(self.offers[m].offer.price), ..order.clone() };
        let accept = |m: usize| {
            misfits(&self.offers[m].offer, &priced(m)).is_empty()
                && self.pledge_short(m, order).is_none()
                && self.apart(m, entry).is_none()
        };
        let mut looked = 0;
        let found = index.first(order, end, &mut looked, accept);
        self.plan.looked_at += looked;
        found
    }

    /// What stands between the two besides their words.
    fn apart(&self, position: usize, entry: &PendingOrder) -> Option<Apart> {
        let (offered, order) = (self.offers[position], &entry.order);
        if let Some(why) = self.book.apart.get(&(offered.hash, entry.hash)) {
            return Some(Apart::Refused(why.clone()));
        }
        match order.class {
            Class::None => None,
            Class::Exact => {
                let fees = *self.book.panel_fees.get(&order.mediator_set)?;
                let pledge = offered.offer.pledge(order.duration).ok()?;
                (pledge < fees).then_some(Apart::PledgeBelowFees { pledge, fees })
            }
        }
    }

    fn pledge_short(&self, position: usize, order: &Order) -> Option<Unusable> {
        let offer = &self.offers[position].offer;
        let free = self.free(offer.provider);
        let needed = offer.pledge(order.duration).unwrap_or(Amount(u128::MAX));
        (needed > free).then_some(Unusable::PledgeShort { needed, free })
    }

    /// Books a match: a place less, and both balances lower. Returns the price.
    fn take(&mut self, position: usize, order: &Order, locked: Amount, pledge: Amount) -> Price {
        let entry = self.offers[position];
        for (account, amount) in [(order.renter, locked), (entry.offer.provider, pledge)] {
            if let Some(free) = self.free.get_mut(&account) {
                free.0 = free.0.saturating_sub(amount.0);
            }
        }
        self.left[position] -= 1;
        if self.left[position] == 0 {
            for group in groups_of(entry) {
                if let Some(index) = self.indexes.get_mut(&group) {
                    index.remove(position);
                }
            }
        }
        entry.offer.price
    }

    fn explain(&mut self, pending: &PendingOrder) -> Reason {
        let order = &pending.order;
        if let Some(position) = self.cheapest(pending, self.offers.len()) {
            let entry = self.offers[position];
            return Reason::TooExpensive { max: order.max_price, cheapest: entry.offer.price, offer: entry.hash };
        }
        let same_kind = self.offers.iter().enumerate().filter(|(_, o)| o.offer.kind == order.kind);
        let nearest = same_kind
            .take(self.policy.explain)
            .map(|(position, entry)| (self.obstacles(position, pending), entry))
            .min_by_key(|(obstacles, _)| obstacles.len());
        match nearest {
            None => Reason::NoOffers(order.kind),
            Some((obstacles, entry)) => {
                Reason::NothingFits(Nearest { offer: entry.hash, price: entry.offer.price, obstacles })
            }
        }
    }

    fn obstacles(&self, position: usize, pending: &PendingOrder) -> Vec<Obstacle> {
        let (entry, order) = (self.offers[position], &pending.order);
        let mut found: Vec<Obstacle> = misfits(&entry.offer, order).into_iter().map(Obstacle::from).collect();
        let now_full = || Unusable::Full { capacity: entry.offer.capacity };
        let why = match self.unusable.get(&position) {
            Some(why) => Some(why.clone()),
            None if self.left[position] == 0 => Some(now_full()),
            None => self.pledge_short(position, order),
        };
        found.extend(why.map(Obstacle::from));
        found.extend(self.apart(position, pending).map(Obstacle::from));
        found
    }
}

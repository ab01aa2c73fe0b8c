//! Offers in order of price, with bounds over every stretch of them, so that a search skips what cannot fit.
//!
//! A segment tree: each node knows the largest sizes, the shortest minimum and the best terms below it. The first fitting leaf from the
//! left is the cheapest fitting offer. Bounds may promise too much, never too little: a leaf is always checked in full.

use sublet_base::{Bps, Seconds};
use sublet_market::{Kind, Offer, Order};

/// Bounds on what the offers of a stretch can do. The default fits nothing.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    vcpus: u32,
    memory: u32,
    disk: u32,
    gpus: u32,
    longest: Seconds,
    shortest: Seconds,
    window: Seconds,
    pledge: Bps,
    start: Seconds,
    notice: Seconds,
    charge: Seconds,
}

const NOTHING: Bounds = Bounds {
    vcpus: 0,
    memory: 0,
    disk: 0,
    gpus: 0,
    longest: Seconds(0),
    shortest: Seconds(u32::MAX),
    window: Seconds(0),
    pledge: Bps(0),
    start: Seconds(u32::MAX),
    notice: Seconds(0),
    charge: Seconds(u32::MAX),
};

impl Bounds {
    fn of(offer: &Offer) -> Self {
        let r = &offer.resources;
        Self {
            vcpus: r.vcpus.0,
            memory: r.memory.0,
            disk: r.disk.0,
            gpus: r.gpus,
            longest: offer.max_duration,
            shortest: offer.min_duration,
            window: offer.max_challenge_window,
            pledge: offer.pledge_bps,
            start: offer.start_within,
            notice: offer.notice,
            charge: offer.min_charge,
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.max(other.vcpus),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
            gpus: self.gpus.max(other.gpus),
            longest: self.longest.max(other.longest),
            shortest: self.shortest.min(other.shortest),
            window: self.window.max(other.window),
            pledge: self.pledge.max(other.pledge),
            start: self.start.min(other.start),
            notice: self.notice.max(other.notice),
            charge: self.charge.min(other.charge),
        }
    }

    fn may_fit(&self, order: &Order) -> bool {
        let r = &order.resources;
        self.vcpus >= r.vcpus.0
            && self.memory >= r.memory.0
            && self.disk >= r.disk.0
            && self.gpus >= r.gpus
            && self.longest >= order.duration
            && self.shortest <= order.duration
            && self.pledge >= order.min_pledge_bps
            && self.start <= order.max_start_within
            && match order.kind {
                Kind::Lease => self.notice >= order.min_notice && self.charge <= order.max_min_charge,
                Kind::Job => self.window >= order.challenge_window,
            }
    }
}

/// Offers of one group, cheapest first, by their position in the caller's sorted list.
#[derive(Debug)]
pub(crate) struct Index {
    members: Vec<usize>,
    leaves: usize,
    nodes: Vec<Bounds>,
}

impl Index {
    /// Indexes the offers at `members`, ascending positions in `offers`.
    pub(crate) fn new(members: Vec<usize>, offer: impl Fn(usize) -> Bounded) -> Self {
        let leaves = members.len().next_power_of_two();
        let mut nodes = vec![NOTHING; 2 * leaves];
        for (place, &member) in members.iter().enumerate() {
            nodes[leaves + place] = offer(member).0;
        }
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].join(nodes[2 * node + 1]);
        }
        Self { members, leaves, nodes }
    }

    /// Takes an offer out of all later searches.
    pub(crate) fn remove(&mut self, member: usize) {
        let Ok(place) = self.members.binary_search(&member) else { return };
        let mut node = self.leaves + place;
        self.nodes[node] = NOTHING;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].join(self.nodes[2 * node + 1]);
        }
    }

    /// The first member below `end` that `accept`s, going by price. `looked` counts nodes.
    pub(crate) fn first(
        &self,
        order: &Order,
        end: usize,
        looked: &mut u64,
        accept: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let places = self.members.partition_point(|&m| m < end);
        let mut stack = vec![1];
        while let Some(node) = stack.pop() {
            *looked += 1;
            if self.leftmost(node) >= places || !self.nodes[node].may_fit(order) {
                continue;
            }
            if node < self.leaves {
                stack.extend([2 * node + 1, 2 * node]);
                continue;
            }
            let member = self.members[node - self.leaves];
            if accept(member) {
                return Some(member);
            }
        }
        None
    }

    /// Place of the first leaf below a node.
    fn leftmost(&self, node: usize) -> usize {
        let depth = self.leaves.ilog2() - node.ilog2();
        (node << depth) - self.leaves
    }
}

/// An offer's bounds, opaque to the caller.
pub(crate) struct Bounded(Bounds);

impl From<&Offer> for Bounded {
    fn from(offer: &Offer) -> Self {
        Self(Bounds::of(offer))
    }
}

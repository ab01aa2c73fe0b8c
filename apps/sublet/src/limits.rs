//! What a renter puts up with besides the price. Terms that were not looked at are not signed for: an order's limits are
//! those of the offer whose price it names.

use sublet_base::{Bps, Seconds};
use sublet_chain::LeaseRecord;
use sublet_market::{Kind, Offer};

/// The longest that a lease is charged for however early it is closed, unless the renter allows more.
const LONGEST_CHARGE: Seconds = Seconds(600);
const LONGEST_START: Seconds = Seconds(3600);
/// As much as the escrow: a provider that takes the money and does nothing loses as much.
const WHOLE: Bps = Bps(10_000);

/// The terms of an offer, or the worst ones that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) min_pledge: Bps,
    pub(crate) max_start_within: Seconds,
    /// Leases only, like the next one.
    pub(crate) min_notice: Seconds,
    pub(crate) max_min_charge: Seconds,
}

/// What is asked for where there is no offer to look at.
const USUAL: Limits =
    Limits { min_pledge: WHOLE, max_start_within: Seconds(600), min_notice: Seconds(0), max_min_charge: Seconds(60) };

impl Limits {
    /// The worst that will do for a lease of `duration`, if the renter does not say for how long it may be charged at least.
    pub(crate) fn of_lease(duration: Seconds, said: Option<Seconds>) -> Self {
        let max_min_charge = said.unwrap_or(LONGEST_CHARGE.min(duration));
        Self { min_pledge: Bps(1), max_start_within: LONGEST_START, min_notice: Seconds(0), max_min_charge }
    }

    /// What a lease that is there was opened under.
    pub(crate) fn of(lease: &LeaseRecord) -> Self {
        Self {
            min_pledge: lease.pledge_bps,
            max_start_within: Seconds(u32::try_from(lease.start_by.since(lease.opened_at)).unwrap_or(u32::MAX)),
            min_notice: lease.notice,
            max_min_charge: lease.min_charge,
        }
    }

    /// The worst that will do for a job.
    pub(crate) fn of_job() -> Self {
        let (min_notice, max_min_charge) = (Seconds(0), Seconds(0));
        Self { min_pledge: Bps(1), max_start_within: LONGEST_START, min_notice, max_min_charge }
    }

    /// What a contract asks for that cannot look at offers: `OnChainCowsay` signs no other order.
    pub(crate) fn of_contract() -> Self {
        Self { min_pledge: WHOLE, ..Self::of_job() }
    }

    /// What the order asks for: what the offer that was looked at says, or what is usual; never worse than this.
    pub(crate) fn to_sign(self, kind: Kind, seen: Option<&Offer>) -> Self {
        let terms = seen.map_or(USUAL, |offer| Self {
            min_pledge: offer.pledge_bps,
            max_start_within: offer.start_within,
            min_notice: offer.notice,
            max_min_charge: offer.min_charge,
        });
        let (min_notice, max_min_charge) = match kind {
            Kind::Lease => (terms.min_notice, terms.max_min_charge),
            Kind::Job => (Seconds(0), Seconds(0)),
        };
        Self {
            min_pledge: terms.min_pledge.max(self.min_pledge),
            max_start_within: terms.max_start_within.min(self.max_start_within),
            min_notice: min_notice.max(self.min_notice),
            max_min_charge: max_min_charge.min(self.max_min_charge),
        }
    }

    /// What is worse than usual, to be said where the price is: nothing, or ` (…)`.
    pub(crate) fn warning(&self, kind: Kind) -> String {
        let mut said = Vec::new();
        if self.min_pledge < USUAL.min_pledge {
            said.push(format!("the provider pledges {} of it", self.min_pledge));
        }
        if self.max_start_within > USUAL.max_start_within {
            said.push(format!("it may take {} to start", self.max_start_within));
        }
        if kind == Kind::Lease && self.max_min_charge > USUAL.max_min_charge {
            said.push(format!("{} are paid at least", self.max_min_charge));
        }
        if kind == Kind::Lease && self.min_notice == Seconds(0) {
            said.push("it may end without notice".to_owned());
        }
        if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{Address, GiB, MiB, Price, UnixTime, Vcpus};
    use sublet_market::{MediatorSetId, Resources};

    use super::*;

    fn offer(pledge: u32, start: u32, notice: u32, charge: u32) -> Offer {
        Offer {
            provider: Address::repeat_byte(1),
            kind: Kind::Lease,
            resources: Resources { vcpus: Vcpus(1), memory: MiB(512), disk: GiB(2), ..Resources::default() },
            price: Price(5),
            pledge_bps: Bps(pledge),
            capacity: 2,
            min_duration: Seconds(1),
            max_duration: Seconds(1000),
            start_within: Seconds(start),
            notice: Seconds(notice),
            min_charge: Seconds(charge),
            mediator_set: MediatorSetId(0),
            max_challenge_window: Seconds(600),
            valid_until: UnixTime(u64::MAX),
            epoch: 0,
        }
    }

    fn limits(pledge: u32, start: u32, notice: u32, charge: u32) -> Limits {
        Limits {
            min_pledge: Bps(pledge),
            max_start_within: Seconds(start),
            min_notice: Seconds(notice),
            max_min_charge: Seconds(charge),
        }
    }

    #[test]
    fn the_terms_that_were_looked_at_are_signed() {
        let lease = Limits::of_lease(Seconds(3600), None);
        let seen = offer(12_500, 300, 900, 120);
        assert_eq!(lease.to_sign(Kind::Lease, Some(&seen)), limits(12_500, 300, 900, 120));
        assert_eq!(lease.to_sign(Kind::Lease, Some(&offer(5_000, 30, 0, 0))), limits(5_000, 30, 0, 0));
        assert_eq!(Limits::of_job().to_sign(Kind::Job, Some(&seen)), limits(12_500, 300, 0, 0));
    }

    #[test]
    fn without_an_offer_to_look_at_the_usual_is_signed() {
        let lease = Limits::of_lease(Seconds(3600), None);
        assert_eq!(lease.to_sign(Kind::Lease, None), limits(10_000, 600, 0, 60));
        assert_eq!(Limits::of_lease(Seconds(30), None).to_sign(Kind::Lease, None), limits(10_000, 600, 0, 30));
        assert_eq!(Limits::of_job().to_sign(Kind::Job, None), limits(10_000, 600, 0, 0));
    }

    #[test]
    fn nothing_worse_than_the_bounds_is_signed_whatever_is_on_offer() {
        let worst = offer(1, u32::MAX, 0, u32::MAX);
        let of = |duration, said| Limits::of_lease(Seconds(duration), said).to_sign(Kind::Lease, Some(&worst));
        assert_eq!(of(7200, None), limits(1, 3600, 0, 600));
        assert_eq!(of(90, None), limits(1, 3600, 0, 90));
        assert_eq!(of(7200, Some(Seconds(1800))), limits(1, 3600, 0, 1800));
        assert_eq!(Limits::of_job().to_sign(Kind::Job, Some(&worst)), limits(1, 3600, 0, 0));
        assert_eq!(Limits::of_contract().to_sign(Kind::Job, Some(&worst)), limits(10_000, 3600, 0, 0));
    }

    #[test]
    fn what_is_worse_than_usual_is_said() {
        assert_eq!(limits(10_000, 600, 3600, 60).warning(Kind::Lease), "");
        assert_eq!(
            limits(5_000, 900, 0, 300).warning(Kind::Lease),
            " (the provider pledges 50 % of it, it may take 900 s to start, 300 s are paid at least, it may end without notice)"
        );
        assert_eq!(limits(10_000, 600, 0, 0).warning(Kind::Job), "");
    }
}

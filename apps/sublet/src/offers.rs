//! What the solvers' books have for a wish: the offers that fit, cheapest first, or what is in the way of the nearest one.

use anyhow::Result;
use sublet_base::{Amount, Price};
use sublet_client::solver::{SolverClient, SolverError};
use sublet_market::{Class, Offer, misfits, sums};
use sublet_wire::solver::{MAX_PAGE, OfferPage, OfferQuery, OfferView};

use crate::limits::Limits;
use crate::output::refuse;
use crate::session::Session;
use crate::wish::Wish;

/// Pages read of one book: enough for a real market, and a bound for one that is stuffed.
const MOST_PAGES: usize = 10;

/// An offer on a book.
pub(crate) struct Listed {
    /// What its provider signed.
    pub(crate) offer: Offer,
    /// Its provider beats.
    online: bool,
    /// Agreements it has room for.
    free: u32,
}

impl Listed {
    /// What is in the way of the wish, at whatever price.
    fn obstacles(&self, wish: &Wish) -> Vec<String> {
        let order = wish.at_any_price();
        let mut obstacles: Vec<_> = misfits(&self.offer, &order).iter().map(ToString::to_string).collect();
        if wish.check.class == Class::Exact && self.pledge(wish) < Some(wish.check.panel_fees) {
            obstacles.push(format!("its pledge is less than the {} SUB of a panel", wish.check.panel_fees));
        }
        if !self.online {
            obstacles.push("its provider is offline".to_owned());
        } else if self.free == 0 {
            obstacles.push(format!("all its {} places are taken", self.offer.capacity));
        }
        obstacles
    }

    /// What the provider would lock for the wish.
    pub(crate) fn pledge(&self, wish: &Wish) -> Option<Amount> {
        let escrow = self.offer.price.over(wish.duration).ok()?;
        sums::pledge(escrow, self.offer.pledge_bps).ok()
    }
}

/// Those that can be opened now for the wish, at whatever price, cheapest first.
pub(crate) async fn fitting(session: &Session, wish: &Wish) -> Result<Vec<Listed>> {
    let query = OfferQuery {
        kind: Some(wish.kind.into()),
        vcpus: Some(wish.resources.vcpus.0),
        memory_mib: Some(wish.resources.memory.0),
        disk_gib: Some(wish.resources.disk.0),
        provider: wish.provider,
        ..OfferQuery::default()
    };
    let mut offers = listed(session, &query).await?;
    offers.retain(|listed| listed.obstacles(wish).is_empty());
    offers.sort_by_key(|listed| listed.offer.price);
    Ok(offers)
}

/// What to order at: the price that was said, else that of the cheapest offer that fits, and that offer's terms.
pub(crate) async fn terms_for(session: &Session, wish: &Wish) -> Result<(Price, Limits)> {
    let offers = fitting(session, wish).await;
    let (price, seen) = match wish.max_price {
        // A solver that does not answer is complained about when the order is posted.
        Some(max) => (max, offers.unwrap_or_default().into_iter().find(|listed| listed.offer.price <= max)),
        None => match offers?.into_iter().next() {
            Some(cheapest) => (cheapest.offer.price, Some(cheapest)),
            None => return nobody_offers(session, wish).await,
        },
    };
    Ok((price, wish.bounds.to_sign(wish.kind, seen.as_ref().map(|listed| &listed.offer))))
}

/// Refuses a wish that no offer serves at its price now: an order on chain would wait for nothing, unseen.
pub(crate) async fn refuse_hopeless(session: &Session, wish: &Wish) -> Result<()> {
    let offers = fitting(session, wish).await?;
    let Some(cheapest) = offers.first() else { return nobody_offers(session, wish).await };
    let (price, max) = (cheapest.offer.price, wish.max_price.unwrap_or(cheapest.offer.price));
    if price <= max {
        return Ok(());
    }
    refuse(
        format!("nobody would take the order now: the cheapest offer that fits costs {price}, the limit is {max}"),
        "offer a higher --max-price, or wait for a cheaper offer: see `sublet market`",
    )
}

async fn nobody_offers<T>(session: &Session, wish: &Wish) -> Result<T> {
    let (sizes, nearest) = (wish.resources, nearest(session, wish).await?);
    refuse(
        format!("nobody offers {sizes} for a {} of {} now:{nearest}", wish.kind, wish.duration),
        "see what there is with `sublet market`, and ask for less or for another duration",
    )
}

/// Why nothing on the books serves the wish at any price: the offer that comes closest, and what is in its way.
async fn nearest(session: &Session, wish: &Wish) -> Result<String> {
    let query = OfferQuery { kind: Some(wish.kind.into()), all: true, ..OfferQuery::default() };
    let found = listed(session, &query).await?.into_iter().map(|listed| (listed.obstacles(wish), listed.offer.price));
    let Some((obstacles, price)) = found.min_by_key(|(obstacles, price)| (obstacles.len(), *price)) else {
        return Ok(format!("\n  - there is no offer for a {} at all", wish.kind));
    };
    let lines: Vec<_> = obstacles.iter().map(|obstacle| format!("\n  - {obstacle}")).collect();
    Ok(format!(" the nearest costs {price}, but{}", lines.concat()))
}

/// From every solver that answers; an error only if none does.
async fn listed(session: &Session, query: &OfferQuery) -> Result<Vec<Listed>> {
    let mut offers = Vec::new();
    let mut silent = None;
    for solver in session.solvers()? {
        match book(&solver, query).await {
            // A document that cannot be one is the solver's mistake, not a reason to overlook the others.
            Ok(views) => offers.extend(views.into_iter().filter_map(|view| {
                let (online, free) = (view.online, view.free);
                Some(Listed { offer: Offer::try_from(view.offer).ok()?, online, free })
            })),
            Err(error) => silent = Some(error),
        }
    }
    match silent {
        Some(error) if offers.is_empty() => Err(error.into()),
        _ => Ok(offers),
    }
}

/// What one solver has, page by page, cheapest first.
pub(crate) async fn book(solver: &SolverClient, query: &OfferQuery) -> Result<Vec<OfferView>, SolverError> {
    let mut query = OfferQuery { limit: Some(MAX_PAGE), ..query.clone() };
    let mut found = Vec::new();
    for _ in 0..MOST_PAGES {
        let OfferPage { offers, next } = solver.offers(&query).await?;
        found.extend(offers);
        match next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sublet_base::{Address, B256, Bps, GiB, MiB, Seconds, UnixTime, Vcpus};
    use sublet_market::{Kind, MediatorSetId, Resources, Traits};

    use super::*;
    use crate::wish::Check;

    fn resources() -> Resources {
        Resources { vcpus: Vcpus(1), memory: MiB(512), disk: GiB(2), gpus: 0, traits: Traits::NONE }
    }

    fn wish(check: Check) -> Wish {
        Wish {
            kind: Kind::Job,
            name: "cowsay".into(),
            resources: resources(),
            max_price: None,
            bounds: Limits::of_job(),
            duration: Seconds(100),
            check,
            challenge_window: Seconds(120),
            provider: None,
            document: Vec::new(),
            workload: B256::ZERO,
        }
    }

    fn listed(set: u64, price: u128) -> Listed {
        let offer = Offer {
            provider: Address::repeat_byte(1),
            kind: Kind::Job,
            resources: resources(),
            price: Price(price),
            pledge_bps: Bps(10_000),
            capacity: 2,
            min_duration: Seconds(1),
            max_duration: Seconds(1000),
            start_within: Seconds(300),
            notice: Seconds(0),
            min_charge: Seconds(0),
            mediator_set: MediatorSetId(set),
            max_challenge_window: Seconds(600),
            valid_until: UnixTime(u64::MAX),
            epoch: 0,
        };
        Listed { offer, online: true, free: 2 }
    }

    #[test]
    fn only_what_could_be_opened_fits() {
        let none = wish(Check::none());
        assert!(listed(0, 5).obstacles(&none).is_empty());
        assert_eq!(Listed { online: false, ..listed(0, 5) }.obstacles(&none), ["its provider is offline"]);
        assert_eq!(Listed { free: 0, ..listed(0, 5) }.obstacles(&none), ["all its 2 places are taken"]);
        let longer = Wish { duration: Seconds(1001), ..wish(Check::none()) };
        assert_eq!(listed(0, 5).obstacles(&longer).len(), 1, "too long for the provider");
    }

    #[test]
    fn mediators_are_the_offers_own_and_covered_by_its_pledge() {
        let exact = wish(Check::exact(MediatorSetId(3), Amount(500)));
        assert!(listed(3, 5).obstacles(&exact).is_empty());
        assert_eq!(listed(0, 5).obstacles(&exact).len(), 1, "names nobody");
        assert_eq!(listed(3, 4).obstacles(&exact).len(), 1, "pledges 400 for fees of 500");
    }
}

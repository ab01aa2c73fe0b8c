//! From a wish to an agreement: sign an order, post it to the solvers, wait until one opens it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use sublet_base::{Address, Amount, B256, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_chain::{Event, Ledger, Located, Wallet};
use sublet_client::solver::{SolverClient, SolverError};
use sublet_market::{Kind, Offer, Order, Resources, SignedOrder, TypedData, misfits};
use sublet_wire::solver::{Cancel, MAX_PAGE, OfferQuery, OfferView, OrderState, OrderView, SignedCancel};
use tokio::time::{Instant, sleep};

use crate::class::Check;
use crate::output::{Advise, Progress};
use crate::patience::{chain_is_away, patiently};
use crate::records::{Opened, Record, Records};
use crate::session::Session;

/// How long an order that nothing fits stays on the book before the command gives up and takes it back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Validity of an order, seconds; longer than the patience, because opening takes some blocks.
const VALID_FOR: Seconds = Seconds(300);
/// Pause while something is away.
const AWAY: Duration = Duration::from_secs(1);

/// What a renter wants.
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) resources: Resources,
    /// Most it may cost a second; without it, the price of the cheapest offer that fits now.
    pub(crate) max_price: Option<Price>,
    pub(crate) duration: Seconds,
    pub(crate) check: Check,
    pub(crate) challenge_window: Seconds,
    /// Only this provider.
    pub(crate) provider: Option<Address>,
    /// The sealed workload and its hash.
    pub(crate) document: Vec<u8>,
    pub(crate) workload: B256,
}

/// The cheapest offers that fit, over all solvers that answer.
pub(crate) async fn fitting(session: &Session, wish: &Wish) -> Result<Vec<OfferView>> {
    let query = OfferQuery {
        kind: Some(wish.kind.into()),
        vcpus: Some(wish.resources.vcpus.0),
        memory_mib: Some(wish.resources.memory.0),
        disk_gib: Some(wish.resources.disk.0),
        provider: wish.provider,
        ..OfferQuery::default()
    };
    let mut offers = Vec::new();
    let mut silent = None;
    for solver in session.solvers()? {
        match solver.offers(&query).await {
            Ok(page) => offers.extend(page.offers),
            Err(error) => silent = Some(error),
        }
    }
    if let (true, Some(error)) = (offers.is_empty(), silent) {
        return Err(error.into());
    }
    offers.retain(|o| {
        o.online && o.free > 0 && o.offer.min_duration <= wish.duration.0 && wish.duration.0 <= o.offer.max_duration
    });
    offers.sort_by_key(|o| o.offer.price);
    Ok(offers)
}

/// Signs the order, records it, posts it and waits for the agreement.
pub(crate) async fn open(
    session: &Session,
    wallet: &Wallet,
    records: &Records,
    wish: Wish,
    progress: &Progress,
) -> Result<(Record, Opened)> {
    let offers = fitting(session, &wish).await?;
    let max_price = match (wish.max_price, offers.first()) {
        (Some(price), _) => price,
        (None, Some(cheapest)) => cheapest.offer.price,
        (None, None) => return nobody_offers(session, &wish).await,
    };
    let escrow = max_price.over(wish.duration)?;
    session.require_free(wallet.address(), escrow).await?;
    progress.step(format!("ordering at {} SUB an hour at most", max_price.per_hour()));

    let peer_key = session.link_key()?.peer_key();
    let head = session.ledger.head().await?;
    let order = draft(&wish, wallet.address(), max_price, peer_key, head.time.plus(VALID_FOR));
    let signed = wallet.sign_order(order, &session.ledger.domain())?;
    let hash = signed.order.signing_hash(&session.ledger.domain());
    let mut record = Record {
        order: hash,
        kind: wish.kind,
        renter: wallet.address(),
        name: wish.name,
        document: String::from_utf8(wish.document)?,
        max_price,
        duration: wish.duration,
        since: head.block.number,
        valid_until: signed.order.valid_until,
        opened: None,
        over: false,
    };
    records.put(&record).await?;
    let solver = post(session, &signed).await?;
    let opened = wait(session, wallet, &solver, &record, progress).await?;
    record.opened = Some(opened);
    records.put(&record).await?;
    Ok((record, opened))
}

/// Refuses a wish that no offer serves at its price now: an order on chain would wait for nothing, unseen.
pub(crate) async fn refuse_hopeless(session: &Session, wish: &Wish) -> Result<()> {
    let offers = fitting(session, wish).await?;
    let Some(cheapest) = offers.first() else { return nobody_offers(session, wish).await };
    let (price, max) = (cheapest.offer.price, wish.max_price.unwrap_or(cheapest.offer.price));
    if price <= max {
        return Ok(());
    }
    let dear: Result<()> = Err(anyhow::anyhow!(
        "nobody would take the order now: the cheapest offer that fits costs {} SUB an hour, the limit is {}",
        price.per_hour(),
        max.per_hour()
    ));
    dear.advise(|| "offer a higher --max-price, or wait for a cheaper offer: see `sublet market`".to_owned())
}

async fn nobody_offers<T>(session: &Session, wish: &Wish) -> Result<T> {
    let (sizes, nearest) = (wish.resources, nearest(session, wish).await?);
    let nobody: Result<T> =
        Err(anyhow::anyhow!("nobody offers {sizes} for a {} of {} now:{nearest}", wish.kind, wish.duration));
    nobody.advise(|| "see what there is with `sublet market`, and ask for less or for another duration".to_owned())
}

fn draft(wish: &Wish, renter: Address, max_price: Price, peer_key: PeerKey, valid_until: UnixTime) -> Order {
    Order {
        renter,
        kind: wish.kind,
        resources: wish.resources,
        max_price,
        duration: wish.duration,
        workload: wish.workload,
        peer_key,
        class: wish.check.class,
        mediator_set: wish.check.mediator_set,
        challenge_window: wish.challenge_window,
        provider: wish.provider.unwrap_or(Address::ZERO),
        solver: Address::ZERO,
        solver_fee: Amount::ZERO,
        valid_until,
        nonce: U256::from_be_bytes(rand::rng().random::<[u8; 32]>()),
    }
}

/// Why nothing on the books serves the wish at any price: the offer that comes closest, and what is in its way.
async fn nearest(session: &Session, wish: &Wish) -> Result<String> {
    let query = OfferQuery { kind: Some(wish.kind.into()), all: true, limit: Some(MAX_PAGE), ..OfferQuery::default() };
    let at_any_price = draft(wish, Address::ZERO, Price(u128::MAX), PeerKey([0; 32]), UnixTime(0));
    let mut found = Vec::new();
    for solver in session.solvers()? {
        // One that is silent was complained about before, if no other knew an offer.
        let offers = solver.offers(&query).await.map(|page| page.offers).unwrap_or_default();
        found.extend(offers.into_iter().filter_map(|view| {
            let offer = Offer::try_from(view.offer).ok()?;
            let mut obstacles: Vec<_> = misfits(&offer, &at_any_price).iter().map(ToString::to_string).collect();
            if !view.online {
                obstacles.push("its provider is offline".to_owned());
            } else if view.free == 0 {
                obstacles.push(format!("all its {} places are taken", offer.capacity));
            }
            Some((obstacles, offer.price))
        }));
    }
    let Some((obstacles, price)) = found.into_iter().min_by_key(|(obstacles, price)| (obstacles.len(), *price)) else {
        return Ok(format!("\n  - there is no offer for a {} at all", wish.kind));
    };
    let lines: Vec<_> = obstacles.iter().map(|obstacle| format!("\n  - {obstacle}")).collect();
    Ok(format!(" the nearest costs {} SUB an hour, but{}", price.per_hour(), lines.concat()))
}

/// The first solver that takes the order. One that refuses it has a reason every other would have too.
async fn post(session: &Session, signed: &SignedOrder) -> Result<SolverClient> {
    let wire = signed.clone().into();
    let mut last = None;
    for solver in session.solvers()? {
        match solver.post_order(&wire).await {
            Ok(_) => return Ok(solver),
            Err(SolverError::Refused(refusal)) => {
                let remedy = refusal.remedy.clone();
                return Err(anyhow::Error::new(refusal).context("the solver refuses the order")).advise(|| remedy);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).advise(|| {
            let list = if signed.order.kind == Kind::Lease { "sublet leases list" } else { "sublet jobs list" };
            format!(
                "is `sublet up` running? should a solver have the order all the same, `{list}` shows what came of it"
            )
        }),
        None => bail!("network.json names no solver"),
    }
}

/// Waits until the order is open. Gives up, and takes the order back, when nothing fits for too long.
async fn wait(
    session: &Session,
    wallet: &Wallet,
    solver: &SolverClient,
    record: &Record,
    progress: &Progress,
) -> Result<Opened> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = match solver.order(record.order).await {
            Ok(view) => view,
            Err(error) if error.is_retryable() => {
                progress.step("the solver does not answer; waiting");
                if let Some(opened) = without_solver(session, record, error, progress).await? {
                    return Ok(opened);
                }
                sleep(AWAY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match view.state {
            OrderState::Opened { agreement } => {
                return Ok(Opened {
                    id: agreement.id,
                    provider: agreement.provider,
                    transaction: agreement.transaction,
                });
            }
            OrderState::Opening { .. } => progress.step("matched; opening the agreement on chain"),
            OrderState::Waiting { reasons } if reasons.is_empty() || Instant::now() < deadline => {
                progress.step("waiting for an offer that fits");
            }
            OrderState::Waiting { reasons } => {
                match take_back(session, wallet, solver, record.order).await {
                    Ok(_) => {}
                    Err(error) if chain_is_away(&error) => {
                        progress.step("the chain does not answer; waiting for it");
                        sleep(AWAY).await;
                        continue;
                    }
                    Err(_) => {
                        // It may have been matched this very moment: look again before giving up.
                        sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                }
                let why: Vec<_> = reasons.iter().map(|r| format!("\n  - {}", r.message)).collect();
                return Err(anyhow::anyhow!("nobody can fill the order:{}", why.concat())).advise(|| {
                    "nothing was paid; see `sublet market`, and ask for less or offer a higher --max-price".to_owned()
                });
            }
            OrderState::Failed { reason } => bail!("the order failed: {reason}"),
            OrderState::Expired => bail!("the order expired before anybody filled it; nothing was paid"),
            OrderState::Cancelled => bail!("the order was cancelled; nothing was paid"),
        }
        sleep(Duration::from_millis(150)).await;
    }
}

/// What the chain says of an order whose solver is silent. An error once it is certain that nothing comes of it.
async fn without_solver(
    session: &Session,
    record: &Record,
    silence: SolverError,
    progress: &Progress,
) -> Result<Option<Opened>> {
    // The time first: whatever was filled before it is in the events.
    let (head, events) = patiently(progress, async || {
        let head = session.ledger.head().await?;
        Ok((head, session.ledger.events(record.since, head.block.number).await?))
    })
    .await?;
    match became(&events, record.order) {
        None if head.time > record.valid_until => {
            Err(anyhow::Error::new(silence).context("the order expired before anybody filled it; nothing was paid"))
        }
        opened => Ok(opened),
    }
}

/// The agreement that an order became.
fn became(events: &[Located], order: B256) -> Option<Opened> {
    events.iter().find_map(|located| {
        let (id, provider) = match &located.event {
            Event::LeaseOpened(e) if e.order == order => (e.id.0, e.provider),
            Event::JobOpened(e) if e.order == order => (e.id.0, e.provider),
            _ => return None,
        };
        Some(Opened { id, provider, transaction: located.tx })
    })
}

/// What an interrupted command may leave on the books.
pub(crate) fn left_behind(kind: Kind) -> String {
    let list = if kind == Kind::Lease { "sublet leases list" } else { "sublet jobs list" };
    format!("if the order is out it may still be filled within {VALID_FOR}: `{list}` shows what becomes of it")
}

/// Finds out what became of orders whose command ended before it knew: filled all the same, or over.
pub(crate) async fn catch_up(session: &Session, records: &Records) -> Result<()> {
    let unsure = records.unsure().await?;
    let Some(since) = unsure.iter().map(|record| record.since).min() else { return Ok(()) };
    let head = session.ledger.head().await?;
    let events = session.ledger.events(since, head.block.number).await?;
    for mut record in unsure {
        record.opened = became(&events, record.order);
        record.over = record.opened.is_none() && head.time > record.valid_until;
        if record.opened.is_some() || record.over {
            records.put(&record).await?;
        }
    }
    Ok(())
}

/// Asks the solver to forget the order.
pub(crate) async fn take_back(
    session: &Session,
    wallet: &Wallet,
    solver: &SolverClient,
    hash: B256,
) -> Result<OrderView> {
    let valid_until = session.ledger.head().await?.time.plus(VALID_FOR);
    let digest = Cancel { document: hash, valid_until }.signing_hash(&session.ledger.domain());
    let cancel = SignedCancel { valid_until: valid_until.0, signature: wallet.sign_digest(digest)?.to_string() };
    solver.cancel_order(hash, &cancel).await.context("the solver does not take the order back")
}

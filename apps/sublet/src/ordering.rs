//! From a wish to an agreement: sign an order, post it to the solvers, wait until one opens it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use sublet_base::{Address, Amount, B256, PeerKey, Price, Seconds, U256};
use sublet_chain::{Ledger, Wallet};
use sublet_client::solver::{SolverClient, SolverError};
use sublet_market::{Class, Kind, MediatorSetId, Order, Resources, SignedOrder, TypedData};
use sublet_wire::solver::{Cancel, OfferQuery, OfferView, OrderState, OrderView, SignedCancel};
use tokio::time::{Instant, sleep};

use crate::output::{Advise, Progress};
use crate::records::{Opened, Record, Records};
use crate::session::Session;

/// How long an order that nothing fits stays on the book before the command gives up and takes it back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Validity of an order, seconds; longer than the patience, because opening takes some blocks.
const VALID_FOR: Seconds = Seconds(300);

/// What a renter wants.
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) resources: Resources,
    /// Most it may cost a second; without it, the price of the cheapest offer that fits now.
    pub(crate) max_price: Option<Price>,
    pub(crate) duration: Seconds,
    pub(crate) class: Class,
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
        (None, None) => {
            let sizes = wish.resources;
            return Err(anyhow::anyhow!("nobody offers {sizes} for a {} of {} now", wish.kind, wish.duration)).advise(
                || "see what there is with `sublet market`, and ask for less or for another duration".to_owned(),
            );
        }
    };
    let escrow = max_price.over(wish.duration)?;
    session.require_free(wallet.address(), escrow).await?;
    progress.step(format!("ordering at {} SUB an hour at most", max_price.per_hour()));

    let peer_key = session.link_key()?.peer_key();
    let order = order(session, wallet.address(), &wish, max_price, peer_key).await?;
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
        since: session.ledger.head().await?.block.number,
        opened: None,
    };
    records.put(&record).await?;
    let solver = post(session, &signed).await?;
    let opened = wait(session, wallet, &solver, hash, progress).await?;
    record.opened = Some(opened);
    records.put(&record).await?;
    Ok((record, opened))
}

async fn order(session: &Session, renter: Address, wish: &Wish, max_price: Price, peer_key: PeerKey) -> Result<Order> {
    let now = session.ledger.head().await?.time;
    Ok(Order {
        renter,
        kind: wish.kind,
        resources: wish.resources,
        max_price,
        duration: wish.duration,
        workload: wish.workload,
        peer_key,
        class: wish.class,
        mediator_set: MediatorSetId(0),
        challenge_window: wish.challenge_window,
        provider: wish.provider.unwrap_or(Address::ZERO),
        solver: Address::ZERO,
        solver_fee: Amount::ZERO,
        valid_until: now.plus(VALID_FOR),
        nonce: U256::from_be_bytes(rand::rng().random::<[u8; 32]>()),
    })
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
        Some(error) => Err(error).advise(|| "is `sublet up` running?".to_owned()),
        None => bail!("network.json names no solver"),
    }
}

/// Waits until the order is open. Gives up, and takes the order back, when nothing fits for too long.
async fn wait(
    session: &Session,
    wallet: &Wallet,
    solver: &SolverClient,
    hash: B256,
    progress: &Progress,
) -> Result<Opened> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = solver.order(hash).await?;
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
                if take_back(session, wallet, solver, hash).await.is_err() {
                    // It may have been matched this very moment: look again before giving up.
                    sleep(Duration::from_millis(500)).await;
                    continue;
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

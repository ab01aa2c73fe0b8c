//! Opens matched pairs on chain and records the definite outcome of each.
//!
//! ```text
//! waiting ──matched──▶ opening (stored) ──submit under a lasting key──▶ filled | back to waiting | refused for ever
//! ```
//! Several go as one transaction ([`crate::batch`]), whose rows fail alone. A crash leaves orders in `opening`; the next
//! start asks for the same transaction by its key instead of sending a second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use sublet_base::B256;
use sublet_chain::{Call, Landed, Refusal, SubmitError, TxKey};
use sublet_daemon::{Backoff, CancellationToken};
use sublet_market::{SignedOffer, SignedOrder};
use sublet_store::{OfferState, OrderState, StoreError};

use crate::batch;
use crate::desk::Desk;
use crate::disk_full::until_stored;
use crate::follower;

/// Questions to the chain at once.
const QUESTIONS: usize = 8;

/// What the matcher leaves alone for a while after an opening that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaveAlone {
    Offer {
        offer: B256,
        why: String,
    },
    Order(B256),
    /// Only these two together.
    Pair {
        offer: B256,
        order: B256,
        why: String,
    },
    /// Its nonce is used. Until the events up to `block` are in the book: they say by whom, and if not, it was before our time.
    Used {
        order: B256,
        block: u64,
        why: String,
    },
}

/// A matched pair.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) offer_hash: B256,
    pub(crate) offer: SignedOffer,
    pub(crate) order_hash: B256,
    pub(crate) order: SignedOrder,
}

/// Whose fault a refused opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The offer is void for ever.
    Offer,
    /// The offer cannot be opened at the moment.
    OfferForNow,
    /// The order is void for ever.
    Order,
    /// Its nonce was used: filled or cancelled by somebody; the chain's events say which.
    OrderGone,
    /// The order cannot be opened at the moment.
    OrderForNow,
    /// The two do not go together; each may with others.
    Pair,
}

impl Pair {
    fn key(&self) -> TxKey {
        TxKey::lasting(format!("open/{}/{}", self.order_hash, self.offer_hash))
    }

    fn call(&self) -> Call {
        Call::Open(Box::new((self.offer.clone(), self.order.clone())))
    }

    fn blame(&self, refusal: &Refusal) -> Blame {
        match refusal {
            Refusal::OfferBadSignature { .. }
            | Refusal::OfferExpired { .. }
            | Refusal::OfferCancelled { .. }
            | Refusal::OfferEpochOver { .. }
            | Refusal::OfferZeroPrice => Blame::Offer,
            Refusal::OfferFull { .. }
            | Refusal::ProviderOffline { .. }
            | Refusal::ProviderStale { .. }
            | Refusal::ProviderUnknown { .. } => Blame::OfferForNow,
            Refusal::Short { account, .. } if *account == self.offer.offer.provider => Blame::OfferForNow,
            Refusal::OrderBadSignature { .. } | Refusal::OrderExpired { .. } | Refusal::OrderOtherSolver { .. } => {
                Blame::Order
            }
            Refusal::OrderNonceUsed { .. } => Blame::OrderGone,
            Refusal::Short { .. } | Refusal::OpenIsPaused => Blame::OrderForNow,
            // Whatever it is, the order may still go with another offer.
            _ => Blame::Pair,
        }
    }
}

/// Opens the pairs, which are already marked as being opened: together if there are several. Returns when every outcome
/// is in the book, or at `stop`.
pub(crate) async fn open_all(
    desk: Arc<Desk>,
    pairs: Vec<Pair>,
    stop: CancellationToken,
) -> Result<Vec<LeaveAlone>, StoreError> {
    if pairs.len() < 2 {
        return open_each(&desk, pairs, &stop).await;
    }
    // A row that is refused on chain costs gas, so each is asked about first; a single opening is asked about when sent.
    let (mut good, mut left) = (Vec::new(), Vec::new());
    let asking = stream::iter(pairs).map(|pair| {
        let desk = &desk;
        async move {
            let answer = desk.ledger.check(&pair.call()).await;
            (pair, answer)
        }
    });
    let mut answers = asking.buffered(QUESTIONS);
    while let Some((pair, answer)) = answers.next().await {
        match answer {
            Ok(Err(refusal)) => {
                let noted = until_stored(&stop, || refused(&desk, &pair, &refusal).boxed()).await?;
                left.extend(noted.flatten());
            }
            // What the chain does not say now, it says when it is sent.
            Ok(Ok(())) | Err(_) => good.push(pair),
        }
    }
    drop(answers);
    let more =
        if good.len() < 2 { open_each(&desk, good, &stop).await? } else { batch::open(&desk, good, &stop).await? };
    left.extend(more);
    Ok(left)
}

/// Opens pairs one after the other, each in a transaction of its own.
pub(crate) async fn open_each(
    desk: &Arc<Desk>,
    pairs: Vec<Pair>,
    stop: &CancellationToken,
) -> Result<Vec<LeaveAlone>, StoreError> {
    let mut left = Vec::new();
    for pair in pairs {
        left.extend(open(desk, &pair, stop).await?);
    }
    Ok(left)
}

async fn open(desk: &Arc<Desk>, pair: &Pair, stop: &CancellationToken) -> Result<Option<LeaveAlone>, StoreError> {
    let (key, call) = (pair.key(), pair.call());
    let Some(outcome) = settled(desk, stop, || desk.ledger.submit(&key, &call).boxed()).await else {
        return Ok(None);
    };
    let Some(left) = until_stored(stop, || note(desk, pair, &outcome).boxed()).await? else { return Ok(None) };
    forget(desk, &key).await;
    Ok(left)
}

/// Writes down what became of a single opening.
async fn note(
    desk: &Arc<Desk>,
    pair: &Pair,
    outcome: &Result<Landed, SubmitError>,
) -> Result<Option<LeaveAlone>, StoreError> {
    match outcome {
        Ok(landed) => {
            if !note_opened(desk, pair, landed).await? {
                tracing::error!(tx = %landed.tx, "a transaction that opens an agreement opened none");
            }
            Ok(None)
        }
        Err(error) => failed(desk, pair, error).await,
    }
}

/// Asks until the answer is definite. `None` at `stop`.
pub(crate) async fn settled<'a, T>(
    desk: &Arc<Desk>,
    stop: &CancellationToken,
    ask: impl Fn() -> BoxFuture<'a, Result<T, SubmitError>>,
) -> Option<Result<T, SubmitError>> {
    let backoff = Backoff { first: Duration::from_millis(500), ..Backoff::default() };
    let mut times = 0;
    loop {
        match stop.run_until_cancelled(ask()).await? {
            Err(SubmitError::Unknown { .. } | SubmitError::Journal(_)) => {
                times += 1;
                tracing::warn!(account = %desk.account, times, "not known yet whether agreements were opened");
                stop.run_until_cancelled(tokio::time::sleep(backoff.delay(times))).await?;
            }
            answer => return Some(answer),
        }
    }
}

/// Notes what a transaction opened of this pair; false if it did not.
pub(crate) async fn note_opened(desk: &Arc<Desk>, pair: &Pair, landed: &Landed) -> Result<bool, StoreError> {
    let opened = landed.events.iter().filter_map(|event| follower::opened(event, landed.tx));
    let Some(opened) = opened.into_iter().find(|opened| opened.order == pair.order_hash) else { return Ok(false) };
    desk.pen().await.fill_order(&opened).await?;
    // Who cannot be asked now is asked at the next end of an agreement; the contract never opens beyond capacity.
    let _ = follower::refresh(desk, pair.offer_hash).await;
    Ok(true)
}

pub(crate) async fn forget(desk: &Arc<Desk>, key: &TxKey) {
    if let Err(error) = desk.ledger.forget(key).await {
        tracing::warn!(error = %sublet_daemon::report(&error), "cannot tidy the transaction journal");
    }
}

/// Nothing was opened, and that is certain.
pub(crate) async fn failed(
    desk: &Arc<Desk>,
    pair: &Pair,
    error: &SubmitError,
) -> Result<Option<LeaveAlone>, StoreError> {
    if let Some(refusal) = error.refusal() {
        return refused(desk, pair, refusal).await;
    }
    // The chain or this solver's own account: neither document is to blame.
    let order = pair.order_hash;
    tracing::warn!(%order, error = %sublet_daemon::report(error), "could not open an agreement");
    desk.pen().await.return_order(order, "this solver could not send the transaction").await?;
    Ok(Some(LeaveAlone::Order(order)))
}

/// The contract does not open this pair.
pub(crate) async fn refused(
    desk: &Arc<Desk>,
    pair: &Pair,
    refusal: &Refusal,
) -> Result<Option<LeaveAlone>, StoreError> {
    let (offer, order) = (pair.offer_hash, pair.order_hash);
    let reason = refusal.to_string();
    tracing::info!(%order, %offer, reason, "the contract refuses to open an agreement");
    let pen = desk.pen().await;
    match pair.blame(refusal) {
        Blame::Offer => {
            pen.return_order(order, &reason).await?;
            pen.remove_offer(offer, OfferState::Cancelled, &reason).await?;
            Ok(None)
        }
        Blame::OfferForNow => {
            pen.return_order(order, &reason).await?;
            drop(pen);
            let _ = follower::refresh(desk, offer).await;
            Ok(Some(LeaveAlone::Offer { offer, why: reason }))
        }
        Blame::Order => {
            pen.end_order(order, OrderState::Refused { reason: reason.clone() }, &reason).await?;
            Ok(None)
        }
        Blame::OrderForNow => {
            pen.return_order(order, &reason).await?;
            Ok(Some(LeaveAlone::Order(order)))
        }
        Blame::Pair => {
            pen.return_order(order, &reason).await?;
            Ok(Some(LeaveAlone::Pair { offer, order, why: reason }))
        }
        Blame::OrderGone => {
            drop(pen);
            let Ok(head) = desk.ledger.head().await else {
                desk.pen().await.return_order(order, &reason).await?;
                return Ok(Some(LeaveAlone::Order(order)));
            };
            Ok(Some(LeaveAlone::Used { order, block: head.block.number, why: reason }))
        }
    }
}

/// Ends an order whose nonce was used, once the events up to `block` are in the book. The next start finds out by itself.
pub(crate) async fn end_used(
    desk: Arc<Desk>,
    order: B256,
    block: u64,
    why: String,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    if stop.run_until_cancelled(desk.caught_up(block)).await.is_none() {
        return Ok(());
    }
    let end = || async { desk.pen().await.end_order(order, OrderState::Cancelled, &why).await };
    until_stored(&stop, || end().boxed()).await.map(|_| ())
}

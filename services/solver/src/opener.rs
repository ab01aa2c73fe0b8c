//! Opens one matched pair on chain and records the definite outcome.
//!
//! ```text
//! waiting ──matched──▶ opening (stored) ──submit under a lasting key──▶ filled | back to waiting | refused for ever
//! ```
//! A crash leaves the order in `opening`; the next start submits under the same key, which finds the first transaction
//! instead of sending a second.

use std::sync::Arc;
use std::time::Duration;

use sublet_base::B256;
use sublet_chain::{Call, Refusal, SubmitError, TxKey};
use sublet_daemon::{Backoff, CancellationToken};
use sublet_market::{SignedOffer, SignedOrder};
use sublet_store::{OfferState, OrderState, StoreError};

use crate::desk::Desk;
use crate::follower;

/// What the matcher should leave alone for a while after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nothing,
    Offer(B256),
    Order(B256),
}

/// A matched pair.
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
}

impl Pair {
    fn key(&self) -> TxKey {
        TxKey::lasting(format!("open/{}/{}", self.order_hash, self.offer_hash))
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
            // A balance, a pause, or a pair that does not go together after all.
            _ => Blame::OrderForNow,
        }
    }
}

/// Opens the pair; the order is already marked as being opened. Returns when the outcome is in the book, or at `stop`.
pub(crate) async fn open(desk: Arc<Desk>, pair: Pair, stop: CancellationToken) -> Result<Rest, StoreError> {
    let call = Call::Open(Box::new((pair.offer.clone(), pair.order.clone())));
    let key = pair.key();
    let backoff = Backoff { first: Duration::from_millis(500), ..Backoff::default() };
    let mut failed = 0;
    let rest = loop {
        let Some(outcome) = stop.run_until_cancelled(desk.ledger.submit(&key, &call)).await else {
            return Ok(Rest::Nothing);
        };
        match outcome {
            Ok(landed) => {
                let opened = landed.events.iter().find_map(|event| follower::opened(event, landed.tx));
                match opened.filter(|opened| opened.order == pair.order_hash) {
                    Some(opened) => desk.pen().await.fill_order(&opened).await?,
                    None => tracing::error!(tx = %landed.tx, "a transaction that opens an agreement opened none"),
                }
                let _ = follower::refresh(&desk, pair.offer_hash).await;
                break Rest::Nothing;
            }
            Err(SubmitError::Unknown { .. } | SubmitError::Journal(_)) => {
                failed += 1;
                tracing::warn!(order = %pair.order_hash, failed, "not known yet whether the agreement was opened");
                stop.run_until_cancelled(tokio::time::sleep(backoff.delay(failed))).await;
            }
            Err(error) => break refused(&desk, &pair, &error).await?,
        }
    };
    if let Err(error) = desk.ledger.forget(&key).await {
        tracing::warn!(error = %sublet_daemon::report(&error), "cannot tidy the transaction journal");
    }
    Ok(rest)
}

/// Nothing was opened, and that is certain.
async fn refused(desk: &Desk, pair: &Pair, error: &SubmitError) -> Result<Rest, StoreError> {
    let (offer, order) = (pair.offer_hash, pair.order_hash);
    let Some(refusal) = error.refusal() else {
        // The chain or this solver's own account: neither document is to blame.
        tracing::warn!(%order, error = %sublet_daemon::report(error), "could not open an agreement");
        desk.pen().await.return_order(order, "this solver could not send the transaction").await?;
        return Ok(Rest::Order(order));
    };
    let reason = refusal.to_string();
    tracing::info!(%order, %offer, reason, "the contract refuses to open an agreement");
    let pen = desk.pen().await;
    match pair.blame(refusal) {
        Blame::Offer => {
            pen.return_order(order, &reason).await?;
            pen.remove_offer(offer, OfferState::Cancelled, &reason).await?;
            Ok(Rest::Nothing)
        }
        Blame::OfferForNow => {
            pen.return_order(order, &reason).await?;
            drop(pen);
            let _ = follower::refresh(desk, offer).await;
            Ok(Rest::Offer(offer))
        }
        Blame::Order => {
            pen.end_order(order, OrderState::Refused { reason: reason.clone() }, &reason).await?;
            Ok(Rest::Nothing)
        }
        Blame::OrderForNow => {
            pen.return_order(order, &reason).await?;
            Ok(Rest::Order(order))
        }
        Blame::OrderGone => {
            drop(pen);
            gone(desk, order, &reason).await
        }
    }
}

/// Somebody filled or cancelled the order; if the chain's events up to now do not say who, it was before our time.
async fn gone(desk: &Desk, order: B256, reason: &str) -> Result<Rest, StoreError> {
    match desk.ledger.head().await {
        Ok(head) => desk.caught_up(head.block.number).await,
        Err(_) => {
            desk.pen().await.return_order(order, reason).await?;
            return Ok(Rest::Order(order));
        }
    }
    desk.pen().await.end_order(order, OrderState::Cancelled, reason).await?;
    Ok(Rest::Nothing)
}

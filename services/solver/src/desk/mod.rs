//! The desk: takes documents in, hands them out, and holds the only [pen](Pen) that changes the book.
//!
//! Each change is stored first and then made in memory, under one lock, so that what is answered was durable. Readers never wait for the disk.

mod pen;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use sublet_base::{Address, B256, UnixTime};
use sublet_chain::{Ledger, PlacedOrder, ReadError};
use sublet_market::{Kind, SignedOffer, SignedOrder, TypedData};
use sublet_store::{Book, NewOffer, OfferState, OrderState, StoreError};
use sublet_wire::solver::{
    Accepted, Agreement, Cancel, Info, MAX_PAGE, OfferPage, OfferQuery, OfferView, OrderState as WireState, OrderView,
    Refusal, RefusalCode, SignedCancel,
};
use thiserror::Error;
use tokio::sync::{Mutex, Notify, watch};

use crate::config::SolverConfig;
use crate::feed::Feed;
use crate::intake::Intake;
use crate::live::{self, Live, LiveOffer, LiveOrder, Opening};
use crate::opener::Pair;
use crate::rate::Buckets;
use crate::refuse;

pub(crate) use pen::Pen;

const DEFAULT_PAGE: u32 = 50;
/// Rows of each kind that are forgotten in one go.
const FORGET_AT_ONCE: u32 = 1_000;

/// See the module. Shared by the HTTP interface, the matcher and the follower.
pub(crate) struct Desk {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) config: SolverConfig,
    pub(crate) feed: Feed,
    /// Rings when something changed that the matcher should look at.
    pub(crate) changed: Notify,
    /// The account openings are sent from.
    pub(crate) account: Address,
    book: Book,
    live: RwLock<Live>,
    writing: Arc<Mutex<()>>,
    per_account: Buckets<Address>,
    /// The last block whose events are in the book.
    seen: watch::Sender<u64>,
}

/// An agreement that came into being, by whoever opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) offer: B256,
    pub(crate) order: B256,
    pub(crate) provider: Address,
    pub(crate) transaction: B256,
}

/// Why the book cannot be taken up.
#[derive(Debug, Error)]
pub(crate) enum DeskError {
    /// The ledger was opened without an account.
    #[error("a solver needs an account to open agreements with")]
    NoAccount,
    /// The store.
    #[error("the book cannot be read")]
    Store(#[from] StoreError),
}

/// Why an order that was placed on chain could not be taken.
#[derive(Debug, Error)]
pub(crate) enum TakeError {
    /// The chain.
    #[error("the chain does not say enough about a placed order")]
    Chain(#[from] ReadError),
    /// The store.
    #[error("cannot write the book")]
    Store(#[from] StoreError),
}

/// A stored document that this version cannot read.
pub(crate) fn unreadable(what: &'static str, error: &serde_json::Error) -> StoreError {
    StoreError::Unreadable { what, problem: error.to_string() }
}

impl Desk {
    /// Reads the book back from the store.
    pub(crate) async fn open(ledger: Arc<dyn Ledger>, config: SolverConfig, book: Book) -> Result<Self, DeskError> {
        let mut live = Live::default();
        for stored in book.live_offers().await? {
            let signed: SignedOffer =
                serde_json::from_str(&stored.offer.document).map_err(|e| unreadable("offer", &e))?;
            live.insert_offer(
                stored.offer.hash,
                LiveOffer { signed, open: 0, online: false, unusable: None, opening: 0, seq: stored.seq },
            );
        }
        for stored in book.live_orders().await? {
            let signed: SignedOrder =
                serde_json::from_str(&stored.order.document).map_err(|e| unreadable("order", &e))?;
            let hash = stored.order.hash;
            live.insert_order(hash, LiveOrder::new(signed, stored.seq));
            if let OrderState::Opening { offer, batch } = stored.state {
                live.begin_opening(hash, Opening { offer, batch });
            }
        }
        Ok(Self {
            account: ledger.account().ok_or(DeskError::NoAccount)?,
            ledger,
            per_account: Buckets::new(config.requests_per_minute),
            config,
            feed: Feed::new(),
            changed: Notify::new(),
            book,
            live: RwLock::new(live),
            writing: Arc::default(),
            seen: watch::Sender::new(0),
        })
    }

    pub(crate) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn pen(self: &Arc<Self>) -> Pen {
        Pen::take(Arc::clone(self)).await
    }

    /// Takes a token of an account that is known to have signed what was posted.
    pub(crate) fn take_turn(&self, account: Address) -> Result<(), Refusal> {
        self.per_account.take(account, Instant::now()).map_err(refuse::too_many)
    }

    /// Forgets some of what ended longer ago than it is kept; nothing live is among that.
    pub(crate) async fn forget_ended(&self, now: UnixTime) -> Result<u64, StoreError> {
        let before = UnixTime(now.0.saturating_sub(self.config.keep_ended.0.into()));
        self.book.forget_ended(before, FORGET_AT_ONCE).await
    }

    /// Notes the last block whose events are in the book.
    pub(crate) fn set_seen(&self, block: u64) {
        self.seen.send_replace(block);
    }

    /// Waits until the events of `block` are in the book.
    pub(crate) async fn caught_up(&self, block: u64) {
        // Fails only when the sender is gone, and we hold it.
        let _ = self.seen.subscribe().wait_for(|seen| *seen >= block).await;
    }

    /// What this solver is.
    pub(crate) fn info(&self) -> Info {
        let domain = self.ledger.domain();
        let live = self.live();
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            chain_id: domain.chain_id,
            contract: domain.contract,
            account: self.account,
            min_fee: self.config.min_fee,
            block: *self.seen.borrow(),
            offers: live.offers().len() as u64,
            orders: live.orders().len() as u64,
        }
    }

    /// Puts an offer on the book.
    pub(crate) async fn post_offer(self: &Arc<Self>, signed: SignedOffer) -> Result<Accepted, Refusal> {
        let hash = signed.offer.signing_hash(&self.ledger.domain());
        if let Some(stored) = self.book.offer(hash).await.map_err(|e| refuse::internal(&e))? {
            return match stored.state {
                OfferState::Live => Ok(Accepted { hash }),
                OfferState::Cancelled => Err(refuse::cancelled()),
                OfferState::Expired => Err(refuse::expired(signed.offer.valid_until, signed.offer.valid_until)),
            };
        }
        let open = Intake { desk: self }.check_offer(hash, &signed).await?;
        let document = serde_json::to_string(&signed).map_err(|e| refuse::malformed(e.to_string()))?;
        let new = NewOffer { hash, provider: signed.offer.provider, valid_until: signed.offer.valid_until, document };
        self.pen().await.add_offer(new, signed, open).await?;
        Ok(Accepted { hash })
    }

    /// Puts an order on the book.
    pub(crate) async fn post_order(self: &Arc<Self>, signed: SignedOrder) -> Result<OrderView, Refusal> {
        let hash = signed.order.signing_hash(&self.ledger.domain());
        match self.order_view(hash).await {
            Ok(known) => return Ok(known),
            Err(refusal) if refusal.code == RefusalCode::NotFound => {}
            Err(refusal) => return Err(refusal),
        }
        let free = Intake { desk: self }.check_order(&signed).await?;
        let added = self.pen().await.add_order(hash, signed, Some(free)).await;
        if let Some(full) = added.map_err(|e| refuse::internal(&e))? {
            return Err(full);
        }
        self.order_view(hash).await
    }

    /// Takes an offer off the book for its provider.
    pub(crate) async fn cancel_offer(self: &Arc<Self>, hash: B256, cancel: &SignedCancel) -> Result<(), Refusal> {
        let provider = self.live().offer(hash).map(|live| live.signed.offer.provider);
        let provider = provider.ok_or_else(|| refuse::not_found("live offer", hash))?;
        self.check_cancel(hash, cancel, provider).await?;
        self.pen()
            .await
            .remove_offer(hash, OfferState::Cancelled, "its provider cancelled it")
            .await
            .map_err(|e| refuse::internal(&e))
    }

    /// Takes an order off the book for its renter.
    pub(crate) async fn cancel_order(
        self: &Arc<Self>,
        hash: B256,
        cancel: &SignedCancel,
    ) -> Result<OrderView, Refusal> {
        let renter = self.live().order(hash).map(|live| live.signed.order.renter);
        let Some(renter) = renter else {
            let view = self.order_view(hash).await?;
            return if view.state == WireState::Cancelled {
                Ok(view)
            } else {
                Err(refuse::too_late("no longer on the book"))
            };
        };
        self.check_cancel(hash, cancel, renter).await?;
        self.pen().await.cancel_waiting(hash).await?;
        self.order_view(hash).await
    }

    async fn check_cancel(&self, document: B256, cancel: &SignedCancel, author: Address) -> Result<(), Refusal> {
        let signature = cancel.signature.parse().map_err(|_| refuse::malformed("the signature cannot be read"))?;
        let document = Cancel { document, valid_until: UnixTime(cancel.valid_until) };
        let intake = Intake { desk: self };
        let now = self.ledger.head().await.map_err(|e| refuse::chain_unavailable(&e))?.time;
        if document.valid_until < now {
            return Err(refuse::expired(document.valid_until, now));
        }
        intake.check_signature(&document, &signature, author).await
    }

    /// Puts an order that its renter placed on chain on the book, if this solver could ever open it.
    pub(crate) async fn take_placed(self: &Arc<Self>, placed: &PlacedOrder) -> Result<(), TakeError> {
        let (hash, order) = (placed.hash, &placed.order);
        if self.live().order(hash).is_some() || self.book.order(hash).await?.is_some() {
            return Ok(());
        }
        if let Some(why) = (Intake { desk: self }).misplaced(order).await? {
            tracing::info!(order = %hash, renter = %order.renter, why, "an order placed on chain is not for this book");
            return Ok(());
        }
        match self.pen().await.add_order(hash, SignedOrder::placed(order.clone()), None).await? {
            None => tracing::info!(order = %hash, renter = %order.renter, "an order was placed on chain"),
            Some(full) => {
                tracing::warn!(order = %hash, why = full.message, "no room for an order that was placed on chain");
            }
        }
        Ok(())
    }

    /// A page of live offers.
    pub(crate) fn offers(&self, query: &OfferQuery) -> Result<OfferPage, Refusal> {
        let limit = query.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(refuse::malformed(format!("limit is 1 to {MAX_PAGE}")));
        }
        let page = self.live().page(query, limit as usize);
        let (offers, next) =
            page.ok_or_else(|| refuse::malformed("the offer named by `after` has left the book; start again"))?;
        Ok(OfferPage { offers, next })
    }

    /// One live offer.
    pub(crate) fn offer_view(&self, hash: B256) -> Result<OfferView, Refusal> {
        let live = self.live();
        live.offer(hash).map(|offer| live::view(hash, offer)).ok_or_else(|| refuse::not_found("live offer", hash))
    }

    /// An order, live or not.
    pub(crate) async fn order_view(&self, hash: B256) -> Result<OrderView, Refusal> {
        if let Some(live) = self.live().order(hash) {
            let state = match live.opening {
                Some(opening) => WireState::Opening { offer: opening.offer },
                None => WireState::Waiting { reasons: live.reasons.clone() },
            };
            return Ok(OrderView { hash, order: live.signed.order.clone().into(), state });
        }
        let internal = |e: StoreError| refuse::internal(&e);
        let stored = self.book.order(hash).await.map_err(internal)?.ok_or_else(|| refuse::not_found("order", hash))?;
        let signed: SignedOrder =
            serde_json::from_str(&stored.order.document).map_err(|e| refuse::internal(&unreadable("order", &e)))?;
        let state = match stored.state {
            OrderState::Waiting => WireState::Waiting { reasons: Vec::new() },
            OrderState::Opening { offer, .. } => WireState::Opening { offer },
            OrderState::Filled { offer, provider, agreement, transaction } => {
                let kind = signed.order.kind.into();
                WireState::Opened { agreement: Agreement { kind, id: agreement, offer, provider, transaction } }
            }
            OrderState::Cancelled => WireState::Cancelled,
            OrderState::Expired => WireState::Expired,
            OrderState::Refused { reason } => WireState::Failed { reason },
        };
        Ok(OrderView { hash, order: signed.order.into(), state })
    }

    /// Both documents of a match, wherever the offer is by now. `None` if the order is no longer live.
    pub(crate) async fn pair(&self, offer_hash: B256, order_hash: B256) -> Result<Option<Pair>, StoreError> {
        let Some(order) = self.live().order(order_hash).map(|live| live.signed.clone()) else { return Ok(None) };
        let Some(stored) = self.book.offer(offer_hash).await? else { return Ok(None) };
        let offer: SignedOffer = serde_json::from_str(&stored.offer.document).map_err(|e| unreadable("offer", &e))?;
        Ok(Some(Pair { offer_hash, offer, order_hash, order }))
    }
}

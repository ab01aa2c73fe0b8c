//! The desk: takes documents in, hands them out, and is the only writer of the book.
//!
//! Each change is stored first and then made in memory, under one lock, so that what is answered was durable. Readers never wait for the disk.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use sublet_base::{Address, B256, UnixTime};
use sublet_chain::{Ledger, PlacedOrder, ReadError};
use sublet_market::{Kind, SignedOffer, SignedOrder, TypedData};
use sublet_store::{Book, InBatch, NewOffer, NewOrder, OfferState, OrderState, Put, StoreError};
use sublet_wire::solver::{
    Accepted, Agreement, Cancel, EventBody, Info, MAX_PAGE, OfferPage, OfferQuery, OfferView, OrderState as WireState,
    OrderView, Refusal, RefusalCode, SignedCancel,
};
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use crate::config::SolverConfig;
use crate::feed::Feed;
use crate::intake::Intake;
use crate::limits::Buckets;
use crate::live::{self, Live, LiveOffer, LiveOrder, Opening};
use crate::opener::Pair;
use crate::refuse;

const DEFAULT_PAGE: u32 = 50;

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
    writing: Mutex<()>,
    per_account: Buckets<Address>,
    /// The last block whose events are in the book.
    seen: watch::Sender<u64>,
}

/// The right to change the book, held by one at a time.
pub(crate) struct Pen<'a> {
    desk: &'a Desk,
    _turn: MutexGuard<'a, ()>,
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
                LiveOffer { signed, open: 0, online: false, opening: 0, seq: stored.seq },
            );
        }
        for stored in book.live_orders().await? {
            let signed: SignedOrder =
                serde_json::from_str(&stored.order.document).map_err(|e| unreadable("order", &e))?;
            let hash = stored.order.hash;
            live.insert_order(hash, LiveOrder { signed, opening: None, reasons: Vec::new(), seq: stored.seq });
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
            writing: Mutex::default(),
            seen: watch::Sender::new(0),
        })
    }

    pub(crate) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn pen(&self) -> Pen<'_> {
        Pen { desk: self, _turn: self.writing.lock().await }
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
    pub(crate) async fn post_offer(&self, signed: SignedOffer) -> Result<Accepted, Refusal> {
        let hash = signed.offer.signing_hash(&self.ledger.domain());
        if let Some(stored) = self.book.offer(hash).await.map_err(|e| refuse::internal(&e))? {
            return match stored.state {
                OfferState::Live => Ok(Accepted { hash }),
                OfferState::Cancelled => Err(refuse::cancelled()),
                OfferState::Expired => Err(refuse::expired(signed.offer.valid_until, signed.offer.valid_until)),
            };
        }
        self.per_account.take(signed.offer.provider, Instant::now()).map_err(refuse::too_many)?;
        let open = Intake { desk: self }.check_offer(hash, &signed).await?;
        let document = serde_json::to_string(&signed).map_err(|e| refuse::malformed(e.to_string()))?;
        let new = NewOffer { hash, provider: signed.offer.provider, valid_until: signed.offer.valid_until, document };
        self.pen().await.add_offer(new, signed, open).await?;
        self.changed.notify_one();
        Ok(Accepted { hash })
    }

    /// Puts an order on the book.
    pub(crate) async fn post_order(&self, signed: SignedOrder) -> Result<OrderView, Refusal> {
        let hash = signed.order.signing_hash(&self.ledger.domain());
        match self.order_view(hash).await {
            Ok(known) => return Ok(known),
            Err(refusal) if refusal.code == RefusalCode::NotFound => {}
            Err(refusal) => return Err(refusal),
        }
        self.per_account.take(signed.order.renter, Instant::now()).map_err(refuse::too_many)?;
        Intake { desk: self }.check_order(&signed).await?;
        if let Some(full) = self.pen().await.add_order(hash, signed).await.map_err(|e| refuse::internal(&e))? {
            return Err(full);
        }
        self.changed.notify_one();
        self.order_view(hash).await
    }

    /// Takes an offer off the book for its provider.
    pub(crate) async fn cancel_offer(&self, hash: B256, cancel: &SignedCancel) -> Result<(), Refusal> {
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
    pub(crate) async fn cancel_order(&self, hash: B256, cancel: &SignedCancel) -> Result<OrderView, Refusal> {
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
    pub(crate) async fn take_placed(&self, placed: &PlacedOrder) -> Result<(), TakeError> {
        let (hash, order) = (placed.hash, &placed.order);
        if self.live().order(hash).is_some() || self.book.order(hash).await?.is_some() {
            return Ok(());
        }
        if let Some(why) = (Intake { desk: self }).misplaced(order).await? {
            tracing::info!(order = %hash, renter = %order.renter, why, "an order placed on chain is not for this book");
            return Ok(());
        }
        match self.pen().await.add_order(hash, SignedOrder::placed(order.clone())).await? {
            None => tracing::info!(order = %hash, renter = %order.renter, "an order was placed on chain"),
            Some(full) => {
                tracing::warn!(order = %hash, why = full.message, "no room for an order that was placed on chain");
            }
        }
        self.changed.notify_one();
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
            OrderState::Filled { offer, agreement, transaction } => {
                let provider = self.provider_of(offer).await.map_err(internal)?;
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

    /// Zero if the order was filled elsewhere by an offer that was never on this book.
    async fn provider_of(&self, offer: B256) -> Result<Address, StoreError> {
        Ok(self.book.offer(offer).await?.map_or(Address::ZERO, |stored| stored.offer.provider))
    }
}

impl Pen<'_> {
    async fn add_offer(&self, new: NewOffer, signed: SignedOffer, open: u32) -> Result<(), Refusal> {
        let (hash, config) = (new.hash, &self.desk.config);
        {
            let live = self.desk.live();
            check_room(live.count_offers_of(new.provider), live.offers().len(), config)?;
        }
        match self.desk.book.put_offer(&new).await.map_err(|e| refuse::internal(&e))? {
            Put::Known => return Ok(()),
            Put::New => {}
        }
        let seq = self.desk.live().next_seq();
        let offer = LiveOffer { signed, open, online: true, opening: 0, seq };
        let view = live::view(hash, &offer);
        self.desk.live_mut().insert_offer(hash, offer);
        self.desk.feed.publish(EventBody::OfferAdded { offer: Box::new(view) });
        Ok(())
    }

    /// Puts an order on the book; `Some` if there is no room for it.
    async fn add_order(&self, hash: B256, signed: SignedOrder) -> Result<Option<Refusal>, StoreError> {
        let (renter, valid_until) = (signed.order.renter, signed.order.valid_until);
        {
            let live = self.desk.live();
            if let Err(full) = check_room(live.count_orders_of(renter), live.orders().len(), &self.desk.config) {
                return Ok(Some(full));
            }
        }
        let document = serde_json::to_string(&signed).map_err(|e| unreadable("order", &e))?;
        match self.desk.book.put_order(&NewOrder { hash, renter, valid_until, document }).await? {
            Put::Known => return Ok(None),
            Put::New => {}
        }
        let seq = self.desk.live().next_seq();
        self.desk.live_mut().insert_order(hash, LiveOrder { signed, opening: None, reasons: Vec::new(), seq });
        self.desk.feed.publish(EventBody::OrderAdded { order: hash });
        Ok(None)
    }

    /// Takes an offer off the book. Harmless if it is not there.
    pub(crate) async fn remove_offer(&self, hash: B256, to: OfferState, reason: &str) -> Result<(), StoreError> {
        if self.desk.live().offer(hash).is_none() {
            return Ok(());
        }
        self.desk.book.move_offer(hash, OfferState::Live, to).await?;
        self.desk.live_mut().remove_offer(hash);
        self.desk.feed.publish(EventBody::OfferRemoved { offer: hash, reason: reason.to_owned() });
        Ok(())
    }

    async fn cancel_waiting(&self, hash: B256) -> Result<(), Refusal> {
        match self.desk.live().order(hash) {
            Some(live) if live.opening.is_some() => return Err(refuse::too_late("being opened")),
            Some(_) => {}
            None => return Ok(()),
        }
        self.end_order(hash, OrderState::Cancelled, "its renter cancelled it").await.map_err(|e| refuse::internal(&e))
    }

    /// Ends a live order without an agreement. Harmless if it is not live.
    pub(crate) async fn end_order(&self, hash: B256, to: OrderState, reason: &str) -> Result<(), StoreError> {
        let Some(from) = self.stored_state(hash) else { return Ok(()) };
        self.desk.book.move_order(hash, &from, &to).await?;
        self.desk.live_mut().remove_order(hash);
        self.desk.feed.publish(EventBody::OrderEnded { order: hash, reason: reason.to_owned() });
        Ok(())
    }

    /// Marks an order as on its way to an offer, before anything is sent. False if it no longer waits or the offer is gone or full.
    pub(crate) async fn begin_opening(&self, order: B256, offer: B256) -> Result<bool, StoreError> {
        {
            let live = self.desk.live();
            let waits = live.order(order).is_some_and(|order| order.opening.is_none());
            if !waits || live.offer(offer).is_none_or(|offer| offer.free() == 0) {
                return Ok(false);
            }
        }
        let opening = Opening { offer, batch: None };
        self.desk.book.move_order(order, &OrderState::Waiting, &opening.into()).await?;
        self.desk.live_mut().begin_opening(order, opening);
        self.desk.feed.publish(EventBody::OrderMatched { order, offer });
        Ok(true)
    }

    /// Notes that an order on its way is a row of one transaction, before that is sent. False if it is not on its way.
    pub(crate) async fn join_batch(&self, order: B256, batch: InBatch) -> Result<bool, StoreError> {
        let Some(from @ OrderState::Opening { offer, .. }) = self.stored_state(order) else { return Ok(false) };
        self.desk.book.move_order(order, &from, &OrderState::Opening { offer, batch: Some(batch) }).await?;
        self.desk.live_mut().set_batch(order, batch);
        Ok(true)
    }

    /// Puts an order that was not opened back on the book.
    pub(crate) async fn return_order(&self, hash: B256, reason: &str) -> Result<(), StoreError> {
        let Some(from @ OrderState::Opening { .. }) = self.stored_state(hash) else { return Ok(()) };
        self.desk.book.move_order(hash, &from, &OrderState::Waiting).await?;
        self.desk.live_mut().end_opening(hash);
        self.desk.feed.publish(EventBody::OrderReturned { order: hash, reason: reason.to_owned() });
        Ok(())
    }

    /// Notes that an order became an agreement. Harmless if it is known, or was never here.
    pub(crate) async fn fill_order(&self, opened: &Opened) -> Result<(), StoreError> {
        let hash = opened.order;
        let Some(from) = self.stored_state(hash) else { return Ok(()) };
        let Some((renter, nonce)) = self.desk.live().order(hash).map(|o| (o.signed.order.renter, o.signed.order.nonce))
        else {
            return Ok(());
        };
        let to = OrderState::Filled { offer: opened.offer, agreement: opened.id, transaction: opened.transaction };
        self.desk.book.move_order(hash, &from, &to).await?;
        self.desk.live_mut().remove_order(hash);
        let (kind, id, offer) = (opened.kind.into(), opened.id, opened.offer);
        let agreement = Agreement { kind, id, offer, provider: opened.provider, transaction: opened.transaction };
        self.desk.feed.publish(EventBody::OrderOpened { order: hash, agreement });
        let siblings = self.desk.live().orders_with_nonce(renter, nonce);
        for sibling in siblings {
            self.end_order(sibling, OrderState::Cancelled, "another order with its nonce was filled").await?;
        }
        Ok(())
    }

    /// Notes what the chain says about an offer's open agreements.
    pub(crate) fn set_open(&self, offer: B256, open: u32) {
        if self.desk.live_mut().set_open(offer, open)
            && let Some(free) = self.desk.live().offer(offer).map(LiveOffer::free)
        {
            self.desk.feed.publish(EventBody::OfferChanged { offer, free });
        }
    }

    /// Notes whether a provider takes agreements.
    pub(crate) fn set_online(&self, provider: Address, online: bool) {
        self.desk.live_mut().set_online(provider, online);
    }

    /// Notes why an order is not filled; tells the world if that is news.
    pub(crate) fn set_reasons(&self, hash: B256, reasons: Vec<sublet_wire::solver::Unfilled>) {
        let mut live = self.desk.live_mut();
        let Some(order) = live.order_mut(hash).filter(|order| order.opening.is_none() && order.reasons != reasons)
        else {
            return;
        };
        order.reasons.clone_from(&reasons);
        drop(live);
        self.desk.feed.publish(EventBody::OrderUnfilled { order: hash, reasons });
    }

    /// Takes what is past its validity off the book.
    pub(crate) async fn expire(&self, now: UnixTime) -> Result<(), StoreError> {
        let due = {
            let live = self.desk.live();
            live.offers().values().any(|o| o.signed.offer.valid_until < now)
                || live.orders().values().any(|o| o.signed.order.valid_until < now)
        };
        if !due {
            return Ok(());
        }
        let (offers, orders) = self.desk.book.expire(now).await?;
        let reason = || "it is past its validity".to_owned();
        for offer in offers {
            self.desk.live_mut().remove_offer(offer);
            self.desk.feed.publish(EventBody::OfferRemoved { offer, reason: reason() });
        }
        for order in orders {
            self.desk.live_mut().remove_order(order);
            self.desk.feed.publish(EventBody::OrderEnded { order, reason: reason() });
        }
        Ok(())
    }

    /// The state a live order has in the store.
    fn stored_state(&self, hash: B256) -> Option<OrderState> {
        let live = self.desk.live();
        let order = live.order(hash)?;
        Some(order.opening.map_or(OrderState::Waiting, OrderState::from))
    }
}

fn check_room(of_account: usize, in_all: usize, config: &SolverConfig) -> Result<(), Refusal> {
    if of_account >= config.max_per_account as usize {
        return Err(refuse::book_full("the account", config.max_per_account));
    }
    if in_all >= config.max_documents as usize {
        return Err(refuse::book_full("the book", config.max_documents));
    }
    Ok(())
}

//! Every change of the book: stored first, then made in memory, then told to the world.

use sublet_base::{Address, B256, UnixTime};
use sublet_market::{SignedOffer, SignedOrder};
use sublet_store::{InBatch, NewOffer, NewOrder, OfferState, OrderState, Put, StoreError};
use sublet_wire::solver::{Agreement, EventBody, Refusal};
use tokio::sync::MutexGuard;

use super::{Desk, Opened, unreadable};
use crate::config::SolverConfig;
use crate::live::{self, LiveOffer, LiveOrder, Opening};
use crate::refuse;

/// The right to change the book, held by one at a time.
pub(crate) struct Pen<'a> {
    desk: &'a Desk,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> Pen<'a> {
    pub(super) async fn take(desk: &'a Desk) -> Self {
        Self { desk, _turn: desk.writing.lock().await }
    }

    pub(super) async fn add_offer(&self, new: NewOffer, signed: SignedOffer, open: u32) -> Result<(), Refusal> {
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
    pub(super) async fn add_order(&self, hash: B256, signed: SignedOrder) -> Result<Option<Refusal>, StoreError> {
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

    pub(super) async fn cancel_waiting(&self, hash: B256) -> Result<(), Refusal> {
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

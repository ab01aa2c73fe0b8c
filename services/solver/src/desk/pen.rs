//! Every change of the book: stored first, then made in memory, then told to the world.
//!
//! A change is made to its end in a task of its own, also if whoever asked for it hangs up meanwhile: the database finishes
//! what it began in any case, and memory would be left behind.

use std::sync::Arc;

use sublet_base::{Address, Amount, B256, UnixTime};
use sublet_market::{SignedOffer, SignedOrder};
use sublet_matching::{Reason, Unusable};
use sublet_store::{InBatch, NewOffer, NewOrder, OfferState, OrderState, Put, StoreError};
use sublet_wire::solver::{Agreement, EventBody, Refusal};
use tokio::sync::OwnedMutexGuard;

use super::{Desk, Opened, unreadable};
use crate::config::SolverConfig;
use crate::live::{self, LiveOffer, LiveOrder, Opening};
use crate::{refuse, unfilled};

/// The right to change the book, held by one at a time: by a pen and by what it began.
#[derive(Clone)]
pub(crate) struct Pen {
    desk: Arc<Desk>,
    _turn: Arc<OwnedMutexGuard<()>>,
}

/// Does `change` to its end, also if nobody waits for that any more.
async fn whole<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(change).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody aborts it, so the runtime is going down, and we with it.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Pen {
    pub(super) async fn take(desk: Arc<Desk>) -> Self {
        let turn = Arc::clone(&desk.writing).lock_owned().await;
        Self { desk, _turn: Arc::new(turn) }
    }

    pub(super) async fn add_offer(&self, new: NewOffer, signed: SignedOffer, open: u32) -> Result<(), Refusal> {
        let pen = self.clone();
        whole(async move {
            let (hash, config) = (new.hash, &pen.desk.config);
            {
                let live = pen.desk.live();
                check_room(live.count_offers_of(new.provider), live.offers().len(), config)?;
            }
            match pen.desk.book.put_offer(&new).await.map_err(|e| refuse::internal(&e))? {
                Put::Known => return Ok(()),
                Put::New => {}
            }
            let seq = pen.desk.live().next_seq();
            let offer = LiveOffer { signed, open, online: true, unusable: None, opening: 0, seq };
            let view = live::view(hash, &offer);
            pen.desk.live_mut().insert_offer(hash, offer);
            pen.desk.feed.publish(EventBody::OfferAdded { offer: Box::new(view) });
            pen.desk.changed.notify_one();
            Ok(())
        })
        .await
    }

    /// Puts an order on the book, if with it the renter's orders lock no more than is `free`; that is not looked at without
    /// it. `Some` if there is no room.
    pub(super) async fn add_order(
        &self,
        hash: B256,
        signed: SignedOrder,
        free: Option<Amount>,
    ) -> Result<Option<Refusal>, StoreError> {
        let pen = self.clone();
        whole(async move {
            if let Err(full) = pen.check_order_room(&signed, free) {
                return Ok(Some(full));
            }
            let (renter, valid_until) = (signed.order.renter, signed.order.valid_until);
            let document = serde_json::to_string(&signed).map_err(|e| unreadable("order", &e))?;
            match pen.desk.book.put_order(&NewOrder { hash, renter, valid_until, document }).await? {
                Put::Known => return Ok(None),
                Put::New => {}
            }
            let seq = pen.desk.live().next_seq();
            pen.desk.live_mut().insert_order(hash, LiveOrder::new(signed, seq));
            pen.desk.feed.publish(EventBody::OrderAdded { order: hash });
            pen.desk.changed.notify_one();
            Ok(None)
        })
        .await
    }

    fn check_order_room(&self, signed: &SignedOrder, free: Option<Amount>) -> Result<(), Refusal> {
        let (live, renter) = (self.desk.live(), signed.order.renter);
        check_room(live.count_orders_of(renter), live.orders().len(), &self.desk.config)?;
        let Some(free) = free else { return Ok(()) };
        let needed = live.most_locked_with(&signed.order);
        if needed > free { Err(refuse::balance_spoken_for(renter, free, needed)) } else { Ok(()) }
    }

    /// Takes an offer off the book. Harmless if it is not there.
    pub(crate) async fn remove_offer(&self, hash: B256, to: OfferState, reason: &str) -> Result<(), StoreError> {
        let (pen, reason) = (self.clone(), reason.to_owned());
        whole(async move {
            if pen.desk.live().offer(hash).is_none() {
                return Ok(());
            }
            match pen.desk.book.move_offer(hash, OfferState::Live, to).await {
                // It is not live in the store either: read again, it is what was wanted.
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            pen.desk.live_mut().remove_offer(hash);
            pen.desk.feed.publish(EventBody::OfferRemoved { offer: hash, reason });
            Ok(())
        })
        .await
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
        let (pen, reason) = (self.clone(), reason.to_owned());
        whole(async move {
            if pen.move_order(hash, |_| Some(to.clone())).await? {
                pen.desk.live_mut().remove_order(hash);
                pen.desk.feed.publish(EventBody::OrderEnded { order: hash, reason });
            }
            Ok(())
        })
        .await
    }

    /// Marks an order as on its way to an offer, before anything is sent. False if it no longer waits or the offer is gone or full.
    pub(crate) async fn begin_opening(&self, order: B256, offer: B256) -> Result<bool, StoreError> {
        let pen = self.clone();
        whole(async move {
            if pen.desk.live().offer(offer).is_none_or(|offer| offer.free() == 0) {
                return Ok(false);
            }
            let opening = Opening { offer, batch: None };
            let waits = |from: &OrderState| (*from == OrderState::Waiting).then(|| opening.into());
            let begun = pen.move_order(order, waits).await?;
            if begun {
                pen.desk.live_mut().begin_opening(order, opening);
                pen.desk.feed.publish(EventBody::OrderMatched { order, offer });
            }
            Ok(begun)
        })
        .await
    }

    /// Notes that an order on its way is a row of one transaction, before that is sent. False if it is not on its way.
    pub(crate) async fn join_batch(&self, order: B256, batch: InBatch) -> Result<bool, StoreError> {
        let pen = self.clone();
        whole(async move {
            let place = |from: &OrderState| {
                let OrderState::Opening { offer, .. } = *from else { return None };
                Some(OrderState::Opening { offer, batch: Some(batch) })
            };
            let joined = pen.move_order(order, place).await?;
            if joined {
                pen.desk.live_mut().set_batch(order, batch);
            }
            Ok(joined)
        })
        .await
    }

    /// Puts an order that was not opened back on the book, where it says why.
    pub(crate) async fn return_order(&self, hash: B256, reason: &str) -> Result<(), StoreError> {
        let (pen, reason) = (self.clone(), reason.to_owned());
        whole(async move {
            let back = |from: &OrderState| matches!(from, OrderState::Opening { .. }).then_some(OrderState::Waiting);
            if pen.move_order(hash, back).await? {
                pen.desk.live_mut().end_opening(hash, vec![unfilled::not_opened(&reason)]);
                pen.desk.feed.publish(EventBody::OrderReturned { order: hash, reason });
            }
            Ok(())
        })
        .await
    }

    /// Notes that an order became an agreement. Harmless if it is known, or was never here.
    pub(crate) async fn fill_order(&self, opened: &Opened) -> Result<(), StoreError> {
        let (pen, opened) = (self.clone(), opened.clone());
        whole(async move {
            let hash = opened.order;
            let named = pen.desk.live().order(hash).map(|o| (o.signed.order.renter, o.signed.order.nonce));
            let Some((renter, nonce)) = named else { return Ok(()) };
            let Opened { kind, id, offer, provider, transaction, .. } = opened;
            let to = OrderState::Filled { offer, provider, agreement: id, transaction };
            if pen.move_order(hash, |_| Some(to.clone())).await? {
                pen.desk.live_mut().remove_order(hash);
                let agreement = Agreement { kind: kind.into(), id, offer, provider, transaction };
                pen.desk.feed.publish(EventBody::OrderOpened { order: hash, agreement });
            }
            let siblings = pen.desk.live().orders_with_nonce(renter, nonce);
            for sibling in siblings {
                pen.end_order(sibling, OrderState::Cancelled, "another order with its nonce was filled").await?;
            }
            Ok(())
        })
        .await
    }

    /// Notes what the chain says about an offer's open agreements.
    pub(crate) fn set_open(&self, offer: B256, open: u32) {
        if self.desk.live_mut().set_open(offer, open) {
            self.tell_changed(offer);
        }
    }

    /// Notes whether a provider takes agreements.
    pub(crate) fn set_online(&self, provider: Address, online: bool) {
        let offers = self.desk.live().offers_of(provider);
        for offer in offers {
            if self.desk.live_mut().set_online(offer, online) {
                self.tell_changed(offer);
            }
        }
    }

    /// Notes whether an offer's provider takes agreements, and why nobody can open the offer.
    pub(crate) fn set_standing(&self, offer: B256, online: bool, unusable: Option<Unusable>) {
        let news = {
            let mut live = self.desk.live_mut();
            // Both are done, whichever is news.
            live.set_online(offer, online) | live.set_unusable(offer, unusable)
        };
        if news {
            self.tell_changed(offer);
        }
    }

    fn tell_changed(&self, offer: B256) {
        let changed = self.desk.live().offer(offer).map(|live| live::changed(offer, live));
        if let Some(changed) = changed {
            self.desk.feed.publish(changed);
        }
    }

    /// Notes why an order is not filled; tells the world if that is news.
    pub(crate) fn set_reason(&self, hash: B256, reason: Reason) {
        let told = vec![unfilled::told(&reason)];
        if self.desk.live_mut().set_reason(hash, reason, told.clone()) {
            self.desk.feed.publish(EventBody::OrderUnfilled { order: hash, reasons: told });
        }
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
        let pen = self.clone();
        whole(async move {
            let (offers, orders) = pen.desk.book.expire(now).await?;
            let reason = || "it is past its validity".to_owned();
            for offer in offers {
                pen.desk.live_mut().remove_offer(offer);
                pen.desk.feed.publish(EventBody::OfferRemoved { offer, reason: reason() });
            }
            for order in orders {
                pen.desk.live_mut().remove_order(order);
                pen.desk.feed.publish(EventBody::OrderEnded { order, reason: reason() });
            }
            Ok(())
        })
        .await
    }

    /// Moves a live order in the store to where `to` says it goes from its state; false if it goes nowhere. A store that
    /// knows better than memory is read again, once.
    async fn move_order(&self, hash: B256, to: impl Fn(&OrderState) -> Option<OrderState>) -> Result<bool, StoreError> {
        for _ in 0..2 {
            let Some(from) = self.stored_state(hash) else { return Ok(false) };
            let Some(to) = to(&from) else { return Ok(false) };
            match self.desk.book.move_order(hash, &from, &to).await {
                Err(StoreError::Conflict { .. }) => self.read_again(hash).await?,
                moved => return moved.map(|()| true),
            }
        }
        tracing::error!(order = %hash, "the store and the book do not agree about an order");
        Ok(false)
    }

    /// Makes memory say of an order what the store says.
    async fn read_again(&self, hash: B256) -> Result<(), StoreError> {
        let stored = self.desk.book.order(hash).await?.map(|stored| stored.state);
        tracing::warn!(order = %hash, ?stored, "the store knows better where an order is");
        let mut live = self.desk.live_mut();
        match stored {
            Some(OrderState::Waiting) => live.end_opening(hash, Vec::new()),
            Some(OrderState::Opening { offer, batch }) => {
                live.end_opening(hash, Vec::new());
                live.begin_opening(hash, Opening { offer, batch });
            }
            Some(
                OrderState::Filled { .. } | OrderState::Cancelled | OrderState::Expired | OrderState::Refused { .. },
            )
            | None => drop(live.remove_order(hash)),
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

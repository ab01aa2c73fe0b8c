//! Follows the chain: fills by anyone, cancellations, room that opens up, time that passes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use sublet_base::{Address, B256, U256};
use sublet_chain::{Batch, BlockRef, Event, FollowError, FollowOptions, Located, PlacedOrder, ReadError, Sink, follow};
use sublet_daemon::{Backoff, CancellationToken};
use sublet_market::Kind;
use sublet_store::{Cursor, OfferState, OrderState, Position, Store, StoreError};
use thiserror::Error;
use tokio::time::Instant;

use crate::desk::{Desk, Opened, TakeError};

/// The name of the follower's cursor in the store.
const CURSOR: &str = "solver";
/// Questions to the chain at once.
const QUESTIONS: usize = 8;
/// How often what ended long ago is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Why the follower cannot go on.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    /// The chain.
    #[error("cannot follow the chain")]
    Chain(#[from] ReadError),
    /// The store.
    #[error("cannot write the book")]
    Store(#[from] StoreError),
}

impl From<FollowError<StoreError>> for Broken {
    fn from(error: FollowError<StoreError>) -> Self {
        match error {
            FollowError::Chain(error) => Self::Chain(error),
            FollowError::Sink(error) => Self::Store(error),
        }
    }
}

/// Reads the chain into the book.
pub(crate) struct Follower {
    desk: Arc<Desk>,
    cursor: Cursor,
    start: BlockRef,
    options: FollowOptions,
    /// Offers of the agreements that were opened before our eyes and have not ended.
    agreements: HashMap<(Kind, u64), B256>,
    /// Offers whose counts are to be asked for.
    stale: BTreeSet<B256>,
    forgot: Option<Instant>,
}

impl Follower {
    /// Takes up where the last run stopped. A new book starts at the newest block, because documents are checked
    /// against the chain as they come; only orders that wait on chain are older than that.
    ///
    /// # Errors
    /// The store's; [`ReadError`] if the chain cannot be asked where it is.
    pub(crate) async fn new(desk: Arc<Desk>, store: &Store, options: FollowOptions) -> Result<Self, Broken> {
        let cursor = store.cursor(CURSOR);
        let start = match cursor.load().await? {
            Some(at) => BlockRef { number: at.block, hash: at.hash },
            None => {
                let head = desk.ledger.head().await?.block;
                take_all_placed(&desk, options.from, head.number).await?;
                cursor.advance(position(head)).await?;
                head
            }
        };
        desk.set_seen(start.number);
        let (agreements, stale) = (HashMap::new(), BTreeSet::new());
        Ok(Self { desk, cursor, start, options, agreements, stale, forgot: None })
    }

    /// Follows until told to stop.
    ///
    /// # Errors
    /// [`Broken`]; a chain that does not answer is waited for.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Broken> {
        let (ledger, options) = (Arc::clone(&self.desk.ledger), self.options.clone());
        Ok(follow(ledger, Some(self.start), options, &mut self, &stop).await?)
    }

    /// What is past its validity by the newest block's clock leaves the book.
    async fn pass_time(&self) -> Result<(), StoreError> {
        match self.desk.ledger.head().await {
            Ok(head) => self.desk.pen().await.expire(head.time).await,
            Err(error) => {
                tracing::debug!(error = %sublet_daemon::report(&error), "the chain's time is not known");
                Ok(())
            }
        }
    }

    async fn apply(&self, events: &[Located]) -> Result<(), StoreError> {
        for located in events {
            if let Event::OrderPlaced(placed) = &located.event {
                self.take_placed(placed).await?;
            }
            self.apply_one(located).await?;
        }
        Ok(())
    }

    /// Notes which offers have a place more: of an agreement from before this start, it may be any that has one open.
    fn make_room(&mut self, events: &[Located]) {
        for located in events {
            if let Some(opened) = opened(&located.event, located.tx) {
                self.agreements.insert((opened.kind, opened.id), opened.offer);
            }
            let ended = match &located.event {
                Event::LeaseEnded { id, .. } => (Kind::Lease, id.0),
                Event::JobEnded { id, .. } => (Kind::Job, id.0),
                _ => continue,
            };
            match self.agreements.remove(&ended) {
                Some(offer) => drop(self.stale.insert(offer)),
                None => {
                    let live = self.desk.live();
                    self.stale.extend(live.offers().iter().filter(|(_, offer)| offer.open > 0).map(|(hash, _)| *hash));
                }
            }
        }
    }

    /// Asks for the counts of the offers that have a place more. One that cannot be asked for now is asked for with the next
    /// block; until then the old one stands.
    async fn refresh_stale(&mut self) {
        let (desk, stale) = (&self.desk, self.stale.iter().copied().collect::<Vec<_>>());
        let asking = stream::iter(stale).map(|offer| async move { (offer, refresh(desk, offer).await) });
        let answers: Vec<_> = asking.buffer_unordered(QUESTIONS).collect().await;
        for (offer, answer) in answers {
            match answer {
                Ok(()) => drop(self.stale.remove(&offer)),
                Err(error) => complain(offer, &error),
            }
        }
    }

    /// Forgets what ended long ago, now and then and some at a time. A full disk has to wait for somebody else.
    async fn forget_ended(&mut self) -> Result<(), StoreError> {
        if self.forgot.is_some_and(|at| at.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        let Ok(head) = self.desk.ledger.head().await else { return Ok(()) };
        self.forgot = Some(Instant::now());
        match self.desk.forget_ended(head.time).await {
            Err(error) if !error.is_full() => Err(error),
            Ok(0) | Err(_) => Ok(()),
            Ok(forgotten) => {
                tracing::info!(forgotten, "forgot documents that ended long ago");
                Ok(())
            }
        }
    }

    /// Waits out a chain that does not answer: nobody posts this order again.
    async fn take_placed(&self, placed: &PlacedOrder) -> Result<(), StoreError> {
        let backoff = Backoff { first: Duration::from_millis(500), ..Backoff::default() };
        for failed in 1.. {
            match self.desk.take_placed(placed).await {
                Ok(()) => return Ok(()),
                Err(TakeError::Store(error)) => return Err(error),
                Err(TakeError::Chain(error)) => {
                    let problem = sublet_daemon::report(&error);
                    tracing::warn!(order = %placed.hash, problem, "cannot take a placed order yet");
                }
            }
            tokio::time::sleep(backoff.delay(failed)).await;
        }
        Ok(())
    }

    async fn apply_one(&self, located: &Located) -> Result<(), StoreError> {
        if let Some(opened) = opened(&located.event, located.tx) {
            self.desk.pen().await.fill_order(&opened).await?;
            if let Err(error) = refresh(&self.desk, opened.offer).await {
                complain(opened.offer, &error);
            }
            return Ok(());
        }
        match &located.event {
            Event::OfferCancelled { offer, .. } => {
                let reason = "its provider cancelled it on chain";
                self.desk.pen().await.remove_offer(*offer, OfferState::Cancelled, reason).await
            }
            Event::EpochBumped { provider, epoch } => self.end_epochs_before(*provider, *epoch).await,
            Event::OrderCancelled { renter, nonce } => self.end_orders(*renter, *nonce).await,
            Event::ProviderOnline { provider, online } => {
                self.desk.pen().await.set_online(*provider, *online);
                Ok(())
            }
            // Money, leases and jobs: balances and room are asked for when they matter.
            _ => Ok(()),
        }
    }

    async fn end_epochs_before(&self, provider: Address, epoch: u64) -> Result<(), StoreError> {
        let old: Vec<B256> = {
            let live = self.desk.live();
            let of_provider = live.offers_of(provider).into_iter();
            of_provider.filter(|hash| live.offer(*hash).is_some_and(|o| o.signed.offer.epoch < epoch)).collect()
        };
        for offer in old {
            let reason = "its provider started a new epoch";
            self.desk.pen().await.remove_offer(offer, OfferState::Cancelled, reason).await?;
        }
        Ok(())
    }

    async fn end_orders(&self, renter: Address, nonce: U256) -> Result<(), StoreError> {
        let orders = self.desk.live().orders_with_nonce(renter, nonce);
        for order in orders {
            let reason = "its renter cancelled it on chain";
            self.desk.pen().await.end_order(order, OrderState::Cancelled, reason).await?;
        }
        Ok(())
    }
}

/// An offer whose count cannot be asked for keeps the old one; the contract never opens beyond capacity.
fn complain(offer: B256, error: &ReadError) {
    tracing::warn!(%offer, error = %sublet_daemon::report(error), "cannot ask how full an offer is");
}

#[async_trait]
impl Sink for Follower {
    type Error = StoreError;

    /// Writes down what the blocks say, and that they were read.
    async fn take_in(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.apply(&batch.events).await?;
        self.pass_time().await?;
        self.cursor.advance(position(batch.upto)).await?;
        self.make_room(&batch.events);
        self.refresh_stale().await;
        self.forget_ended().await?;
        self.desk.set_seen(batch.upto.number);
        if !batch.events.is_empty() {
            self.desk.changed.notify_one();
        }
        Ok(())
    }

    async fn rewind(&mut self, to: BlockRef) -> Result<(), StoreError> {
        self.cursor.rewind(position(to)).await?;
        self.desk.set_seen(to.number);
        Ok(())
    }

    fn passes(&self, error: &StoreError) -> bool {
        error.is_full()
    }
}

fn position(at: BlockRef) -> Position {
    Position { block: at.number, hash: at.hash }
}

/// Takes orders that were placed before this book began and still wait.
async fn take_all_placed(desk: &Arc<Desk>, from: u64, to: u64) -> Result<(), Broken> {
    let placed = desk.ledger.placed_orders(from, to).await?;
    for order in placed {
        match desk.take_placed(&order).await {
            Ok(()) => {}
            Err(TakeError::Store(error)) => return Err(error.into()),
            Err(TakeError::Chain(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Asks the chain how many agreements of a live offer are open.
///
/// # Errors
/// [`ReadError`].
pub(crate) async fn refresh(desk: &Arc<Desk>, offer: B256) -> Result<(), ReadError> {
    if desk.live().offer(offer).is_some() {
        let open = desk.ledger.open_count(offer).await?;
        desk.pen().await.set_open(offer, open);
    }
    Ok(())
}

/// Asks that of every live offer.
///
/// # Errors
/// [`ReadError`], the first.
pub(crate) async fn refresh_all(desk: &Arc<Desk>) -> Result<(), ReadError> {
    let offers: Vec<B256> = desk.live().offers().keys().copied().collect();
    let asking = stream::iter(offers).map(|offer| refresh(desk, offer));
    asking.buffer_unordered(QUESTIONS).try_collect().await
}

/// The agreement an event opened, if it did.
pub(crate) fn opened(event: &Event, transaction: B256) -> Option<Opened> {
    match event {
        Event::LeaseOpened(e) => {
            let (id, offer, order, provider) = (e.id.0, e.offer, e.order, e.provider);
            Some(Opened { kind: Kind::Lease, id, offer, order, provider, transaction })
        }
        Event::JobOpened(e) => {
            let (id, offer, order, provider) = (e.id.0, e.offer, e.order, e.provider);
            Some(Opened { kind: Kind::Job, id, offer, order, provider, transaction })
        }
        _ => None,
    }
}

//! Gathers facts, asks the plan, and has the matches opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sublet_base::{Address, Amount, B256, UnixTime};
use sublet_chain::{Head, ReadError};
use sublet_daemon::CancellationToken;
use sublet_market::Class;
use sublet_matching::{Account, Book, Match, OpenOffer, PendingOrder, Plan, Policy, plan};
use sublet_store::{OrderState, StoreError};
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::batch::{self, Row};
use crate::desk::Desk;
use crate::disk_full::until_stored;
use crate::facts::Facts;
use crate::opener::{self, LeaveAlone, Pair};
use crate::shares::Limits;

/// Balances and beats change without telling; so look again this often.
const AGAIN: Duration = Duration::from_secs(5);
/// How long what the contract refused is left alone.
const REST: Duration = Duration::from_secs(10);

/// The loop that matches.
pub(crate) struct Matcher {
    desk: Arc<Desk>,
    /// Offers that the contract refused, left alone until then, and its words.
    refused: HashMap<B256, (Instant, String)>,
    /// Orders to leave alone until then.
    resting: HashMap<B256, Instant>,
    /// Pairs of offer and order that the contract refused, left apart until then, and its words.
    apart: HashMap<(B256, B256), (Instant, String)>,
    facts: Facts,
    limits: Limits,
    openings: JoinSet<Result<Vec<LeaveAlone>, StoreError>>,
    /// Orders that wait for the follower to read who used their nonce.
    endings: JoinSet<Result<(), StoreError>>,
}

impl Matcher {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        let limits = Limits {
            batch: (desk.config.max_batch as usize).max(1),
            transactions: (desk.config.max_transactions as usize).max(1),
        };
        Self {
            desk,
            refused: HashMap::new(),
            resting: HashMap::new(),
            apart: HashMap::new(),
            facts: Facts::default(),
            limits,
            openings: JoinSet::new(),
            endings: JoinSet::new(),
        }
    }

    /// Matches until told to stop; openings that are under way then are finished by the next start.
    ///
    /// # Errors
    /// The store's; a chain that does not answer is waited for.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        self.resume(&stop).await?;
        let mut complaint = String::new();
        while !stop.is_cancelled() {
            let before = Instant::now();
            match stop.run_until_cancelled(self.round(&stop)).await {
                Some(Ok(())) => complaint.clear(),
                None => {}
                Some(Err(RoundError::Store(error))) if !error.is_full() => return Err(error),
                Some(Err(error)) => {
                    // Said once, not every round.
                    let why = error.to_string();
                    if complaint != why {
                        tracing::warn!(error = %sublet_daemon::report(&error), "cannot match");
                        complaint = why;
                    }
                }
            }
            // A round looks at the whole book: at most half of the time is spent on that, and what comes meanwhile waits for
            // the next one together.
            stop.run_until_cancelled(tokio::time::sleep(before.elapsed().min(AGAIN))).await;
            let changed = self.desk.changed.notified();
            tokio::select! {
                () = stop.cancelled() => {}
                () = changed => {}
                () = tokio::time::sleep_until(before + AGAIN) => {}
                Some(ended) = self.openings.join_next() => self.note(ended, &stop)?,
                Some(ended) = self.endings.join_next() => survived(ended).unwrap_or(Ok(()))?,
            }
        }
        while let Some(ended) = self.openings.join_next().await {
            self.note(ended, &stop)?;
        }
        while let Some(ended) = self.endings.join_next().await {
            survived(ended).unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Goes on with what a crash interrupted: each transaction as it was.
    async fn resume(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let unfinished = self.desk.live().openings();
        let mut batches: BTreeMap<B256, Vec<Row>> = BTreeMap::new();
        for (order, opening) in unfinished {
            tracing::info!(%order, "finding out what became of an interrupted opening");
            let read = || self.desk.pair(opening.offer, order).boxed();
            let Some(pair) = until_stored(stop, read).await?.flatten() else { continue };
            match opening.batch {
                Some(place) => batches.entry(place.batch).or_default().push((place.row, pair)),
                None => {
                    self.openings.spawn(opener::open_all(Arc::clone(&self.desk), vec![pair], stop.clone()));
                }
            }
        }
        for (batch, rows) in batches {
            let (desk, stop) = (Arc::clone(&self.desk), stop.clone());
            self.openings.spawn(async move { batch::resume(&desk, batch, rows, &stop).await });
        }
        Ok(())
    }

    fn note(
        &mut self,
        ended: Result<Result<Vec<LeaveAlone>, StoreError>, JoinError>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let left = survived(ended).unwrap_or_else(|| Ok(Vec::new()))?;
        let until = Instant::now() + REST;
        for alone in left {
            match alone {
                LeaveAlone::Offer { offer, why } => drop(self.refused.insert(offer, (until, why))),
                LeaveAlone::Order(order) => drop(self.resting.insert(order, until)),
                LeaveAlone::Pair { offer, order, why } => drop(self.apart.insert((offer, order), (until, why))),
                LeaveAlone::Used { order, block, why } => {
                    self.endings.spawn(opener::end_used(Arc::clone(&self.desk), order, block, why, stop.clone()));
                }
            }
        }
        self.desk.changed.notify_one();
        Ok(())
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), RoundError> {
        let now = Instant::now();
        self.refused.retain(|_, (until, _)| *until > now);
        self.resting.retain(|_, until| *until > now);
        self.apart.retain(|_, (until, _)| *until > now);
        let head = self.desk.ledger.head().await?;
        let mut book = self.gather(head).await?;
        self.drop_unpaid(&mut book).await?;
        let policy = Policy {
            min_fee: self.desk.config.min_fee,
            max_beat_age: self.desk.ledger.rules().max_gap,
            margin: self.desk.config.margin,
            max_matches: self.limits.room(self.openings.len()),
            ..Policy::at(head.time, self.desk.account)
        };
        // It may take long, and others have requests to answer.
        let planned = tokio::task::spawn_blocking(move || (plan(&book, &policy), book)).await;
        let Some((plan, book)) = survived(planned) else { return Ok(()) };
        self.note_offers(&book, &plan, head.time).await;
        let (pairs, begun) = self.begin(&plan.matches).await;
        // What was begun is sent, also if there was no room to begin more.
        for share in self.limits.share(pairs) {
            self.openings.spawn(opener::open_all(Arc::clone(&self.desk), share, stop.clone()));
        }
        self.explain(plan).await;
        Ok(begun?)
    }

    /// Marks the matches as being opened, up to the first that cannot be stored.
    async fn begin(&self, matches: &[Match]) -> (Vec<Pair>, Result<(), StoreError>) {
        let mut pairs = Vec::new();
        for found in matches {
            match self.begin_one(found).await {
                Ok(pair) => pairs.extend(pair),
                Err(error) => return (pairs, Err(error)),
            }
        }
        (pairs, Ok(()))
    }

    async fn begin_one(&self, found: &Match) -> Result<Option<Pair>, StoreError> {
        let Some(pair) = self.desk.pair(found.offer, found.order).await? else { return Ok(None) };
        if !self.desk.pen().await.begin_opening(found.order, found.offer).await? {
            return Ok(None);
        }
        tracing::info!(order = %found.order, offer = %found.offer, price = %found.price, "matched");
        Ok(Some(pair))
    }

    /// The book as the plan wants it, with what the chain says of every account in it.
    async fn gather(&mut self, head: Head) -> Result<Book, ReadError> {
        let mut book = Book {
            refused: self.refused.iter().map(|(offer, (_, why))| (*offer, why.clone())).collect(),
            apart: self.apart.iter().map(|(pair, (_, why))| (*pair, why.clone())).collect(),
            ..Book::default()
        };
        let (mut sets, mut providers, mut renters) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        {
            let live = self.desk.live();
            for (hash, offer) in live.offers() {
                providers.insert(offer.signed.offer.provider);
                let open = offer.open.saturating_add(offer.opening);
                let offered = offer.signed.offer.clone();
                book.offers.push(OpenOffer { hash: *hash, offer: offered, open, received: offer.seq });
            }
            for (hash, order) in live.orders() {
                if order.opening.is_some() || self.resting.contains_key(hash) {
                    continue;
                }
                let ordered = order.signed.order.clone();
                renters.insert(ordered.renter);
                if ordered.class == Class::Exact {
                    sets.insert(ordered.mediator_set);
                }
                book.orders.push(PendingOrder { hash: *hash, order: ordered, received: order.seq });
            }
        }
        self.facts.renew(head.block);
        let ledger = &*self.desk.ledger;
        book.accounts = self.facts.accounts(ledger, &renters, &providers).await?.collect();
        book.panel_fees = self.facts.panel_fees(ledger, sets).await?.into_iter().collect();
        Ok(book)
    }

    /// Ends the orders whose renters have less than they may lock, as if they were posted now. One that was placed on chain
    /// waits for the money: nobody could post it again.
    async fn drop_unpaid(&self, book: &mut Book) -> Result<(), RoundError> {
        let short: Vec<(B256, Address, Amount)> = {
            let live = self.desk.live();
            let posted = book.orders.iter().filter(|o| live.order(o.hash).is_some_and(|order| !order.is_placed()));
            let needing = posted.filter_map(|o| Some((o.hash, o.order.renter, o.order.most_locked().ok()?)));
            needing.filter(|(_, renter, needed)| book.free(*renter) < *needed).collect()
        };
        let mut dropped = BTreeSet::new();
        for (order, renter, needed) in short {
            // It ends for good, so what was read before the order came does not count.
            let free = self.desk.ledger.free_of(renter).await?;
            if free < needed {
                let why = format!("its renter has {free} free in the contract and it may need {needed}");
                let to = OrderState::Refused { reason: why.clone() };
                self.desk.pen().await.end_order(order, to, &why).await?;
                dropped.insert(order);
            }
        }
        book.orders.retain(|order| !dropped.contains(&order.hash));
        Ok(())
    }

    /// Notes which offers can be opened at all.
    async fn note_offers(&self, book: &Book, plan: &Plan, now: UnixTime) {
        let longest = u64::from(self.desk.ledger.rules().max_gap.0);
        let online =
            |account: &Account| account.provider.is_some_and(|p| p.online && now.since(p.last_beat) <= longest);
        let unusable: HashMap<_, _> = plan.unusable.iter().map(|(offer, why)| (*offer, why)).collect();
        let pen = self.desk.pen().await;
        for entry in &book.offers {
            let online = book.accounts.get(&entry.offer.provider).is_some_and(online);
            pen.set_standing(entry.hash, online, unusable.get(&entry.hash).map(|why| (*why).clone()));
        }
    }

    async fn explain(&self, plan: Plan) {
        let pen = self.desk.pen().await;
        for unfilled in plan.unfilled {
            pen.set_reason(unfilled.order, unfilled.reason);
        }
    }
}

/// What a task came to; nothing if it was aborted.
fn survived<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// Why a round ended early.
#[derive(Debug, Error)]
enum RoundError {
    #[error("the chain cannot be asked")]
    Chain(#[from] ReadError),
    #[error("the book cannot be written")]
    Store(#[from] StoreError),
}

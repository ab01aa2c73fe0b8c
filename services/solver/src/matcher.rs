//! Gathers facts, asks the plan, and has the matches opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use sublet_base::{Address, B256};
use sublet_chain::{Head, ReadError};
use sublet_daemon::CancellationToken;
use sublet_market::Class;
use sublet_matching::{Account, Book, OpenOffer, PendingOrder, Plan, Policy, Provider, Reason, plan};
use sublet_store::StoreError;
use sublet_wire::solver::Unfilled;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::batch::{self, Row};
use crate::desk::Desk;
use crate::opener::{self, Rest};
use crate::shares::Limits;

/// Balances and beats change without telling; so look again this often.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a document that the contract refused is left alone.
const REST: Duration = Duration::from_secs(10);
/// Questions to the chain at once.
const QUESTIONS: usize = 8;

/// The loop that matches.
pub(crate) struct Matcher {
    desk: Arc<Desk>,
    /// Documents to leave alone until then.
    resting: HashMap<B256, Instant>,
    /// Pairs of offer and order to leave apart until then.
    apart: HashMap<(B256, B256), Instant>,
    limits: Limits,
    openings: JoinSet<Result<Vec<Rest>, StoreError>>,
}

impl Matcher {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        let limits = Limits {
            batch: (desk.config.max_batch as usize).max(1),
            transactions: (desk.config.max_transactions as usize).max(1),
        };
        Self { desk, resting: HashMap::new(), apart: HashMap::new(), limits, openings: JoinSet::new() }
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
            let changed = self.desk.changed.notified();
            tokio::select! {
                () = stop.cancelled() => {}
                () = changed => {}
                () = tokio::time::sleep_until(before + AGAIN) => {}
                Some(ended) = self.openings.join_next() => self.note(ended)?,
            }
        }
        while let Some(ended) = self.openings.join_next().await {
            self.note(ended)?;
        }
        Ok(())
    }

    /// Goes on with what a crash interrupted: each transaction as it was.
    async fn resume(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let unfinished = self.desk.live().openings();
        let mut batches: BTreeMap<B256, Vec<Row>> = BTreeMap::new();
        for (order, opening) in unfinished {
            tracing::info!(%order, "finding out what became of an interrupted opening");
            let Some(pair) = self.desk.pair(opening.offer, order).await? else { continue };
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

    fn note(&mut self, ended: Result<Result<Vec<Rest>, StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
        let rests = match ended {
            Ok(rests) => rests?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Vec::new(),
        };
        let until = Instant::now() + REST;
        for rest in rests {
            match rest {
                Rest::Offer(hash) | Rest::Order(hash) => drop(self.resting.insert(hash, until)),
                Rest::Pair(offer, order) => drop(self.apart.insert((offer, order), until)),
            }
        }
        self.desk.changed.notify_one();
        Ok(())
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), RoundError> {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        self.apart.retain(|_, until| *until > now);
        let head = self.desk.ledger.head().await?;
        let book = self.gather().await?;
        self.note_providers(&book, head).await;
        if book.orders.is_empty() {
            return Ok(());
        }
        let policy = Policy {
            min_fee: self.desk.config.min_fee,
            max_beat_age: self.desk.ledger.rules().max_gap,
            margin: self.desk.config.margin,
            max_matches: self.limits.room(self.openings.len()),
            ..Policy::at(head.time, self.desk.account)
        };
        let plan = plan(&book, &policy);
        self.explain(&plan).await;
        let mut pairs = Vec::new();
        for found in &plan.matches {
            if self.desk.pen().await.begin_opening(found.order, found.offer).await?
                && let Some(pair) = self.desk.pair(found.offer, found.order).await?
            {
                tracing::info!(order = %found.order, offer = %found.offer, price = %found.price, "matched");
                pairs.push(pair);
            }
        }
        for share in self.limits.share(pairs) {
            self.openings.spawn(opener::open_all(Arc::clone(&self.desk), share, stop.clone()));
        }
        Ok(())
    }

    /// The book as the plan wants it, with what the chain says of every account in it.
    async fn gather(&self) -> Result<Book, ReadError> {
        let mut book = Book { apart: self.apart.keys().copied().collect(), ..Book::default() };
        let mut sets = BTreeSet::new();
        let mut providers = BTreeSet::new();
        let mut accounts = BTreeSet::new();
        {
            let live = self.desk.live();
            for (hash, offer) in live.offers() {
                let provider = offer.signed.offer.provider;
                providers.insert(provider);
                if !self.resting.contains_key(hash) {
                    let open = offer.open.saturating_add(offer.opening);
                    book.offers.push(OpenOffer {
                        hash: *hash,
                        offer: offer.signed.offer.clone(),
                        open,
                        received: offer.seq,
                    });
                }
            }
            for (hash, order) in live.orders() {
                if order.opening.is_none() && !self.resting.contains_key(hash) {
                    accounts.insert(order.signed.order.renter);
                    if order.signed.order.class == Class::Exact {
                        sets.insert(order.signed.order.mediator_set);
                    }
                    book.orders.push(PendingOrder {
                        hash: *hash,
                        order: order.signed.order.clone(),
                        received: order.seq,
                    });
                }
            }
        }
        accounts.extend(providers.iter().copied());
        book.accounts = stream::iter(accounts)
            .map(|account| self.facts(account, providers.contains(&account)))
            .buffer_unordered(QUESTIONS)
            .try_collect::<BTreeMap<_, _>>()
            .await?;
        for set in sets {
            if let Some(record) = self.desk.ledger.mediator_set(set).await? {
                book.panel_fees.insert(set, record.fees());
            }
        }
        Ok(book)
    }

    async fn facts(&self, address: Address, provides: bool) -> Result<(Address, Account), ReadError> {
        let ledger = &self.desk.ledger;
        let free = ledger.free_of(address).await?;
        let record = if provides { ledger.provider(address).await? } else { None };
        let provider = record.map(|r| Provider { online: r.online, last_beat: r.last_beat, epoch: r.epoch });
        Ok((address, Account { free, provider }))
    }

    async fn note_providers(&self, book: &Book, head: Head) {
        let longest = u64::from(self.desk.ledger.rules().max_gap.0);
        let pen = self.desk.pen().await;
        let providers = self.desk.live().providers();
        for provider in providers {
            let facts = book.accounts.get(&provider).and_then(|account| account.provider);
            let online = facts.is_some_and(|p| p.online && head.time.since(p.last_beat) <= longest);
            pen.set_online(provider, online);
        }
    }

    async fn explain(&self, plan: &Plan) {
        let pen = self.desk.pen().await;
        for unfilled in &plan.unfilled {
            let message = unfilled.reason.to_string();
            pen.set_reasons(unfilled.order, vec![Unfilled { code: code(&unfilled.reason).to_owned(), message }]);
        }
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

/// The reason's word in the interface; part of its version.
fn code(reason: &Reason) -> &'static str {
    match reason {
        Reason::Invalid(_) => "senseless",
        Reason::Expired(_) => "expires-too-soon",
        Reason::OtherSolver(_) => "other-solver",
        Reason::FeeTooLow { .. } => "fee-too-low",
        Reason::BalanceTooLow { .. } => "balance-too-low",
        Reason::TooExpensive { .. } => "too-expensive",
        Reason::UnknownMediators(_) => "unknown-mediators",
        Reason::NoOffers(_) => "no-offers",
        Reason::NothingFits(_) => "nothing-fits",
        Reason::NextRound => "next-round",
    }
}

//! Follows the contract's events from a block cursor, in order, through restarts and an absent chain.
//!
//! [`Follower::next`] hands out a [`Batch`] and keeps handing out the same blocks until [`Follower::commit`] is told that
//! the caller has stored what they changed together with [`Batch::upto`]. So each event counts once for each stored cursor.
//! Logs are polled over http: one cheap question a tick, no subscription to lose silently.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;
use tracing::warn;

use crate::event::Located;
use crate::ledger::{Depth, Ledger};
use crate::node::{BlockRef, ReadError};

/// How to follow.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// How deep a block must lie.
    pub depth: Depth,
    /// Pause between questions while nothing happens.
    pub poll: Duration,
    /// Longest pause while the chain is down.
    pub longest_wait: Duration,
    /// Most blocks asked for at once; halved when the node finds it too much.
    pub span: u64,
    /// First block of interest when there is no cursor yet: the contract's deployment.
    pub from: u64,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            depth: Depth::Latest,
            poll: Duration::from_millis(250),
            longest_wait: Duration::from_secs(10),
            span: 2_000,
            from: 0,
        }
    }
}

/// Events of a run of blocks, in order, and the cursor to store with their effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Possibly none: then storing the cursor only saves time at the next start.
    pub events: Vec<Located>,
    /// The last block of the run.
    pub upto: BlockRef,
}

/// Following cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The block the cursor points to is not part of the chain any more: deeper than agreed, or a local chain started over.
    #[error("block {} is not what it was: the chain was replaced below the cursor; start over from the contract's views", cursor.number)]
    Replaced {
        /// Where the cursor stood.
        cursor: BlockRef,
    },
    /// Asking again will not help.
    #[error("the chain cannot be followed")]
    Chain(#[source] ReadError),
}

/// Whether the chain answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers.
    Up,
    /// It did not answer this many times in a row.
    Down(u32),
}

/// Blocks a lagging node may be behind the cursor before the chain counts as replaced.
const LAG: u64 = 64;

/// A position on the chain that moves on when told to.
#[derive(Debug)]
pub struct Follower {
    ledger: Arc<dyn Ledger>,
    options: FollowOptions,
    cursor: Option<BlockRef>,
    span: u64,
    failures: u32,
    reach: tokio::sync::watch::Sender<Reach>,
}

impl Follower {
    /// Follows after `cursor`, the last block whose effects are stored; without one, from [`FollowOptions::from`].
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, cursor: Option<BlockRef>, options: FollowOptions) -> Self {
        let span = options.span.max(1);
        Self { ledger, options, cursor, span, failures: 0, reach: tokio::sync::watch::Sender::new(Reach::Up) }
    }

    /// Tells whether the chain answers.
    #[must_use]
    pub fn reach(&self) -> tokio::sync::watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// The last committed block.
    #[must_use]
    pub fn cursor(&self) -> Option<BlockRef> {
        self.cursor
    }

    /// Moves on: everything up to this block is stored.
    pub fn commit(&mut self, upto: BlockRef) {
        self.cursor = Some(upto);
    }

    /// Waits for new blocks and returns their events. Waits out a chain that is down. Safe to cancel.
    ///
    /// # Errors
    /// [`FollowError`]: what waiting cannot cure.
    pub async fn next(&mut self) -> Result<Batch, FollowError> {
        loop {
            match self.step().await {
                Ok(Some(batch)) => {
                    self.up();
                    return Ok(batch);
                }
                Ok(None) => {
                    self.up();
                    sleep(self.options.poll).await;
                }
                Err(StepError::Replaced(cursor)) => return Err(FollowError::Replaced { cursor }),
                Err(StepError::Read(error)) if error.is_retryable() => {
                    self.down(&error);
                    sleep(self.pause()).await;
                }
                Err(StepError::Read(error)) => return Err(FollowError::Chain(error)),
            }
        }
    }

    fn up(&mut self) {
        self.failures = 0;
        self.reach.send_if_modified(|reach| std::mem::replace(reach, Reach::Up) != Reach::Up);
    }

    fn down(&mut self, error: &ReadError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(error = %error, "the chain does not answer; waiting");
        }
        self.reach.send_replace(Reach::Down(self.failures));
    }

    /// Doubles from the poll interval to the longest wait.
    fn pause(&self) -> Duration {
        let doubled = self.options.poll.saturating_mul(1 << self.failures.min(10));
        doubled.min(self.options.longest_wait)
    }

    /// One round of questions; `None` if there is nothing new.
    async fn step(&mut self) -> Result<Option<Batch>, StepError> {
        let Some(head) = self.ledger.head_at(self.options.depth).await? else {
            return Ok(None);
        };
        if let Some(cursor) = self.cursor {
            if head == cursor {
                return Ok(None);
            }
            if head.number < cursor.number {
                return if cursor.number - head.number <= LAG { Ok(None) } else { Err(StepError::Replaced(cursor)) };
            }
            if self.ledger.block(cursor.number).await? != Some(cursor) {
                return Err(StepError::Replaced(cursor));
            }
        }
        let from = self.cursor.map_or(self.options.from, |cursor| cursor.number + 1);
        if from > head.number {
            return Ok(None);
        }
        let to = head.number.min(from.saturating_add(self.span - 1));
        self.read(from, to).await
    }

    async fn read(&mut self, from: u64, to: u64) -> Result<Option<Batch>, StepError> {
        let Some(before) = self.ledger.block(to).await? else {
            return Ok(None);
        };
        let events = match self.ledger.events(from, to).await {
            Ok(events) => events,
            Err(error @ ReadError::Node { .. }) if to > from => {
                self.span = (to - from).div_ceil(2);
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        // If the last block changed meanwhile, the events may be of either version: ask again.
        let torn =
            events.iter().any(|e| e.block < from || e.block > to || (e.block == to && e.block_hash != before.hash));
        if torn || self.ledger.block(to).await? != Some(before) {
            return Ok(None);
        }
        self.span = self.span.saturating_mul(2).min(self.options.span.max(1));
        Ok(Some(Batch { events, upto: before }))
    }
}

enum StepError {
    Replaced(BlockRef),
    Read(ReadError),
}

impl From<ReadError> for StepError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

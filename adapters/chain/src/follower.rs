//! Follows the contract's events from a block cursor, in order, through restarts, an absent chain and replaced blocks.
//!
//! [`Follower::next`] hands out a [`Step`] and keeps handing out the same until [`Follower::commit`] is told that the caller
//! has stored what it changed together with the cursor. So each event counts once for each stored cursor, and again after
//! the cursor was moved back because its block was replaced: whoever takes events in must not mind hearing one twice.
//! Logs are polled over http: one cheap question a tick, no subscription to lose silently.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::event::Located;
use crate::ledger::Ledger;
use crate::node::{BlockRef, ReadError};
use crate::span::Span;

/// How to follow. How deep a block must lie is the ledger's to know: [`Ledger::firm_head`].
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// Pause between questions while nothing happens.
    pub poll: Duration,
    /// Longest pause while the chain is down.
    pub longest_wait: Duration,
    /// Most blocks asked for at once; halved when the node finds it too much.
    pub span: u64,
    /// First block of interest when there is no cursor yet: the contract's deployment.
    pub from: u64,
    /// Blocks that are read again when the cursor's block was replaced.
    pub rewind: u64,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            longest_wait: Duration::from_secs(10),
            span: 2_000,
            from: 0,
            rewind: 256,
        }
    }
}

/// What following came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// New blocks.
    Batch(Batch),
    /// The cursor's block was replaced. Events after `to` are handed out again, as they are now.
    Rewound {
        /// The cursor to store.
        to: BlockRef,
    },
}

/// Events of a run of blocks, in order, and the cursor to store with their effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Possibly none: then storing the cursor only saves time at the next start.
    pub events: Vec<Located>,
    /// The last block of the run.
    pub upto: BlockRef,
}

/// Whether the chain answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers.
    Up,
    /// It did not answer this many times in a row.
    Down(u32),
}

/// Blocks a node may be behind the cursor before that is worth a warning.
const LAG: u64 = 64;

/// A position on the chain that moves on when told to.
#[derive(Debug)]
pub struct Follower {
    ledger: Arc<dyn Ledger>,
    options: FollowOptions,
    cursor: Option<BlockRef>,
    span: Span,
    failures: u32,
    behind: bool,
    reach: tokio::sync::watch::Sender<Reach>,
}

impl Follower {
    /// Follows after `cursor`, the last block whose effects are stored; without one, from [`FollowOptions::from`].
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, cursor: Option<BlockRef>, options: FollowOptions) -> Self {
        let (span, reach) = (Span::new(options.span), tokio::sync::watch::Sender::new(Reach::Up));
        Self { ledger, options, cursor, span, failures: 0, behind: false, reach }
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

    /// Goes on after this block: it is stored as the cursor.
    pub fn commit(&mut self, at: BlockRef) {
        self.cursor = Some(at);
    }

    /// Waits for new blocks and returns their events. Waits out a chain that is down or behind. Safe to cancel.
    ///
    /// # Errors
    /// [`ReadError`]: what waiting cannot cure.
    pub async fn next(&mut self) -> Result<Step, ReadError> {
        loop {
            match self.step().await {
                Ok(Some(step)) => {
                    self.up();
                    return Ok(step);
                }
                Ok(None) => {
                    self.up();
                    sleep(self.options.poll).await;
                }
                Err(error) if error.is_retryable() => {
                    self.down(&error);
                    sleep(self.pause()).await;
                }
                Err(error) => return Err(error),
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
    async fn step(&mut self) -> Result<Option<Step>, ReadError> {
        let Some(head) = self.ledger.firm_head().await? else {
            return Ok(None);
        };
        if let Some(cursor) = self.cursor {
            if head == cursor {
                return Ok(None);
            }
            match self.ledger.block(cursor.number).await? {
                Some(now) if now == cursor => {}
                Some(_) => return self.rewound(cursor).await,
                // Not replaced: this node has not heard of it yet.
                None => {
                    self.lag(cursor, head);
                    return Ok(None);
                }
            }
        }
        self.behind = false;
        let from = self.cursor.map_or(self.options.from, |cursor| cursor.number + 1);
        if from > head.number {
            return Ok(None);
        }
        self.read(from, head.number.min(self.span.last(from))).await
    }

    fn lag(&mut self, cursor: BlockRef, head: BlockRef) {
        if cursor.number.saturating_sub(head.number) > LAG && !std::mem::replace(&mut self.behind, true) {
            let (read, newest) = (cursor.number, head.number);
            warn!(read, newest, "the chain's node is behind what was read already; waiting for it");
        }
    }

    /// How far back the chain was replaced nobody can say, so it is a fixed number of blocks, none before the first of interest.
    async fn rewound(&self, cursor: BlockRef) -> Result<Option<Step>, ReadError> {
        let first = self.options.from.saturating_sub(1);
        let back = cursor.number.saturating_sub(self.options.rewind.max(1)).max(first);
        let Some(to) = self.ledger.block(back.min(cursor.number.saturating_sub(1))).await? else {
            return Ok(None);
        };
        warn!(block = cursor.number, back_to = to.number, "a block that was read was replaced; reading again");
        Ok(Some(Step::Rewound { to }))
    }

    async fn read(&mut self, from: u64, to: u64) -> Result<Option<Step>, ReadError> {
        let Some(before) = self.ledger.block(to).await? else {
            return Ok(None);
        };
        let events = match self.ledger.events(from, to).await {
            Ok(events) => events,
            Err(error) if self.span.shrink(to - from + 1, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // If the last block changed meanwhile, the events may be of either version: ask again.
        let torn =
            events.iter().any(|e| e.block < from || e.block > to || (e.block == to && e.block_hash != before.hash));
        if torn || self.ledger.block(to).await? != Some(before) {
            return Ok(None);
        }
        self.span.grow();
        Ok(Some(Step::Batch(Batch { events, upto: before })))
    }
}

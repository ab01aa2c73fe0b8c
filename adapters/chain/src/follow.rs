//! The loop of every role that follows the chain: hand out, store, commit, and wait out what passes by itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sublet_daemon::{Backoff, CancellationToken, report};
use thiserror::Error;
use tracing::warn;

use crate::follower::{Batch, FollowOptions, Follower, Step};
use crate::ledger::Ledger;
use crate::node::{BlockRef, ReadError};

/// What a role does with the chain's events.
///
/// An event may come twice: after a crash, and after blocks were replaced. Both methods may be dropped at the stop, so what
/// must not be torn is stored in one transaction.
#[async_trait]
pub trait Sink: Send {
    /// Why something was not taken in.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Stores what the events change, and `batch.upto` as the cursor with it.
    async fn take_in(&mut self, batch: &Batch) -> Result<(), Self::Error>;

    /// Blocks after `to` were replaced: stores it as the cursor, and reads again from the chain whatever states were known.
    /// The events since are handed out next.
    async fn rewind(&mut self, to: BlockRef) -> Result<(), Self::Error>;

    /// Whether the same may go well later: the disk is full, the chain does not answer.
    fn passes(&self, error: &Self::Error) -> bool;
}

/// Following came to an end before it was told to.
#[derive(Debug, Error)]
pub enum FollowError<E: std::error::Error + 'static> {
    /// Asking again will not help.
    #[error("the chain cannot be followed")]
    Chain(#[source] ReadError),
    /// What happened could not be taken in.
    #[error("what happened on chain cannot be taken in")]
    Sink(#[source] E),
}

/// How soon something that was not taken in is tried again.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(5), attempts: 0 };

/// Follows after `cursor` until `stop`. Waits out a chain that is down, and whatever `sink` says passes.
///
/// # Errors
/// [`FollowError`]: what waiting cannot cure.
pub async fn follow<S: Sink>(
    ledger: Arc<dyn Ledger>,
    cursor: Option<BlockRef>,
    options: FollowOptions,
    sink: &mut S,
    stop: &CancellationToken,
) -> Result<(), FollowError<S::Error>> {
    let mut follower = Follower::new(ledger, cursor, options);
    let mut failed = 0;
    while let Some(step) = stop.run_until_cancelled(follower.next()).await {
        let step = step.map_err(FollowError::Chain)?;
        let Some(stored) = stop.run_until_cancelled(store(sink, &step)).await else { break };
        match stored {
            Ok(at) => {
                follower.commit(at);
                failed = 0;
            }
            // The same is handed out again until it is stored.
            Err(error) if sink.passes(&error) => {
                if failed == 0 {
                    warn!(error = %report(&error), "what happened on chain cannot be taken in yet");
                }
                failed += 1;
                stop.run_until_cancelled(tokio::time::sleep(AGAIN.delay(failed))).await;
            }
            Err(error) => return Err(FollowError::Sink(error)),
        }
    }
    Ok(())
}

/// The cursor that was stored.
async fn store<S: Sink>(sink: &mut S, step: &Step) -> Result<BlockRef, S::Error> {
    match step {
        Step::Batch(batch) => sink.take_in(batch).await.map(|()| batch.upto),
        Step::Rewound { to } => sink.rewind(*to).await.map(|()| *to),
    }
}

//! Turns the chain's events into cases. A case and the cursor that passed its event are stored together. What only the job's
//! opening said is looked up when it is disputed: it may be older than anything this mediator has read.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_base::{Address, B256, JobId};
use sublet_chain::{Batch, BlockRef, Event, FollowOptions, JobOpened, ReadError, Sink};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_market::MediatorSetId;
use sublet_store::{Position, StoreError};
use thiserror::Error;

use crate::case::{Case, Raised};
use crate::state::State;

/// Name of the cursor in the store.
const CURSOR: &str = "mediator";

/// A dispute as its event has it.
struct News {
    job: JobId,
    set: MediatorSetId,
    renter: Address,
    provider: Address,
    submitted: B256,
}

/// Events that are not cases yet.
#[derive(Debug, Error)]
enum FollowError {
    #[error("the chain did not say what a disputed job is about")]
    Read(#[from] ReadError),
    #[error("the journal failed")]
    Store(#[from] StoreError),
}

/// Follows until `stop`.
pub(crate) async fn follow(
    state: Arc<State>,
    sets: Vec<MediatorSetId>,
    from: u64,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let cursor = state.store.cursor(CURSOR).load().await?.map(|p| BlockRef { number: p.block, hash: p.hash });
    let options = FollowOptions { from, ..FollowOptions::default() };
    state.heard().followed = cursor.map_or(0, |c| c.number);
    let ledger = state.ledger.clone();
    Ok(sublet_chain::follow(ledger, cursor, options, &mut Cases { state, sets }, &stop).await?)
}

/// Opens cases of these sets, and marks those about which something happened.
struct Cases {
    state: Arc<State>,
    sets: Vec<MediatorSetId>,
}

#[async_trait]
impl Sink for Cases {
    type Error = FollowError;

    async fn take_in(&mut self, batch: &Batch) -> Result<(), FollowError> {
        let (news, touched) = read(&self.state, &self.sets, batch);
        let raised = look_up(&self.state, news).await?;
        let new = store(&self.state, &raised, batch).await?;
        let wake = !new.is_empty() || !touched.is_empty();
        for case in new {
            tracing::info!(job = %case.id(), set = case.raised.set.0, renter = %case.raised.renter, "disputed");
            self.state.show(case);
        }
        mark(&self.state, &touched, batch.upto.number);
        if wake {
            self.state.wake.notify_one();
        }
        Ok(())
    }

    async fn rewind(&mut self, to: BlockRef) -> Result<(), FollowError> {
        self.state.store.cursor(CURSOR).rewind(position(to)).await?;
        let all: Vec<_> = self.state.cases().keys().copied().collect();
        mark(&self.state, &all, to.number);
        self.state.wake.notify_one();
        Ok(())
    }

    fn passes(&self, error: &FollowError) -> bool {
        match error {
            FollowError::Read(error) => error.is_retryable(),
            FollowError::Store(error) => error.is_full(),
        }
    }
}

fn position(at: BlockRef) -> Position {
    Position { block: at.number, hash: at.hash }
}

/// Disputes of our sets, and jobs about which something happened.
fn read(state: &State, sets: &[MediatorSetId], batch: &Batch) -> (Vec<News>, Vec<JobId>) {
    let (mut news, mut touched) = (Vec::new(), Vec::new());
    for located in &batch.events {
        match &located.event {
            // A party hears no case of its own.
            Event::DisputeRaised { renter, provider, .. } if [*renter, *provider].contains(&state.me) => {}
            Event::DisputeRaised { id, renter, provider, set, result, .. } if sets.contains(set) => {
                news.push(News { job: *id, set: *set, renter: *renter, provider: *provider, submitted: *result });
            }
            Event::JobEnded { id, .. }
            | Event::DisputeArmed { id, .. }
            | Event::PanelDrawn { id, .. }
            | Event::VoteCommitted { id, .. }
            | Event::CommitsComplete { id, .. }
            | Event::VoteRevealed { id, .. }
            | Event::DisputeResolved { id, .. } => touched.push(*id),
            _ => {}
        }
    }
    (news, touched)
}

/// Completes disputes with what their jobs' openings said.
async fn look_up(state: &State, news: Vec<News>) -> Result<Vec<Raised>, ReadError> {
    let mut raised = Vec::new();
    for News { job, set, renter, provider, submitted } in news {
        match state.ledger.job_opened(job).await? {
            Some(JobOpened { workload, peer_key, .. }) => {
                raised.push(Raised { job, set, renter, provider, submitted, workload, peer_key });
            }
            None => tracing::error!(
                %job,
                "cannot be judged: the chain's node keeps no events as old as its opening; use one that does, a missing vote costs a fee"
            ),
        }
    }
    Ok(raised)
}

async fn store(state: &State, raised: &[Raised], batch: &Batch) -> Result<Vec<Case>, StoreError> {
    let mut tx = state.store.begin().await?;
    let mut new = Vec::new();
    for raised in raised {
        new.extend(state.open_case(&mut tx, raised.clone()).await?);
    }
    tx.advance_cursor(CURSOR, position(batch.upto)).await?;
    tx.commit().await?;
    Ok(new)
}

fn mark(state: &State, touched: &[JobId], upto: u64) {
    let ours: Vec<_> = touched.iter().filter(|id| state.cases().contains_key(id)).copied().collect();
    let mut heard = state.heard();
    heard.stale.extend(ours);
    heard.followed = upto;
}

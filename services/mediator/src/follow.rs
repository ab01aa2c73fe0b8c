//! Turns the chain's events into cases. A case and the cursor that passed its event are stored together. What only the job's
//! opening said is looked up when it is disputed: it may be older than anything this mediator has read.

use std::sync::Arc;

use sublet_base::{Address, B256, JobId};
use sublet_chain::{Batch, BlockRef, Event, FollowOptions, Follower, JobOpened, ReadError};
use sublet_daemon::{Backoff, BoxError, CancellationToken};
use sublet_market::MediatorSetId;
use sublet_store::{Position, StoreError};

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

/// Follows until `stop`.
pub(crate) async fn follow(
    state: Arc<State>,
    sets: Vec<MediatorSetId>,
    from: u64,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let cursor = state.store.cursor(CURSOR).load().await?.map(|p| BlockRef { number: p.block, hash: p.hash });
    let options = FollowOptions { from, ..FollowOptions::default() };
    let mut follower = Follower::new(state.ledger.clone(), cursor, options);
    state.heard().followed = cursor.map_or(0, |c| c.number);
    while let Some(batch) = stop.run_until_cancelled(follower.next()).await {
        let batch = batch?;
        let (news, touched) = read(&state, &sets, &batch);
        let Some(raised) = stop.run_until_cancelled(look_up(&state, news)).await else { break };
        let new = store(&state, &raised?, &batch).await?;
        follower.commit(batch.upto);
        let wake = !new.is_empty() || !touched.is_empty();
        for case in new {
            tracing::info!(job = %case.id(), set = case.raised.set.0, renter = %case.raised.renter, "disputed");
            state.show(case);
        }
        mark(&state, &touched, batch.upto.number);
        if wake {
            state.wake.notify_one();
        }
    }
    Ok(())
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
        match opening(state, job).await? {
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

/// Waits while the chain does not answer.
async fn opening(state: &State, job: JobId) -> Result<Option<JobOpened>, ReadError> {
    let mut failed = 0;
    loop {
        match state.ledger.job_opened(job).await {
            Err(error) if error.is_retryable() => {
                failed += 1;
                tracing::warn!(%job, error = %sublet_daemon::report(&error), "could not read its opening yet");
                tokio::time::sleep(Backoff::default().delay(failed)).await;
            }
            answer => return answer,
        }
    }
}

async fn store(state: &State, raised: &[Raised], batch: &Batch) -> Result<Vec<Case>, StoreError> {
    let mut tx = state.store.begin().await?;
    let mut new = Vec::new();
    for raised in raised {
        new.extend(state.open_case(&mut tx, raised.clone()).await?);
    }
    tx.advance_cursor(CURSOR, Position { block: batch.upto.number, hash: batch.upto.hash }).await?;
    tx.commit().await?;
    Ok(new)
}

fn mark(state: &State, touched: &[JobId], upto: u64) {
    let ours: Vec<_> = touched.iter().filter(|id| state.cases().contains_key(id)).copied().collect();
    let mut heard = state.heard();
    heard.stale.extend(ours);
    heard.followed = upto;
}

//! Turns the chain's events into cases. A case and the cursor that passed its event are stored together.

use std::sync::Arc;
use std::time::Duration;

use sublet_chain::{Batch, BlockRef, Event, FollowOptions, Follower};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_store::{Position, StoreError};
use sublet_wire::link::Agreement;

use crate::case::{Case, Opened};
use crate::state::State;

/// Name of the cursor in the store.
const CURSOR: &str = "provider";
/// How soon a full disk is tried again.
const ROOM: Duration = Duration::from_secs(2);

/// Follows until `stop`.
pub(crate) async fn follow(state: Arc<State>, from: u64, stop: CancellationToken) -> Result<(), BoxError> {
    let cursor = state.store.cursor(CURSOR).load().await?.map(|p| BlockRef { number: p.block, hash: p.hash });
    let options = FollowOptions { from, ..FollowOptions::default() };
    let mut follower = Follower::new(state.ledger.clone(), cursor, options);
    state.heard().followed = cursor.map_or(0, |c| c.number);
    let mut full = false;
    while let Some(batch) = stop.run_until_cancelled(follower.next()).await {
        let batch = batch?;
        match take_in(&state, &batch).await {
            Ok(()) => {
                follower.commit(batch.upto);
                full = false;
            }
            // The same blocks are handed out again until they are stored.
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(error = %sublet_daemon::report(&error), "waiting for room");
                }
                stop.run_until_cancelled(tokio::time::sleep(ROOM)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn take_in(state: &State, batch: &Batch) -> Result<(), StoreError> {
    let mut tx = state.store.begin().await?;
    let mut new: Vec<Case> = Vec::new();
    let mut touched: Vec<Agreement> = Vec::new();
    for located in &batch.events {
        match opened(state, &located.event) {
            Some(opened) => new.extend(state.open_case(&mut tx, opened).await?),
            None => touched.extend(about(&located.event)),
        }
    }
    tx.advance_cursor(CURSOR, Position { block: batch.upto.number, hash: batch.upto.hash }).await?;
    tx.commit().await?;
    let news = !new.is_empty() || !touched.is_empty();
    for case in new {
        tracing::info!(agreement = %case.id(), renter = %case.opened.renter, price = %case.opened.price, "opened");
        state.show(case);
    }
    mark(state, &touched, batch.upto.number);
    if news {
        state.wake.notify_one();
    }
    Ok(())
}

fn mark(state: &State, touched: &[Agreement], upto: u64) {
    let ours: Vec<_> = touched.iter().filter(|id| state.cases().contains_key(id)).copied().collect();
    let mut heard = state.heard();
    heard.stale.extend(ours);
    heard.followed = upto;
}

/// The agreement an event opened with this provider, if it did.
fn opened(state: &State, event: &Event) -> Option<Opened> {
    match event {
        Event::LeaseOpened(e) if e.provider == state.me => Some(Opened::from(&**e)),
        Event::JobOpened(e) if e.provider == state.me => Some(Opened::from(&**e)),
        _ => None,
    }
}

/// The agreement whose state an event changed.
fn about(event: &Event) -> Option<Agreement> {
    match event {
        Event::LeaseStarted { id, .. }
        | Event::LeaseSettled { id, .. }
        | Event::LeaseToppedUp { id, .. }
        | Event::LeaseNoticeGiven { id, .. }
        | Event::LeaseEnded { id, .. } => Some(Agreement::Lease(*id)),
        Event::JobSubmitted { id, .. }
        | Event::JobEnded { id, .. }
        | Event::SettleRefused { id, .. }
        | Event::JobDisputed { id }
        | Event::PanelDrawn { id, .. } => Some(Agreement::Job(*id)),
        _ => None,
    }
}

//! Turns the chain's events into cases. A case and the cursor that passed its event are stored together.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_chain::{Batch, BlockRef, Event, FollowOptions, Sink};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_store::{Position, StoreError};
use sublet_wire::link::Agreement;

use crate::case::{Case, Opened};
use crate::state::State;

/// Name of the cursor in the store.
const CURSOR: &str = "provider";

/// Follows until `stop`.
pub(crate) async fn follow(state: Arc<State>, from: u64, stop: CancellationToken) -> Result<(), BoxError> {
    let cursor = state.store.cursor(CURSOR).load().await?.map(|p| BlockRef { number: p.block, hash: p.hash });
    let options = FollowOptions { from, ..FollowOptions::default() };
    state.heard().followed = cursor.map_or(0, |c| c.number);
    let ledger = state.ledger.clone();
    Ok(sublet_chain::follow(ledger, cursor, options, &mut Cases(state), &stop).await?)
}

/// Opens cases, and marks those about which something happened.
struct Cases(Arc<State>);

#[async_trait]
impl Sink for Cases {
    type Error = StoreError;

    async fn take_in(&mut self, batch: &Batch) -> Result<(), StoreError> {
        take_in(&self.0, batch).await
    }

    async fn rewind(&mut self, to: BlockRef) -> Result<(), StoreError> {
        self.0.store.cursor(CURSOR).rewind(position(to)).await?;
        let all: Vec<_> = self.0.cases().keys().copied().collect();
        mark(&self.0, &all, to.number);
        self.0.wake.notify_one();
        Ok(())
    }

    fn passes(&self, error: &StoreError) -> bool {
        error.is_full()
    }
}

fn position(at: BlockRef) -> Position {
    Position { block: at.number, hash: at.hash }
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
    tx.advance_cursor(CURSOR, position(batch.upto)).await?;
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

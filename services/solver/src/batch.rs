//! Several openings in one transaction. A row that the contract refuses says so in an event and spoils no other.
//!
//! Each order is stored with its row before anything is sent, so that after a crash the next start knows which row of
//! which transaction it was: [`resume`] asks for that one, and sends a new one only if it was never signed.

use std::sync::Arc;

use futures_util::FutureExt;
use sublet_base::{B256, keccak256};
use sublet_chain::{Call, Event, Landed, Refusal, SubmitError, TxKey};
use sublet_daemon::CancellationToken;
use sublet_store::{InBatch, StoreError};

use crate::desk::Desk;
use crate::disk_full::until_stored;
use crate::opener::{LeaveAlone, Pair, failed, forget, note_opened, open_each, refused, settled};

/// A pair and its row.
pub(crate) type Row = (u32, Pair);

/// The transaction's name: which openings, in which order.
fn name(pairs: &[Pair]) -> B256 {
    let hashes: Vec<u8> = pairs.iter().flat_map(|pair| [pair.order_hash.0, pair.offer_hash.0].concat()).collect();
    keccak256(hashes)
}

fn key(batch: B256) -> TxKey {
    TxKey::lasting(format!("open-many/{batch}"))
}

/// Opens the pairs, which are marked as being opened, in one transaction.
pub(crate) async fn open(
    desk: &Arc<Desk>,
    pairs: Vec<Pair>,
    stop: &CancellationToken,
) -> Result<Vec<LeaveAlone>, StoreError> {
    let batch = name(&pairs);
    let mut rows: Vec<Row> = Vec::new();
    for (row, pair) in (0u32..).zip(pairs) {
        // One that is gone stays a row: it was checked, and the name is made of all.
        let join = || async { desk.pen().await.join_batch(pair.order_hash, InBatch { batch, row }).await };
        if until_stored(stop, || join().boxed()).await?.is_none() {
            return Ok(Vec::new());
        }
        rows.push((row, pair));
    }
    let documents = rows.iter().map(|(_, pair)| (pair.offer.clone(), pair.order.clone())).collect();
    let (key, call) = (key(batch), Call::OpenMany(documents));
    tracing::info!(rows = rows.len(), "opening several agreements in one transaction");
    let Some(outcome) = settled(desk, stop, || desk.ledger.submit(&key, &call).boxed()).await else {
        return Ok(Vec::new());
    };
    note(desk, &key, &rows, outcome, stop).await
}

/// Finds out what became of a transaction that a crash interrupted; its rows that are already noted are not among these.
pub(crate) async fn resume(
    desk: &Arc<Desk>,
    batch: B256,
    rows: Vec<Row>,
    stop: &CancellationToken,
) -> Result<Vec<LeaveAlone>, StoreError> {
    let key = key(batch);
    let Some(outcome) = settled(desk, stop, || desk.ledger.find(&key).boxed()).await else {
        return Ok(Vec::new());
    };
    match outcome.transpose() {
        Some(outcome) => note(desk, &key, &rows, outcome, stop).await,
        None => open_each(desk, rows.into_iter().map(|(_, pair)| pair).collect(), stop).await,
    }
}

/// Writes down what became of a transaction, and lets go of it.
async fn note(
    desk: &Arc<Desk>,
    key: &TxKey,
    rows: &[Row],
    outcome: Result<Landed, SubmitError>,
    stop: &CancellationToken,
) -> Result<Vec<LeaveAlone>, StoreError> {
    let Some(left) = until_stored(stop, || conclude(desk, rows, &outcome).boxed()).await? else {
        return Ok(Vec::new());
    };
    forget(desk, key).await;
    Ok(left)
}

/// Notes the outcome of every row.
async fn conclude(
    desk: &Arc<Desk>,
    rows: &[Row],
    outcome: &Result<Landed, SubmitError>,
) -> Result<Vec<LeaveAlone>, StoreError> {
    let mut left = Vec::new();
    let landed = match outcome {
        Ok(landed) => landed,
        Err(error) => {
            for (_, pair) in rows {
                left.extend(failed(desk, pair, error).await?);
            }
            return Ok(left);
        }
    };
    for (row, pair) in rows {
        if note_opened(desk, pair, landed).await? {
            continue;
        }
        match refusal(landed, *row) {
            Some(why) => left.extend(refused(desk, pair, why).await?),
            None => {
                tracing::error!(tx = %landed.tx, row, "a row was neither opened nor refused");
                desk.pen()
                    .await
                    .return_order(pair.order_hash, "the transaction does not say what became of it")
                    .await?;
                left.push(LeaveAlone::Order(pair.order_hash));
            }
        }
    }
    Ok(left)
}

/// Why a row was not opened.
fn refusal(landed: &Landed, row: u32) -> Option<&Refusal> {
    landed.events.iter().find_map(|event| match event {
        Event::OpenRefused { index, refusal, .. } if *index == u64::from(row) => Some(refusal),
        _ => None,
    })
}

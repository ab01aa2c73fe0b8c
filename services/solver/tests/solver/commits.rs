//! The book in the store and the book in memory are one, whoever hangs up and whatever was written behind the solver's back.

use std::sync::Arc;

use crate::ledger::{DOMAIN, FakeLedger};
use crate::support::{Running, offer, order, provider, renter, sign_offer, sign_order, start, until};
use sublet_client::SolverClient;
use sublet_market::TypedData;
use sublet_store::OrderState as Stored;
use sublet_wire::solver::OrderState;

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_change_half_made() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    // While the store is busy, an order comes as far as that and its renter goes away.
    let busy = solver.store.begin().await.unwrap();
    let signed = sign_order(&buyer, order(&buyer, 1));
    let hash = order(&buyer, 1).signing_hash(&DOMAIN);
    let client = SolverClient::new(&solver.url).unwrap();
    let request = tokio::spawn(async move { client.post_order(&signed).await });
    until(async || (ledger.state().nonces > 0).then_some(())).await;
    request.abort();
    assert!(request.await.is_err(), "it was not answered");
    solver.client.info().await.unwrap();
    drop(busy);

    until(async || solver.client.order(hash).await.ok()).await;
    assert_eq!(solver.store.book().order(hash).await.unwrap().unwrap().state, Stored::Waiting);
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    solver.order_until(hash, |state| matches!(state, OrderState::Opened { .. })).await;
    solver.stop().await;
}

#[tokio::test]
async fn a_store_that_knows_better_is_read_again() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let gone = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let kept = solver.client.post_order(&sign_order(&buyer, order(&buyer, 2))).await.unwrap().hash;
    solver.store.book().move_order(gone, &Stored::Waiting, &Stored::Cancelled).await.unwrap();
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    solver.order_until(kept, |state| matches!(state, OrderState::Opened { .. })).await;
    solver.order_until(gone, |state| *state == OrderState::Cancelled).await;
    assert_eq!(ledger.state().mined.len(), 1);
    solver.stop().await;
}

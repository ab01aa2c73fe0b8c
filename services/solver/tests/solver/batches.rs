//! Several matches at once go in one transaction, whose rows end each for itself.

use std::sync::Arc;

use crate::ledger::{FakeLedger, Mood};
use crate::support::{Running, offer, order, provider, renter, sign_offer, sign_order, start};
use sublet_base::{Amount, B256};
use sublet_chain::{Refusal, Wallet};
use sublet_wire::solver::{EventBody, OrderState};

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

fn is_opened(state: &OrderState) -> bool {
    matches!(state, OrderState::Opened { .. })
}

/// Orders that wait because nobody offers anything.
async fn waiting(solver: &Running, buyers: &[Wallet]) -> Vec<B256> {
    let mut hashes = Vec::new();
    for buyer in buyers {
        hashes.push(solver.client.post_order(&sign_order(buyer, order(buyer, 1))).await.unwrap().hash);
    }
    hashes
}

/// An offer for all of them at once.
async fn answer(solver: &Running, seller: &Wallet, price: u128) -> B256 {
    let mut wide = offer(seller, price);
    wide.capacity = 10;
    solver.client.post_offer(&sign_offer(seller, wide)).await.unwrap().hash
}

#[tokio::test]
async fn several_that_wait_are_opened_together() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyers) = (provider(&ledger), [renter(&ledger), renter(&ledger), renter(&ledger)]);
    let hashes = waiting(&solver, &buyers).await;
    let mut events = solver.client.events(None).await.unwrap();
    answer(&solver, &seller, 5).await;
    let mut ids = Vec::new();
    for hash in &hashes {
        let OrderState::Opened { agreement } = solver.order_until(*hash, is_opened).await.state else { unreachable!() };
        ids.push(agreement.id);
    }
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(ledger.state().transactions, [3], "one transaction for all three");
    let mut told = Vec::new();
    while told.len() < 3 {
        if let EventBody::OrderOpened { order, .. } = events.next().await.unwrap().body {
            told.push(order);
        }
    }
    assert_eq!(told, hashes, "each order's watchers hear of it");
    let alone = renter(&ledger);
    let hash = solver.client.post_order(&sign_order(&alone, order(&alone, 1))).await.unwrap().hash;
    solver.order_until(hash, is_opened).await;
    assert_eq!(ledger.state().transactions, [3, 1], "one that comes alone does not wait for others");
    solver.stop().await;
}

#[tokio::test]
async fn a_bad_pair_spoils_no_other_and_is_told_why() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyers) = (provider(&ledger), [renter(&ledger), renter(&ledger), renter(&ledger)]);
    let hashes = waiting(&solver, &buyers).await;
    // Its nonce is used between the question and the block.
    let (bad, nonce) = (buyers[1].address(), order(&buyers[1], 1).nonce);
    ledger.state().spoiled.insert(hashes[1], Refusal::OrderNonceUsed { renter: bad, nonce });
    answer(&solver, &seller, 5).await;
    for good in [hashes[0], hashes[2]] {
        solver.order_until(good, is_opened).await;
    }
    solver.order_until(hashes[1], |state| *state == OrderState::Cancelled).await;
    assert_eq!(ledger.state().transactions, [3]);
    assert_eq!(ledger.state().mined.len(), 2);
    solver.stop().await;
}

#[tokio::test]
async fn what_the_contract_would_refuse_is_not_sent() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyers) = (provider(&ledger), [renter(&ledger), renter(&ledger), renter(&ledger)]);
    let hashes = waiting(&solver, &buyers).await;
    // Used without an event that would tell: the question before sending does.
    ledger.state().used.insert((buyers[0].address(), order(&buyers[0], 1).nonce));
    answer(&solver, &seller, 5).await;
    for good in [hashes[1], hashes[2]] {
        solver.order_until(good, is_opened).await;
    }
    solver.order_until(hashes[0], |state| *state == OrderState::Cancelled).await;
    assert_eq!(ledger.state().transactions, [2], "no gas for the third");
    solver.stop().await;
}

#[tokio::test]
async fn a_pair_that_does_not_go_together_leaves_the_order_to_another_offer() {
    let (ledger, _folder, solver) = solver().await;
    let (cheap, dear, buyer) = (provider(&ledger), provider(&ledger), renter(&ledger));
    let first = answer(&solver, &cheap, 5).await;
    let second = answer(&solver, &dear, 9).await;
    let fees = Refusal::PledgeBelowFees { pledge: Amount(1), fees: Amount(2) };
    ledger.state().unfit.insert(first, fees);
    let hash = waiting(&solver, std::slice::from_ref(&buyer)).await[0];
    let OrderState::Opened { agreement } = solver.order_until(hash, is_opened).await.state else { unreachable!() };
    assert_eq!(agreement.offer, second);
    assert!(solver.client.offer(first).await.is_ok(), "others may still take it");
    solver.stop().await;
}

#[tokio::test]
async fn a_crash_with_several_on_their_way_opens_each_once() {
    for mined in [true, false] {
        let (ledger, folder, solver) = solver().await;
        let (seller, buyers) = (provider(&ledger), [renter(&ledger), renter(&ledger), renter(&ledger)]);
        let hashes = waiting(&solver, &buyers).await;
        let (bad, nonce) = (buyers[2].address(), order(&buyers[2], 1).nonce);
        ledger.state().spoiled.insert(hashes[2], Refusal::OrderNonceUsed { renter: bad, nonce });
        ledger.state().mood = Mood::Silent(mined);
        answer(&solver, &seller, 5).await;
        ledger.held.notified().await;
        solver.crash().await;

        ledger.state().mood = Mood::Fair;
        let solver = start(&ledger, folder.path()).await;
        for good in &hashes[..2] {
            solver.order_until(*good, is_opened).await;
        }
        solver.order_until(hashes[2], |state| *state == OrderState::Cancelled).await;
        assert_eq!(ledger.state().mined.len(), 2, "mined before the crash: {mined}");
        solver.stop().await;
    }
}

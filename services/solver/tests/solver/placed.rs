//! Renters that are contracts: orders placed on chain instead of signed, and signatures that only a contract understands.

use std::sync::Arc;

use crate::ledger::{DOMAIN, FakeLedger, SOLVER};
use crate::support::{Running, offer, order, provider, renter, sign_offer, start, until};
use sublet_base::{Address, Amount, UnixTime};
use sublet_chain::{Event, PlacedOrder, Wallet};
use sublet_market::{Order, Signature, SignedOrder, TypedData};
use sublet_wire::solver::{Cancel, OrderState, RefusalCode, SignedCancel};

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

fn is_opened(state: &OrderState) -> bool {
    matches!(state, OrderState::Opened { .. })
}

/// What the chain says when an order is placed on it.
fn placed(order: &Order) -> Event {
    let hash = order.signing_hash(&DOMAIN);
    Event::OrderPlaced(Box::new(PlacedOrder { hash, order: order.clone(), workload: None, callback: false }))
}

#[tokio::test]
async fn an_order_placed_on_chain_is_filled_without_a_signature() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let ordered = order(&buyer, 1);
    let hash = ordered.signing_hash(&DOMAIN);
    ledger.happen(placed(&ordered));
    until(async || solver.client.order(hash).await.ok()).await;
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    let OrderState::Opened { agreement } = solver.order_until(hash, is_opened).await.state else { unreachable!() };
    assert_eq!(agreement.provider, seller.address());
    solver.stop().await;
}

#[tokio::test]
async fn a_placed_order_leaves_the_book_when_its_renter_cancels_it() {
    let (ledger, _folder, solver) = solver().await;
    let buyer = renter(&ledger);
    let ordered = order(&buyer, 1);
    let hash = ordered.signing_hash(&DOMAIN);
    ledger.happen(placed(&ordered));
    until(async || solver.client.order(hash).await.ok()).await;
    ledger.happen(Event::OrderCancelled { renter: buyer.address(), nonce: ordered.nonce });
    solver.order_until(hash, |state| *state == OrderState::Cancelled).await;
    solver.stop().await;
}

#[tokio::test]
async fn a_new_book_takes_the_orders_that_wait_on_chain_and_only_those() {
    let ledger = Arc::new(FakeLedger::new());
    let (old, gone, other) = (renter(&ledger), renter(&ledger), renter(&ledger));
    let waits = order(&old, 1);
    let cancelled = order(&gone, 1);
    let elsewhere = Order { solver: Address::repeat_byte(0x99), ..order(&other, 1) };
    let ours = Order { solver: SOLVER, ..order(&other, 2) };
    for order in [&waits, &cancelled, &elsewhere, &ours] {
        ledger.happen(placed(order));
    }
    ledger.happen(Event::OrderCancelled { renter: gone.address(), nonce: cancelled.nonce });
    let folder = tempfile::tempdir().unwrap();
    let solver = start(&ledger, folder.path()).await;
    for taken in [&waits, &ours] {
        assert!(matches!(solver.order(taken.signing_hash(&DOMAIN)).await.state, OrderState::Waiting { .. }));
    }
    for left in [&cancelled, &elsewhere] {
        let answer = solver.client.order(left.signing_hash(&DOMAIN)).await.unwrap_err();
        assert_eq!(answer.refusal().map(|refusal| refusal.code), Some(RefusalCode::NotFound));
    }
    solver.stop().await;
}

#[tokio::test]
async fn a_contract_signs_by_its_own_rule() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, stranger) = (provider(&ledger), Wallet::random());
    let safe = Address::repeat_byte(0x5a);
    ledger.fund(safe, Amount::tokens(1_000));
    let ordered = Order { renter: safe, ..order(&stranger, 1) };
    let hash = ordered.signing_hash(&DOMAIN);
    let good = b"two of three".to_vec();
    ledger.state().contract_signatures.insert((safe, hash), good.clone());
    let post = async |bytes: Vec<u8>| {
        let signature = Signature::new(bytes).unwrap();
        solver.client.post_order(&SignedOrder { order: ordered.clone(), signature }.into()).await
    };
    let refused = post(b"one of three".to_vec()).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(RefusalCode::WrongSignature));
    post(good).await.unwrap();

    // It takes back by the same rule.
    let valid_until = UnixTime(ordered.valid_until.0);
    let digest = Cancel { document: hash, valid_until }.signing_hash(&DOMAIN);
    let word = b"three of three".to_vec();
    let cancel = |bytes: Vec<u8>| {
        let signature = Signature::new(bytes).unwrap().to_string();
        SignedCancel { valid_until: valid_until.0, signature }
    };
    let refused = solver.client.cancel_order(hash, &cancel(word.clone())).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(RefusalCode::WrongSignature));
    ledger.state().contract_signatures.insert((safe, digest), word.clone());
    assert_eq!(solver.client.cancel_order(hash, &cancel(word)).await.unwrap().state, OrderState::Cancelled);

    // A second order of the contract, this time with somebody to fill it.
    let again = Order { nonce: sublet_base::U256::from(2), ..ordered };
    ledger.state().contract_signatures.insert((safe, again.signing_hash(&DOMAIN)), b"ok".to_vec());
    let signature = Signature::new(b"ok".to_vec()).unwrap();
    let hash = solver.client.post_order(&SignedOrder { order: again, signature }.into()).await.unwrap().hash;
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    solver.order_until(hash, is_opened).await;
    solver.stop().await;
}

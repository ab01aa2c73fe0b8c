//! What an offer or an order says of itself while nothing can be opened, and what leaves the book for want of money.

use std::sync::Arc;

use crate::ledger::{DOMAIN, FakeLedger, Mood, START};
use crate::support::{Running, offer, order, provider, renter, sign_offer, sign_order, start, start_with, until};
use sublet_base::{Amount, Seconds, UnixTime};
use sublet_chain::{Event, Refusal};
use sublet_market::TypedData;
use sublet_solver::SolverConfig;
use sublet_wire::solver::{EventBody, OfferQuery, OrderState, RefusalCode, SignedOrder};

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

async fn listed(solver: &Running, all: bool) -> usize {
    solver.client.offers(&OfferQuery { all, ..OfferQuery::default() }).await.unwrap().offers.len()
}

fn reason(state: &OrderState) -> Option<(&str, &str)> {
    match state {
        OrderState::Waiting { reasons } => reasons.first().map(|why| (why.code.as_str(), why.message.as_str())),
        _ => None,
    }
}

#[tokio::test]
async fn an_offer_that_its_provider_cannot_pledge_for_is_not_listed_and_says_why() {
    let (ledger, _folder, solver) = solver().await;
    let seller = provider(&ledger);
    let hash = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    assert_eq!(listed(&solver, false).await, 1);
    ledger.fund(seller.address(), Amount(49));
    ledger.pass(1);
    let why = until(async || solver.client.offer(hash).await.unwrap().unusable).await;
    assert!(why.contains("must pledge"), "{why}");
    assert_eq!((listed(&solver, false).await, listed(&solver, true).await), (0, 1));
    ledger.fund(seller.address(), Amount(50));
    ledger.pass(1);
    until(async || solver.client.offer(hash).await.unwrap().unusable.is_none().then_some(())).await;
    assert_eq!(listed(&solver, false).await, 1);
    solver.stop().await;
}

#[tokio::test]
async fn an_offer_needs_a_pledge_for_one_second_at_least() {
    let (ledger, _folder, solver) = solver().await;
    let seller = provider(&ledger);
    ledger.fund(seller.address(), Amount(4));
    let mut short = offer(&seller, 5);
    short.min_duration = Seconds(0);
    let refused = solver.client.post_offer(&sign_offer(&seller, short)).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(RefusalCode::BalanceTooLow));
    solver.stop().await;
}

#[tokio::test]
async fn subscribers_hear_when_a_provider_goes_and_comes() {
    let (ledger, _folder, solver) = solver().await;
    let seller = provider(&ledger);
    let hash = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    let mut events = solver.client.events(None).await.unwrap();
    ledger.state().providers.get_mut(&seller.address()).unwrap().online = false;
    ledger.happen(Event::ProviderOnline { provider: seller.address(), online: false });
    loop {
        if let EventBody::OfferChanged { offer, online: false, free, .. } = events.next().await.unwrap().body {
            assert_eq!((offer, free), (hash, 2));
            break;
        }
    }
    ledger.state().providers.get_mut(&seller.address()).unwrap().online = true;
    ledger.happen(Event::ProviderOnline { provider: seller.address(), online: true });
    while !matches!(events.next().await.unwrap().body, EventBody::OfferChanged { online: true, unusable: None, .. }) {}
    solver.stop().await;
}

#[tokio::test]
async fn an_order_that_the_contract_keeps_refusing_says_so() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    ledger.state().mood = Mood::Refuse(Refusal::OpenIsPaused);
    let offered = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let says = Refusal::OpenIsPaused.to_string();
    let told =
        |state: &OrderState| reason(state).is_some_and(|(code, why)| code == "not-opened" && why.contains(&says));
    solver.order_until(hash, told).await;

    // One that is the offer's fault shuts the offer to everybody for a while.
    let refusal = Refusal::ProviderStale { provider: seller.address(), last_beat: START };
    let other = renter(&ledger);
    ledger.state().mood = Mood::Refuse(refusal.clone());
    let second = solver.client.post_order(&sign_order(&other, order(&other, 1))).await.unwrap().hash;
    let says = format!("refused it a moment ago: {refusal}");
    let told =
        |state: &OrderState| reason(state).is_some_and(|(code, why)| code == "nothing-fits" && why.contains(&says));
    solver.order_until(second, told).await;
    assert!(solver.client.offer(offered).await.unwrap().unusable.unwrap().contains(&says));
    solver.stop().await;
}

#[tokio::test]
async fn an_account_orders_no_more_than_it_could_pay() {
    let (ledger, _folder, solver) = solver().await;
    let buyer = renter(&ledger);
    // Each order may lock a hundred million.
    ledger.fund(buyer.address(), Amount(150_000_000));
    let first = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let refused = solver.client.post_order(&sign_order(&buyer, order(&buyer, 2))).await.unwrap_err();
    let refusal = refused.refusal().unwrap();
    assert_eq!(refusal.code, RefusalCode::BalanceTooLow);
    assert!(refusal.message.contains("together"), "{refusal}");
    let mut same_nonce = order(&buyer, 1);
    same_nonce.duration = Seconds(120);
    solver.client.post_order(&sign_order(&buyer, same_nonce)).await.expect("of the two only one is ever filled");

    ledger.fund(buyer.address(), Amount(99_999_999));
    ledger.pass(1);
    let view = solver.order_until(first, |state| matches!(state, OrderState::Failed { .. })).await;
    let OrderState::Failed { reason } = view.state else { unreachable!() };
    assert!(reason.contains("its renter has"), "{reason}");
    solver.stop().await;
}

#[tokio::test]
async fn an_order_placed_on_chain_waits_for_its_money() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    ledger.fund(buyer.address(), Amount::ZERO);
    let ordered = order(&buyer, 1);
    let hash = ordered.signing_hash(&DOMAIN);
    let placed = sublet_chain::PlacedOrder { hash, order: ordered, workload: None, callback: false };
    ledger.happen(Event::OrderPlaced(Box::new(placed)));
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    until(async || solver.client.order(hash).await.ok()).await;
    solver.order_until(hash, |state| reason(state).is_some_and(|(code, _)| code == "balance-too-low")).await;
    ledger.fund(buyer.address(), Amount::tokens(1));
    ledger.pass(1);
    solver.order_until(hash, |state| matches!(state, OrderState::Opened { .. })).await;
    solver.stop().await;
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let (ledger, folder, solver) = solver().await;
    let buyer = renter(&ledger);
    let over = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    ledger.pass(1_801);
    solver.order_until(over, |state| *state == OrderState::Expired).await;
    solver.stop().await;
    ledger.pass(u64::from(SolverConfig::default().keep_ended.0));
    let solver = start(&ledger, folder.path()).await;
    let gone = until(async || solver.client.order(over).await.err()).await;
    assert_eq!(gone.refusal().map(|refusal| refusal.code), Some(RefusalCode::NotFound));
    solver.stop().await;
}

#[tokio::test]
async fn the_end_of_an_agreement_asks_about_its_offer_only() {
    let (ledger, _folder, solver) = solver().await;
    let mut offers = Vec::new();
    for price in [5, 6] {
        let (seller, buyer) = (provider(&ledger), renter(&ledger));
        let mut one = offer(&seller, price);
        one.capacity = 1;
        offers.push(solver.client.post_offer(&sign_offer(&seller, one)).await.unwrap().hash);
        let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
        solver.order_until(hash, |state| matches!(state, OrderState::Opened { .. })).await;
    }
    let free = async |hash| solver.client.offer(hash).await.unwrap().free;
    for hash in &offers {
        until(async || (free(*hash).await == 0).then_some(())).await;
    }
    // What the follower asks because of the openings comes before it has seen them.
    until(async || (solver.client.info().await.unwrap().block == ledger.height()).then_some(())).await;
    ledger.state().counted.clear();
    ledger.happen(FakeLedger::lease_ended(1));
    until(async || (free(offers[0]).await == 1).then_some(())).await;
    assert_eq!(ledger.state().counted, offers[..1]);
    solver.stop().await;
}

#[tokio::test]
async fn a_used_order_waits_for_the_follower_without_holding_anybody_up() {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let config = SolverConfig { max_transactions: 1, ..SolverConfig::default() };
    let solver = start_with(&ledger, folder.path(), config).await;
    let (seller, one, other) = (provider(&ledger), renter(&ledger), renter(&ledger));
    let used = solver.client.post_order(&sign_order(&one, order(&one, 1))).await.unwrap().hash;
    // The chain has moved on, and its events cannot be read.
    ledger.state().deaf = true;
    ledger.state().used.insert((one.address(), order(&one, 1).nonce));
    ledger.pass(1);
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    solver.order_until(used, |state| matches!(state, OrderState::Opening { .. })).await;
    let good = solver.client.post_order(&sign_order(&other, order(&other, 1))).await.unwrap().hash;
    solver.order_until(good, |state| matches!(state, OrderState::Opened { .. })).await;
    assert!(matches!(solver.order(used).await.state, OrderState::Opening { .. }), "nobody knows yet who used it");
    solver.stop().await;

    ledger.state().deaf = false;
    let solver = start(&ledger, folder.path()).await;
    solver.order_until(used, |state| *state == OrderState::Cancelled).await;
    solver.stop().await;
}

#[tokio::test]
async fn documents_that_would_fill_the_book_for_long_are_refused() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let mut long = offer(&seller, 5);
    long.valid_until = UnixTime(START.0 + 7 * 86_400 + 60);
    solver.client.post_offer(&sign_offer(&seller, long)).await.expect("a week and a minute");
    let mut far = order(&buyer, 1);
    far.valid_until = UnixTime(START.0 + 2 * 86_400);
    let refused = solver.client.post_order(&sign_order(&buyer, far)).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(RefusalCode::TooFarAhead));
    solver.stop().await;
}

#[tokio::test]
async fn forged_documents_cost_their_victim_nothing() {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let header = Some("x-forwarded-for".to_owned());
    let config = SolverConfig { requests_per_minute: 40, client_address_header: header, ..SolverConfig::default() };
    let solver = start_with(&ledger, folder.path(), config).await;
    let (buyer, forger) = (renter(&ledger), renter(&ledger));
    let http = reqwest::Client::new();
    let post = async |from: &str, order: SignedOrder| {
        let request = http.post(format!("{}/v1/orders", solver.url)).header("x-forwarded-for", from).json(&order);
        request.send().await.unwrap().status().as_u16()
    };
    // A burst is ten.
    for from in ["203.0.113.1", "203.0.113.2"] {
        for nonce in 0..10 {
            assert_eq!(post(from, sign_order(&forger, order(&buyer, nonce))).await, 403);
        }
    }
    assert_eq!(post("203.0.113.3", sign_order(&buyer, order(&buyer, 1))).await, 201);
    solver.stop().await;
}

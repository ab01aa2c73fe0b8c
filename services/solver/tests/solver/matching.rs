//! From order to agreement: matching, capacity, restarts, other solvers, the chain's refusals, live events.

use std::sync::Arc;

use crate::ledger::{DOMAIN, FakeLedger, Mood};
use crate::support::{Running, offer, order, provider, renter, sign_offer, sign_order, start, until};
use sublet_base::{B256, Seconds};
use sublet_chain::{Event, Refusal};
use sublet_market::TypedData;
use sublet_wire::solver::{EventBody, OfferQuery, OrderState, RefusalCode};

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

fn is_opened(state: &OrderState) -> bool {
    matches!(state, OrderState::Opened { .. })
}

fn reason(state: &OrderState) -> Option<&str> {
    match state {
        OrderState::Waiting { reasons } => reasons.first().map(|reason| reason.code.as_str()),
        _ => None,
    }
}

#[tokio::test]
async fn the_cheaper_offer_that_fits_wins() {
    let (ledger, _folder, solver) = solver().await;
    let (cheap, dear, buyer) = (provider(&ledger), provider(&ledger), renter(&ledger));
    let mut tiny = offer(&cheap, 1);
    tiny.resources.memory = sublet_base::MiB(512);
    for (wallet, offer) in [(&dear, offer(&dear, 9)), (&cheap, offer(&cheap, 5)), (&cheap, tiny)] {
        solver.client.post_offer(&sign_offer(wallet, offer)).await.unwrap();
    }
    let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let view = solver.order_until(hash, is_opened).await;
    let OrderState::Opened { agreement } = view.state else { unreachable!() };
    assert_eq!((agreement.id, agreement.provider), (1, cheap.address()));
    assert_eq!(agreement.offer, offer(&cheap, 5).signing_hash(&DOMAIN));
    solver.stop().await;
}

#[tokio::test]
async fn an_offer_is_never_sold_beyond_its_capacity() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let offered = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    let mut hashes = Vec::new();
    for nonce in 0..5 {
        hashes.push(solver.client.post_order(&sign_order(&buyer, order(&buyer, nonce))).await.unwrap().hash);
    }
    let waiting = async || {
        let mut states = Vec::new();
        for hash in &hashes {
            states.push(solver.order(*hash).await.state);
        }
        let opened = states.iter().filter(|state| is_opened(state)).count();
        let unfilled = states.iter().filter(|state| reason(state) == Some("nothing-fits")).count();
        Some(states).filter(|_| opened == 2 && unfilled == 3)
    };
    until(waiting).await;
    assert_eq!(ledger.state().mined.len(), 2);
    assert_eq!(solver.client.offer(offered).await.unwrap().free, 0);
    assert!(
        solver.client.offers(&OfferQuery::default()).await.unwrap().offers.is_empty(),
        "a full offer is not listed"
    );

    ledger.happen(FakeLedger::lease_ended(1));
    until(async || Some(()).filter(|()| ledger.state().mined.len() == 3)).await;
    solver.stop().await;
}

#[tokio::test]
async fn an_unfilled_order_says_why() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    solver.order_until(hash, |state| reason(state) == Some("no-offers")).await;
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 2_000_000))).await.unwrap();
    let view = solver.order_until(hash, |state| reason(state) == Some("too-expensive")).await;
    let OrderState::Waiting { reasons } = view.state else { unreachable!() };
    assert!(reasons[0].message.contains("costs 0.0000000072 SUB an hour"), "names the price: {}", reasons[0].message);
    solver.stop().await;
}

#[tokio::test]
async fn posting_twice_opens_once() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let signed = sign_order(&buyer, order(&buyer, 1));
    let (one, two) = tokio::join!(solver.client.post_order(&signed), solver.client.post_order(&signed));
    let hash = one.unwrap().hash;
    assert_eq!(two.unwrap().hash, hash);
    for _ in 0..2 {
        solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    }
    let view = solver.order_until(hash, is_opened).await;
    assert_eq!(solver.client.post_order(&signed).await.unwrap(), view, "a third time answers where it is");
    assert_eq!(ledger.state().mined.len(), 1);
    assert_eq!(solver.client.info().await.unwrap().offers, 1);
    solver.stop().await;
}

#[tokio::test]
async fn of_two_orders_with_one_nonce_one_is_filled() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let mut longer = order(&buyer, 1);
    longer.duration = Seconds(200);
    let first = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let second = solver.client.post_order(&sign_order(&buyer, longer)).await.unwrap().hash;
    solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
    let ended = async || {
        let states = [solver.order(first).await.state, solver.order(second).await.state];
        let opened = states.iter().filter(|state| is_opened(state)).count();
        Some(()).filter(|()| opened == 1 && states.contains(&OrderState::Cancelled))
    };
    until(ended).await;
    assert_eq!(ledger.state().mined.len(), 1);
    solver.stop().await;
}

#[tokio::test]
async fn a_crash_while_opening_opens_once() {
    for mined in [true, false] {
        let (ledger, folder, solver) = solver().await;
        let (seller, buyer) = (provider(&ledger), renter(&ledger));
        ledger.state().mood = Mood::Silent(mined);
        solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap();
        let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
        ledger.held.notified().await;
        if !mined {
            assert!(matches!(solver.order(hash).await.state, OrderState::Opening { .. }));
        }
        solver.crash().await;

        ledger.state().mood = Mood::Fair;
        let solver = start(&ledger, folder.path()).await;
        let view = solver.order_until(hash, is_opened).await;
        let OrderState::Opened { agreement } = view.state else { unreachable!() };
        assert_eq!(agreement.id, 1);
        assert_eq!(ledger.state().mined.len(), 1, "mined before the crash: {mined}");
        solver.stop().await;
    }
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let (ledger, folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let mut job = offer(&seller, 5);
    job.kind = sublet_market::Kind::Job;
    let offered = solver.client.post_offer(&sign_offer(&seller, job)).await.unwrap().hash;
    let first = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let second = solver.client.post_order(&sign_order(&buyer, order(&buyer, 2))).await.unwrap().hash;
    solver.crash().await;

    // While it is away, somebody else fills one order and the renter cancels the other.
    let other = offer(&seller, 6);
    let foreign = seller.sign_offer(other, &DOMAIN).unwrap();
    let signed = buyer.sign_order(order(&buyer, 1), &DOMAIN).unwrap();
    ledger.state().open(&foreign, &signed).unwrap();
    ledger.happen(Event::OrderCancelled { renter: buyer.address(), nonce: order(&buyer, 2).nonce });

    let solver = start(&ledger, folder.path()).await;
    assert_eq!(solver.client.offer(offered).await.unwrap().hash, offered);
    let view = solver.order_until(first, is_opened).await;
    let OrderState::Opened { agreement } = view.state else { unreachable!() };
    assert_eq!(agreement.offer, foreign.offer.signing_hash(&DOMAIN));
    assert_eq!(agreement.provider, seller.address(), "although its offer was never here");
    solver.order_until(second, |state| *state == OrderState::Cancelled).await;
    solver.stop().await;
}

#[tokio::test]
async fn time_and_providers_clear_the_book() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, leaver, buyer) = (provider(&ledger), provider(&ledger), renter(&ledger));
    let mut job = offer(&seller, 5);
    job.kind = sublet_market::Kind::Job;
    let kept = solver.client.post_offer(&sign_offer(&seller, job.clone())).await.unwrap().hash;
    job.provider = leaver.address();
    let bumped = solver.client.post_offer(&sign_offer(&leaver, job)).await.unwrap().hash;
    let ordered = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let gone = async |hash: B256| {
        until(async || solver.client.offer(hash).await.err()).await.refusal().map(|refusal| refusal.code)
    };
    ledger.happen(Event::EpochBumped { provider: leaver.address(), epoch: 1 });
    assert_eq!(gone(bumped).await, Some(RefusalCode::NotFound));
    ledger.pass(1_801);
    solver.order_until(ordered, |state| *state == OrderState::Expired).await;
    ledger.happen(Event::OfferCancelled { provider: seller.address(), offer: kept });
    assert_eq!(gone(kept).await, Some(RefusalCode::NotFound));
    solver.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_contract_returns_the_order_or_ends_it() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let offered = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    let mut events = solver.client.events(None).await.unwrap();
    ledger.state().mood = Mood::Refuse(Refusal::ProviderOffline { provider: seller.address() });
    let first = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let why = loop {
        if let EventBody::OrderReturned { order, reason } = events.next().await.unwrap().body {
            assert_eq!(order, first);
            break reason;
        }
    };
    assert!(why.contains("takes no new agreements"), "{why}");
    assert!(matches!(solver.order(first).await.state, OrderState::Waiting { .. }));

    let second = renter(&ledger);
    let (order_hash, valid_until) = (B256::ZERO, order(&second, 1).valid_until);
    ledger.state().mood = Mood::Refuse(Refusal::OrderExpired { order: order_hash, valid_until });
    let other = provider(&ledger);
    solver.client.post_offer(&sign_offer(&other, offer(&other, 6))).await.unwrap();
    let failed = solver.client.post_order(&sign_order(&second, order(&second, 1))).await.unwrap().hash;
    solver.order_until(failed, |state| matches!(state, OrderState::Failed { .. })).await;
    assert!(solver.client.offer(offered).await.is_ok(), "an offer that was refused for now stays");
    assert!(ledger.state().mined.is_empty());
    solver.stop().await;
}

#[tokio::test]
async fn a_subscriber_hears_everything_and_can_come_back() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let mut events = solver.client.events(None).await.unwrap();
    let offered = solver.client.post_offer(&sign_offer(&seller, offer(&seller, 5))).await.unwrap().hash;
    let first = events.next().await.unwrap();
    assert!(matches!(&first.body, EventBody::OfferAdded { offer } if offer.hash == offered));
    let last = events.last();
    events.close().await;

    let hash = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    solver.order_until(hash, is_opened).await;
    let mut events = solver.client.events(last).await.unwrap();
    let mut heard = Vec::new();
    loop {
        match events.next().await.unwrap().body {
            EventBody::OrderOpened { order, agreement } => {
                assert_eq!((order, agreement.id, agreement.offer), (hash, 1, offered));
                break;
            }
            body => heard.push(body),
        }
    }
    assert_eq!(heard[0], EventBody::OrderAdded { order: hash });
    assert!(heard.contains(&EventBody::OrderMatched { order: hash, offer: offered }));
    let mut stale = solver.client.events(Some(1)).await.unwrap();
    assert_eq!(stale.next().await.unwrap().body, EventBody::Gap);
    solver.stop().await;
}

//! What a solver takes on its book over real HTTP, and what it refuses.

use std::sync::Arc;

use crate::ledger::{DOMAIN, FakeLedger, START};
use crate::support::{Running, offer, order, provider, renter, sign_offer, sign_order, start, start_with, until};
use sublet_base::{Address, Amount, B256, Price, Seconds, UnixTime};
use sublet_chain::Wallet;
use sublet_client::SolverError;
use sublet_market::{Domain, Kind, TypedData};
use sublet_solver::SolverConfig;
use sublet_wire::solver::{Cancel, OfferQuery, OrderState, Refusal, RefusalCode, SignedCancel, SignedOrder};

async fn solver() -> (Arc<FakeLedger>, tempfile::TempDir, Running) {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let running = start(&ledger, folder.path()).await;
    (ledger, folder, running)
}

fn code<T: std::fmt::Debug>(answer: Result<T, SolverError>) -> RefusalCode {
    match answer.unwrap_err() {
        SolverError::Refused(refusal) => {
            assert!(!refusal.message.is_empty() && !refusal.remedy.is_empty(), "{refusal:?}");
            refusal.code
        }
        other => panic!("not a refusal: {other:?}"),
    }
}

fn cancel(wallet: &Wallet, document: B256, valid_until: UnixTime) -> SignedCancel {
    let digest = Cancel { document, valid_until }.signing_hash(&DOMAIN);
    SignedCancel { valid_until: valid_until.0, signature: wallet.sign_digest(digest).unwrap().to_string() }
}

#[tokio::test]
async fn offers_are_listed_by_price_and_filtered() {
    let (ledger, _folder, solver) = solver().await;
    let (cheap, dear) = (provider(&ledger), provider(&ledger));
    let mut small = offer(&cheap, 5);
    small.resources.vcpus = sublet_base::Vcpus(1);
    let mut job = offer(&dear, 7);
    job.kind = Kind::Job;
    for (wallet, offer) in [(&dear, offer(&dear, 9)), (&cheap, small), (&dear, job)] {
        solver.client.post_offer(&sign_offer(wallet, offer)).await.unwrap();
    }
    let prices = async |query: OfferQuery| -> Vec<u128> {
        let page = solver.client.offers(&query).await.unwrap();
        page.offers.iter().map(|view| view.offer.price.0).collect()
    };
    assert_eq!(prices(OfferQuery::default()).await, [5, 7, 9]);
    assert_eq!(prices(OfferQuery { kind: Some(Kind::Job.into()), ..OfferQuery::default() }).await, [7]);
    assert_eq!(prices(OfferQuery { vcpus: Some(2), ..OfferQuery::default() }).await, [7, 9]);
    assert_eq!(prices(OfferQuery { max_price: Some(Price(8)), ..OfferQuery::default() }).await, [5, 7]);
    assert_eq!(prices(OfferQuery { provider: Some(cheap.address()), ..OfferQuery::default() }).await, [5]);
    assert_eq!(prices(OfferQuery { disk_gib: Some(11), ..OfferQuery::default() }).await, [0u128; 0]);
    let first = solver.client.offers(&OfferQuery { limit: Some(2), ..OfferQuery::default() }).await.unwrap();
    let rest = OfferQuery { limit: Some(2), after: first.next, ..OfferQuery::default() };
    assert_eq!(prices(rest).await, [9]);
    assert_eq!(
        code(solver.client.offers(&OfferQuery { limit: Some(0), ..OfferQuery::default() }).await),
        RefusalCode::Malformed
    );
    solver.stop().await;
}

#[tokio::test]
async fn offers_that_nobody_could_open_are_refused() {
    let (ledger, _folder, solver) = solver().await;
    let wallet = provider(&ledger);
    let post = async |wallet: &Wallet, offer| solver.client.post_offer(&sign_offer(wallet, offer)).await;
    let good = offer(&wallet, 5);

    let mut late = good.clone();
    late.valid_until = START;
    assert_eq!(code(post(&wallet, late).await), RefusalCode::Expired);
    let mut far = good.clone();
    far.valid_until = UnixTime(START.0 + 40 * 86_400);
    assert_eq!(code(post(&wallet, far).await), RefusalCode::TooFarAhead);
    let mut epoch = good.clone();
    epoch.epoch = 3;
    assert_eq!(code(post(&wallet, epoch).await), RefusalCode::OldEpoch);
    let mut backwards = good.clone();
    backwards.min_duration = Seconds(90_000);
    assert_eq!(code(post(&wallet, backwards).await), RefusalCode::Senseless);
    assert_eq!(code(post(&Wallet::random(), good.clone()).await), RefusalCode::WrongSignature);

    let stranger = Wallet::random();
    assert_eq!(code(post(&stranger, offer(&stranger, 5)).await), RefusalCode::ProviderOffline);
    ledger.state().providers.get_mut(&wallet.address()).unwrap().last_beat = UnixTime(START.0 - 601);
    assert_eq!(code(post(&wallet, good.clone()).await), RefusalCode::ProviderOffline);
    ledger.state().providers.get_mut(&wallet.address()).unwrap().last_beat = START;
    ledger.fund(wallet.address(), Amount(49));
    assert_eq!(code(post(&wallet, good.clone()).await), RefusalCode::BalanceTooLow);
    ledger.fund(wallet.address(), Amount(50));
    ledger.state().cancelled.insert(good.signing_hash(&DOMAIN));
    assert_eq!(code(post(&wallet, good).await), RefusalCode::Cancelled);
    assert!(solver.client.offers(&OfferQuery { all: true, ..OfferQuery::default() }).await.unwrap().offers.is_empty());
    solver.stop().await;
}

#[tokio::test]
async fn orders_that_could_not_be_opened_are_refused() {
    let (ledger, _folder, solver) = solver().await;
    let wallet = renter(&ledger);
    let post = async |order| solver.client.post_order(&sign_order(&wallet, order)).await;

    let mut late = order(&wallet, 1);
    late.valid_until = UnixTime(START.0 - 1);
    assert_eq!(code(post(late).await), RefusalCode::Expired);
    let mut other = order(&wallet, 1);
    other.solver = Address::repeat_byte(1);
    assert_eq!(code(post(other).await), RefusalCode::OtherSolver);
    let mut rich = order(&wallet, 1);
    rich.max_price = Price(Amount::tokens(11).0);
    let refusal = post(rich).await.unwrap_err().refusal().cloned().unwrap();
    assert_eq!(refusal.code, RefusalCode::BalanceTooLow);
    assert!(refusal.message.contains("100 is missing"), "says how much is missing: {refusal}");
    ledger.state().used.insert((wallet.address(), order(&wallet, 1).nonce));
    assert_eq!(code(post(order(&wallet, 1)).await), RefusalCode::NonceUsed);

    let elsewhere = Domain { chain_id: 1, ..DOMAIN };
    let foreign: SignedOrder = wallet.sign_order(order(&wallet, 2), &elsewhere).unwrap().into();
    assert_eq!(code(solver.client.post_order(&foreign).await), RefusalCode::WrongSignature);
    let twin: SignedOrder =
        wallet.sign_order(order(&wallet, 2), &Domain { contract: Address::ZERO, ..DOMAIN }).unwrap().into();
    assert_eq!(code(solver.client.post_order(&twin).await), RefusalCode::WrongSignature);
    let mut forged = sign_order(&wallet, order(&wallet, 2));
    forged.order.max_price = Price(2_000_000);
    assert_eq!(code(solver.client.post_order(&forged).await), RefusalCode::WrongSignature);

    ledger.state().down = true;
    assert_eq!(code(post(order(&wallet, 3)).await), RefusalCode::ChainUnavailable);
    ledger.state().down = false;
    assert!(matches!(post(order(&wallet, 3)).await.unwrap().state, OrderState::Waiting { .. }));
    solver.stop().await;
}

#[tokio::test]
async fn only_the_author_cancels() {
    let (ledger, _folder, solver) = solver().await;
    let (seller, buyer) = (provider(&ledger), renter(&ledger));
    let mut dear = offer(&seller, 5);
    dear.kind = Kind::Job;
    let offered = solver.client.post_offer(&sign_offer(&seller, dear.clone())).await.unwrap().hash;
    let ordered = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap().hash;
    let soon = UnixTime(START.0 + 60);

    assert_eq!(
        code(solver.client.cancel_offer(offered, &cancel(&buyer, offered, soon)).await),
        RefusalCode::WrongSignature
    );
    assert_eq!(
        code(solver.client.cancel_order(ordered, &cancel(&buyer, offered, soon)).await),
        RefusalCode::WrongSignature
    );
    let stale = UnixTime(START.0 - 1);
    assert_eq!(code(solver.client.cancel_order(ordered, &cancel(&buyer, ordered, stale)).await), RefusalCode::Expired);

    solver.client.cancel_offer(offered, &cancel(&seller, offered, soon)).await.unwrap();
    let view = solver.client.cancel_order(ordered, &cancel(&buyer, ordered, soon)).await.unwrap();
    assert_eq!(view.state, OrderState::Cancelled);
    assert_eq!(code(solver.client.post_offer(&sign_offer(&seller, dear)).await), RefusalCode::Cancelled);
    let again = solver.client.post_order(&sign_order(&buyer, order(&buyer, 1))).await.unwrap();
    assert_eq!(again.state, OrderState::Cancelled, "posting it again does not revive it");
    solver.stop().await;
}

#[tokio::test]
async fn hostile_requests_get_refusals_in_json() {
    let (_ledger, _folder, solver) = solver().await;
    let http = reqwest::Client::new();
    let post = async |body: String| {
        let request =
            http.post(format!("{}/v1/orders", solver.url)).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Refusal>().await.unwrap().code)
    };
    assert_eq!(post("{".into()).await, (400, RefusalCode::Malformed));
    assert_eq!(post("[]".into()).await, (400, RefusalCode::Malformed));
    assert_eq!(post(format!("{{\"order\":\"{}\"}}", "x".repeat(20_000))).await, (413, RefusalCode::TooLong));
    let get = async |path: &str| {
        let answer = http.get(format!("{}{path}", solver.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Refusal>().await.unwrap().code)
    };
    assert_eq!(get("/v1/orders/7").await, (400, RefusalCode::Malformed));
    assert_eq!(get("/v1/offers?vcpus=-1").await, (400, RefusalCode::Malformed));
    assert_eq!(get("/v1/offers?surprise=1").await, (400, RefusalCode::Malformed));
    assert_eq!(get("/v1/events").await, (400, RefusalCode::Malformed));
    assert_eq!(get("/nowhere").await, (400, RefusalCode::Malformed));
    assert_eq!(get(&format!("/v1/orders/{}", B256::ZERO)).await, (404, RefusalCode::NotFound));
    solver.stop().await;
}

#[tokio::test]
async fn floods_are_held_back() {
    let ledger = Arc::new(FakeLedger::new());
    let folder = tempfile::tempdir().unwrap();
    let config = SolverConfig { requests_per_minute: 40, max_per_account: 2, ..SolverConfig::default() };
    let solver = start_with(&ledger, folder.path(), config).await;
    let buyer = renter(&ledger);
    for nonce in 0..2 {
        solver.client.post_order(&sign_order(&buyer, order(&buyer, nonce))).await.unwrap();
    }
    assert_eq!(code(solver.client.post_order(&sign_order(&buyer, order(&buyer, 2))).await), RefusalCode::BookFull);
    let refused = until(async || solver.client.info().await.err()).await;
    assert_eq!(code::<()>(Err(refused)), RefusalCode::TooManyRequests);
    solver.stop().await;
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let (_ledger, _folder, solver) = solver().await;
    let described: serde_json::Value =
        reqwest::get(format!("{}/openapi.json", solver.url)).await.unwrap().json().await.unwrap();
    for path in ["/v1/offers", "/v1/offers/{hash}", "/v1/orders", "/v1/orders/{hash}", "/v1/info", "/v1/events"] {
        assert!(described["paths"][path].is_object(), "{path} is described");
    }
    let committed: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/openapi/solver.json")).unwrap();
    assert_eq!(described, committed, "run `sublet solver openapi > docs/openapi/solver.json` and look at what changed");
    let page = reqwest::get(format!("{}/docs", solver.url)).await.unwrap();
    assert_eq!(page.status(), 200);
    let info = solver.client.info().await.unwrap();
    assert_eq!((info.chain_id, info.contract), (DOMAIN.chain_id, DOMAIN.contract));
    solver.stop().await;
}

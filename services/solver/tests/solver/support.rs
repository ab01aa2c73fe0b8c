//! A solver over real HTTP on a chain in memory, and people with keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sublet_base::{Address, Amount, B256, Bps, GiB, MiB, PeerKey, Price, Seconds, U256, UnixTime, Vcpus};
use sublet_chain::{FollowOptions, Wallet};
use sublet_client::SolverClient;
use sublet_daemon::CancellationToken;
use sublet_market::{Class, Kind, MediatorSetId, Offer, Order, Resources, Traits};
use sublet_solver::{Ports, Solver, SolverConfig, SolverError};
use sublet_store::Store;
use sublet_wire::solver::{OrderState, OrderView, SignedOffer, SignedOrder};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::ledger::{DOMAIN, FakeLedger, START};

/// A running solver, in a runtime of its own so that it can be killed as a whole.
pub(crate) struct Running {
    pub(crate) client: SolverClient,
    pub(crate) url: String,
    /// What the solver writes to.
    pub(crate) store: Store,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SolverError>>,
    runtime: Runtime,
    folder: PathBuf,
}

pub(crate) async fn start(ledger: &Arc<FakeLedger>, folder: &Path) -> Running {
    start_with(ledger, folder, SolverConfig::default()).await
}

pub(crate) async fn start_with(ledger: &Arc<FakeLedger>, folder: &Path, config: SolverConfig) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ledger, path) = (ledger.clone(), folder.join("solver.db"));
    let bound = runtime.spawn(async move {
        let follow = FollowOptions { poll: Duration::from_millis(5), ..FollowOptions::default() };
        let store = Store::open(&path).await.unwrap();
        let ports = Ports { ledger, store: store.clone(), follow };
        let config = SolverConfig { listen: "127.0.0.1:0".parse().unwrap(), ..config };
        (Solver::bind(config, ports).await.unwrap(), store)
    });
    let (solver, store) = bound.await.unwrap();
    let url = format!("http://{}", solver.address());
    let stop = CancellationToken::new();
    let serving = solver.serve(stop.clone());
    let task = runtime.spawn(async move {
        let ended = serving.await;
        if let Err(error) = &ended {
            eprintln!("the solver ended: {}", sublet_daemon::report(error));
        }
        ended
    });
    Running { client: SolverClient::new(&url).unwrap(), url, store, stop, task, runtime, folder: folder.to_owned() }
}

impl Running {
    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        end(self.runtime).await;
    }

    /// Kills it where it stands. SQLite's own threads would die with the process; here they finish their last statement.
    pub(crate) async fn crash(self) {
        drop(self.store);
        end(self.runtime).await;
        until(async || (!is_open(&self.folder)).then_some(())).await;
    }

    pub(crate) async fn order(&self, hash: B256) -> OrderView {
        self.client.order(hash).await.unwrap()
    }

    /// Waits until an order is as wanted.
    pub(crate) async fn order_until(&self, hash: B256, wanted: impl Fn(&OrderState) -> bool) -> OrderView {
        until(async || Some(self.order(hash).await).filter(|view| wanted(&view.state))).await
    }
}

/// Whether this process has a file of the folder open.
fn is_open(folder: &Path) -> bool {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    files.into_iter().any(|file| file.starts_with(folder))
}

/// Drops every task at its next wait.
async fn end(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
}

/// Asks until there is an answer, for at most ten seconds.
pub(crate) async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.expect("the condition did not come true")
}

/// A provider that is registered, online and rich.
pub(crate) fn provider(ledger: &FakeLedger) -> Wallet {
    let wallet = Wallet::random();
    ledger.register(wallet.address());
    ledger.fund(wallet.address(), Amount::tokens(1_000));
    wallet
}

/// A renter with money.
pub(crate) fn renter(ledger: &FakeLedger) -> Wallet {
    let wallet = Wallet::random();
    ledger.fund(wallet.address(), Amount::tokens(1_000));
    wallet
}

pub(crate) fn offer(provider: &Wallet, price: u128) -> Offer {
    Offer {
        provider: provider.address(),
        kind: Kind::Lease,
        resources: Resources { vcpus: Vcpus(2), memory: MiB(2048), disk: GiB(10), gpus: 0, traits: Traits::NONE },
        price: Price(price),
        pledge_bps: Bps(10_000),
        capacity: 2,
        min_duration: Seconds(10),
        max_duration: Seconds(86_400),
        start_within: Seconds(60),
        notice: Seconds(600),
        min_charge: Seconds(10),
        mediator_set: MediatorSetId(0),
        max_challenge_window: Seconds(3_600),
        valid_until: UnixTime(START.0 + 3_600),
        epoch: 0,
    }
}

pub(crate) fn order(renter: &Wallet, nonce: u64) -> Order {
    Order {
        renter: renter.address(),
        kind: Kind::Lease,
        resources: Resources { vcpus: Vcpus(1), memory: MiB(1024), disk: GiB(5), gpus: 0, traits: Traits::NONE },
        max_price: Price(1_000_000),
        duration: Seconds(100),
        workload: B256::repeat_byte(7),
        peer_key: PeerKey([9; 32]),
        class: Class::None,
        mediator_set: MediatorSetId(0),
        challenge_window: Seconds(0),
        min_pledge_bps: Bps(10_000),
        max_start_within: Seconds(600),
        min_notice: Seconds(0),
        max_min_charge: Seconds(600),
        provider: Address::ZERO,
        solver: Address::ZERO,
        solver_fee: Amount::ZERO,
        valid_until: UnixTime(START.0 + 1_800),
        nonce: U256::from(nonce),
    }
}

pub(crate) fn sign_offer(wallet: &Wallet, offer: Offer) -> SignedOffer {
    wallet.sign_offer(offer, &DOMAIN).unwrap().into()
}

pub(crate) fn sign_order(wallet: &Wallet, order: Order) -> SignedOrder {
    wallet.sign_order(order, &DOMAIN).unwrap().into()
}

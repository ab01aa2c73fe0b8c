//! A real chain, the two parties of a job as bare accounts, and mediators that can be killed and started again.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, Bps, JobId, PeerKey, Price, Seconds, U256};
use sublet_chain::{
    AnvilOptions, Call, DeployOptions, Depth, DirTxJournal, EvmLedger, EvmOptions, Faucet, Ledger, LocalAnvil, SendAs,
    SenderOptions, TxKey, Wallet, deploy, deposit,
};
use sublet_client::peer::PeerError;
use sublet_daemon::CancellationToken;
use sublet_link::ServeLink;
use sublet_market::{Class, JobDocument, Kind, MediatorSetId, Offer, Order, WorkloadDocument};
use sublet_mediator::{MediatorConfig, MediatorError, Ports, Providers, Whereabouts, run};
use sublet_store::Store;
use sublet_wire::link::PeerHandler;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::host::MemoryHost;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub const RENTER_PEER: PeerKey = PeerKey([9; 32]);
pub const FEE: Amount = Amount(1_001);
pub const BOND: Amount = Amount(50_000);

/// A provider on the link that hands over what it has: nothing of a job it does not know.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Vec<(String, B256)>>>);

#[async_trait]
impl Providers for Shelf {
    fn online(&self) -> bool {
        true
    }

    async fn document(&self, _: &Whereabouts, _: JobId, hash: B256) -> Result<String, PeerError> {
        let shelf = self.0.lock().expect("not poisoned");
        let found = shelf.iter().find(|(document, _)| sublet_base::keccak256(document) == hash);
        found.map(|(document, _)| document.clone()).ok_or(PeerError::Silent("document"))
    }

    async fn archive(&self, _: &Whereabouts, _: JobId, hash: B256, _: u64, _: Duration) -> Result<(), PeerError> {
        let has = self.0.lock().expect("not poisoned").iter().any(|(_, archive)| *archive == hash);
        if has { Ok(()) } else { Err(PeerError::Silent("result")) }
    }
}

/// The link of one mediator, as far as these tests need it.
#[derive(Clone)]
struct Door {
    key: PeerKey,
    handler: Arc<Mutex<Option<Arc<dyn PeerHandler>>>>,
}

#[async_trait]
impl ServeLink for Door {
    fn peer_key(&self) -> PeerKey {
        self.key
    }

    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken) {
        *self.handler.lock().expect("not poisoned") = Some(handler);
        stop.cancelled().await;
        *self.handler.lock().expect("not poisoned") = None;
    }
}

/// One mediator: its process, and what outlives it.
pub struct Mediator {
    pub account: Address,
    pub host: MemoryHost,
    wallet: Wallet,
    door: Door,
    folder: PathBuf,
    process: Option<(JoinHandle<Result<(), MediatorError>>, CancellationToken)>,
}

pub struct Net {
    // Dropped last to first: the chain goes before its folder.
    pub renter: EvmLedger,
    pub renter_wallet: Wallet,
    pub provider: EvmLedger,
    provider_wallet: Wallet,
    pub set: MediatorSetId,
    pub mediators: Vec<Mediator>,
    pub shelf: Shelf,
    options: EvmOptions,
    nonce: u64,
    /// Where mediators that start now begin to read.
    pub from_block: u64,
    _chain: LocalAnvil,
    _folder: TempDir,
}

fn send_as(folder: &Path, wallet: &Wallet) -> Outcome<SendAs> {
    let options = SenderOptions { poll: Duration::from_millis(5), ..SenderOptions::default() };
    Ok(SendAs { wallet: wallet.clone(), journal: Arc::new(DirTxJournal::open(folder)?), options })
}

/// Locks of a killed process go with the last of its tasks, which may take a moment.
async fn patiently<T>(mut take: impl AsyncFnMut() -> Outcome<T>) -> Outcome<T> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match take().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other,
        }
    }
}

impl Net {
    /// Three mediators with money, in one set; none of them runs yet.
    pub async fn start() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        let options = AnvilOptions { state: Some(at("chain")), block_time: Some(1), ..AnvilOptions::default() };
        let chain = LocalAnvil::start(&options).await?;
        let dev = Faucet::dev_wallet()?;
        let deploying = DeployOptions { token: None, guardian: dev.address() };
        let deployment = deploy(chain.url(), send_as(&at("tx-dev"), &dev)?, &deploying).await?;
        let options = EvmOptions { url: chain.url().to_owned(), contract: deployment.contract, depth: Depth::Newest };
        let faucet = Faucet::connect(&options, send_as(&at("tx-dev"), &dev)?).await?;
        let mut wallets: Vec<Wallet> = (0..3).map(|_| Wallet::random()).collect();
        wallets.sort_by_key(Wallet::address);
        let (renter_wallet, provider_wallet) = (Wallet::random(), Wallet::random());
        let mut ledgers = vec![];
        for (place, wallet) in [&renter_wallet, &provider_wallet].into_iter().chain(&wallets).enumerate() {
            faucet.give(wallet.address(), Amount::tokens(1)).await?;
            let ledger = EvmLedger::connect(&options, Some(send_as(&at(&format!("tx-{place}")), wallet)?)).await?;
            deposit(&ledger, "start", Amount::tokens(1)).await?;
            ledgers.push(ledger);
        }
        let (provider, renter) = (ledgers.swap_remove(1), ledgers.swap_remove(0));
        drop(ledgers);
        let members = wallets.iter().map(Wallet::address).collect();
        let create = Call::CreateMediatorSet { members, panel_size: 3, fee: FEE };
        renter.submit(&TxKey::passing("set"), &create).await?;
        let info = r#"{"name":"p","relay":"http://127.0.0.1:1"}"#.to_owned();
        let register = Call::RegisterProvider { peer_key: PeerKey([7; 32]), info };
        provider.submit(&TxKey::passing("register"), &register).await?;
        provider.submit(&TxKey::passing("online"), &Call::SetOnline(true)).await?;
        let mediators = wallets.into_iter().enumerate().map(|(place, wallet)| Mediator {
            account: wallet.address(),
            host: MemoryHost::default(),
            wallet,
            door: Door { key: PeerKey([30 + u8::try_from(place).unwrap_or(0); 32]), handler: Arc::default() },
            folder: at(&format!("mediator-{place}")),
            process: None,
        });
        let (mediators, shelf) = (mediators.collect(), Shelf::default());
        let set = MediatorSetId(1);
        Ok(Self {
            renter,
            renter_wallet,
            provider,
            provider_wallet,
            set,
            mediators,
            shelf,
            options,
            nonce: 0,
            from_block: 0,
            _chain: chain,
            _folder: folder,
        })
    }

    /// Starts a mediator over what an earlier one left.
    pub async fn start_mediator(&mut self, which: usize) -> Outcome {
        let (options, shelf) = (self.options.clone(), self.shelf.clone());
        let mediator = &mut self.mediators[which];
        let archives = mediator.folder.join("archives");
        std::fs::create_dir_all(&archives)?;
        let store = patiently(async || Ok(Store::open(&mediator.folder.join("mediator.db")).await?)).await?;
        let account = patiently(async || send_as(&mediator.folder.join("tx"), &mediator.wallet)).await?;
        let ports = Ports {
            ledger: Arc::new(EvmLedger::connect(&options, Some(account)).await?),
            host: Arc::new(mediator.host.clone()),
            providers: Arc::new(shelf),
            store,
            archives,
            link: Arc::new(mediator.door.clone()),
        };
        let config = MediatorConfig {
            bond: BOND,
            sets: vec![self.set],
            patience: Some(Seconds(5)),
            retention: Seconds(30),
            from_block: self.from_block,
            ..MediatorConfig::default()
        };
        let stop = CancellationToken::new();
        mediator.process = Some((tokio::spawn(run(config, ports, stop.clone())), stop));
        Ok(())
    }

    /// Ends a mediator between any two of its awaits, without a word.
    pub async fn kill_mediator(&mut self, which: usize) {
        if let Some((task, _)) = self.mediators[which].process.take() {
            task.abort();
            task.await.ok();
            *self.mediators[which].door.handler.lock().expect("not poisoned") = None;
        }
    }

    pub async fn stop_mediator(&mut self, which: usize) -> Outcome {
        if let Some((task, stop)) = self.mediators[which].process.take() {
            stop.cancel();
            task.await??;
        }
        Ok(())
    }

    /// What a mediator answers renters with, while it runs.
    pub fn peers(&self, which: usize) -> Option<Arc<dyn PeerHandler>> {
        self.mediators[which].door.handler.lock().expect("not poisoned").clone()
    }

    /// All three registered, with their bonds posted and the set joined.
    pub async fn until_all_serve(&self) {
        eventually("three mediators to serve", || async {
            matches!(self.renter.mediator_set(self.set).await, Ok(Some(set)) if set.joined.len() == 3)
        })
        .await;
    }

    /// A disputed job whose provider submitted `result`, and what it hands over, if anything.
    pub async fn dispute(&mut self, document: &JobDocument, result: B256, shows: bool) -> Outcome<JobId> {
        let job = self.submitted(document, result, shows).await?;
        self.renter.submit(&TxKey::passing("dispute"), &Call::Dispute(job)).await?;
        Ok(job)
    }

    /// The same, not disputed yet.
    pub async fn submitted(&mut self, document: &JobDocument, result: B256, shows: bool) -> Outcome<JobId> {
        let (bytes, workload) = document.seal()?;
        let now = self.renter.head().await?.time;
        let domain = self.renter.domain();
        self.nonce += 1;
        let offer = Offer {
            provider: self.provider_wallet.address(),
            kind: Kind::Job,
            resources: document.resources,
            price: Price(1_000),
            pledge_bps: Bps(10_000),
            capacity: 9,
            min_duration: Seconds(1),
            max_duration: Seconds(1_000),
            start_within: Seconds(60),
            notice: Seconds(0),
            min_charge: Seconds(0),
            mediator_set: self.set,
            max_challenge_window: Seconds(1_000),
            valid_until: now.plus(Seconds(10_000)),
            epoch: 0,
        };
        let order = Order {
            renter: self.renter_wallet.address(),
            kind: Kind::Job,
            resources: document.resources,
            max_price: Price(1_000),
            duration: Seconds(100),
            workload,
            peer_key: RENTER_PEER,
            class: Class::Exact,
            mediator_set: self.set,
            challenge_window: Seconds(300),
            min_pledge_bps: offer.pledge_bps,
            max_start_within: offer.start_within,
            min_notice: Seconds(0),
            max_min_charge: Seconds(0),
            provider: Address::ZERO,
            solver: Address::ZERO,
            solver_fee: Amount::ZERO,
            valid_until: now.plus(Seconds(600)),
            nonce: U256::from(self.nonce),
        };
        let pair = (self.provider_wallet.sign_offer(offer, &domain)?, self.renter_wallet.sign_order(order, &domain)?);
        let landed = self.renter.submit(&TxKey::passing("open"), &Call::Open(Box::new(pair))).await?;
        let job = JobId(landed.opened().ok_or("nothing was opened")?);
        let submit = Call::SubmitJob { job, result, used: Seconds(5) };
        self.provider.submit(&TxKey::passing("submit"), &submit).await?;
        if shows {
            self.shelf.0.lock().expect("not poisoned").push((String::from_utf8(bytes)?, result));
        }
        Ok(job)
    }
}

/// Waits for a condition, at most a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited a minute for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

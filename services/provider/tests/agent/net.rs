//! A real chain, a renter who opens directly, and an agent that can be killed and started again.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, PeerKey, Price, Seconds, U256};
use sublet_chain::{
    AnvilOptions, Call, DeployOptions, Depth, DirTxJournal, EvmLedger, EvmOptions, Faucet, Ledger, LocalAnvil, SendAs,
    SenderOptions, TxKey, Wallet, deploy, deposit,
};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_link::ServeLink;
use sublet_market::{Class, Kind, MediatorSetId, Order, SignedOffer, WorkloadDocument};
use sublet_provider::{OfferBoard, Ports, ProviderConfig, run};
use sublet_store::Store;
use sublet_wire::link::{Agreement, PeerHandler, Refusal};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::host::MemoryHost;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub const RENTER_PEER: PeerKey = PeerKey([9; 32]);

/// The solver's book and the link, as far as these tests need them.
#[derive(Clone, Default)]
pub struct Outside {
    pub offers: Arc<Mutex<Vec<SignedOffer>>>,
    handler: Arc<Mutex<Option<Arc<dyn PeerHandler>>>>,
}

#[async_trait]
impl OfferBoard for Outside {
    fn name(&self) -> String {
        "board".into()
    }

    async fn post(&self, offer: &SignedOffer) -> Result<(), BoxError> {
        let mut offers = self.offers.lock().expect("not poisoned");
        if !offers.contains(offer) {
            offers.push(offer.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl ServeLink for Outside {
    fn peer_key(&self) -> PeerKey {
        PeerKey([7; 32])
    }

    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken) {
        *self.handler.lock().expect("not poisoned") = Some(handler);
        stop.cancelled().await;
        *self.handler.lock().expect("not poisoned") = None;
    }
}

impl Outside {
    fn peers(&self) -> Option<Arc<dyn PeerHandler>> {
        self.handler.lock().expect("not poisoned").clone()
    }

    fn hang_up(&self) {
        *self.handler.lock().expect("not poisoned") = None;
    }
}

pub struct Net {
    // Dropped last to first: the chain goes before its folder.
    pub renter: EvmLedger,
    pub renter_wallet: Wallet,
    provider_wallet: Wallet,
    pub host: MemoryHost,
    pub outside: Outside,
    options: EvmOptions,
    faucet: Faucet,
    agent: Option<(JoinHandle<Result<(), sublet_provider::ProviderError>>, CancellationToken)>,
    nonce: std::sync::atomic::AtomicU64,
    chain: LocalAnvil,
    pub folder: TempDir,
}

fn send_as(folder: PathBuf, wallet: &Wallet) -> Outcome<SendAs> {
    let options = SenderOptions { poll: Duration::from_millis(5), ..SenderOptions::default() };
    Ok(SendAs { wallet: wallet.clone(), journal: Arc::new(DirTxJournal::open(&folder)?), options })
}

pub fn config() -> ProviderConfig {
    let offer = |name: &str, kind: &str, price: u64| {
        serde_json::json!({ "name": name, "kind": kind, "price": price.to_string(), "start_within": 60, "notice": 30,
            "resources": { "vcpus": 1, "memory_mib": 512, "disk_gib": 4 } })
    };
    let config = serde_json::json!({ "name": "test", "relay": "http://127.0.0.1:3340", "retention": 2, "grace": 2, "beat_every": 60,
        "offers": [offer("machine", "lease", 1_000), offer("work", "job", 2_000)] });
    serde_json::from_value(config).expect("a configuration")
}

impl Net {
    pub async fn start() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        let chain = LocalAnvil::start(&AnvilOptions { state: Some(at("chain")), ..AnvilOptions::default() }).await?;
        let dev = Faucet::dev_wallet()?;
        let deploying = DeployOptions { token: None, guardian: dev.address() };
        let deployment = deploy(chain.url(), send_as(at("tx-dev"), &dev)?, &deploying).await?;
        let options = EvmOptions { url: chain.url().to_owned(), contract: deployment.contract, depth: Depth::Newest };
        let faucet = Faucet::connect(&options, send_as(at("tx-dev"), &dev)?).await?;
        let (renter_wallet, provider_wallet) = (Wallet::random(), Wallet::random());
        let mut ledgers = vec![];
        for (name, wallet) in [("tx-renter", &renter_wallet), ("tx-provider", &provider_wallet)] {
            faucet.give(wallet.address(), Amount::tokens(1)).await?;
            let ledger = EvmLedger::connect(&options, Some(send_as(at(name), wallet)?)).await?;
            deposit(&ledger, "start", Amount::tokens(1)).await?;
            ledgers.push(ledger);
        }
        let renter = ledgers.swap_remove(0);
        let (host, outside) = (MemoryHost::default(), Outside::default());
        Ok(Self {
            renter,
            renter_wallet,
            provider_wallet,
            host,
            outside,
            options,
            faucet,
            agent: None,
            nonce: 0.into(),
            chain,
            folder,
        })
    }

    /// A set of three mediators that serve, each with this peer key and its own ledger.
    pub async fn mediators(&self, keys: [PeerKey; 3]) -> Outcome<(MediatorSetId, Vec<EvmLedger>)> {
        let mut wallets: Vec<Wallet> = (0..3).map(|_| Wallet::random()).collect();
        wallets.sort_by_key(Wallet::address);
        let members: Vec<Address> = wallets.iter().map(Wallet::address).collect();
        let create = Call::CreateMediatorSet { members, panel_size: 3, fee: Amount(1_000) };
        self.renter.submit(&TxKey::passing("set"), &create).await?;
        let set = MediatorSetId(self.renter.mediator_set_count().await?);
        let mut ledgers = vec![];
        for (wallet, peer_key) in wallets.iter().zip(keys) {
            self.faucet.give(wallet.address(), Amount::tokens(1)).await?;
            let account = send_as(self.folder.path().join(format!("tx-{}", wallet.address())), wallet)?;
            let ledger = EvmLedger::connect(&self.options, Some(account)).await?;
            deposit(&ledger, "start", Amount::tokens(1)).await?;
            ledger.submit(&TxKey::passing("bond"), &Call::RegisterMediator { peer_key, bond: Amount(9_000) }).await?;
            ledger.submit(&TxKey::passing("join"), &Call::JoinSet(set)).await?;
            ledgers.push(ledger);
        }
        Ok((set, ledgers))
    }

    pub fn provider(&self) -> Address {
        self.provider_wallet.address()
    }

    /// Starts the agent over what an earlier one left.
    pub async fn start_agent(&mut self) -> Outcome {
        self.start_agent_with(config()).await
    }

    pub async fn start_agent_with(&mut self, config: ProviderConfig) -> Outcome {
        let store = self.open_store().await?;
        let account = self.account().await?;
        let ports = Ports {
            ledger: Arc::new(EvmLedger::connect(&self.options, Some(account)).await?),
            wallet: self.provider_wallet.clone(),
            host: Arc::new(self.host.clone()),
            boards: vec![Arc::new(self.outside.clone())],
            store,
            link: Arc::new(self.outside.clone()),
        };
        let stop = CancellationToken::new();
        self.agent = Some((tokio::spawn(run(config, ports, stop.clone())), stop));
        Ok(())
    }

    /// Locks of a killed agent go with the last of its tasks, which may take a moment.
    pub async fn open_store(&self) -> Outcome<Store> {
        let path = self.folder.path().join("agent.db");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match Store::open(&path).await {
                Err(sublet_store::StoreError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return Ok(other?),
            }
        }
    }

    async fn account(&self) -> Outcome<SendAs> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match send_as(self.folder.path().join("tx-provider"), &self.provider_wallet) {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
                other => return other,
            }
        }
    }

    /// Ends the agent between any two of its awaits, without a word.
    pub async fn kill_agent(&mut self) {
        if let Some((task, _)) = self.agent.take() {
            task.abort();
            task.await.ok();
            self.outside.hang_up();
        }
    }

    pub async fn stop_agent(&mut self) -> Outcome {
        if let Some((task, stop)) = self.agent.take() {
            stop.cancel();
            task.await??;
        }
        Ok(())
    }

    pub async fn offer(&self, kind: Kind) -> SignedOffer {
        let find = || self.outside.offers.lock().expect("not poisoned").iter().find(|o| o.offer.kind == kind).cloned();
        eventually("an offer", || async { find().is_some() }).await;
        find().expect("just seen")
    }

    /// Opens an agreement about `document` against the provider's offer, as a renter may without a solver.
    pub async fn open<D: WorkloadDocument>(
        &self,
        kind: Kind,
        document: &D,
        duration: u32,
    ) -> Outcome<(Agreement, String)> {
        let offered = self.offer(kind).await;
        let (bytes, workload) = document.seal()?;
        let nonce = self.nonce.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let order = Order {
            renter: self.renter_wallet.address(),
            kind,
            resources: offered.offer.resources,
            max_price: Price(u128::from(u32::MAX)),
            duration: Seconds(duration),
            workload,
            peer_key: RENTER_PEER,
            class: if offered.offer.mediator_set.0 == 0 || kind == Kind::Lease { Class::None } else { Class::Exact },
            mediator_set: offered.offer.mediator_set,
            challenge_window: Seconds(60),
            min_pledge_bps: offered.offer.pledge_bps,
            max_start_within: offered.offer.start_within,
            min_notice: offered.offer.notice,
            max_min_charge: offered.offer.min_charge,
            provider: Address::ZERO,
            solver: Address::ZERO,
            solver_fee: Amount::ZERO,
            valid_until: self.renter.head().await?.time.plus(Seconds(600)),
            nonce: U256::from(nonce),
        };
        let ordered = self.renter_wallet.sign_order(order, &self.renter.domain())?;
        let key = TxKey::passing(format!("open-{nonce}"));
        let landed = self.renter.submit(&key, &Call::Open(Box::new((offered, ordered)))).await?;
        let id = landed.opened().ok_or("nothing was opened")?;
        let id = match kind {
            Kind::Lease => Agreement::Lease(sublet_base::LeaseId(id)),
            Kind::Job => Agreement::Job(sublet_base::JobId(id)),
        };
        Ok((id, String::from_utf8(bytes)?))
    }

    /// Asks the agent, whichever lives, until it does not refuse.
    pub async fn ask<T, F>(&self, what: &str, ask: impl Fn(Arc<dyn PeerHandler>) -> F) -> T
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = match self.outside.peers() {
                Some(peers) => ask(peers).await.map_err(|refusal| refusal.to_string()),
                None => Err("no agent".into()),
            };
            match answer {
                Ok(answer) => return answer,
                Err(why) => assert!(Instant::now() < deadline, "{what}: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Goes back to a snapshot of the chain. The renter's transactions since are forgotten.
    pub async fn revert(&mut self, snapshot: serde_json::Value) -> Outcome {
        self.rpc("evm_revert", serde_json::json!([snapshot])).await?;
        let account = send_as(self.folder.path().join("tx-renter-again"), &self.renter_wallet)?;
        self.renter = EvmLedger::connect(&self.options, Some(account)).await?;
        Ok(())
    }

    /// Asks the chain's node itself.
    pub async fn rpc(&self, method: &str, params: serde_json::Value) -> Outcome<serde_json::Value> {
        let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let client = reqwest::Client::new().post(self.chain.url()).header("content-type", "application/json");
        let answer: serde_json::Value =
            serde_json::from_str(&client.body(body.to_string()).send().await?.text().await?)?;
        answer.get("result").cloned().ok_or_else(|| format!("{method}: {answer}").into())
    }

    /// Everything both sides have in the contract.
    pub async fn balances(&self) -> Outcome<(u128, u128)> {
        let of = |account| self.renter.free_of(account);
        Ok((of(self.renter_wallet.address()).await?.0, of(self.provider()).await?.0))
    }
}

/// Waits for a condition, at most 30 seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited 30 s for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn hash_of(bytes: &[u8]) -> B256 {
    sublet_base::keccak256(bytes)
}

//! A real chain with the contracts on it, and people with money.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses its own part.

pub mod gate;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sublet_base::{Amount, B256, Bps, GiB, MiB, PeerKey, Price, Seconds, U256, UnixTime, Vcpus};
use sublet_chain::{
    AnvilOptions, Call, DeployOptions, Deployment, Depth, DirTxJournal, EvmLedger, EvmOptions, Faucet, Ledger,
    LocalAnvil, SendAs, SenderOptions, TxJournal, TxKey, Wallet, deploy, deposit,
};
use sublet_market::{Class, Kind, MediatorSetId, Offer, Order, Resources, SignedOffer, SignedOrder};
use tempfile::TempDir;

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

pub struct Net {
    pub chain: LocalAnvil,
    pub deployment: Deployment,
    pub faucet: Faucet,
    pub folder: TempDir,
}

pub fn anvil(folder: &TempDir) -> AnvilOptions {
    AnvilOptions { state: Some(folder.path().join("chain")), ..AnvilOptions::default() }
}

pub fn quick() -> SenderOptions {
    SenderOptions { poll: Duration::from_millis(5), ..SenderOptions::default() }
}

impl Net {
    pub async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = TempDir::new()?;
        let chain = LocalAnvil::start(&anvil(&folder)).await?;
        let dev = Faucet::dev_wallet()?;
        let account = || -> Result<SendAs, Box<dyn std::error::Error>> {
            let journal = Arc::new(DirTxJournal::open(&folder.path().join("tx-dev"))?);
            Ok(SendAs { wallet: dev.clone(), journal, options: quick() })
        };
        let options = DeployOptions { token: None, guardian: dev.address() };
        let deployment = deploy(chain.url(), account()?, &options).await?;
        let to = EvmOptions { url: chain.url().to_owned(), contract: deployment.contract, depth: Depth::Newest };
        let faucet = Faucet::connect(&to, account()?).await?;
        Ok(Self { chain, deployment, faucet, folder })
    }

    pub fn options(&self) -> EvmOptions {
        EvmOptions { url: self.chain.url().to_owned(), contract: self.deployment.contract, depth: Depth::Newest }
    }

    /// A ledger that reads only, and wants blocks this deep.
    pub async fn reader(&self, depth: Depth) -> Result<Arc<EvmLedger>, Box<dyn std::error::Error>> {
        Ok(Arc::new(EvmLedger::connect(&EvmOptions { depth, ..self.options() }, None).await?))
    }

    pub fn journal(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("tx-{name}"))
    }

    /// A ledger for `wallet` with the journal called `name`.
    pub async fn ledger(&self, name: &str, wallet: &Wallet) -> Result<EvmLedger, Box<dyn std::error::Error>> {
        let journal = Arc::new(DirTxJournal::open(&self.journal(name))?);
        self.ledger_over(journal, wallet, quick()).await
    }

    pub async fn ledger_over(
        &self,
        journal: Arc<dyn TxJournal>,
        wallet: &Wallet,
        options: SenderOptions,
    ) -> Result<EvmLedger, Box<dyn std::error::Error>> {
        let account = SendAs { wallet: wallet.clone(), journal, options };
        Ok(EvmLedger::connect(&self.options(), Some(account)).await?)
    }

    /// A new account with gas, and `tokens` already deposited.
    pub async fn person(&self, name: &str, tokens: u64) -> Result<(EvmLedger, Wallet), Box<dyn std::error::Error>> {
        let wallet = Wallet::random();
        self.faucet.give(wallet.address(), Amount::tokens(tokens)).await?;
        let ledger = self.ledger(name, &wallet).await?;
        if tokens > 0 {
            deposit(&ledger, "start", Amount::tokens(tokens)).await?;
        }
        Ok((ledger, wallet))
    }

    /// A provider that takes agreements.
    pub async fn provider(&self, name: &str) -> Result<(EvmLedger, Wallet), Box<dyn std::error::Error>> {
        let (ledger, wallet) = self.person(name, 1000).await?;
        let register = Call::RegisterProvider { peer_key: PeerKey([7; 32]), info: r#"{"name":"p"}"#.to_owned() };
        ledger.submit(&TxKey::passing("register"), &register).await?;
        ledger.submit(&TxKey::passing("online"), &Call::SetOnline(true)).await?;
        Ok((ledger, wallet))
    }

    /// A request no product code may make: `evm_mine` and the like.
    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value, Box<dyn std::error::Error>> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = reqwest::Client::new()
            .post(self.chain.url())
            .body(body.to_string())
            .header("content-type", "application/json")
            .send()
            .await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        answer.get("result").cloned().ok_or_else(|| format!("{method}: {answer}").into())
    }

    /// Which chain the journal says it is.
    pub async fn genesis(&self) -> Result<B256, Box<dyn std::error::Error>> {
        let second = self.rpc("eth_getBlockByNumber", json!(["0x1", false])).await?;
        Ok(serde_json::from_value(second["parentHash"].clone())?)
    }

    pub async fn pass(&self, seconds: u32) -> Outcome {
        self.rpc("evm_increaseTime", json!([seconds])).await?;
        self.rpc("evm_mine", json!([])).await?;
        Ok(())
    }
}

pub fn resources() -> Resources {
    Resources { vcpus: Vcpus(1), memory: MiB(512), disk: GiB(2), ..Resources::default() }
}

/// One token a second, pledge 1:1.
pub async fn offer(ledger: &EvmLedger, wallet: &Wallet, kind: Kind) -> Result<SignedOffer, Box<dyn std::error::Error>> {
    let now = ledger.head().await?.time;
    let offer = Offer {
        provider: wallet.address(),
        kind,
        resources: resources(),
        price: Price(Amount::tokens(1).0),
        pledge_bps: Bps(10_000),
        capacity: 2,
        min_duration: Seconds(1),
        max_duration: Seconds(3600),
        start_within: Seconds(60),
        notice: Seconds(30),
        min_charge: Seconds(10),
        mediator_set: MediatorSetId(0),
        max_challenge_window: Seconds(3600),
        valid_until: now.plus(Seconds(3600)),
        epoch: 0,
    };
    Ok(wallet.sign_offer(offer, &ledger.domain())?)
}

pub async fn order(
    ledger: &EvmLedger,
    wallet: &Wallet,
    kind: Kind,
    duration: u32,
    nonce: u64,
) -> Result<SignedOrder, Box<dyn std::error::Error>> {
    let now = ledger.head().await?.time;
    let order = Order {
        renter: wallet.address(),
        kind,
        resources: resources(),
        max_price: Price(Amount::tokens(2).0),
        duration: Seconds(duration),
        workload: B256::repeat_byte(3),
        peer_key: PeerKey([9; 32]),
        class: Class::None,
        mediator_set: MediatorSetId(0),
        challenge_window: Seconds(60),
        min_pledge_bps: Bps(10_000),
        max_start_within: Seconds(60),
        min_notice: Seconds(30),
        max_min_charge: Seconds(10),
        provider: Default::default(),
        solver: Default::default(),
        solver_fee: Amount::ZERO,
        valid_until: UnixTime(now.0 + 3600),
        nonce: U256::from(nonce),
    };
    Ok(wallet.sign_order(order, &ledger.domain())?)
}

/// Waits for `condition`, at most 20 seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited 20 s for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

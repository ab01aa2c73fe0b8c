//! A person acting on the network: which account, which ledger, which solvers, and the link to a provider.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_base::{Address, Amount, PeerKey};
use sublet_chain::{DirTxJournal, EvmLedger, Keystore, Ledger, Passphrase, SendAs, SenderOptions, TxKey, Wallet};
use sublet_client::peer::PeerClient;
use sublet_client::solver::SolverClient;
use sublet_daemon::{CancellationToken, create_private_dir};
use sublet_link::{GatewayUrl, Link, LinkConfig, LinkKey, PathPolicy, PeerAddr};
use sublet_wire::provider::ProviderInfo;

use crate::home::{Home, Network};
use crate::output::{Advise, Output, refuse};

/// Which account acts, and how its key is opened.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct As {
    /// Account that acts
    #[arg(long, env = "SUBLET_ACCOUNT", default_value = "default", value_name = "NAME")]
    pub(crate) account: String,

    /// File that holds the account's passphrase; asked for on a terminal otherwise
    #[arg(long, env = "SUBLET_PASSPHRASE_FILE", value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl As {
    /// The account's address, without opening its key.
    pub(crate) fn address(&self, home: &Home) -> Result<Address> {
        if let Ok(address) = self.account.parse() {
            return Ok(address);
        }
        let known = Keystore::new(home.accounts()).list()?;
        match known.iter().find(|key| key.name == self.account) {
            Some(key) => Ok(key.address),
            None => refuse(
                format!("there is no account `{}` in {}", self.account, home.accounts().display()),
                match home.network() {
                    Ok(_) => {
                        format!("make one with `sublet account new {}`, or see `sublet account list`", self.account)
                    }
                    Err(_) => "start a local network with `sublet up`, in another terminal: it makes one".to_owned(),
                },
            ),
        }
    }

    /// Opens the account's key.
    pub(crate) fn wallet(&self, home: &Home) -> Result<Wallet> {
        self.address(home)?;
        let passphrase = self.passphrase(home)?;
        Keystore::new(home.accounts())
            .load(&self.account, &passphrase)
            .context("cannot open the account's key")
            .advise(|| "name the file that holds its passphrase with --passphrase-file".to_owned())
    }

    /// From the named file, the one `sublet up` made for a local account, or the terminal.
    fn passphrase(&self, home: &Home) -> Result<Passphrase> {
        let local = home.passphrase(&self.account);
        match &self.passphrase_file {
            Some(file) => Ok(Passphrase::from_file(file)?),
            None if local.exists() => Ok(Passphrase::from_file(&local)?),
            None => ask_passphrase(&format!("Passphrase of account {}: ", self.account)),
        }
    }
}

/// Asks on the terminal, without echo.
pub(crate) fn ask_passphrase(prompt: &str) -> Result<Passphrase> {
    let text = rpassword::prompt_password(prompt)
        .context("the passphrase cannot be asked for here")
        .advise(|| "name the file that holds it with --passphrase-file".to_owned())?;
    if text.is_empty() {
        bail!("the passphrase is empty");
    }
    Ok(Passphrase::new(text.into_bytes()))
}

/// A connected session.
pub(crate) struct Session {
    pub(crate) home: Home,
    pub(crate) network: Network,
    pub(crate) output: Output,
    pub(crate) ledger: Arc<EvmLedger>,
    pub(crate) stop: CancellationToken,
}

impl Session {
    /// Reads only; no key is opened.
    pub(crate) async fn reader(home: &Home, output: Output) -> Result<Self> {
        Self::connect(home, output, None).await
    }

    /// Sends transactions as `wallet`.
    pub(crate) async fn sender(home: &Home, output: Output, wallet: Wallet) -> Result<Self> {
        let folder = home.transactions(wallet.address());
        let journal = tokio::task::spawn_blocking(move || open_journal(&folder)).await??;
        let options = SenderOptions::until(home.network()?.depth);
        let account = SendAs { wallet, journal: Arc::new(journal), options };
        Self::connect(home, output, Some(account)).await
    }

    async fn connect(home: &Home, output: Output, account: Option<SendAs>) -> Result<Self> {
        let network = home.network()?;
        let ledger = EvmLedger::connect(&network.chain(), account)
            .await
            .with_context(|| format!("the chain at {} cannot be used", network.chain().place()))
            .advise(|| "start the local network with `sublet up`, or check the address in network.json".to_owned())?;
        Ok(Self { home: home.clone(), network, output, ledger: Arc::new(ledger), stop: CancellationToken::new() })
    }

    /// The solvers, in the order they are asked.
    pub(crate) fn solvers(&self) -> Result<Vec<SolverClient>> {
        if self.network.solvers.is_empty() {
            bail!("network.json names no solver");
        }
        self.network.solvers.iter().map(|url| Ok(SolverClient::new(url)?)).collect()
    }

    /// Tokens the account may still spend inside the contract, and a clear refusal when `needed` is more.
    pub(crate) async fn require_free(&self, account: Address, needed: Amount) -> Result<()> {
        let free = self.ledger.free_of(account).await?;
        if free >= needed {
            return Ok(());
        }
        let missing = needed.minus(free)?;
        refuse(
            format!("the balance is too low: {needed} SUB is needed, {free} SUB is free, {missing} SUB is missing"),
            format!("deposit it with `sublet account deposit {missing}`"),
        )
    }

    /// This person's link endpoint key.
    pub(crate) fn link_key(&self) -> Result<LinkKey> {
        create_private_dir(self.home.root())?;
        Ok(LinkKey::load_or_create(&self.home.peer_key())?)
    }

    /// A client of `provider`, over the link, found through its record on chain.
    pub(crate) async fn provider(&self, provider: Address) -> Result<PeerLink> {
        let record = self.ledger.provider(provider).await?;
        let record = record.with_context(|| format!("{provider} is not registered as a provider"))?;
        let info = self.ledger.provider_info(provider).await?.unwrap_or_default();
        let info: ProviderInfo = ProviderInfo::parse(&info)
            .with_context(|| format!("the record of provider {provider} on chain cannot be read"))?;
        let gateway: GatewayUrl = info.relay.parse().context("the provider's gateway has no usable address")?;
        self.link(record.peer_key, vec![gateway]).await
    }

    /// A client of `mediator`, over the link. Its record on chain has its key only: it is behind one of the gateways known.
    pub(crate) async fn mediator(&self, mediator: Address) -> Result<PeerLink> {
        let record = self.ledger.mediator(mediator).await?;
        let record = record.with_context(|| format!("{mediator} is not registered as a mediator any more"))?;
        let listed = self.ledger.gateways(0, MOST_GATEWAYS).await?;
        let listed = listed.into_iter().filter(|gateway| gateway.online).map(|gateway| gateway.url);
        let mut gateways: Vec<GatewayUrl> = Vec::new();
        for gateway in self.network.relays.iter().cloned().chain(listed).filter_map(|url| url.parse().ok()) {
            if !gateways.contains(&gateway) {
                gateways.push(gateway);
            }
        }
        self.link(record.peer_key, gateways).await
    }

    async fn link(&self, peer_key: PeerKey, gateways: Vec<GatewayUrl>) -> Result<PeerLink> {
        let policy = match std::env::var("SUBLET_LINK_PATH").as_deref() {
            Ok("relay-only") => PathPolicy::RelayOnly,
            Ok("auto") | Err(_) => PathPolicy::Auto,
            Ok(other) => bail!("SUBLET_LINK_PATH is `{other}`; it may be auto or relay-only"),
        };
        let ways = gateways.iter().cloned().map(Into::into).collect();
        let config = LinkConfig { key: self.link_key()?, bind: vec![], gateways: ways, policy };
        let link = Link::bind_on_behalf(config).await?;
        let peer = link.peer(PeerAddr::behind_one_of(peer_key, gateways));
        let client = PeerClient::new(Arc::new(peer), self.stop.clone());
        Ok(PeerLink { link, client })
    }
}

/// Gateways listed on chain that are tried for a mediator.
const MOST_GATEWAYS: u64 = 16;

/// An open link to one provider or mediator.
pub(crate) struct PeerLink {
    link: Link,
    /// Asks it.
    pub(crate) client: PeerClient,
}

impl PeerLink {
    /// Tells the other side that we are gone.
    pub(crate) async fn close(self) {
        self.link.close().await;
    }
}

/// The key of an effect that a person asks for.
pub(crate) fn tx_key(what: &str) -> TxKey {
    TxKey::passing(name_of(what))
}

/// Effects a person asks for again are meant again, so each gets a name of its own.
pub(crate) fn name_of(what: &str) -> String {
    format!("{what} {}", hex::encode(rand::random::<[u8; 8]>()))
}

/// Another command of the same account may be sending right now; its turn is short.
fn open_journal(folder: &std::path::Path) -> Result<DirTxJournal> {
    let mut last = None;
    for _ in 0..100 {
        match DirTxJournal::open(folder) {
            Ok(journal) => return Ok(journal),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    match last {
        Some(error) => Err(error.into()),
        None => bail!("the transaction journal was not tried"),
    }
}

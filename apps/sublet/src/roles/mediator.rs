//! The mediator role: judges disputed jobs on one host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sublet_base::Address;
use sublet_chain::{Ledger, Wallet};
use sublet_client::HostClient;
use sublet_daemon::{CancellationToken, config, create_private_dir};
use sublet_link::{GatewayUrl, Link, LinkConfig, LinkKey, LinkServer, PathPolicy, ServeLimits};
use sublet_mediator::{MediatorConfig, OverLink, Ports};
use sublet_store::Store;

use super::ledger;
use crate::home::{Home, Network};
use crate::output::{Advise, refuse};

/// Looked for in the working directory before `sublet.toml` when no file is named.
pub(crate) const FILE: &str = "mediator.toml";

/// A mediator that is about to run.
pub(crate) struct Mediator {
    config: MediatorConfig,
    ports: Ports,
    link: Link,
    asking: CancellationToken,
}

/// The file named, else the one that `sublet mediator init` writes, if it is here.
pub(crate) fn file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Some(PathBuf::from(FILE)).filter(|file| file.exists()))
}

/// The `[mediator]` section, completed from the network.
pub(crate) fn configuration(network: &Network, file: Option<PathBuf>) -> Result<MediatorConfig> {
    let mut config: MediatorConfig = config::load("mediator", file.as_deref(), &())?;
    if config.relay.is_none() {
        config.relay = network.relays.first().cloned();
    }
    config.check().advise(|| "write a first configuration with `sublet mediator init`".to_owned())?;
    Ok(config)
}

/// Takes up what the mediator of this name left in the home, connected to the host on `socket`.
pub(crate) async fn start(
    home: &Home,
    network: &Network,
    wallet: Wallet,
    socket: &Path,
    config: MediatorConfig,
) -> Result<Mediator> {
    let Some(relay) = &config.relay else {
        bail!("the mediator needs a gateway: set `relay` in the [mediator] section")
    };
    let gateway: GatewayUrl = relay.parse().context("the mediator's `relay` is no gateway")?;
    let folder = home.role(&format!("mediator-{}", config.name));
    let archives = folder.join("archives");
    create_private_dir(&archives)?;
    let store = Store::open(&folder.join("mediator.db")).await.context("cannot open the mediator's journal")?;
    let key = LinkKey::load_or_create(&folder.join("peer.key"))?;
    let ledger = ledger::open(home, network, wallet.clone()).await?;
    check_sets(ledger.as_ref(), wallet.address(), &config).await?;
    let gateways = vec![gateway.into()];
    let bind = LinkConfig { key: key.clone(), bind: vec![], gateways, policy: PathPolicy::Auto };
    let link = Link::bind(bind).await?;
    let asking = CancellationToken::new();
    let providers = Arc::new(OverLink { link: link.clone(), key, stop: asking.clone() });
    let server = Arc::new(LinkServer { link: link.clone(), limits: ServeLimits::default() });
    let host = Arc::new(HostClient::new(socket)?);
    let ports = Ports { ledger, host, providers, store, archives, link: server };
    Ok(Mediator { config, ports, link, asking })
}

/// Refuses sets that would never draw this account.
async fn check_sets(ledger: &dyn Ledger, me: Address, config: &MediatorConfig) -> Result<()> {
    for set in &config.sets {
        let id = set.0;
        let Some(known) = ledger.mediator_set(*set).await? else {
            return refuse(
                format!("there is no set {id} of mediators"),
                "create one with `sublet mediator create-set`",
            );
        };
        if !known.members.contains(&me) {
            return refuse(
                format!("set {id} does not list {me}, so it would never be drawn"),
                "name sets that list it in `sets`, or run as the account that is listed, with --account",
            );
        }
        let (bond, fee) = (config.bond, known.fee);
        if bond < fee {
            return refuse(
                format!("a bond of {bond} SUB is too little for set {id}"),
                format!("set `bond` to {} or more: each missing vote costs {fee} SUB", fee.0),
            );
        }
    }
    Ok(())
}

impl Mediator {
    /// Runs until `shutdown`; machines run on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let outcome = sublet_mediator::run(self.config, self.ports, shutdown).await;
        self.asking.cancel();
        self.link.close().await;
        Ok(outcome?)
    }
}

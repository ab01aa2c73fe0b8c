//! The provider role: an agent over one host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sublet_chain::Wallet;
use sublet_client::{HostClient, SolverClient};
use sublet_daemon::{CancellationToken, config};
use sublet_link::{GatewayUrl, Link, LinkConfig, LinkKey, LinkServer, PathPolicy, ServeLimits};
use sublet_provider::{OfferBoard, Ports, ProviderConfig};
use sublet_store::Store;

use super::ledger;
use crate::home::{Home, Network};
use crate::output::{Advise, refuse};

/// A provider that is about to run.
pub(crate) struct Provider {
    config: ProviderConfig,
    ports: Ports,
    link: Link,
}

/// The `[provider]` section, completed from the network.
pub(crate) fn configuration(network: &Network, file: Option<PathBuf>) -> Result<ProviderConfig> {
    let mut config: ProviderConfig = config::load("provider", file.as_deref(), &())?;
    if config.relay.is_none() {
        config.relay = network.relays.first().cloned();
    }
    if config.offers.is_empty() {
        return refuse(
            "the [provider] section has no offers, so there is nothing to rent out",
            "write a first configuration with `sublet provider init`",
        );
    }
    config.check().advise(|| "mend that in the [provider] section of the configuration".to_owned())?;
    Ok(config)
}

/// Takes up what the provider `role` left in the home, connected to the host on `socket`.
pub(crate) async fn start(
    home: &Home,
    network: &Network,
    role: &str,
    wallet: Wallet,
    socket: &Path,
    config: ProviderConfig,
) -> Result<Provider> {
    let Some(relay) = &config.relay else {
        bail!("the provider needs a gateway: set `relay` in the [provider] section")
    };
    let gateway: GatewayUrl = relay.parse().context("the provider's `relay` is no gateway")?;
    let folder = home.role(role);
    let store = Store::open(&folder.join("provider.db")).await.context("cannot open the provider's journal")?;
    let key = LinkKey::load_or_create(&folder.join("peer.key"))?;
    let link =
        Link::bind(LinkConfig { key, bind: vec![], gateways: vec![gateway.into()], policy: PathPolicy::Auto }).await?;
    let ledger = ledger::open(home, network, wallet.clone()).await?;
    let boards: Vec<Arc<dyn OfferBoard>> = network
        .solvers
        .iter()
        .map(|url| Ok(Arc::new(SolverClient::new(url)?) as Arc<dyn OfferBoard>))
        .collect::<Result<_>>()?;
    let host = Arc::new(HostClient::new(socket)?);
    let server = Arc::new(LinkServer { link: link.clone(), limits: ServeLimits::default() });
    let ports = Ports { ledger, wallet, host, boards, store, link: server };
    Ok(Provider { config, ports, link })
}

impl Provider {
    /// Runs until `shutdown`; machines run on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let outcome = sublet_provider::run(self.config, self.ports, shutdown).await;
        self.link.close().await;
        Ok(outcome?)
    }
}

//! Our end of all links: one QUIC endpoint a process.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{NetReportConfig, PortmapperConfig, presets};
use iroh::{Endpoint, RelayConfig, RelayMap, RelayMode, SecretKey, Watcher};
use sublet_base::PeerKey;
use sublet_wire::link::ALPN;
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{GatewayUrl, LinkKey, Peer, PeerAddr, transport};

/// How often to look for the first gateway.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Which ways a link may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathPolicy {
    /// Directly where possible, through a gateway otherwise; may change while streams are open.
    #[default]
    Auto,
    /// Through gateways only, over TCP. For networks that block UDP, or to hide one's address from the peer.
    RelayOnly,
}

/// A gateway to be reachable through.
#[derive(Clone)]
pub struct Gateway {
    /// Where it is.
    pub url: GatewayUrl,
    /// What it wants to see before it serves us.
    pub token: Option<String>,
}

impl From<GatewayUrl> for Gateway {
    fn from(url: GatewayUrl) -> Self {
        Self { url, token: None }
    }
}

impl Gateway {
    fn config(&self) -> Arc<RelayConfig> {
        // Without QUIC address discovery, which needs TLS at the gateway.
        let config = RelayConfig::new(self.url.0.clone(), None);
        Arc::new(match &self.token {
            Some(token) => config.with_auth_token(token),
            None => config,
        })
    }
}

/// How to bind a [`Link`].
pub struct LinkConfig {
    /// Who we are.
    pub key: LinkKey,
    /// UDP addresses to bind, at most one of each family; none means any address and port of both. Unused with `RelayOnly`.
    pub bind: Vec<SocketAddr>,
    /// Gateways to stay connected to (the nearest of them), so that peers reach us.
    pub gateways: Vec<Gateway>,
    /// Which ways links may go.
    pub policy: PathPolicy,
}

/// Why there is no link.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The endpoint could not be bound.
    #[error("cannot bind the link endpoint: {0}")]
    Bind(String),
    /// None of the gateways answered in time.
    #[error("no gateway answered within {} s{}", waited.as_secs(), detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Offline {
        /// How long we waited.
        waited: Duration,
        /// What the gateway or the network said last.
        detail: Option<String>,
    },
}

/// How the connection to our gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// None configured, or none chosen yet.
    None,
    /// Peers reach us through it.
    Connected(GatewayUrl),
    /// Being tried.
    Trying {
        /// Which.
        url: GatewayUrl,
        /// Why the last attempt failed.
        error: Option<String>,
    },
}

/// Our end of all links. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    pub(crate) endpoint: Endpoint,
    policy: PathPolicy,
    /// For whom we dial, if not for ourselves.
    person: Option<SecretKey>,
    _looking: Arc<DropGuard>,
}

impl Link {
    /// Binds the endpoint under `config.key`, so that peers can dial it; returns before any gateway is reached (see
    /// [`Link::online`]). One program at a time may do so with the same key.
    ///
    /// # Errors
    /// [`LinkError::Bind`].
    pub async fn bind(config: LinkConfig) -> Result<Self, LinkError> {
        Self::bind_as(config, None).await
    }

    /// Binds the endpoint under a fresh key that acts for `config.key`: cannot be dialled, but any number of programs of
    /// one person can do so at once. Peers see `config.key`.
    ///
    /// # Errors
    /// [`LinkError::Bind`].
    pub async fn bind_on_behalf(mut config: LinkConfig) -> Result<Self, LinkError> {
        let person = std::mem::replace(&mut config.key, LinkKey::generate());
        Self::bind_as(config, Some(person.0)).await
    }

    async fn bind_as(config: LinkConfig, person: Option<SecretKey>) -> Result<Self, LinkError> {
        let failed = |error: &dyn std::fmt::Display| LinkError::Bind(error.to_string());
        let map = RelayMap::empty();
        for gateway in &config.gateways {
            map.insert(gateway.url.0.clone(), gateway.config());
        }
        let mut report = NetReportConfig::default();
        report.captive_portal_check = false;
        let mut builder = Endpoint::builder(presets::Minimal)
            .secret_key(config.key.0)
            .alpns(vec![ALPN.to_vec()])
            .relay_mode(RelayMode::Custom(map))
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(report)
            .transport_config(transport::answering())
            .clear_ip_transports();
        if config.policy == PathPolicy::Auto {
            let any = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
            let bind = if config.bind.is_empty() { &any[..] } else { &config.bind[..] };
            for address in bind {
                // An address nobody named may be missing, as IPv6 often is.
                let opts =
                    iroh::endpoint::BindOpts::default().set_is_required(!config.bind.is_empty() || address.is_ipv4());
                builder = builder.bind_addr_with_opts(address, opts).map_err(|e| failed(&e))?;
            }
        }
        let endpoint = builder.bind().await.map_err(|e| LinkError::Bind(format!("{e:#}")))?;
        let looking = CancellationToken::new();
        tokio::spawn(look_for_gateway(endpoint.clone(), config.gateways, looking.clone()));
        Ok(Self { endpoint, policy: config.policy, person, _looking: Arc::new(looking.drop_guard()) })
    }

    /// The peer key we are known by.
    #[must_use]
    pub fn peer_key(&self) -> PeerKey {
        self.person.as_ref().map_or(self.endpoint_key(), |person| PeerKey(*person.public().as_bytes()))
    }

    pub(crate) fn endpoint_key(&self) -> PeerKey {
        PeerKey(*self.endpoint.id().as_bytes())
    }

    pub(crate) fn person(&self) -> Option<&SecretKey> {
        self.person.as_ref()
    }

    /// The UDP addresses we are bound to.
    #[must_use]
    pub fn bound_addrs(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// The state of our gateway connection.
    #[must_use]
    pub fn gateway_state(&self) -> GatewayState {
        let status = self.endpoint.home_relay_status().get();
        match status.iter().find(|s| s.is_connected()).or(status.first()) {
            None => GatewayState::None,
            Some(s) if s.is_connected() => GatewayState::Connected(GatewayUrl(s.url().clone())),
            Some(s) => {
                let denied = s.auth_denied_reason().map(|why| format!("it refused us: {why}"));
                let error = denied.or_else(|| s.last_error().map(|e| format!("{e:#}")));
                GatewayState::Trying { url: GatewayUrl(s.url().clone()), error }
            }
        }
    }

    /// Waits until a gateway is connected.
    ///
    /// # Errors
    /// [`LinkError::Offline`] after `within`; the endpoint goes on trying.
    pub async fn online(&self, within: Duration) -> Result<(), LinkError> {
        let Err(_) = timeout(within, self.endpoint.online()).await else { return Ok(()) };
        let detail = match self.gateway_state() {
            GatewayState::Trying { url, error } => Some(error.map_or(url.to_string(), |e| format!("{url}: {e}"))),
            GatewayState::None | GatewayState::Connected(_) => None,
        };
        Err(LinkError::Offline { waited: within, detail })
    }

    /// A peer to ask. Dials when the first stream is opened.
    ///
    /// Its gateways become known to this endpoint, which may then move to one of them: a link that others must find is
    /// not the one to ask strangers from ([`Link::bind_on_behalf`]).
    #[must_use]
    pub fn peer(&self, addr: PeerAddr) -> Peer {
        Peer::new(self.clone(), addr)
    }

    pub(crate) fn policy(&self) -> PathPolicy {
        self.policy
    }

    /// Makes a gateway that a peer is behind known to the endpoint.
    pub(crate) async fn learn(&self, url: &GatewayUrl) {
        if !self.endpoint.addr().relay_urls().any(|known| *known == url.0) {
            self.endpoint.insert_relay(url.0.clone(), Gateway::from(url.clone()).config()).await;
        }
    }

    /// Closes every link, telling the peers.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}

/// The endpoint itself looks for a gateway every 20 s or so: too long when all of them start together.
async fn look_for_gateway(endpoint: Endpoint, gateways: Vec<Gateway>, stop: CancellationToken) {
    let Some(first) = gateways.first() else { return };
    let mut status = endpoint.home_relay_status();
    let look = async {
        while status.get().is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
            // Telling it about a gateway, known or not, makes it look now.
            endpoint.insert_relay(first.url.0.clone(), first.config()).await;
        }
    };
    tokio::select! { () = look => {}, () = stop.cancelled() => {}, () = endpoint.closed() => {} }
}

//! The relay inside a gateway: passes sealed packets between peers that cannot reach each other directly.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iroh::EndpointId;
use iroh_relay::server::{
    Access, AccessControl, ClientRateLimit, ClientRequest, ConnectionId, Metrics, RelayConfig, Server, ServerConfig,
    SpawnError,
};
use serde::Serialize;
use sublet_base::{B256, keccak256};
use thiserror::Error;

/// Who may use a relay.
#[derive(Clone, Default)]
pub enum RelayAccess {
    /// Anyone.
    #[default]
    Open,
    /// Whoever presents one of these tokens. Kept as hashes.
    Tokens(Vec<B256>),
}

impl RelayAccess {
    /// Access with any of `tokens`.
    #[must_use]
    pub fn tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Tokens(tokens.into_iter().map(|token| keccak256(token.as_bytes())).collect())
    }

    fn admits(&self, token: Option<&str>) -> bool {
        match self {
            Self::Open => true,
            // Comparing hashes tells a guesser nothing by its timing.
            Self::Tokens(hashes) => token.is_some_and(|token| hashes.contains(&keccak256(token.as_bytes()))),
        }
    }
}

/// How to start a [`Relay`].
pub struct RelayOptions {
    /// TCP address to listen on, for plain HTTP.
    pub listen: SocketAddr,
    /// Who may use it.
    pub access: RelayAccess,
    /// Most clients at once.
    pub clients: u64,
    /// Most bytes a second taken from each client.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// Why there is no relay.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The relay did not start or stopped by itself.
    #[error("the relay failed: {0}")]
    Failed(String),
}

/// What a relay has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayCounts {
    /// Clients connected now.
    pub clients: u64,
    /// Connections admitted.
    pub admitted: u64,
    /// Connections refused.
    pub refused: u64,
    /// Payload taken from clients, bytes.
    pub bytes_received: u64,
    /// Payload passed on to clients, bytes.
    pub bytes_sent: u64,
}

/// A running relay; stops when dropped.
pub struct Relay {
    server: Server,
    address: SocketAddr,
    door: Arc<Door>,
}

/// Reads a relay's counts; outlives it.
#[derive(Clone)]
pub struct RelayCounter {
    door: Arc<Door>,
    metrics: Arc<Metrics>,
}

impl RelayCounter {
    /// What the relay has done until now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        RelayCounts {
            clients: self.door.clients.load(Ordering::Relaxed),
            admitted: self.door.admitted.load(Ordering::Relaxed),
            refused: self.door.refused.load(Ordering::Relaxed),
            bytes_received: self.metrics.bytes_recv.get(),
            bytes_sent: self.metrics.bytes_sent.get(),
        }
    }
}

struct Door {
    access: RelayAccess,
    most: u64,
    clients: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("clients", &self.clients).finish_non_exhaustive()
    }
}

impl Door {
    fn deny(&self, why: &str) -> Access {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Access::Deny { reason: Some(why.to_owned()) }
    }
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        if !self.access.admits(request.auth_token().as_deref()) {
            return self.deny("this gateway wants a token that it knows");
        }
        let enter = |clients| (clients < self.most).then_some(clients + 1);
        if self.clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_err() {
            return self.deny("this gateway is full");
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(client = %request.endpoint_id().fmt_short(), "client connected");
        Access::Allow
    }

    fn on_disconnect(&self, client: EndpointId, _: ConnectionId) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
        tracing::debug!(client = %client.fmt_short(), "client disconnected");
    }
}

impl Relay {
    /// Starts a relay.
    ///
    /// # Errors
    /// [`RelayError::Listen`] if the address is taken.
    pub async fn start(options: RelayOptions) -> Result<Self, RelayError> {
        let door = Arc::new(Door {
            access: options.access,
            most: options.clients,
            clients: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let mut relay = RelayConfig::new(options.listen);
        relay.limits.client_rx = options.bytes_per_second.map(ClientRateLimit::new);
        relay.access = door.clone();
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.map_err(|error| match error {
            SpawnError::BindTcpListener { source, .. } => RelayError::Listen { address: options.listen, source },
            other => RelayError::Failed(format!("{other:#}")),
        })?;
        let address = server.http_addr().ok_or_else(|| RelayError::Failed("it has no address".into()))?;
        Ok(Self { server, address, door })
    }

    /// Where it listens; with the port the system chose if asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        self.counter().counts()
    }

    /// A handle to watch what it does.
    #[must_use]
    pub fn counter(&self) -> RelayCounter {
        RelayCounter { door: self.door.clone(), metrics: self.server.metrics().server.clone() }
    }

    /// Waits until the relay ends by itself.
    ///
    /// # Errors
    /// Always, with the reason: a relay does not end unasked.
    pub async fn failed(&mut self) -> RelayError {
        match self.server.join().await {
            Ok(Ok(())) => RelayError::Failed("it ended".into()),
            Ok(Err(error)) => RelayError::Failed(format!("{error:#}")),
            Err(error) => RelayError::Failed(error.to_string()),
        }
    }

    /// Disconnects everyone and stops.
    ///
    /// # Errors
    /// [`RelayError::Failed`] if it did not end in order.
    pub async fn stop(self) -> Result<(), RelayError> {
        self.server.shutdown().await.map_err(|error| RelayError::Failed(format!("{error:#}")))
    }
}

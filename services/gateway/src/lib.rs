//! A gateway: a relay with a public address, through which peers reach each other when they cannot go direct. It sees
//! who talks to whom and how much, never what.
//!
//! It keeps nothing but its key, so it can be killed and started again at any time: peers reconnect and their streams go on.
//!
//! ```text
//! start: lock the data directory, load the key, listen     run: relay + status page     stop: status page, then relay
//! ```

mod config;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::from_utf8;

use sublet_base::PeerKey;
use sublet_daemon::{CancellationToken, DataDir, FileError, LockError, SuperviseError, Supervisor, read_secret};
use sublet_link::{KeyError, LinkKey, Relay, RelayAccess, RelayError, RelayOptions};
use thiserror::Error;
use tokio::net::TcpListener;

pub use config::GatewayConfig;

/// Why a gateway does not run.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The data directory is taken or unusable.
    #[error("the gateway cannot have its data directory")]
    Data(#[source] LockError),
    /// Its key cannot be used.
    #[error("the gateway has no key")]
    Key(#[source] KeyError),
    /// The file of access tokens cannot be used.
    #[error("the gateway cannot read its access tokens")]
    Tokens(#[source] FileError),
    /// The file of access tokens holds none.
    #[error("{} holds no access token; write one a line, or leave `tokens_file` unset to serve everyone", .0.display())]
    NoTokens(PathBuf),
    /// The relay did not start.
    #[error("the gateway's relay did not start")]
    Relay(#[source] RelayError),
    /// The status page's address cannot be listened on.
    #[error("cannot serve the status page on {address}")]
    Status {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part stopped unasked.
    #[error("the gateway broke down")]
    Broken(#[source] SuperviseError),
}

impl GatewayError {
    /// True if another address to listen on would help.
    #[must_use]
    pub fn is_address(&self) -> bool {
        matches!(self, Self::Relay(RelayError::Listen { .. }) | Self::Status { .. })
    }
}

/// A gateway that listens, not yet supervised.
pub struct Gateway {
    relay: Relay,
    status: Option<TcpListener>,
    key: LinkKey,
    // Dropped last, as it stands last: the lock outlives everything that uses the directory.
    _data: DataDir,
}

/// Runs a gateway until `shutdown` is cancelled.
///
/// # Errors
/// [`GatewayError`].
pub async fn run(config: GatewayConfig, shutdown: CancellationToken) -> Result<(), GatewayError> {
    Gateway::start(config).await?.run(shutdown).await
}

impl Gateway {
    /// Locks the data directory, makes or loads the key and starts to relay.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        let data = DataDir::lock(&config.data).map_err(GatewayError::Data)?;
        let key = LinkKey::load_or_create(&data.join("gateway.key")).map_err(GatewayError::Key)?;
        let access = access(config.tokens_file)?;
        let status = match config.status {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|source| GatewayError::Status { address, source })?)
            }
            None => None,
        };
        let options = RelayOptions {
            listen: config.listen,
            access,
            clients: config.clients,
            clients_per_address: config.clients_per_address,
            bytes_per_second: config.bytes_per_second,
        };
        let relay = Relay::start(options).await.map_err(GatewayError::Relay)?;
        tracing::info!(listen = %relay.address(), key = %key.peer_key(), "gateway up");
        Ok(Self { relay, status, key, _data: data })
    }

    /// Where it relays, with the actual port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    /// The peer key it registers with.
    #[must_use]
    pub fn peer_key(&self) -> PeerKey {
        self.key.peer_key()
    }

    /// Relays until `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`GatewayError::Broken`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let Self { mut relay, status: listener, key, _data } = self;
        let mut tasks = Supervisor::new();
        let page = status::Page::new(key.peer_key(), &relay);
        tasks.spawn("relay", |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                error = relay.failed() => return Err(error.into()),
            }
            Ok(relay.stop().await?)
        });
        if let Some(listener) = listener {
            tasks.spawn("status page", |stop| page.serve(listener, stop));
        }
        tasks.run(shutdown).await.map_err(GatewayError::Broken)
    }
}

fn access(tokens_file: Option<PathBuf>) -> Result<RelayAccess, GatewayError> {
    let Some(path) = tokens_file else { return Ok(RelayAccess::Open) };
    let content = read_secret(&path).map_err(GatewayError::Tokens)?;
    let text = from_utf8(&content).unwrap_or_default();
    let mut tokens = text.lines().map(str::trim).filter(|token| !token.is_empty()).peekable();
    if tokens.peek().is_none() { Err(GatewayError::NoTokens(path)) } else { Ok(RelayAccess::tokens(tokens)) }
}

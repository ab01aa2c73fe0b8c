//! The relay inside a gateway: passes sealed packets between peers that cannot reach each other directly.
//!
//! ```text
//! accept ── a place among the arriving, by address ── HTTP ──▶ GET /ping: how near are we?
//!                                                       ╰────▶ GET /relay: key proven ── Door ── a place among the clients
//! ```

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use iroh_relay::KeyCache;
use iroh_relay::defaults::DEFAULT_KEY_CACHE_CAPACITY;
use iroh_relay::http::RELAY_PROBE_PATH;
use iroh_relay::server::http_server::RelayServiceWithNotify;
use iroh_relay::server::streams::MaybeTlsStream;
use iroh_relay::server::{ClientRateLimit, Handlers, Metrics, RelayService};
use serde::Serialize;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::RelayAccess;
use crate::address::network;
use crate::door::{ADDRESS, Door};
use crate::places::{Place, Places};

/// For a connection to become a client, or to ask what else it wants.
const ARRIVE: Duration = Duration::from_secs(30);
/// At least so many may be arriving, even where few may stay: who looks for a near gateway knocks several times.
const ARRIVING: usize = 16;
/// After a failure to accept: most often we are out of file descriptors.
const BREATHE: Duration = Duration::from_millis(100);

/// How to start a [`Relay`].
pub struct RelayOptions {
    /// TCP address to listen on, for plain HTTP.
    pub listen: SocketAddr,
    /// Who may use it.
    pub access: RelayAccess,
    /// Most clients at once.
    pub clients: usize,
    /// Most clients at once from one network address.
    pub clients_per_address: usize,
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
    /// The relay stopped by itself.
    #[error("the relay failed")]
    Failed(#[source] JoinError),
    /// The relay ended unasked.
    #[error("the relay ended")]
    Ended,
}

/// What a relay has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayCounts {
    /// Clients connected now.
    pub clients: usize,
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
    address: SocketAddr,
    counter: RelayCounter,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
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
            clients: self.door.clients(),
            admitted: self.door.admitted(),
            refused: self.door.refused(),
            bytes_received: self.metrics.bytes_recv.get(),
            bytes_sent: self.metrics.bytes_sent.get(),
        }
    }
}

impl Relay {
    /// Starts a relay.
    ///
    /// # Errors
    /// [`RelayError::Listen`] if the address is taken.
    pub async fn start(options: RelayOptions) -> Result<Self, RelayError> {
        let failed = |source| RelayError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (clients, each) = (options.clients, options.clients_per_address);
        let door = Arc::new(Door::new(options.access, Places::new(clients, each)));
        let metrics = Arc::new(Metrics::default());
        let service = RelayService::new(
            handlers(),
            HeaderMap::new(),
            options.bytes_per_second.map(ClientRateLimit::new),
            KeyCache::new(DEFAULT_KEY_CACHE_CAPACITY),
            door.clone(),
            metrics.clone(),
        );
        let arriving = Places::new(clients.max(ARRIVING), each.max(ARRIVING));
        let stop = CancellationToken::new();
        let task = tokio::spawn(relay(listener, service, arriving, door.clone(), stop.clone()));
        Ok(Self { address, counter: RelayCounter { door, metrics }, stop, task: AbortOnDropHandle::new(task) })
    }

    /// Where it listens; with the port the system chose if asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        self.counter.counts()
    }

    /// A handle to watch what it does.
    #[must_use]
    pub fn counter(&self) -> RelayCounter {
        self.counter.clone()
    }

    /// Waits until the relay ends by itself, and says why: a relay does not end unasked.
    pub async fn failed(&mut self) -> RelayError {
        (&mut self.task).await.map_or_else(RelayError::Failed, |()| RelayError::Ended)
    }

    /// Disconnects everyone and stops.
    ///
    /// # Errors
    /// [`RelayError::Failed`] if it did not end in order.
    pub async fn stop(self) -> Result<(), RelayError> {
        self.stop.cancel();
        self.task.await.map_err(RelayError::Failed)
    }
}

/// What a relay answers besides relaying: a probe of how near it is.
fn handlers() -> Handlers {
    let mut handlers = Handlers::default();
    let probe =
        Box::new(|_, response: hyper::http::response::Builder| Ok(response.body(Box::new(String::new()) as _)?));
    handlers.insert((Method::GET, RELAY_PROBE_PATH), probe);
    handlers
}

async fn relay(
    listener: TcpListener,
    service: RelayService,
    arriving: Places<IpAddr>,
    door: Arc<Door>,
    stop: CancellationToken,
) {
    let mut arrivals = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        while arrivals.try_join_next().is_some() {}
        let (stream, address) = match accepted {
            Ok((stream, address)) => (stream, network(address.ip())),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATHE).await;
                continue;
            }
        };
        match arriving.enter(address) {
            Ok(place) => drop(arrivals.spawn(arrive(stream, address, Arc::new(place), service.clone()))),
            Err(full) => {
                tracing::debug!(?full, %address, "turned a connection away: too many are arriving");
                door.count_refused();
            }
        }
    }
    service.shutdown().await;
    arrivals.shutdown().await;
}

/// Speaks HTTP until the connection is a client, which the service then has tasks for.
async fn arrive(stream: TcpStream, address: IpAddr, place: Arc<Place<IpAddr>>, service: RelayService) {
    let service = RelayServiceWithNotify::new(service, Arc::default());
    let Ok(address) = HeaderValue::try_from(address.to_string()) else { return };
    let service = service_fn(move |mut request: Request<_>| {
        request.headers_mut().insert(ADDRESS, address.clone());
        // Kept with the request until the client has proven its key, for which the service sets no limit.
        request.extensions_mut().insert(place.clone());
        std::future::ready(service.call(request).into_inner().map_err(std::io::Error::other))
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(MaybeTlsStream::Plain(stream)), service);
    match timeout(ARRIVE, http.with_upgrades()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke before it was a client"),
        Err(_) => tracing::debug!("a connection took too long to become a client"),
    }
}

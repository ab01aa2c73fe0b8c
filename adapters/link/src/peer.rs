//! One remote peer: dialled when needed, dialled again when lost.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use iroh::EndpointAddr;
use iroh::endpoint::Connection;
use sublet_base::PeerKey;
use sublet_wire::link::{ALPN, ByteStream, OpenStream, TransportError};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::stream::{LinkStream, connection_error};
use crate::{Link, PeerAddr, mandate, transport};

/// Longest wait for a connection on which we are greeted: through a gateway that takes three round trips and a TCP connect.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for the peer to allow one more stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A remote peer. Streams share one connection, which is dialled on first use and again after it is lost.
pub struct Peer {
    link: Link,
    addr: PeerAddr,
    current: Mutex<Option<Connection>>,
}

impl Peer {
    pub(crate) fn new(link: Link, addr: PeerAddr) -> Self {
        Self { link, addr, current: Mutex::new(None) }
    }

    /// Who it is.
    #[must_use]
    pub fn key(&self) -> PeerKey {
        self.addr.key
    }

    /// Whether packets now go directly to the peer; `None` without a connection.
    pub async fn is_direct(&self) -> Option<bool> {
        let connection = self.current.lock().await.clone()?;
        connection.paths().iter().find(|path| path.is_selected()).map(|path| path.is_ip())
    }

    async fn dial(&self, addr: EndpointAddr) -> io::Result<Connection> {
        for gateway in &self.addr.gateways {
            self.link.learn(gateway).await;
        }
        let failed = |why: String| io::Error::other(why);
        let connecting = self.link.endpoint.connect_with_opts(addr, ALPN, transport::dialling()).await;
        let connection =
            connecting.map_err(|e| failed(format!("{e:#}")))?.await.map_err(|e| failed(format!("{e:#}")))?;
        mandate::say(&connection, self.link.endpoint_key(), self.link.person()).await.map_err(io::Error::other)?;
        Ok(connection)
    }

    async fn connection(&self) -> Result<Connection, TransportError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let nowhere = || io::Error::new(io::ErrorKind::AddrNotAvailable, "nothing says where this peer is");
        let addr = self.addr.endpoint_addr(self.link.policy()).ok_or_else(|| TransportError::Unreachable(nowhere()))?;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer");
        let dialled = timeout(DIAL_TIMEOUT, self.dial(addr)).await;
        let connection = dialled.map_err(|_| silent()).flatten().map_err(TransportError::Unreachable)?;
        tracing::debug!(peer = ?self.addr.key, "connected");
        *current = Some(connection.clone());
        Ok(connection)
    }
}

#[async_trait]
impl OpenStream for Peer {
    async fn open(&self) -> Result<ByteStream, TransportError> {
        let connection = self.connection().await?;
        match timeout(OPEN_TIMEOUT, connection.open_bi()).await {
            Ok(Ok(stream)) => Ok(Box::new(LinkStream::new(connection, stream))),
            Ok(Err(error)) => Err(TransportError::from_io(connection_error(error))),
            Err(_) => Err(TransportError::Unreachable(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer allows no more streams",
            ))),
        }
    }

    async fn suspect(&self) {
        // Dropped, not closed: older streams may still be alive on it, and keep it. Whoever holds the lock dials anew.
        if let Ok(mut current) = self.current.try_lock() {
            current.take();
        }
    }
}

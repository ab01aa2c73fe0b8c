//! The ports over the real link: providers are dialled from the endpoint that renters reach, so that they see the peer key
//! that is on chain.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sublet_base::{B256, JobId, PeerKey};
use sublet_client::peer::{PeerClient, PeerError};
use sublet_daemon::{Backoff, BoxError, CancellationToken};
use sublet_link::{GatewayState, GatewayUrl, Link, PeerAddr, ServeLimits, serve};
use sublet_wire::link::{PeerHandler, TransportError};
use tokio::time::timeout;

use crate::ports::{Providers, ServeLink, Whereabouts};

/// A link endpoint, both to serve renters and to ask providers.
pub struct OverLink {
    /// The endpoint, bound under the key that is registered.
    pub link: Link,
    /// How much at once.
    pub limits: ServeLimits,
    /// Ends every question.
    pub stop: CancellationToken,
}

impl OverLink {
    fn client(&self, provider: &Whereabouts) -> Result<PeerClient, PeerError> {
        let bad = |why| PeerError::Transport(TransportError::Unreachable(std::io::Error::other(why)));
        let gateway: GatewayUrl = provider.relay.parse().map_err(bad)?;
        let peer = self.link.peer(PeerAddr::behind(provider.key, gateway));
        let once = Backoff { attempts: 1, ..Backoff::default() };
        Ok(PeerClient::new(Arc::new(peer), self.stop.clone()).with_backoff(once))
    }
}

#[async_trait]
impl Providers for OverLink {
    fn online(&self) -> bool {
        matches!(self.link.gateway_state(), GatewayState::Connected(_))
    }

    async fn document(&self, provider: &Whereabouts, job: JobId, hash: B256) -> Result<String, PeerError> {
        self.client(provider)?.document(job, hash).await
    }

    async fn archive(
        &self,
        provider: &Whereabouts,
        job: JobId,
        hash: B256,
        most: u64,
        within: Duration,
    ) -> Result<(), PeerError> {
        let mut nowhere = tokio::io::sink();
        let client = self.client(provider)?;
        match timeout(within, client.result(job, hash, most, &mut nowhere)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(PeerError::Silent("result")),
        }
    }
}

#[async_trait]
impl ServeLink for OverLink {
    fn peer_key(&self) -> PeerKey {
        self.link.peer_key()
    }

    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken) -> Result<(), BoxError> {
        serve(&self.link, handler, self.limits, stop).await;
        Ok(())
    }
}

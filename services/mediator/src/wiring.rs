//! The ports over the real link: for each question to a provider an endpoint of its own.
//!
//! A provider's gateway is a stranger's. An endpoint that knows it may move to it, or believe what it says about where
//! others are; so it is known to no endpoint but the one that asks this provider, and for no longer than that takes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sublet_base::{B256, JobId};
use sublet_client::peer::{PeerClient, PeerError};
use sublet_daemon::{Backoff, CancellationToken};
use sublet_link::{GatewayState, GatewayUrl, Link, LinkConfig, LinkKey, PathPolicy, PeerAddr};
use sublet_wire::link::TransportError;
use tokio::time::timeout;

use crate::ports::{Providers, Whereabouts};

/// The link, to ask providers over.
pub struct OverLink {
    /// The endpoint that serves renters, bound under the key that is registered.
    pub link: Link,
    /// That key: questions are asked on its behalf.
    pub key: LinkKey,
    /// Ends every question.
    pub stop: CancellationToken,
}

impl OverLink {
    /// Asks from an endpoint of its own, which is closed in order even if nobody waits for the answer any more.
    async fn ask<T, F>(
        &self,
        provider: &Whereabouts,
        question: impl FnOnce(PeerClient) -> F + Send + 'static,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PeerError>> + Send + 'static,
    {
        let bad = |why| PeerError::Transport(TransportError::Unreachable(std::io::Error::other(why)));
        let gateway: GatewayUrl = provider.relay.parse().map_err(bad)?;
        let ours = |error| PeerError::Unasked(std::io::Error::other(error));
        let config = LinkConfig { key: self.key.clone(), bind: vec![], gateways: vec![], policy: PathPolicy::Auto };
        let link = Link::bind_on_behalf(config).await.map_err(ours)?;
        let peer = link.peer(PeerAddr::behind(provider.key, gateway));
        let once = Backoff { attempts: 1, ..Backoff::default() };
        let client = PeerClient::new(Arc::new(peer), self.stop.clone()).with_backoff(once);
        let stop = self.stop.clone();
        let asked = tokio::spawn(async move {
            let answer = stop.run_until_cancelled(question(client)).await;
            link.close().await;
            answer.unwrap_or(Err(PeerError::Stopped))
        });
        asked.await.unwrap_or(Err(PeerError::Stopped))
    }
}

#[async_trait]
impl Providers for OverLink {
    fn online(&self) -> bool {
        matches!(self.link.gateway_state(), GatewayState::Connected(_))
    }

    async fn document(&self, provider: &Whereabouts, job: JobId, hash: B256) -> Result<String, PeerError> {
        self.ask(provider, move |client| async move { client.document(job, hash).await }).await
    }

    async fn archive(
        &self,
        provider: &Whereabouts,
        job: JobId,
        hash: B256,
        most: u64,
        within: Duration,
    ) -> Result<(), PeerError> {
        let read = move |client: PeerClient| async move {
            let mut nowhere = tokio::io::sink();
            match timeout(within, client.result(job, hash, most, &mut nowhere)).await {
                Ok(answer) => answer.map(|_| ()),
                Err(_) => Err(PeerError::Silent("result")),
            }
        };
        self.ask(provider, read).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sublet_link::{Relay, RelayAccess, RelayOptions};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_provider_cannot_move_us_to_its_gateway() {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let access = RelayAccess::Open;
        let options = RelayOptions { listen, access, clients: 16, clients_per_address: 16, bytes_per_second: None };
        let theirs = Relay::start(options).await.unwrap();
        let key = LinkKey::generate();
        let config = LinkConfig { key: key.clone(), bind: vec![], gateways: vec![], policy: PathPolicy::Auto };
        let link = Link::bind(config).await.unwrap();
        let ours = OverLink { link, key, stop: CancellationToken::new() };
        let provider =
            Whereabouts { key: LinkKey::generate().peer_key(), relay: format!("http://{}", theirs.address()) };
        // Nobody answers there; that the question reached their gateway is what counts.
        let asked = ours.document(&provider, JobId(1), B256::ZERO);
        tokio::select! {
            answer = asked => assert!(answer.is_err()),
            () = connected(&theirs) => {}
        }
        // Ours, if it knew their gateway, would be there about as soon.
        assert!(ours.link.online(Duration::from_secs(3)).await.is_err(), "{:?}", ours.link.gateway_state());
        assert!(!ours.online());
        ours.stop.cancel();
        ours.link.close().await;
    }

    async fn connected(relay: &Relay) {
        while relay.counts().admitted == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

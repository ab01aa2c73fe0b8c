//! The ports over the real adapters: a solver over HTTP, renters over the link.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_base::PeerKey;
use sublet_client::SolverClient;
use sublet_daemon::{BoxError, CancellationToken};
use sublet_link::{Link, ServeLimits, serve};
use sublet_market::SignedOffer;
use sublet_wire::link::PeerHandler;

use crate::ports::{OfferBoard, ServeLink};

/// Serves renters on a link.
pub struct OverLink {
    /// The endpoint.
    pub link: Link,
    /// How much at once.
    pub limits: ServeLimits,
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

#[async_trait]
impl OfferBoard for SolverClient {
    fn name(&self) -> String {
        self.url().to_owned()
    }

    async fn post(&self, offer: &SignedOffer) -> Result<(), BoxError> {
        self.post_offer(&offer.clone().into()).await?;
        Ok(())
    }
}

//! The ports over the real adapters: a solver over HTTP.

use async_trait::async_trait;
use sublet_client::SolverClient;
use sublet_daemon::BoxError;
use sublet_market::SignedOffer;

use crate::ports::OfferBoard;

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

//! What the agent needs besides chain and store: a host, solvers, and the link.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_chain::{Ledger, Wallet};
use sublet_client::Host;
use sublet_daemon::BoxError;
use sublet_link::ServeLink;
use sublet_market::SignedOffer;
use sublet_store::Store;

/// A solver that takes offers.
#[async_trait]
pub trait OfferBoard: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> String;
    /// Puts an offer on its book; again is harmless.
    async fn post(&self, offer: &SignedOffer) -> Result<(), BoxError>;
}

/// What a provider stands on.
pub struct Ports {
    /// The chain, opened with the provider's account.
    pub ledger: Arc<dyn Ledger>,
    /// The same account's key, to sign offers.
    pub wallet: Wallet,
    /// Where machines run.
    pub host: Arc<dyn Host>,
    /// Where offers are posted.
    pub boards: Vec<Arc<dyn OfferBoard>>,
    /// What survives a restart. Its own file, used by nobody else.
    pub store: Store,
    /// How renters reach it.
    pub link: Arc<dyn ServeLink>,
}

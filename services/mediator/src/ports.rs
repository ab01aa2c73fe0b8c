//! What a mediator needs besides chain and store: a host, providers to ask, and the link's accepting side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sublet_base::{B256, JobId, PeerKey};
use sublet_chain::Ledger;
use sublet_client::Host;
use sublet_client::peer::PeerError;
use sublet_link::ServeLink;
use sublet_store::Store;

/// Where a provider is, as its record on chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its link endpoint.
    pub key: PeerKey,
    /// The gateway it says it is behind; a stranger's text.
    pub relay: String,
}

/// Providers on the link, asked on behalf of this mediator's own peer key: once for each call, without trying again.
#[async_trait]
pub trait Providers: Send + Sync {
    /// Whether our own end of the link is up. While it is not, nobody's silence means anything.
    fn online(&self) -> bool;
    /// A job's document, exactly the bytes that hash to `hash`.
    async fn document(&self, provider: &Whereabouts, job: JobId, hash: B256) -> Result<String, PeerError>;
    /// Reads a job's archive, which must hash to `hash` and have at most `most` bytes, and throws it away.
    async fn archive(
        &self,
        provider: &Whereabouts,
        job: JobId,
        hash: B256,
        most: u64,
        within: Duration,
    ) -> Result<(), PeerError>;
}

/// What a mediator stands on.
pub struct Ports {
    /// The chain, opened with the mediator's account.
    pub ledger: Arc<dyn Ledger>,
    /// Where jobs are run again. May serve others as well.
    pub host: Arc<dyn Host>,
    /// Whom to ask for documents and archives.
    pub providers: Arc<dyn Providers>,
    /// What survives a restart. Its own file, used by nobody else.
    pub store: Store,
    /// Folder for archives. Its own, private, there.
    pub archives: PathBuf,
    /// How renters reach it.
    pub link: Arc<dyn ServeLink>,
}

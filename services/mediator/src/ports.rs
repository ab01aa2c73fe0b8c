//! What a mediator needs besides chain and store: a host, providers to ask, and the link's accepting side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sublet_base::{B256, JobId, MachineId, PeerKey};
use sublet_chain::Ledger;
use sublet_client::peer::PeerError;
use sublet_client::{HostClient, HostError};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_store::Store;
use sublet_wire::host::{HostReport, MachineRequest, MachineView};
use sublet_wire::link::{ByteSource, PeerHandler};

/// A computer that runs machines. Every call may be repeated.
#[async_trait]
pub trait Host: Send + Sync {
    /// What it has and what is free.
    async fn report(&self) -> Result<HostReport, HostError>;
    /// Every machine.
    async fn list(&self) -> Result<Vec<MachineView>, HostError>;
    /// An item whenever some machine may have changed. Ends when the host breaks off.
    async fn changes(&self) -> Result<BoxStream<'static, ()>, HostError>;
    /// Prepares a machine.
    async fn create(&self, request: MachineRequest) -> Result<MachineView, HostError>;
    /// Starts a stopped machine.
    async fn start(&self, id: &MachineId) -> Result<MachineView, HostError>;
    /// Removes every trace of it.
    async fn delete(&self, id: &MachineId) -> Result<(), HostError>;
    /// The result archive of a task that ended. The source ends early if the host breaks off.
    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError>;
}

/// Where a provider is, as its record on chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its link endpoint.
    pub key: PeerKey,
    /// The gateway it says it is behind; a stranger's text.
    pub relay: String,
}

/// Providers on the link, asked under this mediator's own peer key: once for each call, without trying again.
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

/// The link's accepting side.
#[async_trait]
pub trait ServeLink: Send + Sync {
    /// The key peers reach it by.
    fn peer_key(&self) -> PeerKey;
    /// Answers peers until `stop`.
    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken) -> Result<(), BoxError>;
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

#[async_trait]
impl Host for HostClient {
    async fn report(&self) -> Result<HostReport, HostError> {
        Self::report(self).await
    }

    async fn list(&self) -> Result<Vec<MachineView>, HostError> {
        Self::list(self).await
    }

    async fn changes(&self) -> Result<BoxStream<'static, ()>, HostError> {
        let changes = Self::watch(self).await?;
        Ok(changes.take_while(|change| std::future::ready(change.is_ok())).map(|_| ()).boxed())
    }

    async fn create(&self, request: MachineRequest) -> Result<MachineView, HostError> {
        Self::create(self, request).await
    }

    async fn start(&self, id: &MachineId) -> Result<MachineView, HostError> {
        Self::start(self, id).await
    }

    async fn delete(&self, id: &MachineId) -> Result<(), HostError> {
        Self::delete(self, id).await
    }

    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError> {
        Ok(Box::new(Self::result(self, id)))
    }
}

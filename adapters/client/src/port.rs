//! A host as its users need it, so that they can be tested without one.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sublet_base::{MachineId, Seconds};
use sublet_wire::host::{HostReport, LogSource, MachineRequest, MachineView};
use sublet_wire::link::{ByteSource, ByteStream};
use tokio_util::io::StreamReader;

use crate::{HostClient, HostError};

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
    /// Asks it to stop for `grace`, then kills it.
    async fn stop(&self, id: &MachineId, grace: Seconds) -> Result<MachineView, HostError>;
    /// Removes every trace of it.
    async fn delete(&self, id: &MachineId) -> Result<(), HostError>;
    /// Replaces the keys that may log in.
    async fn set_keys(&self, id: &MachineId, keys: Vec<String>) -> Result<MachineView, HostError>;
    /// A byte stream to a TCP port inside.
    async fn connect(&self, id: &MachineId, port: u16) -> Result<ByteStream, HostError>;
    /// What it wrote.
    async fn logs(&self, id: &MachineId, source: LogSource, follow: bool) -> Result<ByteSource, HostError>;
    /// The result archive of a task that ended. The source ends early if the host breaks off.
    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError>;
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

    async fn stop(&self, id: &MachineId, grace: Seconds) -> Result<MachineView, HostError> {
        Self::stop(self, id, grace).await
    }

    async fn delete(&self, id: &MachineId) -> Result<(), HostError> {
        Self::delete(self, id).await
    }

    async fn set_keys(&self, id: &MachineId, keys: Vec<String>) -> Result<MachineView, HostError> {
        Self::set_keys(self, id, keys).await
    }

    async fn connect(&self, id: &MachineId, port: u16) -> Result<ByteStream, HostError> {
        Ok(Box::new(Self::connect(self, id, port).await?))
    }

    async fn logs(&self, id: &MachineId, source: LogSource, follow: bool) -> Result<ByteSource, HostError> {
        let pieces = Self::logs(self, id, source, follow).await?;
        let pieces = pieces.map_ok(std::io::Cursor::new).map_err(std::io::Error::other);
        Ok(Box::new(StreamReader::new(pieces)))
    }

    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError> {
        Ok(Box::new(Self::result(self, id)))
    }
}

//! The host: runs machines on this computer for whoever may open its socket.
//!
//! ```text
//! gRPC on a unix socket ──▶ api ──▶ registry ──▶ one owner a machine ──▶ driver (blocking threads)
//!                                      │              │  └─▶ channel: guest's reports, output, result archive
//!                                   ledger         records (stored before each effect)
//! ```
//! What a machine may do next is decided by `sublet_machine::Lifecycle`, which is pure. A restart loads the records, looks
//! at each machine, and goes on: running machines are adopted, half-done creates and deletes are finished, machines that
//! no record knows are removed. Machines run on while no host does.

mod api;
mod archive;
mod channel;
mod choose;
mod config;
mod connect;
mod ledger;
mod machine;
mod ports;
mod record;
mod registry;
mod socket;

use std::time::Duration;

pub use config::{Capacity, HostConfig};
pub use ports::{Images, PortError, Ports, Records, StoredRecords};
pub use record::Record;
pub use socket::SocketError;

use sublet_daemon::{CancellationToken, DataDir, LockError, raise_descriptors};
use sublet_wire::host::v1::host_server::HostServer;
use sublet_wire::host::{DESCRIPTORS, MAX_MESSAGE};
use thiserror::Error;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::api::Api;
use crate::ledger::Ledger;
use crate::registry::Shared;

/// How long a lock may outlive the host that held it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a host that stops waits for whoever still reads from it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a host does not run, or stopped.
#[derive(Debug, Error)]
pub enum HostError {
    /// Its folder cannot be used.
    #[error("the host cannot use its folder")]
    Folder(#[source] PortError),
    /// Its socket cannot be used.
    #[error("the host cannot serve")]
    Socket(#[from] SocketError),
    /// What it remembers cannot be read.
    #[error("the host cannot read what it knows of its machines")]
    Records(#[source] PortError),
    /// The interface broke.
    #[error("the host stopped serving")]
    Serve(#[from] tonic::transport::Error),
    /// The interface's description is broken.
    #[error("the host's interface is not described")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Runs a host until `shutdown`. Machines run on after it.
///
/// # Errors
/// [`HostError`].
pub async fn run(config: HostConfig, ports: Ports, shutdown: CancellationToken) -> Result<(), HostError> {
    raise_descriptors();
    let _held = lock(&config).await.map_err(|e| HostError::Folder(e.into()))?;
    let total = config.capacity.total(&config.data).map_err(|e| HostError::Folder(e.into()))?;
    let listener = socket::listen(&config.socket)?;
    tracing::info!(socket = %config.socket.display(), ?total, "host");
    let shared = Shared::new(config, ports, Ledger::new(total), CancellationToken::new());
    shared.reconcile().await.map_err(HostError::Records)?;
    let probing = {
        let shared = shared.clone();
        tokio::spawn(async move {
            shared.reports().await;
        })
    };
    let served = serve(&shared, listener, shutdown).await;
    shared.drain().await;
    // A probe that is cut off would leave its machine behind until the next one.
    if let Err(e) = probing.await {
        tracing::error!(error = %e, "the probes broke");
    }
    served
}

/// Locks the host's folder. A child that a killed host was just starting may hold the lock until it has become its own
/// program, so this is patient for a moment.
async fn lock(config: &HostConfig) -> Result<DataDir, LockError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match DataDir::lock(&config.data) {
            Err(LockError::Held { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(PATIENCE / 100).await
            }
            locked => return locked,
        }
    }
}

async fn serve(
    shared: &std::sync::Arc<Shared>,
    listener: tokio::net::UnixListener,
    shutdown: CancellationToken,
) -> Result<(), HostError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let api = HostServer::new(Api(shared.clone())).max_decoding_message_size(MAX_MESSAGE);
    health.set_serving::<HostServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let stop = shared.stopping();
    let overdue = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        }
    };
    let ended = async move {
        shutdown.cancelled().await;
        // Streams end too, or the server would wait for whoever watches.
        stop.cancel();
    };
    let server = Server::builder().add_service(api).add_service(health_service).add_service(reflection);
    tokio::select! {
        served = server.serve_with_incoming_shutdown(UnixListenerStream::new(listener), ended) => Ok(served?),
        // A stream whose bytes nobody takes does not come to see that it has ended.
        () = overdue => {
            tracing::warn!("hanging up on whoever does not read");
            Ok(())
        }
    }
}

/// One line of printable text, of at most so many characters.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn guest_text_stays_on_one_line() {
        assert_eq!(printable("a\n\x1b[31mb\0", 3), "a[3");
    }
}

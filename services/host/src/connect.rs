//! Connections into machines, bounded: each dial takes a thread and a helper, each connection a descriptor, and no renter
//! may take them from the others.

use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sublet_base::MachineId;
use sublet_daemon::with_causes;
use sublet_machine::DriverError;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::api::status;
use crate::registry::Shared;

/// Connections into one machine at once.
const MOST_OPEN: usize = 256;
/// Dials into one machine at once; others wait for their turn.
const MOST_DIALLING: usize = 16;
/// Dials into all machines at once: far fewer than there are threads for blocking calls.
const MOST_DIALLING_TOGETHER: usize = 128;
/// Descriptors that are enough for every machine's connections.
const DESCRIPTORS: u64 = 65_536;

/// The ways into one machine.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    open: Arc<Semaphore>,
    dialling: Arc<Semaphore>,
}

impl Doors {
    pub(crate) fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(MOST_OPEN)), dialling: Arc::new(Semaphore::new(MOST_DIALLING)) }
    }
}

/// The turns to dial of all machines.
pub(crate) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_DIALLING_TOGETHER))
}

/// A connection to a port inside a machine, and its place among the machine's: keep it as long as the connection.
pub(crate) async fn dial(
    shared: &Shared,
    id: &MachineId,
    port: u16,
) -> Result<(TcpStream, OwnedSemaphorePermit), Status> {
    let handle = shared.handle(id).map_err(status)?;
    let driver = shared.driver_of(&handle.state.borrow()).map_err(status)?;
    let full = |_| Status::unavailable(format!("{id} has {MOST_OPEN} connections; try again when one has ended"));
    let place = handle.doors.open.try_acquire_owned().map_err(full)?;
    let closed = |e: tokio::sync::AcquireError| Status::internal(e.to_string());
    let turn = handle.doors.dialling.acquire_owned().await.map_err(closed)?;
    let turn = (turn, shared.turns.clone().acquire_owned().await.map_err(closed)?);
    let dialled = {
        let id = id.clone();
        let dial = move || {
            // Whoever asked may hang up; the thread and the helper are taken until they are done.
            let _turn = turn;
            driver.dial(&id, port)
        };
        tokio::task::spawn_blocking(dial).await
    };
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(e @ (DriverError::WrongState { .. } | DriverError::NotFound(_)))) => {
            return Err(Status::failed_precondition(e.to_string()));
        }
        Ok(Err(e)) => {
            return Err(Status::unavailable(format!("cannot reach port {port} of {id}: {}", with_causes(&e))));
        }
        Err(e) => return Err(Status::internal(e.to_string())),
    };
    let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
    let stream = ready.and_then(|()| TcpStream::from_std(stream)).map_err(|e| Status::internal(e.to_string()))?;
    Ok((stream, place))
}

/// Lets this process have enough descriptors, as far as the system allows.
pub(crate) fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(DESCRIPTORS)), hard));
    if let Err(e) = raised {
        tracing::warn!(error = %e, "cannot raise the number of descriptors");
    }
}

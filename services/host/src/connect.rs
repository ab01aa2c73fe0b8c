//! Connections into machines and streams of their logs, bounded: each dial takes a thread and a helper, each connection
//! and each stream a descriptor, and no renter may take them from the others.

use std::sync::Arc;

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
/// Streams of one machine's logs at once.
const MOST_LOGS: usize = 16;

/// The ways into one machine, and to what it wrote.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    open: Arc<Semaphore>,
    dialling: Arc<Semaphore>,
    logs: Arc<Semaphore>,
}

impl Doors {
    pub(crate) fn new() -> Self {
        let most = |count| Arc::new(Semaphore::new(count));
        Self { open: most(MOST_OPEN), dialling: most(MOST_DIALLING), logs: most(MOST_LOGS) }
    }
}

/// The turns to dial of all machines.
pub(crate) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_DIALLING_TOGETHER))
}

/// A place among those who read the machine's logs: keep it as long as the stream.
pub(crate) fn reader(shared: &Shared, id: &MachineId) -> Result<OwnedSemaphorePermit, Status> {
    let full = |_| {
        Status::resource_exhausted(format!("{id} has {MOST_LOGS} streams of its logs; try again when one has ended"))
    };
    shared.handle(id).map_err(status)?.doors.logs.try_acquire_owned().map_err(full)
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

//! The gRPC interface: checks what comes in, asks the registry, says it in the interface's words.

use std::collections::BTreeSet;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sublet_base::{MachineId, Seconds};
use sublet_daemon::with_causes;
use sublet_machine::{Denied, Event, Guest, Phase};
use sublet_wire::host::v1::host_server::Host;
use sublet_wire::host::v1::open_port_request::Part;
use sublet_wire::host::v1::watch_machines_response::Change;
use sublet_wire::host::{LogSource, Malformed, check_keys, machine_id, v1};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Record;
use crate::connect;
use crate::machine::AskError;
use crate::registry::{Fault, Shared};

/// Bytes of a stream in one message.
const PIECE: usize = 64 << 10;
/// How often a log that is followed is looked at.
const FOLLOW: Duration = Duration::from_millis(100);

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The interface over the host's machines.
pub(crate) struct Api(pub(crate) Arc<Shared>);

fn malformed(error: &Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(crate) fn status(fault: Fault) -> Status {
    let text = fault.to_string();
    match fault {
        Fault::NotFound(_) => Status::not_found(text),
        Fault::Taken(_) => Status::already_exists(text),
        Fault::NoRoom(_) => Status::resource_exhausted(text),
        Fault::NoDriver(_)
        | Fault::Ask(AskError::Denied(Denied::WrongPhase(_) | Denied::TaskOver) | AskError::NoLogin) => {
            Status::failed_precondition(text)
        }
        Fault::Ask(AskError::Denied(Denied::Busy(_)) | AskError::Unseen) | Fault::Stopping => Status::unavailable(text),
        Fault::Ask(AskError::NotStored(_)) | Fault::NotStored(_) | Fault::Failed(..) => {
            let text = with_causes(&fault);
            tracing::error!(error = text, "a request failed");
            Status::internal(text)
        }
    }
}

fn id_of(name: &str) -> Result<MachineId, Status> {
    machine_id(name).map_err(|e| malformed(&e))
}

fn machine(record: Result<Record, Fault>) -> Answer<v1::Machine> {
    record.map(|record| Response::new(record.view().into())).map_err(status)
}

impl Api {
    /// Applies an event; `wanted` is where it must have led.
    async fn change(&self, name: &str, event: Event, wanted: &Phase) -> Answer<v1::Machine> {
        let id = id_of(name)?;
        let record = self.0.apply(&id, event).await.map_err(status)?;
        match (record.life.phase(), &record.trouble) {
            (phase, Some(trouble)) if phase != wanted => Err(Status::internal(trouble.clone())),
            _ => machine(Ok(record)),
        }
    }

    /// Ends a stream when the host stops.
    fn until_stop<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Response<Answers<T>> {
        let stop = self.0.stopping();
        Response::new(Box::pin(stream.take_until(async move { stop.cancelled().await })))
    }
}

#[tonic::async_trait]
impl Host for Api {
    type WatchMachinesStream = Answers<v1::WatchMachinesResponse>;
    type OpenPortStream = Answers<v1::Chunk>;
    type LogsStream = Answers<v1::Chunk>;
    type FetchResultStream = Answers<v1::Chunk>;

    async fn get_host(&self, _: Request<v1::GetHostRequest>) -> Answer<v1::GetHostResponse> {
        Ok(Response::new(self.0.report().await.into()))
    }

    async fn create_machine(&self, request: Request<v1::CreateMachineRequest>) -> Answer<v1::Machine> {
        let request = request.into_inner().try_into().map_err(|e| malformed(&e))?;
        machine(self.0.create(request).await)
    }

    async fn get_machine(&self, request: Request<v1::MachineName>) -> Answer<v1::Machine> {
        machine(self.0.record(&id_of(&request.get_ref().name)?))
    }

    async fn list_machines(&self, _: Request<v1::ListMachinesRequest>) -> Answer<v1::ListMachinesResponse> {
        let machines = self.0.records().iter().map(|record| record.view().into()).collect();
        Ok(Response::new(v1::ListMachinesResponse { machines }))
    }

    async fn watch_machines(&self, _: Request<v1::WatchMachinesRequest>) -> Answer<Self::WatchMachinesStream> {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(watch(self.0.clone(), sender));
        Ok(self.until_stop(ReceiverStream::new(receiver)))
    }

    async fn start_machine(&self, request: Request<v1::MachineName>) -> Answer<v1::Machine> {
        self.change(&request.get_ref().name, Event::Start, &Phase::Running).await
    }

    async fn stop_machine(&self, request: Request<v1::StopMachineRequest>) -> Answer<v1::Machine> {
        // An hour is more than any grace; a longer one would only hold the machine's owner.
        let grace = Seconds(request.get_ref().grace_seconds.min(3600));
        self.change(&request.get_ref().name, Event::Stop(grace), &Phase::Stopped).await
    }

    async fn pause_machine(&self, request: Request<v1::MachineName>) -> Answer<v1::Machine> {
        self.change(&request.get_ref().name, Event::Pause, &Phase::Paused).await
    }

    async fn resume_machine(&self, request: Request<v1::MachineName>) -> Answer<v1::Machine> {
        self.change(&request.get_ref().name, Event::Resume, &Phase::Running).await
    }

    async fn delete_machine(&self, request: Request<v1::MachineName>) -> Answer<v1::DeleteMachineResponse> {
        self.0.delete(&id_of(&request.get_ref().name)?).await.map_err(status)?;
        Ok(Response::new(v1::DeleteMachineResponse {}))
    }

    async fn set_keys(&self, request: Request<v1::SetKeysRequest>) -> Answer<v1::Machine> {
        let request = request.into_inner();
        check_keys(&request.authorized_keys).map_err(|e| malformed(&e))?;
        machine(self.0.set_keys(&id_of(&request.name)?, request.authorized_keys).await)
    }

    async fn open_port(&self, request: Request<Streaming<v1::OpenPortRequest>>) -> Answer<Self::OpenPortStream> {
        let mut incoming = request.into_inner();
        let Some(Part::Target(target)) = incoming.message().await?.and_then(|message| message.part) else {
            return Err(Status::invalid_argument("the first message must say which port"));
        };
        let port = u16::try_from(target.port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Status::invalid_argument("a port is 1 to 65535"))?;
        let (stream, place) = connect::dial(&self.0, &id_of(&target.name)?, port).await?;
        let (reader, mut writer) = stream.into_split();
        // Taken until both directions have ended.
        let place = Arc::new(place);
        let writers = place.clone();
        tokio::spawn(async move {
            let _place = writers;
            while let Ok(Some(message)) = incoming.message().await {
                let Some(Part::Data(data)) = message.part else { break };
                if writer.write_all(&data).await.is_err() {
                    break;
                }
            }
            // The machine sees the end of the bytes; what it still has to say comes through.
            writer.shutdown().await.ok();
        });
        let chunks = ReaderStream::with_capacity(reader, PIECE).map(move |bytes| {
            let _place = &place;
            match bytes {
                Ok(bytes) => Ok(v1::Chunk { data: bytes.to_vec() }),
                Err(e) => Err(Status::unavailable(format!("the connection into the machine broke: {e}"))),
            }
        });
        Ok(self.until_stop(chunks))
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let source = LogSource::from(request.get_ref().source());
        let (id, follow) = (id_of(&request.get_ref().name)?, request.get_ref().follow);
        let record = self.0.record(&id).map_err(status)?;
        let path = match source {
            LogSource::Stdout => self.0.folder(&id).stdout(),
            LogSource::Stderr => self.0.folder(&id).stderr(),
            LogSource::Console => match self.0.driver_of(&record).map_err(status)?.prepared(&id) {
                Ok(prepared) => prepared.console,
                Err(e) => return Err(Status::failed_precondition(with_causes(&e))),
            },
        };
        let place = connect::reader(&self.0, &id)?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(tail(self.0.clone(), id, path, follow, sender));
        let chunks = ReceiverStream::new(receiver).inspect(move |_| {
            let _place = &place;
        });
        Ok(self.until_stop(chunks))
    }

    async fn fetch_result(&self, request: Request<v1::MachineName>) -> Answer<Self::FetchResultStream> {
        let id = id_of(&request.get_ref().name)?;
        let record = self.0.record(&id).map_err(status)?;
        if record.result.is_none() {
            let why = match (record.life.guest(), record.life.phase()) {
                (Guest::GaveUp { reason }, _) | (_, Phase::Failed(reason)) => format!("there is no result: {reason}"),
                _ => "there is no result yet".to_owned(),
            };
            return Err(Status::failed_precondition(why));
        }
        // Bounded by the link alone: whoever could take the last place here would keep the mediators from a disputed
        // result, and have it judged withheld. Only the agent knows who asks.
        let file = tokio::fs::File::open(self.0.folder(&id).result()).await;
        let file = file.map_err(|e| Status::internal(format!("could not open the result: {e}")))?;
        let chunks = ReaderStream::with_capacity(file, PIECE).map(|bytes| match bytes {
            Ok(bytes) => Ok(v1::Chunk { data: bytes.to_vec() }),
            Err(e) => Err(Status::internal(format!("could not read the result: {e}"))),
        });
        Ok(self.until_stop(chunks))
    }
}

/// Sends every machine, then every change, until nobody listens.
async fn watch(shared: Arc<Shared>, to: mpsc::Sender<Result<v1::WatchMachinesResponse, Status>>) {
    let mut changes = shared.changes();
    let mut shown = BTreeSet::new();
    let mut due: Vec<MachineId> = shared.records().iter().map(|record| record.id().clone()).collect();
    loop {
        for id in due.drain(..) {
            let change = match shared.record(&id) {
                Ok(record) => {
                    shown.insert(id);
                    Change::Machine(record.view().into())
                }
                Err(_) if shown.remove(&id) => Change::Deleted(id.into()),
                Err(_) => continue,
            };
            if to.send(Ok(v1::WatchMachinesResponse { change: Some(change) })).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = to.closed() => return,
            change = changes.recv() => match change {
                Ok(id) => due.push(id),
                // Too slow: start over with everything there is and everything that was shown.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let all: BTreeSet<_> = shared.records().iter().map(|r| r.id().clone()).chain(shown.iter().cloned()).collect();
                    due.extend(all);
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// Sends a file, and with `follow` what is added to it, until the machine is stopped.
async fn tail(
    shared: Arc<Shared>,
    id: MachineId,
    path: PathBuf,
    follow: bool,
    to: mpsc::Sender<Result<v1::Chunk, Status>>,
) {
    let mut at = 0;
    loop {
        let live =
            shared.record(&id).is_ok_and(|record| record.life.is_busy() || record.life.phase() == &Phase::Running);
        match send_from(&path, &mut at, &to).await {
            Ok(true) => {}
            Ok(false) => return,
            // Before the first output there is no file.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                to.send(Err(Status::internal(format!("could not read the log: {e}")))).await.ok();
                return;
            }
        }
        if !follow || !live {
            return;
        }
        tokio::select! { () = to.closed() => return, () = tokio::time::sleep(FOLLOW) => {} }
    }
}

/// Sends what is after `at`. False when nobody listens any more.
async fn send_from(
    path: &std::path::Path,
    at: &mut u64,
    to: &mpsc::Sender<Result<v1::Chunk, Status>>,
) -> std::io::Result<bool> {
    let mut file = tokio::fs::File::open(path).await?;
    // A console that has grown too long begins anew.
    if file.metadata().await?.len() < *at {
        *at = 0;
    }
    file.seek(SeekFrom::Start(*at)).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece).await?;
        if count == 0 {
            return Ok(true);
        }
        *at += count as u64;
        if to.send(Ok(v1::Chunk { data: piece[..count].to_vec() })).await.is_err() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_begins_anew_is_followed_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("console");
        let (to, mut from) = mpsc::channel(8);
        let (mut at, mut said) = (0, Vec::new());
        for text in ["a long beginning, ", "and anew"] {
            std::fs::write(&path, text).expect("written");
            assert!(send_from(&path, &mut at, &to).await.expect("read"));
            while let Ok(chunk) = from.try_recv() {
                said.extend(chunk.expect("a piece").data);
            }
        }
        assert_eq!(said, b"a long beginning, and anew");
    }
}

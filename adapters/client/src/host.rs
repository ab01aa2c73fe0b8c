//! The host over its unix socket, in domain types.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};
use sublet_base::{MachineId, Seconds};
use sublet_wire::host::v1::host_client::HostClient as Generated;
use sublet_wire::host::v1::open_port_request::Part;
use sublet_wire::host::v1::watch_machines_response::Change;
use sublet_wire::host::{HostReport, LogSource, MAX_MESSAGE, MachineRequest, MachineView, Malformed, v1};
use thiserror::Error;
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// What only asks, or changes little, is answered within this.
const ANSWER: Duration = Duration::from_secs(10);
/// Machines are started and removed within this, and it is found out within this what the host can do.
const WORK: Duration = Duration::from_secs(120);
/// An image is fetched and a disk is made within this.
const MAKE: Duration = Duration::from_secs(1800);
/// A host that says nothing for so long while it is asked gets a sign of life demanded, and twice as long to give it.
const QUIET: Duration = Duration::from_secs(30);
/// Bytes read from a port and sent as one message.
const PIECE: usize = 32 << 10;

/// A client of one host. Cheap to clone; reconnects by itself.
#[derive(Clone, Debug)]
pub struct HostClient {
    inner: Generated<Channel>,
    endpoint: Endpoint,
}

/// One step of [`HostClient::watch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineChange {
    /// A machine as it is now.
    Now(Box<MachineView>),
    /// It is gone.
    Deleted(MachineId),
}

/// How a call to a host fails. Only [`HostError::is_retryable`] ones may go away by themselves.
#[derive(Debug, Error)]
pub enum HostError {
    /// The socket's path cannot be used.
    #[error("`{0}` cannot be a host's socket")]
    BadSocket(PathBuf),
    /// Nobody answers, or the host asks to try again.
    #[error("the host does not answer: {0}")]
    Unavailable(String),
    /// There is no such machine.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken by a different machine.
    #[error("{0}")]
    Taken(String),
    /// The host has no room now.
    #[error("{0}")]
    NoRoom(String),
    /// The machine's phase does not allow it.
    #[error("{0}")]
    WrongPhase(String),
    /// The request can never work.
    #[error("{0}")]
    Invalid(String),
    /// The host failed.
    #[error("the host failed: {0}")]
    Failed(String),
    /// The host says something impossible.
    #[error("the host's answer makes no sense")]
    Malformed(#[from] Malformed),
    /// What was received could not be written.
    #[error("could not write what the host sent")]
    Write(#[source] std::io::Error),
}

impl HostError {
    /// True if the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoRoom(_) => true,
            Self::BadSocket(_)
            | Self::NotFound(_)
            | Self::Taken(_)
            | Self::WrongPhase(_)
            | Self::Invalid(_)
            | Self::Failed(_)
            | Self::Malformed(_)
            | Self::Write(_) => false,
        }
    }
}

impl From<Status> for HostError {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(text),
            Code::AlreadyExists => Self::Taken(text),
            Code::ResourceExhausted => Self::NoRoom(text),
            Code::FailedPrecondition => Self::WrongPhase(text),
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Self::Invalid(text),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => Self::Unavailable(text),
            Code::Ok
            | Code::Unknown
            | Code::Internal
            | Code::DataLoss
            | Code::PermissionDenied
            | Code::Unauthenticated => Self::Failed(text),
        }
    }
}

impl HostClient {
    /// A client of the host that listens, or will listen, on `socket`. Connects at the first call, and again when needed.
    ///
    /// # Errors
    /// [`HostError::BadSocket`] if the path cannot be used.
    pub fn new(socket: &Path) -> Result<Self, HostError> {
        Self::with_quiet(socket, QUIET)
    }

    fn with_quiet(socket: &Path, quiet: Duration) -> Result<Self, HostError> {
        let bad = || HostError::BadSocket(socket.to_owned());
        let path = std::path::absolute(socket).map_err(|_| bad())?;
        let path = path.to_str().ok_or_else(bad)?;
        let endpoint = Endpoint::from_shared(format!("unix:{path}")).map_err(|_| bad())?;
        let endpoint = endpoint.http2_keep_alive_interval(quiet).keep_alive_timeout(2 * quiet);
        Ok(Self { inner: generated(&endpoint), endpoint })
    }

    /// A client with a connection of its own: one whose bytes nobody takes holds up everything else on it.
    fn apart(&self) -> Generated<Channel> {
        generated(&self.endpoint)
    }

    /// What the host has, what is free, which drivers work.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn report(&self) -> Result<HostReport, HostError> {
        let response = within(WORK, self.inner.clone().get_host(v1::GetHostRequest {})).await?;
        Ok(response.into_inner().try_into()?)
    }

    /// Prepares a machine; repeating the same request is harmless. Look at the phase: it may have failed.
    ///
    /// # Errors
    /// [`HostError::Taken`] if the name stands for another request, [`HostError::NoRoom`], or others.
    pub async fn create(&self, request: MachineRequest) -> Result<MachineView, HostError> {
        view(within(MAKE, self.inner.clone().create_machine(v1::CreateMachineRequest::from(request))).await)
    }

    /// The machine as it is now.
    ///
    /// # Errors
    /// [`HostError::NotFound`], or others.
    pub async fn get(&self, id: &MachineId) -> Result<MachineView, HostError> {
        view(within(ANSWER, self.inner.clone().get_machine(name(id))).await)
    }

    /// Every machine.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn list(&self) -> Result<Vec<MachineView>, HostError> {
        let response = within(ANSWER, self.inner.clone().list_machines(v1::ListMachinesRequest {})).await?;
        let machines = response.into_inner().machines.into_iter();
        Ok(machines.map(MachineView::try_from).collect::<Result<_, _>>()?)
    }

    /// Every machine as it is now, then every change. Ends when the host does.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn watch(
        &self,
    ) -> Result<impl Stream<Item = Result<MachineChange, HostError>> + Send + Unpin + use<>, HostError> {
        let stream = within(ANSWER, self.inner.clone().watch_machines(v1::WatchMachinesRequest {})).await?.into_inner();
        let changes = stream.map(|message| match message?.change {
            Some(Change::Machine(machine)) => Ok(Some(MachineChange::Now(Box::new(machine.try_into()?)))),
            Some(Change::Deleted(name)) => Ok(Some(MachineChange::Deleted(sublet_wire::host::machine_id(&name)?))),
            None => Ok(None),
        });
        Ok(Box::pin(changes.filter_map(|change| async { change.transpose() })))
    }

    /// Starts a stopped machine.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn start(&self, id: &MachineId) -> Result<MachineView, HostError> {
        view(within(WORK, self.inner.clone().start_machine(name(id))).await)
    }

    /// Stops it: asks for `grace`, then kills.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn stop(&self, id: &MachineId, grace: Seconds) -> Result<MachineView, HostError> {
        let request = v1::StopMachineRequest { name: id.to_string(), grace_seconds: grace.0 };
        let longest = WORK.saturating_add(Duration::from_secs(grace.0.into()));
        view(within(longest, self.inner.clone().stop_machine(request)).await)
    }

    /// Halts its processors.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn pause(&self, id: &MachineId) -> Result<MachineView, HostError> {
        view(within(WORK, self.inner.clone().pause_machine(name(id))).await)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn resume(&self, id: &MachineId) -> Result<MachineView, HostError> {
        view(within(WORK, self.inner.clone().resume_machine(name(id))).await)
    }

    /// Removes every trace of it. Harmless when absent.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn delete(&self, id: &MachineId) -> Result<(), HostError> {
        within(WORK, self.inner.clone().delete_machine(name(id))).await?;
        Ok(())
    }

    /// Replaces the keys that may log in.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn set_keys(&self, id: &MachineId, authorized_keys: Vec<String>) -> Result<MachineView, HostError> {
        let request = v1::SetKeysRequest { name: id.to_string(), authorized_keys };
        view(within(WORK, self.inner.clone().set_keys(request)).await)
    }

    /// A byte stream to a TCP port inside the machine, connected when this returns.
    ///
    /// # Errors
    /// [`HostError::WrongPhase`] when the machine does not run, [`HostError::Unavailable`] when nothing listens.
    pub async fn connect(&self, id: &MachineId, port: u16) -> Result<DuplexStream, HostError> {
        let target = v1::Target { name: id.to_string(), port: port.into() };
        let (ours, theirs) = tokio::io::duplex(PIECE * 2);
        let (reader, writer) = tokio::io::split(theirs);
        let first = v1::OpenPortRequest { part: Some(Part::Target(target)) };
        let rest = tokio_util::io::ReaderStream::with_capacity(reader, PIECE)
            .take_while(|piece| std::future::ready(piece.is_ok()))
            .filter_map(|piece| std::future::ready(piece.ok()))
            .map(|bytes| v1::OpenPortRequest { part: Some(Part::Data(bytes.to_vec())) });
        let requests = futures_util::stream::once(std::future::ready(first)).chain(rest);
        let answers = self.apart().open_port(Request::new(requests)).await?.into_inner();
        tokio::spawn(async move {
            let mut writer = writer;
            // Either side's end is seen by the user of the stream as the end of the bytes.
            copy(answers, &mut writer).await.ok();
            writer.shutdown().await.ok();
        });
        Ok(ours)
    }

    /// What the machine or its task wrote; with `follow` also what it still writes, until it stops.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn logs(
        &self,
        id: &MachineId,
        source: LogSource,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, HostError>> + Send + Unpin + use<>, HostError> {
        let request = v1::LogsRequest { name: id.to_string(), source: v1::Source::from(source).into(), follow };
        let stream = self.apart().logs(request).await?.into_inner();
        Ok(stream.map_ok(|chunk| chunk.data).map_err(HostError::from))
    }

    /// Writes the task's result archive to `to`; returns its length. Compare its hash with the machine's view.
    ///
    /// # Errors
    /// [`HostError::WrongPhase`] before the task has ended, or others.
    pub async fn fetch_result(
        &self,
        id: &MachineId,
        to: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<u64, HostError> {
        let stream = self.apart().fetch_result(name(id)).await?.into_inner();
        let length = copy(stream, to).await?;
        to.flush().await.map_err(HostError::Write)?;
        Ok(length)
    }
}

impl HostClient {
    /// The task's result archive as it comes; ends early if the host breaks off.
    #[must_use]
    pub fn result(&self, id: &MachineId) -> DuplexStream {
        let (client, id) = (self.clone(), id.clone());
        let (reader, mut writer) = tokio::io::duplex(PIECE * 2);
        tokio::spawn(async move {
            if let Err(error) = client.fetch_result(&id, &mut writer).await {
                tracing::warn!(machine = %id, error = %error, "the host broke off a result");
            }
            // The reader may be gone, which is its right.
            writer.shutdown().await.ok();
        });
        reader
    }
}

fn generated(endpoint: &Endpoint) -> Generated<Channel> {
    Generated::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_MESSAGE)
}

async fn copy(mut from: Streaming<v1::Chunk>, to: &mut (impl AsyncWrite + Unpin)) -> Result<u64, HostError> {
    let mut length = 0;
    while let Some(chunk) = from.message().await? {
        to.write_all(&chunk.data).await.map_err(HostError::Write)?;
        length += chunk.data.len() as u64;
    }
    Ok(length)
}

fn name(id: &MachineId) -> v1::MachineName {
    v1::MachineName { name: id.to_string() }
}

/// A host that hangs must not hang whoever asks it.
async fn within<T>(longest: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} s", longest.as_secs()));
    timeout(longest, call).await.unwrap_or_else(|_| Err(late()))
}

fn view(answer: Result<tonic::Response<v1::Machine>, Status>) -> Result<MachineView, HostError> {
    Ok(answer?.into_inner().try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_hangs_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("host.sock");
        // The kernel connects us; nobody ever reads.
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let client = HostClient::with_quiet(&socket, Duration::from_millis(50)).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(60), client.report()).await.expect("the call hangs");
        assert!(matches!(answer, Err(HostError::Unavailable(_))), "{answer:?}");
    }
}

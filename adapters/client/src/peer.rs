//! Asking a provider over the link. Bring your own transport ([`OpenStream`]): the link in programs, a pipe in tests.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Keccak256;
use sublet_base::{B256, JobId, LeaseId, keccak256};
use sublet_daemon::{Backoff, CancellationToken, RetryError, Retryable, retry};
use sublet_market::{Acceptance, Signature};
use sublet_wire::link::{
    Agreement, ByteStream, FrameError, OpenStream, Refusal, RefusalReason, Request, Response, Status, TransportError,
    read_frame, write_frame,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest wait for a stream. Longer than the link itself waits, which knows better why there is none.
const OPEN_TIMEOUT: Duration = Duration::from_secs(40);
/// Longest wait for an answer, or for more bytes of a result.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const BUFFER: usize = 64 << 10;

/// Why a provider's answer is missing or bad.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It could not be reached.
    #[error("cannot ask the provider")]
    Transport(#[source] TransportError),
    /// It said no.
    #[error(transparent)]
    Refused(Refusal),
    /// It took too long.
    #[error("the provider did not answer `{0}` in time")]
    Silent(&'static str),
    /// The answer was cut off or not of this protocol.
    #[error("the provider's answer to `{request}` is broken")]
    Broken {
        /// What was asked.
        request: &'static str,
        /// How it broke.
        #[source]
        source: FrameError,
    },
    /// An answer to another question.
    #[error("the provider answered `{0}` with something else")]
    Unexpected(&'static str),
    /// The result is not the one agreed on.
    #[error("the provider's result has the hash {got}, but {expected} was promised")]
    WrongResult {
        /// On chain or in the status.
        expected: B256,
        /// Of what was sent.
        got: B256,
    },
    /// The workload is not the one agreed on.
    #[error("the provider's document has the hash {got}, the agreement is about {expected}")]
    WrongDocument {
        /// On chain.
        expected: B256,
        /// Of what was sent.
        got: B256,
    },
    /// The result is larger than we take.
    #[error("the provider's result has {length} bytes; at most {max} are taken")]
    TooLarge {
        /// Bytes announced.
        length: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The result could not be stored here.
    #[error("cannot store the result")]
    Store(#[source] std::io::Error),
    /// Our own end of the link could not be opened.
    #[error("the provider could not be asked from here")]
    Unasked(#[source] std::io::Error),
    /// The program stops.
    #[error("asking the provider was interrupted")]
    Stopped,
}

impl Retryable for PeerError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(TransportError::Unreachable(_)) | Self::Silent(_) => true,
            Self::Broken { source, .. } => matches!(source, FrameError::Stream(_)),
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Transport(TransportError::Refused(_))
            | Self::Unexpected(_)
            | Self::WrongResult { .. }
            | Self::WrongDocument { .. }
            | Self::TooLarge { .. }
            | Self::Store(_)
            | Self::Unasked(_)
            | Self::Stopped => false,
        }
    }
}

/// A failed handover, for which more is worth waiting: the provider may not have seen the agreement on chain yet.
#[derive(Debug, Error)]
#[error(transparent)]
struct Early(PeerError);

impl Retryable for Early {
    fn is_retryable(&self) -> bool {
        match &self.0 {
            PeerError::Transport(TransportError::Refused(_)) => true,
            PeerError::Refused(refusal) if refusal.reason == RefusalReason::Stranger => true,
            other => other.is_retryable(),
        }
    }
}

/// Asks one provider. Every call connects as needed and tries again where that can help.
#[derive(Clone)]
pub struct PeerClient {
    transport: Arc<dyn OpenStream>,
    backoff: Backoff,
    open_within: Duration,
    stop: CancellationToken,
}

impl PeerClient {
    /// A client that tries up to six times and gives up when `stop` is cancelled.
    #[must_use]
    pub fn new(transport: Arc<dyn OpenStream>, stop: CancellationToken) -> Self {
        let backoff = Backoff { first: Duration::from_millis(300), max: Duration::from_secs(5), attempts: 6 };
        Self { transport, backoff, open_within: OPEN_TIMEOUT, stop }
    }

    /// The same with other patience.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Hands over the workload, the exact bytes whose hash is on chain. Goes on for up to `within` while the provider
    /// has not seen the agreement yet.
    ///
    /// # Errors
    /// [`PeerError`], the last one when out of time.
    pub async fn handover(&self, agreement: Agreement, document: &str, within: Duration) -> Result<(), PeerError> {
        let request = Request::Handover { agreement, document: document.to_owned() };
        let last = std::sync::Mutex::new(None);
        let keep = |error: &PeerError| {
            if let PeerError::Refused(refusal) = error
                && let Ok(mut last) = last.lock()
            {
                *last = Some(refusal.clone());
            }
        };
        let backoff = Backoff { attempts: 0, ..self.backoff };
        let attempts = retry("handing the workload over", backoff, &self.stop, || async {
            self.once(&request).await.inspect_err(&keep).map_err(Early)
        });
        match timeout(within, attempts).await {
            Ok(Ok((Response::Done, _))) => Ok(()),
            Ok(Ok(_)) => Err(PeerError::Unexpected(request.name())),
            Ok(Err(RetryError::Final { source, .. } | RetryError::GaveUp { source, .. })) => Err(source.0),
            Ok(Err(RetryError::Stopped { .. })) => Err(PeerError::Stopped),
            Err(_) => {
                Err(last.into_inner().ok().flatten().map_or(PeerError::Silent(request.name()), PeerError::Refused))
            }
        }
    }

    /// How far the agreement is.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn status(&self, agreement: Agreement) -> Result<Status, PeerError> {
        let request = Request::Status { agreement };
        match self.ask(&request).await? {
            (Response::Status(status), _) => Ok(status),
            _ => Err(PeerError::Unexpected(request.name())),
        }
    }

    /// A byte stream to a TCP port inside the lease's machine.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn connect(&self, lease: LeaseId, port: u16) -> Result<ByteStream, PeerError> {
        self.open(&Request::Connect { lease, port }).await
    }

    /// The agreement's log, up to the end of the stream.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn logs(&self, agreement: Agreement, follow: bool) -> Result<ByteStream, PeerError> {
        self.open(&Request::Logs { agreement, follow }).await
    }

    /// Writes the job's result archive to `out` and returns its length. Checks length and hash while writing: on any
    /// error throw away what was written.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn result(
        &self,
        job: JobId,
        expected: B256,
        max: u64,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, PeerError> {
        let request = Request::Result { job };
        let (Response::Result { length, hash }, mut stream) = self.ask(&request).await? else {
            return Err(PeerError::Unexpected(request.name()));
        };
        if hash != expected {
            return Err(PeerError::WrongResult { expected, got: hash });
        }
        if length > max {
            return Err(PeerError::TooLarge { length, max });
        }
        let got = copy_hashed(&mut stream, length, out).await?;
        if got == expected { Ok(length) } else { Err(PeerError::WrongResult { expected, got }) }
    }

    /// The job's workload, exactly the bytes that hash to `expected`.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn document(&self, job: JobId, expected: B256) -> Result<String, PeerError> {
        let request = Request::Document { job };
        let (Response::Document { document }, _) = self.ask(&request).await? else {
            return Err(PeerError::Unexpected(request.name()));
        };
        let got = keccak256(document.as_bytes());
        if got == expected { Ok(document) } else { Err(PeerError::WrongDocument { expected, got }) }
    }

    /// Gives the provider the signature it is paid with.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn accept(&self, acceptance: Acceptance, signature: Signature) -> Result<(), PeerError> {
        self.order(&Request::Accept { acceptance, signature }).await
    }

    /// Replaces the keys that may log in to the lease's machine.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn set_keys(&self, lease: LeaseId, authorized_keys: Vec<String>) -> Result<(), PeerError> {
        self.order(&Request::SetKeys { lease, authorized_keys }).await
    }

    async fn order(&self, request: &Request) -> Result<(), PeerError> {
        match self.ask(request).await? {
            (Response::Done, _) => Ok(()),
            _ => Err(PeerError::Unexpected(request.name())),
        }
    }

    async fn open(&self, request: &Request) -> Result<ByteStream, PeerError> {
        match self.ask(request).await? {
            (Response::Open, stream) => Ok(stream),
            _ => Err(PeerError::Unexpected(request.name())),
        }
    }

    async fn ask(&self, request: &Request) -> Result<(Response, ByteStream), PeerError> {
        match retry(request.name(), self.backoff, &self.stop, || self.once(request)).await {
            Ok(answer) => Ok(answer),
            Err(RetryError::Final { source, .. } | RetryError::GaveUp { source, .. }) => Err(source),
            Err(RetryError::Stopped { .. }) => Err(PeerError::Stopped),
        }
    }

    async fn once(&self, request: &Request) -> Result<(Response, ByteStream), PeerError> {
        let name = request.name();
        let opened = timeout(self.open_within, self.transport.open()).await.map_err(|_| PeerError::Silent(name))?;
        let mut stream = opened.map_err(PeerError::Transport)?;
        let exchange = async {
            write_frame(&mut stream, request).await?;
            read_frame::<Response>(&mut stream).await
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(Response::Refused(refusal))) => Err(PeerError::Refused(refusal)),
            Ok(Ok(response)) => Ok((response, stream)),
            Ok(Err(error)) => Err(broken(name, error)),
            Err(_) => {
                self.transport.suspect().await;
                Err(PeerError::Silent(name))
            }
        }
    }
}

/// A refused connection shows only once its stream breaks.
fn broken(request: &'static str, error: FrameError) -> PeerError {
    match error {
        FrameError::Stream(source) => match TransportError::from_io(source) {
            TransportError::Unreachable(source) => PeerError::Broken { request, source: FrameError::Stream(source) },
            refused @ TransportError::Refused(_) => PeerError::Transport(refused),
        },
        source => PeerError::Broken { request, source },
    }
}

async fn copy_hashed(
    stream: &mut ByteStream,
    length: u64,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<B256, PeerError> {
    let cut = |error| broken("result", FrameError::Stream(error));
    let mut hasher = Keccak256::new();
    let mut buffer = vec![0; BUFFER];
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let read = timeout(ANSWER_TIMEOUT, stream.read(&mut buffer[..room]));
        let count = read.await.map_err(|_| PeerError::Silent("result"))?.map_err(cut)?;
        if count == 0 {
            return Err(cut(std::io::ErrorKind::UnexpectedEof.into()));
        }
        hasher.update(&buffer[..count]);
        out.write_all(&buffer[..count]).await.map_err(PeerError::Store)?;
        left -= count as u64;
    }
    out.flush().await.map_err(PeerError::Store)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use sublet_wire::link::{MachineState, Sentence};
    use tokio::io::duplex;

    use super::*;

    /// A provider that plays back answers, one a stream, and notes what it was asked.
    #[derive(Default)]
    struct Script {
        answers: Mutex<Vec<(Response, Vec<u8>)>>,
        asked: Arc<Mutex<Vec<&'static str>>>,
    }

    #[async_trait]
    impl OpenStream for Script {
        async fn open(&self) -> Result<ByteStream, TransportError> {
            let (ours, mut theirs) = duplex(1 << 20);
            let asked = self.asked.clone();
            let mut answers = self.answers.lock().unwrap();
            if answers.is_empty() {
                return Err(TransportError::Refused(Sentence::new("nothing left to say")));
            }
            let (response, bytes) = answers.remove(0);
            tokio::spawn(async move {
                let request: Request = read_frame(&mut theirs).await.unwrap();
                asked.lock().unwrap().push(request.name());
                write_frame(&mut theirs, &response).await.unwrap();
                theirs.write_all(&bytes).await.unwrap();
            });
            Ok(Box::new(ours))
        }

        async fn suspect(&self) {}
    }

    fn client(answers: Vec<(Response, Vec<u8>)>) -> (PeerClient, Arc<Mutex<Vec<&'static str>>>) {
        let script = Script { answers: Mutex::new(answers), ..Script::default() };
        let asked = script.asked.clone();
        let quick = Backoff { first: Duration::from_nanos(1), max: Duration::from_nanos(1), attempts: 4 };
        (PeerClient::new(Arc::new(script), CancellationToken::new()).with_backoff(quick), asked)
    }

    fn no(reason: RefusalReason) -> (Response, Vec<u8>) {
        (Response::Refused(Refusal::new(reason, "no")), Vec::new())
    }

    #[tokio::test]
    async fn asks_again_where_that_can_help_and_only_there() {
        let status = Status { state: MachineState::Running, cost: None };
        let agreement = Agreement::Lease(LeaseId(1));
        let (patient, asked) = client(vec![no(RefusalReason::Busy), (Response::Status(status.clone()), Vec::new())]);
        assert_eq!(patient.status(agreement).await.unwrap(), status);
        assert_eq!(*asked.lock().unwrap(), ["status", "status"]);
        let (refused, asked) = client(vec![no(RefusalReason::Ended), no(RefusalReason::Ended)]);
        assert!(matches!(refused.status(agreement).await, Err(PeerError::Refused(_))));
        assert_eq!(asked.lock().unwrap().len(), 1);
        let (confused, _) = client(vec![(Response::Done, Vec::new())]);
        assert!(matches!(confused.status(agreement).await, Err(PeerError::Unexpected("status"))));
    }

    /// A provider that can be reached, and lets no stream be opened.
    struct Hanging;

    #[async_trait]
    impl OpenStream for Hanging {
        async fn open(&self) -> Result<ByteStream, TransportError> {
            std::future::pending().await
        }

        async fn suspect(&self) {}
    }

    #[tokio::test]
    async fn a_provider_that_hangs_is_silent_in_the_end() {
        let once = Backoff { attempts: 1, ..Backoff::default() };
        let client = PeerClient::new(Arc::new(Hanging), CancellationToken::new()).with_backoff(once);
        let hasty = PeerClient { open_within: Duration::from_millis(10), ..client };
        let asked = timeout(Duration::from_secs(60), hasty.status(Agreement::Lease(LeaseId(1))));
        let silent = asked.await.expect("it hangs");
        assert!(matches!(silent, Err(PeerError::Silent("status"))), "{silent:?}");
    }

    #[tokio::test]
    async fn a_handover_waits_until_the_provider_has_seen_the_agreement() {
        let early = [RefusalReason::Stranger, RefusalReason::NotSeen, RefusalReason::Stranger];
        let mut answers: Vec<_> = early.into_iter().map(no).collect();
        answers.push((Response::Done, Vec::new()));
        let (renter, asked) = client(answers);
        let minute = Duration::from_secs(60);
        renter.handover(Agreement::Job(JobId(2)), "{}", minute).await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), 4);
        let (renter, _) = client(vec![no(RefusalReason::HashDiffers)]);
        let error = renter.handover(Agreement::Job(JobId(2)), "{}", minute).await.unwrap_err();
        assert!(matches!(error, PeerError::Refused(r) if r.reason == RefusalReason::HashDiffers));
    }

    #[tokio::test]
    async fn only_the_document_on_chain_is_taken() {
        let document = || Response::Document { document: "{}".into() };
        let hash = keccak256("{}");
        assert_eq!(client(vec![(document(), Vec::new())]).0.document(JobId(1), hash).await.unwrap(), "{}");
        let other = client(vec![(document(), Vec::new())]).0.document(JobId(1), B256::ZERO).await;
        assert!(matches!(other, Err(PeerError::WrongDocument { got, .. }) if got == hash), "{other:?}");
    }

    #[tokio::test]
    async fn only_the_promised_result_is_taken() {
        let content = vec![7; 200_000];
        let hash = keccak256(&content);
        let length = content.len() as u64;
        let answer = |hash, length, bytes: &[u8]| vec![(Response::Result { length, hash }, bytes.to_vec())];
        let fetch = async |answers, max| {
            let mut out = Vec::new();
            let got = client(answers).0.result(JobId(1), hash, max, &mut out).await;
            got.map(|length| (length, out))
        };
        let (got, out) = fetch(answer(hash, length, &content), length).await.unwrap();
        assert_eq!((got, out), (length, content.clone()));
        let mut tampered = content.clone();
        tampered[100_000] ^= 1;
        for answers in [answer(hash, length, &tampered), answer(B256::ZERO, length, &content)] {
            assert!(matches!(fetch(answers, length).await, Err(PeerError::WrongResult { .. })));
        }
        assert!(matches!(fetch(answer(hash, length, &content), length - 1).await, Err(PeerError::TooLarge { .. })));
        let cut = answer(hash, length, &content[..1000]);
        assert!(matches!(fetch(cut, length).await, Err(PeerError::Broken { .. })));
    }
}

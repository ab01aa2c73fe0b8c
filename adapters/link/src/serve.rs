//! Answering peers: accept, ask the gate, read one request a stream, answer it. Everything is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iroh::endpoint::{Connection, Incoming};
use sublet_base::PeerKey;
use sublet_wire::link::{
    ByteSource, ByteStream, FrameError, PeerHandler, Refusal, RefusalReason, Request, Response, read_frame, write_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::endpoint::FRIEND_WINDOW;
use crate::stream::{LinkStream, REFUSED, STOPPING};
use crate::{Link, forward, mandate};

/// Bounds on what peers can ask of us at once and how long things may take.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one peer: each program of a person has one.
    pub per_peer: usize,
    /// For a connection's handshake and for a request to arrive once its stream is open.
    pub arrive: Duration,
    /// For the handler to answer; shorter than askers wait, so that they hear why.
    pub answer: Duration,
    /// For answers under way when we stop.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 512, per_peer: 32, arrive: seconds(15), answer: seconds(15), drain: seconds(3) }
    }
}

/// Serves until `stop` is cancelled, then finishes the answers under way and closes every connection.
pub async fn serve(link: &Link, handler: Arc<dyn PeerHandler>, limits: ServeLimits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let callers = Callers::default();
    let mut connections = JoinSet::new();
    while let Some(Some(incoming)) = stop.run_until_cancelled(link.endpoint.accept()).await {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!("refused a connection: all places are taken");
            incoming.refuse();
            continue;
        };
        let (us, callers, handler, stop) = (link.endpoint_key(), callers.clone(), handler.clone(), stop.clone());
        connections.spawn(async move {
            serve_incoming(incoming, us, callers, handler, limits, stop).await;
            drop(place);
        });
    }
    connections.join_all().await;
}

async fn serve_incoming(
    incoming: Incoming,
    us: PeerKey,
    callers: Callers,
    handler: Arc<dyn PeerHandler>,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let greeted = async {
        let connection = incoming.await.map_err(|error| format!("{error:#}"))?;
        let peer = mandate::hear(&connection, us).await.map_err(|error| sublet_daemon::report(&error))?;
        Ok::<_, String>((connection, peer))
    };
    let (connection, peer) = match timeout(limits.arrive, greeted).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(error)) => return tracing::debug!(error, "no greeting"),
        Err(_) => return tracing::debug!("the greeting took too long"),
    };
    let span = tracing::info_span!("peer", key = ?peer);
    async {
        match timeout(limits.answer, handler.admit(peer)).await {
            Ok(Ok(())) => match callers.enter(peer, limits.per_peer) {
                Some(_place) => serve_connection(&connection, peer, handler, limits, stop).await,
                None => refuse(&connection, "too many connections of this peer", limits).await,
            },
            Ok(Err(refusal)) => refuse(&connection, refusal.message.as_str(), limits).await,
            Err(_) => tracing::warn!("the gate did not answer in time"),
        }
    }
    .instrument(span)
    .await;
}

async fn refuse(connection: &Connection, why: &str, limits: ServeLimits) {
    tracing::debug!(why, "refused a connection");
    connection.close(REFUSED, why.as_bytes());
    // Held until the peer knows, or the words would be lost with the last handle.
    let _ = timeout(limits.drain, connection.closed()).await;
}

/// How many connections each peer has.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<HashMap<PeerKey, usize>>>);

struct CallerPlace(Callers, PeerKey);

impl Callers {
    fn enter(&self, peer: PeerKey, most: usize) -> Option<CallerPlace> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.entry(peer).or_default();
        (*count < most).then(|| {
            *count += 1;
            CallerPlace(self.clone(), peer)
        })
    }
}

impl Drop for CallerPlace {
    fn drop(&mut self) {
        let mut callers = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&self.1);
            }
        }
    }
}

async fn serve_connection(
    connection: &Connection,
    peer: PeerKey,
    handler: Arc<dyn PeerHandler>,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    tracing::debug!("connected");
    connection.set_receive_window(FRIEND_WINDOW);
    // How many at once is bounded by the transport.
    let mut streams = JoinSet::new();
    while let Some(Ok(stream)) = stop.run_until_cancelled(connection.accept_bi()).await {
        while let Some(ended) = streams.try_join_next() {
            log_panic(ended);
        }
        let stream: ByteStream = Box::new(LinkStream::new(connection.clone(), stream));
        let (handler, stop) = (handler.clone(), stop.clone());
        let task = async move { serve_stream(stream, peer, &*handler, limits, stop).await };
        streams.spawn(task.in_current_span());
    }
    if stop.is_cancelled() {
        let drained = async {
            while let Some(ended) = streams.join_next().await {
                log_panic(ended);
            }
        };
        let _ = timeout(limits.drain, drained).await;
    }
    streams.shutdown().await;
    connection.close(STOPPING, b"stopping");
    tracing::debug!("disconnected");
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a request's task panicked");
    }
}

/// Answers the one request of a stream from `peer`, whatever carries it. Streams that only forward end with `stop`.
pub async fn serve_stream(
    mut stream: ByteStream,
    peer: PeerKey,
    handler: &dyn PeerHandler,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let request = match timeout(limits.arrive, read_frame::<Request>(&mut stream)).await {
        Ok(Ok(request)) => request,
        Ok(Err(FrameError::Stream(error))) => return tracing::debug!(%error, "no request came"),
        Ok(Err(error)) => {
            let refusal = Refusal::new(RefusalReason::Invalid, &error.to_string());
            return finish(stream, &Response::Refused(refusal)).await;
        }
        Err(_) => return tracing::debug!("no request came in time"),
    };
    let (name, agreement) = (request.name(), request.agreement());
    let answer = match timeout(limits.answer, answer(request, peer, handler)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => Answer::Plain(Response::Refused(refusal)),
        Err(_) => Answer::Plain(Response::Refused(Refusal::new(RefusalReason::Internal, "the provider took too long"))),
    };
    if let Answer::Plain(Response::Refused(refusal)) = &answer {
        tracing::debug!(request = name, %agreement, reason = ?refusal.reason, "refused");
    } else {
        tracing::debug!(request = name, %agreement, "answered");
    }
    match answer {
        Answer::Plain(response) => finish(stream, &response).await,
        Answer::Bytes(response, source) => {
            stop.run_until_cancelled(send_bytes(stream, &response, source)).await;
        }
        Answer::Stream(inner) => {
            stop.run_until_cancelled(splice(stream, inner)).await;
        }
    }
}

/// What to do with the stream once the handler has answered.
enum Answer {
    Plain(Response),
    Bytes(Response, ByteSource),
    Stream(ByteStream),
}

async fn answer(request: Request, peer: PeerKey, handler: &dyn PeerHandler) -> Result<Answer, Refusal> {
    handler.admit(peer).await?;
    request.check()?;
    Ok(match request {
        Request::Handover { agreement, document } => {
            handler.handover(peer, agreement, document).await?;
            Answer::Plain(Response::Done)
        }
        Request::Status { agreement } => Answer::Plain(Response::Status(handler.status(peer, agreement).await?)),
        Request::Connect { lease, port } => Answer::Stream(handler.connect(peer, lease, port).await?),
        Request::Result { job } => {
            let archive = handler.result(peer, job).await?;
            let response = Response::Result { length: archive.length, hash: archive.hash };
            Answer::Bytes(response, Box::new(archive.content.take(archive.length)))
        }
        Request::Document { job } => Answer::Plain(Response::Document { document: handler.document(peer, job).await? }),
        Request::Accept { acceptance, signature } => {
            handler.accept(peer, acceptance, signature).await?;
            Answer::Plain(Response::Done)
        }
        Request::Logs { agreement, follow } => {
            Answer::Bytes(Response::Open, handler.logs(peer, agreement, follow).await?)
        }
        Request::SetKeys { lease, authorized_keys } => {
            handler.set_keys(peer, lease, authorized_keys).await?;
            Answer::Plain(Response::Done)
        }
    })
}

async fn finish(mut stream: ByteStream, response: &Response) {
    let sent = async {
        write_frame(&mut stream, response).await?;
        stream.shutdown().await.map_err(FrameError::Stream)
    };
    log_broken(sent.await);
}

async fn send_bytes(mut stream: ByteStream, response: &Response, mut source: ByteSource) {
    let sent = async {
        write_frame(&mut stream, response).await?;
        copy(&mut source, &mut stream).await.map_err(FrameError::Stream)?;
        stream.shutdown().await.map_err(FrameError::Stream)
    };
    log_broken(sent.await);
}

async fn splice(mut stream: ByteStream, mut inner: ByteStream) {
    let spliced = async {
        write_frame(&mut stream, &Response::Open).await?;
        forward(&mut stream, &mut inner).await.map_err(FrameError::Stream)
    };
    match spliced.await {
        Ok((received, sent)) => tracing::debug!(received, sent, "stream ended"),
        Err(error) => log_broken(Err(error)),
    }
}

fn log_broken(result: Result<(), FrameError>) {
    if let Err(error) = result {
        tracing::debug!(error = sublet_daemon::report(&error), "stream broke");
    }
}

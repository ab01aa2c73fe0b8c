//! Answering peers: accept, ask the gate, read one request a stream, answer it. Everything is bounded.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iroh::EndpointId;
use iroh::endpoint::{Connection, Incoming, IncomingAddr, VarInt};
use sublet_base::PeerKey;
use sublet_wire::link::{
    ByteSource, ByteStream, FrameError, PeerHandler, Refusal, RefusalReason, Request, Response, read_frame, write_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::address::network;
use crate::places::{Full, Place, Places};
use crate::stream::{FULL, LinkStream, REFUSED, STOPPING};
use crate::{Link, forward, mandate, transport};

/// Greetings of one endpoint behind a gateway: every program has a key of its own, and dials once at a time.
const GREETINGS_PER_KEY: usize = 2;

/// Bounds on what peers can ask of us at once and how long things may take.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections in all, of peers that were let in.
    pub connections: usize,
    /// Connections of one peer: each program of a person has one.
    pub per_peer: usize,
    /// Callers that are being greeted: so many directly, and so many again through gateways.
    pub greetings: usize,
    /// Of those that come directly, so many from one network address.
    pub greetings_per_address: usize,
    /// For a caller to greet and to pass the gate.
    pub greet: Duration,
    /// For a request to arrive once its stream is open.
    pub arrive: Duration,
    /// For the handler to answer; shorter than askers wait, so that they hear why.
    pub answer: Duration,
    /// For answers under way when we stop.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections: 512,
            per_peer: 32,
            greetings: 128,
            greetings_per_address: 16,
            greet: seconds(8),
            arrive: seconds(15),
            answer: seconds(15),
            drain: seconds(3),
        }
    }
}

/// A link's accepting side, as a service sees it.
#[async_trait]
pub trait ServeLink: Send + Sync {
    /// The key peers reach it by.
    fn peer_key(&self) -> PeerKey;
    /// Answers peers until `stop`.
    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken);
}

/// The accepting side of a real link.
#[derive(Clone)]
pub struct LinkServer {
    /// The endpoint.
    pub link: Link,
    /// How much at once.
    pub limits: ServeLimits,
}

#[async_trait]
impl ServeLink for LinkServer {
    fn peer_key(&self) -> PeerKey {
        self.link.peer_key()
    }

    async fn serve(&self, handler: Arc<dyn PeerHandler>, stop: CancellationToken) {
        serve(&self.link, handler, self.limits, stop).await;
    }
}

/// Serves until `stop` is cancelled, then finishes the answers under way and closes every connection.
pub async fn serve(link: &Link, handler: Arc<dyn PeerHandler>, limits: ServeLimits, stop: CancellationToken) {
    let hall = Hall::new(limits);
    let server = Arc::new(Server {
        us: link.endpoint_key(),
        places: Places::new(limits.connections, limits.per_peer),
        handler,
        limits,
        stop: stop.clone(),
    });
    let mut connections = JoinSet::new();
    while let Some(Some(incoming)) = stop.run_until_cancelled(link.endpoint.accept()).await {
        while connections.try_join_next().is_some() {}
        if let Some((incoming, greeting)) = hall.receive(incoming) {
            connections.spawn(server.clone().serve_incoming(incoming, greeting));
        }
    }
    connections.join_all().await;
}

/// Where callers are kept until we know who they are.
struct Hall {
    direct: Places<IpAddr>,
    relayed: Places<EndpointId>,
}

/// A place in the hall.
#[expect(dead_code, reason = "held for what dropping it does")]
enum Greeting {
    Direct(Place<IpAddr>),
    Relayed(Place<EndpointId>),
}

impl Hall {
    fn new(limits: ServeLimits) -> Self {
        Self {
            direct: Places::new(limits.greetings, limits.greetings_per_address),
            relayed: Places::new(limits.greetings, GREETINGS_PER_KEY),
        }
    }

    /// A place for the caller; without one it is turned away. In a crowd it has to prove its address first.
    fn receive(&self, incoming: Incoming) -> Option<(Incoming, Greeting)> {
        let place = match incoming.remote_addr() {
            IncomingAddr::Ip(_) if self.direct.crowded() && !incoming.remote_addr_validated() => {
                // Fails only for an address that is proven.
                let _ = incoming.retry();
                return None;
            }
            IncomingAddr::Ip(address) => self.direct.enter(network(address.ip())).map(Greeting::Direct),
            IncomingAddr::Relay { endpoint_id, .. } => self.relayed.enter(endpoint_id).map(Greeting::Relayed),
            _ => Err(Full::All),
        };
        match place {
            Ok(greeting) => Some((incoming, greeting)),
            Err(full) => {
                tracing::debug!(?full, "turned a caller away: too many are being greeted");
                incoming.refuse();
                None
            }
        }
    }
}

/// What all connections share.
struct Server {
    us: PeerKey,
    places: Places<PeerKey>,
    handler: Arc<dyn PeerHandler>,
    limits: ServeLimits,
    stop: CancellationToken,
}

impl Server {
    async fn serve_incoming(self: Arc<Self>, incoming: Incoming, greeting: Greeting) {
        let greeted = self.stop.run_until_cancelled(timeout(self.limits.greet, self.greet(incoming)));
        let (connection, peer, admitted) = match greeted.await {
            Some(Ok(Ok(greeted))) => greeted,
            Some(Ok(Err(error))) => return tracing::debug!(error, "no greeting"),
            Some(Err(_)) => return tracing::debug!("the greeting took too long"),
            None => return,
        };
        drop(greeting);
        let span = tracing::info_span!("peer", key = ?peer);
        let served = async {
            match admitted.map(|()| self.places.enter(peer)) {
                Ok(Ok(place)) => self.serve_connection(&connection, place, peer).await,
                Ok(Err(Full::Each)) => turn_away(&connection, REFUSED, "too many connections of this peer"),
                Ok(Err(Full::All)) => turn_away(&connection, FULL, "too many connections"),
                Err(refusal) => turn_away(&connection, REFUSED, refusal.message.as_str()),
            }
        };
        served.instrument(span).await;
    }

    /// Hears who calls, and what the gate says to that.
    async fn greet(&self, incoming: Incoming) -> Result<(Connection, PeerKey, Result<(), Refusal>), String> {
        let connection = incoming.await.map_err(|error| format!("{error:#}"))?;
        let peer = mandate::hear(&connection, self.us).await.map_err(|error| sublet_daemon::report(&error))?;
        let admitted = self.handler.admit(peer).await;
        Ok((connection, peer, admitted))
    }

    async fn serve_connection(&self, connection: &Connection, place: Place<PeerKey>, peer: PeerKey) {
        tracing::debug!("connected");
        transport::befriend(connection, place.nth);
        // How many at once is bounded by the transport.
        let mut streams = JoinSet::new();
        while let Some(Ok(stream)) = self.stop.run_until_cancelled(connection.accept_bi()).await {
            while let Some(ended) = streams.try_join_next() {
                log_panic(ended);
            }
            let stream: ByteStream = Box::new(LinkStream::new(connection.clone(), stream));
            let (handler, limits, stop) = (self.handler.clone(), self.limits, self.stop.clone());
            let task = async move { serve_stream(stream, peer, &*handler, limits, stop).await };
            streams.spawn(task.in_current_span());
        }
        if self.stop.is_cancelled() {
            let drained = async {
                while let Some(ended) = streams.join_next().await {
                    log_panic(ended);
                }
            };
            let _ = timeout(self.limits.drain, drained).await;
        }
        streams.shutdown().await;
        connection.close(STOPPING, b"stopping");
        tracing::debug!("disconnected");
    }
}

fn turn_away(connection: &Connection, code: VarInt, why: &str) {
    tracing::debug!(why, "turned a peer away");
    connection.close(code, why.as_bytes());
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
            return deliver(stream, &Response::Refused(refusal), Rest::Nothing, limits, stop).await;
        }
        Err(_) => return tracing::debug!("no request came in time"),
    };
    let (name, agreement) = (request.name(), request.agreement());
    let (response, rest) = match timeout(limits.answer, answer(request, peer, handler)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => (Response::Refused(refusal), Rest::Nothing),
        Err(_) => {
            let slow = Refusal::new(RefusalReason::Internal, "the provider took too long");
            (Response::Refused(slow), Rest::Nothing)
        }
    };
    if let Response::Refused(refusal) = &response {
        tracing::debug!(request = name, %agreement, reason = ?refusal.reason, "refused");
    } else {
        tracing::debug!(request = name, %agreement, "answered");
    }
    deliver(stream, &response, rest, limits, stop).await;
}

async fn deliver(
    mut stream: ByteStream,
    response: &Response,
    rest: Rest,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let sent = async {
        // Nobody listens for longer than that.
        let said = timeout(limits.answer, write_frame(&mut stream, response)).await;
        said.map_err(|_| FrameError::Stream(io::ErrorKind::TimedOut.into()))??;
        rest.send(stream, stop).await.map_err(FrameError::Stream)
    };
    if let Err(error) = sent.await {
        tracing::debug!(error = sublet_daemon::report(&error), "stream broke");
    }
}

/// What follows the answer's frame.
enum Rest {
    Nothing,
    Bytes(ByteSource),
    Stream(ByteStream),
}

impl Rest {
    /// Sends it and ends the stream. Bytes are cut off by `stop`, which the other side sees as a broken stream.
    async fn send(self, mut stream: ByteStream, stop: CancellationToken) -> io::Result<()> {
        match self {
            Self::Nothing => stream.shutdown().await,
            Self::Bytes(mut source) => {
                let sent = async {
                    copy(&mut source, &mut stream).await?;
                    stream.shutdown().await
                };
                stop.run_until_cancelled(sent).await.unwrap_or(Ok(()))
            }
            Self::Stream(mut inner) => match stop.run_until_cancelled(forward(&mut stream, &mut inner)).await {
                Some(Ok((received, sent))) => {
                    tracing::debug!(received, sent, "stream ended");
                    Ok(())
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            },
        }
    }
}

async fn answer(request: Request, peer: PeerKey, handler: &dyn PeerHandler) -> Result<(Response, Rest), Refusal> {
    handler.admit(peer).await?;
    request.check()?;
    Ok(match request {
        Request::Handover { agreement, document } => {
            handler.handover(peer, agreement, document).await?;
            (Response::Done, Rest::Nothing)
        }
        Request::Status { agreement } => (Response::Status(handler.status(peer, agreement).await?), Rest::Nothing),
        Request::Connect { lease, port } => (Response::Open, Rest::Stream(handler.connect(peer, lease, port).await?)),
        Request::Result { job } => {
            let archive = handler.result(peer, job).await?;
            let response = Response::Result { length: archive.length, hash: archive.hash };
            (response, Rest::Bytes(Box::new(archive.content.take(archive.length))))
        }
        Request::Document { job } => {
            (Response::Document { document: handler.document(peer, job).await? }, Rest::Nothing)
        }
        Request::Accept { acceptance, signature } => {
            handler.accept(peer, acceptance, signature).await?;
            (Response::Done, Rest::Nothing)
        }
        Request::Logs { agreement, follow } => {
            (Response::Open, Rest::Bytes(handler.logs(peer, agreement, follow).await?))
        }
        Request::SetKeys { lease, authorized_keys } => {
            handler.set_keys(peer, lease, authorized_keys).await?;
            (Response::Done, Rest::Nothing)
        }
    })
}

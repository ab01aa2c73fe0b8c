//! A provider of echoes, and links bound to loopback.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "shared by tests only")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use iroh::endpoint::{ConnectError, Connection, QuicTransportConfig, QuicTransportConfigBuilder, presets};
use sublet_base::{JobId, LeaseId, PeerKey, keccak256};
use sublet_link::{
    Gateway, GatewayUrl, Link, LinkConfig, LinkKey, PathPolicy, Peer, PeerAddr, Relay, RelayAccess, RelayOptions,
    ServeLimits, serve,
};
use sublet_market::{Acceptance, Signature};
use sublet_wire::link::{
    ALPN, Agreement, ByteSource, ByteStream, MachineState, OpenStream, PeerHandler, Refusal, RefusalReason, Request,
    Response, ResultArchive, Status, read_frame, write_frame,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};
use tokio_util::sync::CancellationToken;

/// The port whose stream comes back as it was sent.
pub const ECHO: u16 = 7;
/// The port that says how much it was sent, but only after the end.
pub const COUNT: u16 = 8;

/// A source that breaks instead of ending.
struct Breaking;

impl AsyncRead for Breaking {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("seeded")))
    }
}

/// Admits the peers in the set and offers the two ports.
#[derive(Default)]
pub struct Provider {
    pub friends: Mutex<BTreeSet<PeerKey>>,
}

#[async_trait]
impl PeerHandler for Provider {
    async fn admit(&self, peer: PeerKey) -> Result<(), Refusal> {
        if self.friends.lock().unwrap().contains(&peer) {
            Ok(())
        } else {
            Err(Refusal::new(RefusalReason::Stranger, "you are in no agreement with this provider"))
        }
    }

    async fn handover(&self, _: PeerKey, _: Agreement, document: String) -> Result<(), Refusal> {
        if document == "panic" { panic!("seeded") } else { Ok(()) }
    }

    async fn status(&self, _: PeerKey, _: Agreement) -> Result<Status, Refusal> {
        Ok(Status { state: MachineState::Running, cost: None })
    }

    async fn connect(&self, _: PeerKey, _: LeaseId, port: u16) -> Result<ByteStream, Refusal> {
        let (near, far) = duplex(64 << 10);
        match port {
            ECHO => drop(tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(far);
                tokio::io::copy(&mut from, &mut to).await.unwrap();
                to.shutdown().await.unwrap();
            })),
            COUNT => drop(tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(far);
                let count = tokio::io::copy(&mut from, &mut tokio::io::sink()).await.unwrap();
                to.write_all(&count.to_be_bytes()).await.unwrap();
                to.shutdown().await.unwrap();
            })),
            _ => return Err(Refusal::new(RefusalReason::NoAnswer, "nothing listens there")),
        }
        Ok(Box::new(near))
    }

    async fn result(&self, _: PeerKey, job: JobId) -> Result<ResultArchive, Refusal> {
        let content = vec![job.0 as u8; 1000];
        Ok(ResultArchive { length: 1000, hash: keccak256(&content), content: Box::new(std::io::Cursor::new(content)) })
    }

    async fn document(&self, _: PeerKey, job: JobId) -> Result<String, Refusal> {
        Ok(format!("{{\"job\":{job}}}"))
    }

    async fn accept(&self, _: PeerKey, _: Acceptance, _: Signature) -> Result<(), Refusal> {
        Ok(())
    }

    async fn logs(&self, _: PeerKey, _: Agreement, follow: bool) -> Result<ByteSource, Refusal> {
        let lines = &b"hello\n"[..];
        if follow { Ok(Box::new(lines.chain(Breaking))) } else { Ok(Box::new(lines)) }
    }

    async fn set_keys(&self, _: PeerKey, _: LeaseId, _: Vec<String>) -> Result<(), Refusal> {
        Ok(())
    }
}

pub async fn relay(port: u16, access: RelayAccess) -> Relay {
    Relay::start(options(port, access)).await.unwrap()
}

pub fn options(port: u16, access: RelayAccess) -> RelayOptions {
    let listen = (Ipv4Addr::LOCALHOST, port).into();
    RelayOptions { listen, access, clients: 16, clients_per_address: 16, bytes_per_second: None }
}

pub fn url(relay: &Relay) -> GatewayUrl {
    format!("http://{}", relay.address()).parse().unwrap()
}

pub async fn link(policy: PathPolicy, gateways: Vec<Gateway>) -> Link {
    let bind = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    Link::bind(LinkConfig { key: LinkKey::generate(), bind, gateways, policy }).await.unwrap()
}

/// A provider that serves until the token is cancelled.
pub struct Serving {
    pub link: Link,
    pub provider: Arc<Provider>,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

impl Serving {
    pub async fn start(policy: PathPolicy, gateway: Option<GatewayUrl>) -> Self {
        Self::start_with(policy, gateway, ServeLimits::default()).await
    }

    pub async fn start_with(policy: PathPolicy, gateway: Option<GatewayUrl>, limits: ServeLimits) -> Self {
        let link = link(policy, gateway.iter().cloned().map(Gateway::from).collect()).await;
        if gateway.is_some() {
            link.online(Duration::from_secs(30)).await.unwrap();
        }
        let (provider, stop) = (Arc::new(Provider::default()), CancellationToken::new());
        let task = tokio::spawn({
            let (link, provider, stop) = (link.clone(), provider.clone(), stop.clone());
            async move { serve(&link, provider, limits, stop).await }
        });
        Self { link, provider, stop, task }
    }

    /// A peer handle to this provider from a link it knows.
    pub fn befriend(&self, renter: &Link, gateway: Option<GatewayUrl>) -> Peer {
        self.provider.friends.lock().unwrap().insert(renter.peer_key());
        let direct = if gateway.is_none() { self.link.bound_addrs() } else { Vec::new() };
        renter.peer(PeerAddr { key: self.link.peer_key(), gateways: gateway.into_iter().collect(), direct })
    }
}

/// An endpoint that keeps to QUIC and to nothing above it.
pub struct Stranger {
    pub endpoint: iroh::Endpoint,
}

impl Stranger {
    pub async fn new() -> Self {
        Self::with(QuicTransportConfig::builder()).await
    }

    /// One that hears no greeting.
    pub async fn deaf() -> Self {
        Self::with(QuicTransportConfig::builder().max_concurrent_uni_streams(0u32.into())).await
    }

    async fn with(transport: QuicTransportConfigBuilder) -> Self {
        let endpoint = iroh::Endpoint::builder(presets::Minimal)
            .alpns(vec![ALPN.to_vec()])
            .transport_config(transport.build())
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))
            .unwrap();
        Self { endpoint: endpoint.bind().await.unwrap() }
    }

    pub fn key(&self) -> PeerKey {
        PeerKey(*self.endpoint.id().as_bytes())
    }

    /// Connects to the provider, and says nothing.
    pub async fn dial(&self, serving: &Serving) -> Result<Connection, ConnectError> {
        self.dial_at(serving, &serving.link.bound_addrs()).await
    }

    /// As [`Stranger::dial`], where somebody else may be.
    pub async fn dial_at(&self, serving: &Serving, addrs: &[SocketAddr]) -> Result<Connection, ConnectError> {
        let addr = iroh::EndpointAddr::new(iroh::EndpointId::from_bytes(&serving.link.peer_key().0).unwrap());
        let addr = addrs.iter().fold(addr, |addr, direct| addr.with_ip_addr(*direct));
        self.endpoint.connect(addr, ALPN).await
    }
}

/// Sends one request and reads the answer.
pub async fn ask(peer: &Peer, request: &Request) -> std::io::Result<(Response, ByteStream)> {
    let mut stream = peer.open().await.map_err(std::io::Error::other)?;
    let broken = |error: sublet_wire::link::FrameError| match error {
        sublet_wire::link::FrameError::Stream(source) => source,
        other => std::io::Error::other(other),
    };
    write_frame(&mut stream, request).await.map_err(broken)?;
    let response = read_frame(&mut stream).await.map_err(broken)?;
    Ok((response, stream))
}

pub async fn connect(peer: &Peer, port: u16) -> ByteStream {
    let (response, stream) = ask(peer, &Request::Connect { lease: LeaseId(1), port }).await.unwrap();
    assert_eq!(response, Response::Open);
    stream
}

/// One message there and back.
pub async fn ping(stream: &mut ByteStream, message: &[u8]) {
    stream.write_all(message).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, message);
}

//! The gateway as a process of its own: what an open stream, and so an ssh session, sees when it is killed.
//!
//! `SUBLET_TEST_OUTAGE_SECONDS` sets how long the gateway stays away.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise, in its helpers too")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sublet_base::{JobId, LeaseId, PeerKey};
use sublet_daemon::CancellationToken;
use sublet_gateway::{Gateway, GatewayConfig, GatewayError};
use sublet_link::{
    Gateway as Through, GatewayUrl, Link, LinkConfig, LinkKey, PathPolicy, PeerAddr, ServeLimits, serve,
};
use sublet_market::{Acceptance, Signature};
use sublet_wire::link::{
    Agreement, ByteSource, ByteStream, OpenStream, PeerHandler, Refusal, RefusalReason, Request, Response,
    ResultArchive, Status, read_frame, write_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const CHILD: &str = "SUBLET_TEST_GATEWAY_CHILD";

/// Connects everyone to an echo.
struct Echo;

fn unsupported<T>() -> Result<T, Refusal> {
    Err(Refusal::new(RefusalReason::Unsupported, "this is an echo"))
}

#[async_trait]
impl PeerHandler for Echo {
    async fn admit(&self, _: PeerKey) -> Result<(), Refusal> {
        Ok(())
    }

    async fn handover(&self, _: PeerKey, _: Agreement, _: String) -> Result<(), Refusal> {
        unsupported()
    }

    async fn status(&self, _: PeerKey, _: Agreement) -> Result<Status, Refusal> {
        unsupported()
    }

    async fn connect(&self, _: PeerKey, _: LeaseId, _: u16) -> Result<ByteStream, Refusal> {
        let (near, far) = duplex(64 << 10);
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(far);
            tokio::io::copy(&mut from, &mut to).await
        });
        Ok(Box::new(near))
    }

    async fn result(&self, _: PeerKey, _: JobId) -> Result<ResultArchive, Refusal> {
        unsupported()
    }

    async fn document(&self, _: PeerKey, _: JobId) -> Result<String, Refusal> {
        unsupported()
    }

    async fn accept(&self, _: PeerKey, _: Acceptance, _: Signature) -> Result<(), Refusal> {
        unsupported()
    }

    async fn logs(&self, _: PeerKey, _: Agreement, _: bool) -> Result<ByteSource, Refusal> {
        unsupported()
    }

    async fn set_keys(&self, _: PeerKey, _: LeaseId, _: Vec<String>) -> Result<(), Refusal> {
        unsupported()
    }
}

/// Not a test of its own: the body of the gateway's process.
#[tokio::test]
async fn gateway_process() {
    let Ok(spec) = std::env::var(CHILD) else { return };
    let (port, data) = spec.split_once(' ').unwrap();
    let gateway = Gateway::start(config(port.parse().unwrap(), Path::new(data))).await.unwrap();
    eprintln!("listening {}", gateway.address());
    gateway.run(CancellationToken::new()).await.unwrap();
}

fn config(port: u16, data: &Path) -> GatewayConfig {
    GatewayConfig { listen: (Ipv4Addr::LOCALHOST, port).into(), data: data.to_owned(), ..GatewayConfig::default() }
}

/// A gateway in its own process, killed when dropped.
struct Process(Child);

impl Process {
    fn start(port: u16, data: &Path) -> (Self, SocketAddr) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gateway_process", "--nocapture"])
            .env(CHILD, format!("{port} {}", data.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("listening ")?.parse().ok());
        (Self(child), address.expect("the gateway said where it listens"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn link(gateway: &GatewayUrl) -> Link {
    let gateways = vec![Through::from(gateway.clone())];
    let config = LinkConfig { key: LinkKey::generate(), bind: Vec::new(), gateways, policy: PathPolicy::RelayOnly };
    let link = Link::bind(config).await.unwrap();
    link.online(PATIENCE).await.unwrap();
    link
}

async fn ping(stream: &mut ByteStream, message: &[u8]) {
    stream.write_all(message).await.unwrap();
    let mut back = vec![0; message.len()];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("the stream stalled").unwrap();
    assert_eq!(back, message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_survives_a_killed_gateway() {
    let seconds = std::env::var("SUBLET_TEST_OUTAGE_SECONDS").map_or(8, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (process, address) = Process::start(0, folder.path());
    let url: GatewayUrl = format!("http://{address}").parse().unwrap();
    let (provider, renter) = (link(&url).await, link(&url).await);
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (provider, stop) = (provider.clone(), stop.clone());
        async move { serve(&provider, Arc::new(Echo), ServeLimits::default(), stop).await }
    });
    let peer = renter.peer(PeerAddr::behind(provider.peer_key(), url));
    let mut stream = peer.open().await.unwrap();
    write_frame(&mut stream, &Request::Connect { lease: LeaseId(1), port: 22 }).await.unwrap();
    assert_eq!(read_frame::<Response>(&mut stream).await.unwrap(), Response::Open);
    ping(&mut stream, b"before").await;
    drop(process);
    // The outage is the thing under test, not a wait for something to happen.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let back = Instant::now();
    let (_process, again) = Process::start(address.port(), folder.path());
    assert_eq!(again, address);
    ping(&mut stream, b"after").await;
    eprintln!("the stream went on {:?} after the gateway was back", back.elapsed());
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_gateway_answers_probes_and_shows_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let gateway = Gateway::start(GatewayConfig { status: Some(free), ..config(0, folder.path()) }).await.unwrap();
    let (address, key) = (gateway.address(), gateway.peer_key());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(gateway.run(shutdown.clone()));
    let ping = reqwest::get(format!("http://{address}/ping")).await.unwrap();
    assert!(ping.status().is_success());
    let text = reqwest::get(format!("http://{free}/status")).await.unwrap().text().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["peer_key"], key.to_string());
    assert_eq!(status["clients"], 0);
    let second = Gateway::start(config(0, folder.path())).await.err().unwrap();
    assert!(matches!(second, GatewayError::Data(_)), "{second:?}");
    shutdown.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    let again = Gateway::start(config(address.port(), folder.path())).await.unwrap();
    assert_eq!((again.address(), again.peer_key()), (address, key));
}

#[tokio::test]
async fn what_stops_a_gateway_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Gateway::start(config(port, &folder.path().join("a"))).await.err().unwrap();
    let text = sublet_daemon::report(&error);
    assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{text}");
    let tokens = folder.path().join("tokens");
    sublet_daemon::write_private(&tokens, b"\n \n").unwrap();
    let wanting = GatewayConfig { tokens_file: Some(tokens), ..config(0, &folder.path().join("b")) };
    assert!(matches!(Gateway::start(wanting).await.err().unwrap(), GatewayError::NoTokens(_)));
}

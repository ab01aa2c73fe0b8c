//! Two peers and a relay in one process, on loopback: every way a link can go, and what must not get through.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise, in its helpers too")]

mod common;

use std::time::{Duration, Instant};

use common::{COUNT, ECHO, Serving, Stranger, ask, connect, link, options, ping, relay, url};
use sublet_base::{JobId, LeaseId};
use sublet_link::{
    Gateway, GatewayState, GatewayUrl, Link, LinkConfig, LinkKey, PathPolicy, PeerAddr, Relay, RelayAccess,
    RelayOptions, ServeLimits,
};
use sublet_wire::link::{
    Agreement, Hello, MachineState, Mandate, MandateSignature, OpenStream, RefusalReason, Request, Response, Status,
    TransportError, read_frame, write_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const STATUS: Request = Request::Status { agreement: Agreement::Lease(LeaseId(1)) };
const PATIENCE: Duration = Duration::from_secs(60);

fn running() -> Response {
    Response::Status(Status { state: MachineState::Running, cost: None })
}

/// Polls until the condition holds or patience ends.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_meet_directly() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    assert_eq!(peer.is_direct().await, Some(true));
    serving.stop.cancel();
    timeout(PATIENCE, serving.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_meet_through_a_gateway_only() {
    let relay = relay(0, RelayAccess::Open).await;
    let serving = Serving::start(PathPolicy::RelayOnly, Some(url(&relay))).await;
    let renter = link(PathPolicy::RelayOnly, Vec::new()).await;
    let peer = serving.befriend(&renter, Some(url(&relay)));
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    let mut stream = connect(&peer, ECHO).await;
    ping(&mut stream, &[5; 100_000]).await;
    assert_eq!(peer.is_direct().await, Some(false));
    let counts = relay.counts();
    assert_eq!(counts.clients, 2);
    assert!(counts.bytes_received >= 200_000, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_found_behind_one_of_several_gateways() {
    let (silent, wrong, right) =
        ("http://127.0.0.1:9".parse().unwrap(), relay(0, RelayAccess::Open).await, relay(0, RelayAccess::Open).await);
    let serving = Serving::start(PathPolicy::RelayOnly, Some(url(&right))).await;
    let renter = link(PathPolicy::RelayOnly, Vec::new()).await;
    serving.provider.friends.lock().unwrap().insert(renter.peer_key());
    let gateways = vec![silent, url(&wrong), url(&right)];
    let peer = renter.peer(PeerAddr::behind_one_of(serving.link.peer_key(), gateways));
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    assert_eq!(wrong.counts().bytes_sent, 0, "only one of them carries it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_told_no_and_nothing_else() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    let stranger = link(PathPolicy::Auto, Vec::new()).await;
    let direct = serving.link.bound_addrs();
    let unwanted = stranger.peer(PeerAddr { key: serving.link.peer_key(), gateways: vec![], direct });
    let error = ask(&unwanted, &STATUS).await.err().unwrap();
    match TransportError::from_io(error) {
        TransportError::Refused(why) => assert_eq!(why.as_str(), "you are in no agreement with this provider"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    // A peer whose last agreement ended while it is connected is refused at its next request.
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    serving.provider.friends.lock().unwrap().clear();
    match ask(&peer, &STATUS).await.unwrap().0 {
        Response::Refused(refusal) => assert_eq!(refusal.reason, RefusalReason::Stranger),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_of_one_person_work_at_once() {
    let relay = relay(0, RelayAccess::Open).await;
    let serving = Serving::start(PathPolicy::RelayOnly, Some(url(&relay))).await;
    let person = LinkKey::generate();
    let program = async || {
        let gateways = vec![url(&relay).into()];
        let config = LinkConfig { key: person.clone(), bind: Vec::new(), gateways, policy: PathPolicy::RelayOnly };
        let link = Link::bind_on_behalf(config).await.unwrap();
        assert_eq!(link.peer_key(), person.peer_key());
        serving.befriend(&link, Some(url(&relay)))
    };
    let first = program().await;
    let mut stream = connect(&first, ECHO).await;
    let second = program().await;
    let mut other = connect(&second, ECHO).await;
    for message in [&b"one"[..], b"two", b"three"] {
        timeout(PATIENCE, ping(&mut stream, message)).await.expect("the first program was cut off");
        timeout(PATIENCE, ping(&mut other, message)).await.expect("the second program was cut off");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_person_cannot_take_every_place() {
    let limits = ServeLimits { per_peer: 2, ..ServeLimits::default() };
    let serving = Serving::start_with(PathPolicy::Auto, None, limits).await;
    let person = LinkKey::generate();
    let program = async || {
        let bind = serving.link.bound_addrs().iter().map(|a| (a.ip(), 0).into()).collect();
        let config = LinkConfig { key: person.clone(), bind, gateways: Vec::new(), policy: PathPolicy::Auto };
        let link = Link::bind_on_behalf(config).await.unwrap();
        (serving.befriend(&link, None), link)
    };
    let ((first, leaving), (second, _), (third, _)) = (program().await, program().await, program().await);
    assert_eq!(ask(&first, &STATUS).await.unwrap().0, running());
    assert_eq!(ask(&second, &STATUS).await.unwrap().0, running());
    let refused = TransportError::from_io(ask(&third, &STATUS).await.err().unwrap());
    assert!(matches!(refused, TransportError::Refused(_)), "{refused:?}");
    leaving.close().await;
    let deadline = Instant::now() + PATIENCE;
    while ask(&third, &STATUS).await.is_err() {
        assert!(Instant::now() < deadline, "a place that was left stayed taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_mandate_gets_nowhere() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = LinkKey::generate();
    serving.provider.friends.lock().unwrap().insert(renter.peer_key());
    let thief = Stranger::new().await;
    let dialler = thief.key();
    let signed = |text: &[u8]| MandateSignature(iroh::SecretKey::generate().sign(text).to_bytes());
    for signature in [MandateSignature([0; 64]), signed(&Mandate::text(dialler, serving.link.peer_key()))] {
        let connection = thief.dial(&serving).await.unwrap();
        let mandate = Some(Mandate { peer: renter.peer_key(), signature });
        // The connection may be closed at any point from the mandate on.
        let answer = async {
            write_frame(&mut connection.open_uni().await.ok()?, &Hello { mandate }).await.ok()?;
            let (mut send, mut recv) = connection.open_bi().await.ok()?;
            write_frame(&mut send, &STATUS).await.ok()?;
            read_frame::<Response>(&mut recv).await.ok()
        };
        assert!(timeout(PATIENCE, answer).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_say_nothing_hold_no_place_of_a_peer() {
    let limits = ServeLimits { connections: 1, greetings: 4, greet: 10 * PATIENCE, ..ServeLimits::default() };
    let serving = Serving::start_with(PathPolicy::Auto, None, limits).await;
    let stranger = Stranger::new().await;
    // From the third on, who comes has to prove its address first.
    let _silent = [stranger.dial(&serving).await, stranger.dial(&serving).await, stranger.dial(&serving).await]
        .map(|dialled| dialled.unwrap());
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    // Nor do they hold up the end.
    serving.stop.cancel();
    timeout(PATIENCE, serving.task).await.expect("a stranger keeps it from stopping").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_crowd_a_caller_proves_its_address_first() {
    let limits = ServeLimits { greetings: 2, greet: 10 * PATIENCE, ..ServeLimits::default() };
    let serving = Serving::start_with(PathPolicy::Auto, None, limits).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        // What a caller says first, sent from an address at which nobody goes on with it.
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (caller, elsewhere) = (Stranger::new().await, [listener.local_addr().unwrap()]);
        let mut packet = [0; 2048];
        let length = tokio::select! {
            dialled = caller.dial_at(&serving, &elsewhere) => panic!("nobody is there: {dialled:?}"),
            heard = timeout(PATIENCE, listener.recv(&mut packet)) => heard.unwrap().unwrap(),
        };
        listener.send_to(&packet[..length], serving.link.bound_addrs()[0]).await.unwrap();
        timeout(PATIENCE, listener.recv(&mut packet)).await.unwrap().unwrap();
        answers.push(packet[0] & 0xb0);
    }
    // RFC 9000, 17.2: a long header's form and type, those of an Initial and of a Retry.
    assert_eq!(answers, [0x80, 0xb0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_says_nothing_is_soon_forgotten() {
    let (greet, arrive) = (Duration::from_millis(200), 10 * PATIENCE);
    let limits = ServeLimits { greetings: 1, greet, arrive, ..ServeLimits::default() };
    let serving = Serving::start_with(PathPolicy::Auto, None, limits).await;
    let stranger = Stranger::new().await;
    let silent = stranger.dial(&serving).await.unwrap();
    timeout(PATIENCE, silent.closed()).await.expect("the stranger is still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_every_greeting() {
    let limits = ServeLimits { greetings_per_address: 1, greet: 10 * PATIENCE, ..ServeLimits::default() };
    let serving = Serving::start_with(PathPolicy::Auto, None, limits).await;
    let stranger = Stranger::new().await;
    let silent = stranger.dial(&serving).await.unwrap();
    let turned_away = timeout(PATIENCE, stranger.dial(&serving)).await.unwrap();
    assert!(turned_away.is_err());
    silent.close(0u32.into(), b"");
    let deadline = Instant::now() + PATIENCE;
    while stranger.dial(&serving).await.is_err() {
        assert!(Instant::now() < deadline, "a place that was left stayed taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_greeting_is_unreachable() {
    let deaf = Stranger::deaf().await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = renter.peer(PeerAddr { key: deaf.key(), gateways: vec![], direct: deaf.endpoint.bound_sockets() });
    let accepting = tokio::spawn(async move {
        let connection = deaf.endpoint.accept().await.unwrap().await.unwrap();
        connection.closed().await
    });
    let opened = timeout(PATIENCE, peer.open()).await.expect("it hangs");
    assert!(matches!(opened, Err(TransportError::Unreachable(_))));
    timeout(PATIENCE, accepting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_at_the_right_address_is_not_the_peer() {
    let (serving, other) = tokio::join!(Serving::start(PathPolicy::Auto, None), Serving::start(PathPolicy::Auto, None));
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let direct = other.link.bound_addrs();
    let peer = renter.peer(PeerAddr { key: serving.link.peer_key(), gateways: vec![], direct });
    assert!(matches!(peer.open().await, Err(TransportError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_direction_ends_alone() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    let mut stream = connect(&peer, COUNT).await;
    stream.write_all(&[1; 300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, 300_000u64.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_bytes_follow_answers() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    let (response, mut stream) = ask(&peer, &Request::Result { job: JobId(9) }).await.unwrap();
    assert!(matches!(response, Response::Result { length: 1000, .. }));
    let mut content = Vec::new();
    stream.read_to_end(&mut content).await.unwrap();
    assert_eq!(content, vec![9; 1000]);
    let logs = Request::Logs { agreement: Agreement::Job(JobId(9)), follow: false };
    let (_, mut stream) = ask(&peer, &logs).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_never_taken_for_the_end() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    let broken = Request::Logs { agreement: Agreement::Job(JobId(9)), follow: true };
    // A reset may overtake what was sent before it, the answer included.
    if let Ok((_, mut stream)) = ask(&peer, &broken).await {
        assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_and_panics_cost_one_stream_only() {
    let serving = Serving::start(PathPolicy::Auto, None).await;
    let renter = link(PathPolicy::Auto, Vec::new()).await;
    let peer = serving.befriend(&renter, None);
    for nonsense in [&b"\0\0\0\x02{}"[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = peer.open().await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let response = timeout(PATIENCE, read_frame::<Response>(&mut stream)).await.unwrap().unwrap();
        assert!(matches!(response, Response::Refused(r) if r.reason == RefusalReason::Invalid), "{nonsense:?}");
    }
    let port_0 = Request::Connect { lease: LeaseId(1), port: 0 };
    assert!(matches!(ask(&peer, &port_0).await.unwrap().0, Response::Refused(r) if r.reason == RefusalReason::Invalid));
    let panic = Request::Handover { agreement: Agreement::Job(JobId(1)), document: "panic".into() };
    assert!(ask(&peer, &panic).await.is_err());
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
}

async fn bulk(policy: PathPolicy) {
    const STREAMS: u64 = 4;
    const EACH: usize = 16 << 20;
    let relay = relay(0, RelayAccess::Open).await;
    let gateway = (policy == PathPolicy::RelayOnly).then(|| url(&relay));
    let serving = Serving::start(policy, gateway.clone()).await;
    let renter = link(policy, Vec::new()).await;
    let peer = serving.befriend(&renter, gateway);
    let mut transfers = tokio::task::JoinSet::new();
    for seed in 0..STREAMS {
        let (mut from, mut to) = tokio::io::split(connect(&peer, ECHO).await);
        let content: Vec<u8> = (0..EACH as u64 / 8)
            .flat_map(|i| (i * STREAMS + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let sent = content.clone();
        transfers.spawn(async move {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        });
        transfers.spawn(async move {
            let mut back = Vec::new();
            from.read_to_end(&mut back).await.unwrap();
            assert!(back == content, "stream {seed} came back different");
        });
    }
    timeout(2 * PATIENCE, transfers.join_all()).await.expect("bulk took too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_over_several_streams_is_intact_directly() {
    bulk(PathPolicy::Auto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_over_several_streams_is_intact_through_a_gateway() {
    bulk(PathPolicy::RelayOnly).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_when_the_gateway_comes_back() {
    let first = relay(0, RelayAccess::Open).await;
    let gateway = url(&first);
    let port = first.address().port();
    let serving = Serving::start(PathPolicy::RelayOnly, Some(gateway.clone())).await;
    let renter = link(PathPolicy::RelayOnly, Vec::new()).await;
    let peer = serving.befriend(&renter, Some(gateway));
    let mut stream = connect(&peer, ECHO).await;
    ping(&mut stream, b"before").await;
    first.stop().await.unwrap();
    eventually("the provider notices", || !matches!(serving.link.gateway_state(), GatewayState::Connected(_))).await;
    stream.write_all(b"meanwhile").await.unwrap();
    let _second = relay(port, RelayAccess::Open).await;
    let mut back = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("the stream did not go on").unwrap();
    assert_eq!(&back, b"meanwhile");
    ping(&mut stream, b"after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_may_start_last() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = reserved.local_addr().unwrap().port();
    let gateway: GatewayUrl = format!("http://127.0.0.1:{port}").parse().unwrap();
    drop(reserved);
    let provider = link(PathPolicy::RelayOnly, vec![gateway.into()]).await;
    let early = provider.online(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(early.to_string(), "no gateway answered within 1 s");
    let _relay = relay(port, RelayAccess::Open).await;
    provider.online(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_restarts_is_found_again() {
    let relay = relay(0, RelayAccess::Open).await;
    let serving = Serving::start(PathPolicy::RelayOnly, Some(url(&relay))).await;
    let renter = link(PathPolicy::RelayOnly, Vec::new()).await;
    let peer = serving.befriend(&renter, Some(url(&relay)));
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    // It closes in order here; after a crash the renter's deadline and `suspect` do the same.
    serving.stop.cancel();
    timeout(PATIENCE, serving.task).await.unwrap().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let again = tokio::spawn({
        let (link, provider, stop) = (serving.link.clone(), serving.provider.clone(), stop.clone());
        async move { sublet_link::serve(&link, provider, sublet_link::ServeLimits::default(), stop).await }
    });
    let deadline = Instant::now() + PATIENCE;
    while ask(&peer, &STATUS).await.is_err() {
        assert!(Instant::now() < deadline, "the provider was never found again");
    }
    peer.suspect().await;
    assert_eq!(ask(&peer, &STATUS).await.unwrap().0, running());
    stop.cancel();
    timeout(PATIENCE, again).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_wants_a_token_says_so() {
    let relay = relay(0, RelayAccess::tokens(["right"])).await;
    let with = |token: &str| vec![Gateway { url: url(&relay), token: Some(token.to_owned()) }];
    let welcome = link(PathPolicy::RelayOnly, with("right")).await;
    welcome.online(PATIENCE).await.unwrap();
    let unwelcome = link(PathPolicy::RelayOnly, with("wrong")).await;
    let told = || match unwelcome.gateway_state() {
        GatewayState::Trying { error: Some(error), .. } => error.contains("wants a token"),
        _ => false,
    };
    eventually("the reason arrives", told).await;
    assert!(relay.counts().refused > 0);
    assert_eq!(relay.counts().clients, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_fill_a_gateway() {
    let few = RelayOptions { clients_per_address: 2, ..options(0, RelayAccess::Open) };
    let relay = Relay::start(few).await.unwrap();
    let client = async || link(PathPolicy::RelayOnly, vec![url(&relay).into()]).await;
    let (first, second) = (client().await, client().await);
    first.online(PATIENCE).await.unwrap();
    second.online(PATIENCE).await.unwrap();
    let third = client().await;
    let told = || match third.gateway_state() {
        GatewayState::Trying { error: Some(error), .. } => error.contains("too many clients from your address"),
        _ => false,
    };
    eventually("the reason arrives", told).await;
    assert_eq!(relay.counts().clients, 2);
    first.close().await;
    third.online(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_do_not_fill_a_gateway() {
    const ARRIVING: usize = 16;
    let relay = relay(0, RelayAccess::Open).await;
    let mut silent = Vec::new();
    for _ in 0..ARRIVING {
        silent.push(tokio::net::TcpStream::connect(relay.address()).await.unwrap());
    }
    let mut late = tokio::net::TcpStream::connect(relay.address()).await.unwrap();
    let heard = timeout(PATIENCE, late.read(&mut [0])).await.expect("it is kept waiting");
    assert!(!matches!(heard, Ok(1..)), "nobody asked for this");
    assert_eq!(relay.counts().refused, 1);
    drop(silent);
    link(PathPolicy::RelayOnly, vec![url(&relay).into()]).await.online(PATIENCE).await.unwrap();
}

//! What a connection may take of us: windows, streams, silence. Strangers get little; a peer that was let in gets a share
//! that shrinks with each further connection it has, so that all of them together stay bounded.

use std::time::Duration;

use iroh::endpoint::{ConnectOptions, Connection, IdleTimeout, QuicTransportConfig, VarInt};

/// How long a link survives without hearing from the other side; the longest outage of a gateway that an open ssh
/// session can sit out.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Above 2.4 MB a single busy stream kills the connection (measured); bulk uses several streams instead.
const STREAM_WINDOW: VarInt = VarInt::from_u32(2 << 20);
/// Unread bytes that a connection can make us hold.
const FRIEND_WINDOW: u32 = 8 << 20;
/// The same before we know who calls.
const CALLER_WINDOW: u32 = 64 << 10;
/// Unconfirmed bytes that we hold for a caller; fixed before we know who it is.
const ANSWER_WINDOW: u64 = 2 << 20;
/// Streams that a connection may have open to us.
const FRIEND_STREAMS: u32 = 128;
/// The same before we know who calls, and the least that one of many connections gets.
const CALLER_STREAMS: u32 = 4;

/// For those who dial us.
pub(crate) fn answering() -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle()))
        .stream_receive_window(STREAM_WINDOW)
        .receive_window(CALLER_WINDOW.into())
        .send_window(ANSWER_WINDOW)
        .max_concurrent_bidi_streams(CALLER_STREAMS.into())
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .build()
}

/// For those whom we dial: we know whom, and they open no streams.
pub(crate) fn dialling() -> ConnectOptions {
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle()))
        .stream_receive_window(STREAM_WINDOW)
        .receive_window(FRIEND_WINDOW.into())
        .send_window(FRIEND_WINDOW.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .build();
    ConnectOptions::new().with_transport_config(transport)
}

/// Gives a peer that was let in the share of its `nth` connection.
pub(crate) fn befriend(connection: &Connection, nth: usize) {
    let (window, streams) = share(nth);
    connection.set_receive_window(window.into());
    connection.set_max_concurrent_bi_streams(streams.into());
}

/// Bytes and streams: half of them for the second connection, a third for the third.
fn share(nth: usize) -> (u32, u32) {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX).max(1);
    ((FRIEND_WINDOW / nth).max(CALLER_WINDOW), (FRIEND_STREAMS / nth).max(CALLER_STREAMS))
}

fn idle() -> IdleTimeout {
    IdleTimeout::try_from(IDLE_TIMEOUT).expect("180 s fit the protocol's field")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_of_a_peer_together_stay_bounded() {
        let connections = crate::ServeLimits::default().per_peer;
        let shares = (1..=connections).map(share);
        let (bytes, streams) = shares.fold((0, 0), |(bytes, streams), (b, s)| (bytes + b, streams + s));
        assert_eq!(share(1), (FRIEND_WINDOW, FRIEND_STREAMS));
        assert!(bytes < 5 * FRIEND_WINDOW, "{bytes} unread bytes");
        assert!(streams < 5 * FRIEND_STREAMS, "{streams} streams");
        assert!(connections as u64 * ANSWER_WINDOW <= 64 << 20, "too many unconfirmed bytes");
    }
}

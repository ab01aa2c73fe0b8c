//! The link: authenticated, end-to-end encrypted QUIC between two peers, direct or through a gateway. The only package
//! that sees iroh.
//!
//! ```text
//! renter                                                        provider
//! Link::bind ── Link::peer(addr) ── open() ══ one stream a request ══▶ serve() ── PeerHandler
//!                                     ╲                          ╱
//!                                      ╲── Relay (a gateway) ───╱      sees ciphertext only
//! ```
//! Peers dial each other by key. Where to look comes from the caller (on-chain records); there is no public
//! infrastructure: no DNS discovery, no default relays, no port mapping.
//!
//! **Outages.** A link outlives the loss of its gateway for up to [`IDLE_TIMEOUT`]: both sides reconnect to the gateway
//! and streams go on where they stopped. The price is that a peer that died silently is noticed as late; requests
//! therefore have deadlines of their own, and [`OpenStream::suspect`](sublet_wire::link::OpenStream::suspect) makes the
//! next one dial anew.

mod address;
mod door;
mod endpoint;
mod forward;
mod key;
mod mandate;
mod peer;
mod places;
mod relay;
mod serve;
mod stream;
mod transport;

pub use address::{GatewayUrl, InvalidGatewayUrl, PeerAddr};
pub use door::RelayAccess;
pub use endpoint::{Gateway, GatewayState, Link, LinkConfig, LinkError, PathPolicy};
pub use forward::{forward, pipe_stdio};
pub use key::{KeyError, LinkKey};
pub use peer::Peer;
pub use relay::{Relay, RelayCounter, RelayCounts, RelayError, RelayOptions};
pub use serve::{LinkServer, ServeLimits, ServeLink, serve, serve_stream};
pub use transport::IDLE_TIMEOUT;

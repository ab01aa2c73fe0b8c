//! The `[solver]` section.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sublet_base::{Amount, Seconds};

/// How a solver runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SolverConfig {
    /// Address and port of the HTTP interface. Loopback unless told otherwise; put a TLS proxy in front of anything else.
    pub listen: SocketAddr,
    /// Least fee an order must carry, token units.
    pub min_fee: Amount,
    /// Offers valid for longer than this are refused, and orders placed on chain are not taken.
    pub max_offer_validity: Seconds,
    /// Orders valid for longer than this are refused.
    pub max_order_validity: Seconds,
    /// How long documents that are over are still known, counted from the end of their validity.
    pub keep_ended: Seconds,
    /// Live offers, or live orders, of one account.
    pub max_per_account: u32,
    /// Live offers, or live orders, in all.
    pub max_documents: u32,
    /// Requests a minute from one address, and documents a minute from one account.
    pub requests_per_minute: u32,
    /// Header in which a proxy in front of the solver puts the client's address, such as `x-forwarded-for`; its last entry
    /// counts. Only for a solver that nobody reaches but through that proxy: anybody else could name any address.
    pub client_address_header: Option<String>,
    /// Connections at once; more have to wait.
    pub max_connections: u32,
    /// Websocket connections at once.
    pub max_subscribers: u32,
    /// Websocket connections at once from one address.
    pub max_subscribers_per_address: u32,
    /// Documents and beats must stay good for this long to be matched, because opening takes a block or two.
    pub margin: Seconds,
    /// Transactions on their way at once; while so many are, further matches wait and go together.
    pub max_transactions: u32,
    /// Openings in one transaction at most.
    pub max_batch: u32,
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7610)),
            min_fee: Amount::ZERO,
            // Agents sign for a week; their clock and ours need not be the same.
            max_offer_validity: Seconds(8 * 24 * 3600),
            max_order_validity: Seconds(24 * 3600),
            keep_ended: Seconds(30 * 24 * 3600),
            max_per_account: 200,
            max_documents: 100_000,
            requests_per_minute: 1_200,
            client_address_header: None,
            max_connections: 1_024,
            max_subscribers: 256,
            max_subscribers_per_address: 32,
            margin: Seconds(5),
            max_transactions: 4,
            max_batch: 32,
        }
    }
}

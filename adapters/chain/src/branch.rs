//! The contracts beside `Sublet`: where they are, and what gateways and orders placed on chain look like.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, PeerKey, UnixTime};
use sublet_market::Order;

/// Which contract keeps a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// Mediators' bonds.
    Court,
    /// Gateways' bonds.
    Gateways,
}

/// Addresses of one deployment; all but the first are what the first says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contracts {
    pub(crate) sublet: Address,
    pub(crate) court: Address,
    pub(crate) gateways: Address,
    pub(crate) orders: Address,
    pub(crate) lens: Address,
}

impl Contracts {
    /// Those whose events matter.
    pub(crate) fn speakers(&self) -> Vec<Address> {
        vec![self.sublet, self.court, self.gateways, self.orders]
    }
}

/// A gateway as registered. Its words are its own and never trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// Whose it is.
    pub gateway: Address,
    /// Its link endpoint.
    pub peer_key: PeerKey,
    /// Where it says it is reached.
    pub url: String,
    /// Where it says it stands.
    pub region: String,
    /// What it answers with.
    pub bond: Amount,
    /// Last proof of life.
    pub last_beat: UnixTime,
    /// When it retired, if it did.
    pub retired_at: Option<UnixTime>,
    /// Not retired, and its beat is fresh.
    pub online: bool,
}

/// An order whose renter placed it on chain instead of signing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedOrder {
    /// The order's digest, as `open` reports it.
    pub hash: B256,
    /// The order.
    pub order: Order,
    /// The workload's document, if it was placed along; it has the hash the order names. Else it comes by link.
    pub workload: Option<Vec<u8>>,
    /// Its renter is told when the job ends.
    pub callback: bool,
}

//! The signed documents as they travel. Nothing here is checked; see `convert` for the door.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, PeerKey, Price, U256};
use utoipa::ToSchema;

/// Which agreement a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A machine, paid by the second.
    Lease,
    /// One run of a module.
    Job,
}

/// How a job's result is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Accept or refuse.
    None,
    /// Byte-equal outputs on a re-run; disputes may slash.
    Exact,
}

/// What a machine has, or must have at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory, MiB.
    #[serde(rename = "memoryMiB")]
    pub memory_mib: u32,
    /// Writable disk, GiB.
    #[serde(rename = "diskGiB")]
    pub disk_gib: u32,
    /// Graphics processors.
    pub gpus: u32,
    /// Hash of further properties; zero means none asked or offered.
    #[schema(value_type = String, example = "0x0000000000000000000000000000000000000000000000000000000000000000")]
    pub traits: B256,
}

/// A provider's promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offer {
    /// Who promises.
    #[schema(value_type = String)]
    pub provider: Address,
    /// Lease or job.
    pub kind: Kind,
    /// What one agreement gets.
    pub resources: Resources,
    /// Token units a second.
    #[schema(value_type = String, example = "1000000000000")]
    pub price: Price,
    /// Collateral per escrow, in hundredths of a per cent.
    pub pledge_bps: u32,
    /// Agreements open at once.
    pub capacity: u32,
    /// Seconds.
    pub min_duration: u32,
    /// Seconds.
    pub max_duration: u32,
    /// Seconds from opening within which it starts.
    pub start_within: u32,
    /// Seconds of notice before the provider may leave without a penalty.
    pub notice: u32,
    /// Seconds paid at least.
    pub min_charge: u32,
    /// Who would judge a dispute; 0 is nobody.
    pub mediator_set: u64,
    /// Longest challenge window accepted, seconds.
    pub max_challenge_window: u32,
    /// Seconds since 1970.
    pub valid_until: u64,
    /// The provider's epoch when it signed.
    pub epoch: u64,
}

/// A renter's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// Who pays.
    #[schema(value_type = String)]
    pub renter: Address,
    /// Lease or job.
    pub kind: Kind,
    /// At least this.
    pub resources: Resources,
    /// At most this, token units a second.
    #[schema(value_type = String, example = "2000000000000")]
    pub max_price: Price,
    /// Seconds.
    pub duration: u32,
    /// Hash of the machine request or of the job.
    #[schema(value_type = String)]
    pub workload: B256,
    /// The renter's link key, 64 hex digits.
    #[schema(value_type = String)]
    pub peer_key: PeerKey,
    /// How the result is checked.
    pub class: Class,
    /// Who would judge a dispute; 0 is nobody.
    pub mediator_set: u64,
    /// Seconds to look at a result.
    pub challenge_window: u32,
    /// At least this collateral per escrow, in hundredths of a per cent.
    pub min_pledge_bps: u32,
    /// At most these seconds from opening to the start.
    pub max_start_within: u32,
    /// At least these seconds of notice; jobs get none.
    pub min_notice: u32,
    /// At most these seconds paid at least; jobs pay no minimum.
    pub max_min_charge: u32,
    /// Only this provider; the zero address means any.
    #[schema(value_type = String)]
    pub provider: Address,
    /// Only this solver may open; the zero address means anyone.
    #[schema(value_type = String)]
    pub solver: Address,
    /// Paid to whoever opens, token units.
    #[schema(value_type = String, example = "0")]
    pub solver_fee: Amount,
    /// Seconds since 1970.
    pub valid_until: u64,
    /// Any number the renter has not used, `0x` hex.
    #[schema(value_type = String, example = "0x1")]
    pub nonce: U256,
}

/// An offer and its provider's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedOffer {
    /// The document.
    pub offer: Offer,
    /// `0x` hex.
    pub signature: String,
}

/// An order and its renter's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedOrder {
    /// The document.
    pub order: Order,
    /// `0x` hex.
    pub signature: String,
}

/// Takes a document off the book: [`super::Cancel`] for the document named in the address, and its author's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedCancel {
    /// Seconds since 1970; a cancel is refused later.
    pub valid_until: u64,
    /// `0x` hex.
    pub signature: String,
}

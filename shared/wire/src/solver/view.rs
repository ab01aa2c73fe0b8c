//! What the solver answers.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, Price};
use utoipa::{IntoParams, ToSchema};

use super::{Kind, Offer, Order};

/// A document is on the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The EIP-712 digest that was signed, by which everything refers to it.
    #[schema(value_type = String)]
    pub hash: B256,
}

/// An offer on the book. With its signature anyone can open against it without this solver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferView {
    /// Its hash.
    #[schema(value_type = String)]
    pub hash: B256,
    /// The document.
    pub offer: Offer,
    /// The provider's signature, `0x` hex.
    pub signature: String,
    /// Agreements it still takes.
    pub free: u32,
    /// Its provider takes agreements and was heard of lately.
    pub online: bool,
    /// Why nobody can open it at the moment although there is room, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// Filters of the offer list; each leaves out what does not fit. Cheapest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfferQuery {
    /// Lease or job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub kind: Option<Kind>,
    /// At least so many virtual processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// At least so much memory, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// At least so much disk, GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
    /// At most this price, token units a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub max_price: Option<Price>,
    /// Only this provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub provider: Option<Address>,
    /// Also offers that cannot be opened at the moment: full, the provider is offline, or `unusable`.
    pub all: bool,
    /// At most so many; 1 to 200, 50 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Continue behind this page's `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub after: Option<B256>,
}

/// Some of the offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferPage {
    /// Cheapest first.
    pub offers: Vec<OfferView>,
    /// Pass as `after` to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<B256>,
}

/// An agreement on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agreement {
    /// Lease or job.
    pub kind: Kind,
    /// Its number in the contract.
    pub id: u64,
    /// The offer it was opened against.
    #[schema(value_type = String)]
    pub offer: B256,
    /// Whose offer it was.
    #[schema(value_type = String)]
    pub provider: Address,
    /// The transaction that opened it.
    #[schema(value_type = String)]
    pub transaction: B256,
}

/// Why some offers do not fit an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unfilled {
    /// For programs, such as `too-expensive` or `too-small`.
    pub code: String,
    /// In a sentence.
    pub message: String,
}

/// Where an order is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OrderState {
    /// On the book.
    Waiting {
        /// Why nothing fits at the moment.
        reasons: Vec<Unfilled>,
    },
    /// A transaction that opens it is on its way.
    Opening {
        /// Against this offer.
        #[schema(value_type = String)]
        offer: B256,
    },
    /// Done.
    Opened {
        /// What it became.
        agreement: Agreement,
    },
    /// Past its `validUntil`, unfilled.
    Expired,
    /// Cancelled by its renter, here or on chain.
    Cancelled,
    /// It can never be opened.
    Failed {
        /// Why, in a sentence.
        reason: String,
    },
}

/// An order and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderView {
    /// Its hash.
    #[schema(value_type = String)]
    pub hash: B256,
    /// The document; its signature stays with the solver.
    pub order: Order,
    /// Where it is.
    #[serde(flatten)]
    pub state: OrderState,
}

/// Which solver this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Version of the program.
    pub version: String,
    /// The chain it opens on.
    pub chain_id: u64,
    /// The contract it opens in.
    #[schema(value_type = String)]
    pub contract: Address,
    /// The account it opens with.
    #[schema(value_type = String)]
    pub account: Address,
    /// Least fee an order must carry, token units.
    #[schema(value_type = String)]
    pub min_fee: Amount,
    /// Last block it has read.
    pub block: u64,
    /// Offers on the book.
    pub offers: u64,
    /// Orders waiting.
    pub orders: u64,
}

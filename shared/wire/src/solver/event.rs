//! What happens on the book, as the websocket tells it.

use serde::{Deserialize, Serialize};
use sublet_base::{B256, UnixTime};
use utoipa::ToSchema;

use super::{Agreement, OfferView, Unfilled};

/// One change. Ids grow by one or more and survive restarts: reconnect with `after` = the last id seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the solver's history.
    pub id: u64,
    /// When, seconds since 1970, by the solver's clock.
    #[schema(value_type = u64)]
    pub at: UnixTime,
    /// What.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventBody {
    /// Events before this one are no longer kept; read the book afresh.
    Gap,
    /// An offer is on the book.
    OfferAdded {
        /// It.
        offer: Box<OfferView>,
    },
    /// How many more agreements the offer takes has changed, or whether it can be opened.
    OfferChanged {
        /// Its hash.
        #[schema(value_type = String)]
        offer: B256,
        /// Agreements it still takes.
        free: u32,
        /// Its provider takes agreements and was heard of lately.
        online: bool,
        /// Why nobody can open it at the moment although there is room, in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unusable: Option<String>,
    },
    /// An offer left the book.
    OfferRemoved {
        /// Its hash.
        #[schema(value_type = String)]
        offer: B256,
        /// Why, in a sentence.
        reason: String,
    },
    /// An order is on the book.
    OrderAdded {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
    },
    /// No offer fits an order at the moment.
    OrderUnfilled {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
        /// Why.
        reasons: Vec<Unfilled>,
    },
    /// An order found its offer; a transaction is on its way.
    OrderMatched {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
        /// The offer's hash.
        #[schema(value_type = String)]
        offer: B256,
    },
    /// The agreement is on chain.
    OrderOpened {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
        /// What it became.
        agreement: Agreement,
    },
    /// The attempt to open failed; the order is on the book again.
    OrderReturned {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
        /// Why, in a sentence.
        reason: String,
    },
    /// The order will never be filled here.
    OrderEnded {
        /// Its hash.
        #[schema(value_type = String)]
        order: B256,
        /// Why, in a sentence.
        reason: String,
    },
}

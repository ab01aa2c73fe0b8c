//! The solver's HTTP API, version 1.
//!
//! Signed documents carry the field names of the EIP-712 types they were signed as (`memoryMiB`, `validUntil`), so a
//! wallet can sign exactly what it posts. Money is whole token units as a decimal string, hashes, addresses and
//! signatures are `0x` hex, times are seconds since 1970. Writes are authenticated by the signature inside; reads are public.
//!
//! ```text
//! POST   /v1/offers           SignedOffer   -> Accepted
//! GET    /v1/offers?filters                 -> OfferPage
//! GET    /v1/offers/{hash}                  -> OfferView
//! DELETE /v1/offers/{hash}    SignedCancel  -> 204
//! POST   /v1/orders           SignedOrder   -> OrderView      (posting it again is harmless and answers its state)
//! GET    /v1/orders/{hash}                  -> OrderView
//! DELETE /v1/orders/{hash}    SignedCancel  -> OrderView
//! GET    /v1/events?after=ID  websocket     -> Event, Event, …
//! GET    /v1/info                           -> Info
//! ```
//! Every refusal is a [`Refusal`]: a code for programs, a sentence for people, and what to do next.

mod cancel;
mod convert;
mod document;
mod event;
mod refusal;
mod view;

pub use cancel::Cancel;
pub use convert::{InvalidDocument, MAX_SAFE_INTEGER};
pub use document::{Class, Kind, Offer, Order, Resources, SignedCancel, SignedOffer, SignedOrder};
pub use event::{Event, EventBody};
pub use refusal::{Refusal, RefusalCode};
pub use view::{Accepted, Agreement, Info, OfferPage, OfferQuery, OfferView, OrderState, OrderView, Unfilled};

/// Largest request body the solver reads, bytes.
pub const MAX_BODY: usize = 16 << 10;
/// Most offers in one page.
pub const MAX_PAGE: u32 = 200;

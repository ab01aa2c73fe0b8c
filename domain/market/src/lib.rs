//! The market's rules: the documents people sign, the agreements they open, and who gets what money when.
//!
//! Pure: values in, values out. Hashes equal the contract's; the state machines decide exactly as the contract does.

mod documents;
mod signed;
pub mod sums;
mod terms;
pub mod typed;

pub use documents::{Acceptance, InvalidDocument, MediatorSetId, Offer, Order};
pub use signed::{
    InvalidSignature, MAX_SIGNATURE, Signature, SignedAcceptance, SignedOffer, SignedOrder, Unproven, check_key_signature,
};
pub use terms::{Class, Kind, Resources, Traits, UnknownCode, UnknownWord};
pub use typed::{Domain, TypedData};

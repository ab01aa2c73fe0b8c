//! The market's rules: the documents people sign, the agreements they open, and who gets what money when.
//!
//! Pure: values in, values out. Hashes equal the contract's; the state machines decide exactly as the contract does.

pub mod agreement;
pub mod canonical;
mod documents;
pub mod fit;
pub mod module;
mod signed;
pub mod sums;
mod terms;
pub mod text;
pub mod typed;
mod workload;

pub use documents::{Acceptance, InvalidDocument, MAX_EXACT, MAX_PLEDGE_BPS, MAX_STORED, MediatorSetId, Offer, Order};
pub use fit::{Misfit, misfits};
pub use module::{BadModule, Module, RenderError};
pub use signed::{
    InvalidSignature, MAX_SIGNATURE, Signature, SignedAcceptance, SignedOffer, SignedOrder, Unproven,
    check_key_signature,
};
pub use terms::{Class, Kind, Resources, Traits, UnknownCode, UnknownWord, Verdict};
pub use typed::{Domain, TypedData};
pub use workload::{BadWorkload, ImageRef, JobDocument, MachineRequest, ModuleRef, Network, WorkloadDocument};

//! Ids and quantities: the words every other package counts and names with.
//!
//! Each is a newtype, so that seconds are never added to mebibytes and a lease is never looked up by a job's id.
//! Money ([`Amount`], [`Price`]) has checked arithmetic only. There is no IO here, no clock and no randomness.

mod digest;
mod id;
mod money;
mod quantity;

pub use alloy_primitives::{Address, B256, U256, keccak256};
pub use digest::{Digest, InvalidDigest};
pub use id::{InvalidMachineId, InvalidPeerKey, JobId, LeaseId, MachineId, PeerKey};
pub use money::{Amount, AmountOverflow, Bps, InvalidAmount, Price, TOKEN_DECIMALS};
pub use quantity::{GiB, MiB, Seconds, UnixTime, Vcpus};

//! Versioned messages between the programs, one module a service. `TryFrom` into domain types at the door.

pub mod guest;
#[cfg(feature = "grpc")]
pub mod host;
#[cfg(feature = "link")]
pub mod link;
#[cfg(feature = "solver")]
pub mod provider;
pub mod solver;
#[cfg(feature = "grpc")]
pub mod verdict;
#[cfg(all(feature = "grpc", feature = "link"))]
pub mod workload;

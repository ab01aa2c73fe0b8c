//! Typed clients of the services, one module each.

pub mod host;
pub mod peer;
mod port;
pub mod solver;

pub use host::{HostClient, HostError, MachineChange};
pub use peer::{PeerClient, PeerError};
pub use port::Host;
pub use solver::{Events, SolverClient, SolverError};

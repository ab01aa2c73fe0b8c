//! Typed clients of the services, one module each.

pub mod host;

pub use host::{HostClient, HostError, MachineChange};

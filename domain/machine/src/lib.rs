//! Machines: what one is asked to be ([`MachineSpec`]), and the port every driver implements ([`Driver`]).
//!
//! The port is synchronous on purpose: a driver blocks its caller, so that it needs no runtime and a test can drive it
//! from a plain thread. The host gives each call a thread of its own.

mod driver;
mod lifecycle;
mod spec;

pub use driver::{
    Capabilities, Driver, DriverError, DriverKind, Isolation, MachineStats, Observed, Prepared, Unusable,
};
pub use lifecycle::{DEFAULT_GRACE, Denied, Effect, Event, Guest, Lifecycle, Phase};
pub use spec::{Clock, DiskImage, ImageConfig, ImageRef, MachineSpec, Resources};

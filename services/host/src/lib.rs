//! The host.
mod archive;
mod choose;
mod config;
mod ledger;
mod ports;
mod record;
pub use config::{Capacity, HostConfig};
pub use ports::{Images, PortError, Ports, Records, StoredRecords};
pub use record::Record;

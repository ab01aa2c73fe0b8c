//! The provider's agent: registers, publishes offers, serves leases and jobs on its host, beats, and collects its money.
//!
//! ```text
//! chain ──events──▶ follow ──▶ cases (journal) ◀── peer (link: handover, acceptance)
//!   ▲                              │
//!   └──────── execute ◀── decide(case, chain, host, now) ◀── host: machines
//! ```
//! [`decide`](decide::decide) is pure; what it decides is written down before it is done, and doing it again is
//! harmless. A process killed at any moment therefore goes on where it stopped: machines are adopted by their names, and
//! transactions by their keys.

mod agent;
pub mod case;
mod config;
pub mod decide;
mod execute;
mod follow;
mod handover;
mod offers;
mod panel;
mod peer;
mod ports;
mod prune;
mod publish;
mod settle;
mod state;
mod taken;
mod wiring;

pub use agent::{ProviderError, run};
pub use config::{BadConfig, OfferConfig, ProviderConfig};
pub use ports::{OfferBoard, Ports};

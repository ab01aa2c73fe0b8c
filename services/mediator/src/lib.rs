//! The mediator: judges disputed jobs by running them again, and is paid for it.
//!
//! ```text
//! chain ──events──▶ follow ──▶ cases (journal) ◀── ask: document and archive, from the provider over the link
//!   ▲                              │
//!   └──────── execute ◀── decide(case, dispute, host, now) ◀── host: the machine that runs the job again
//!                                  │
//!                               archives ──▶ peer: the result, to the renter over the link
//! ```
//! A vote is the hash of what the run gave, or zero: the provider did not hand over what it must. A mediator that
//! cannot run the job says nothing; its own failure is never a verdict. [`decide`](decide::decide) is pure, and what it
//! decides is in the journal before it is done: the salt of a vote above all, or a kill between commit and reveal would
//! cost a fee.

mod account;
mod agent;
mod archives;
mod ask;
pub mod case;
mod config;
pub mod decide;
mod execute;
mod follow;
mod peer;
mod ports;
mod prune;
mod state;
mod wiring;

pub use account::{AccountAction, AccountPolicy, AccountView, Standing, decide_account};
pub use agent::{MediatorError, run};
pub use config::{BadConfig, MediatorConfig};
pub use ports::{Ports, Providers, Whereabouts};
pub use wiring::OverLink;

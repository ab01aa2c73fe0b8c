//! What the end-to-end tests share: the real binary as processes, a plain JSON-RPC client, and waiting for a condition.
//!
//! Nothing here links against the product: the tests see what a user sees. `SUBLET_BIN` names the binary to test; `make test` sets it.

pub mod contract;
pub mod court;
pub mod devices;
pub mod dice;
pub mod disk;
pub mod liar;
pub mod mediator;
pub mod module;
pub mod money;
pub mod network;
pub mod outage;
pub mod process;
pub mod roles;
pub mod rpc;
pub mod sublet;
pub mod tent;
pub mod traces;
pub mod user;
pub mod wait;

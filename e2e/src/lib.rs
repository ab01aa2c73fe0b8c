//! What the end-to-end tests share: the real binary as processes, a plain JSON-RPC client, and waiting for a condition.
//!
//! Nothing here links against the product: the tests see what a user sees. `SUBLET_BIN` names the binary to test; `make test` sets it.

pub mod contract;
pub mod dice;
pub mod money;
pub mod network;
pub mod process;
pub mod roles;
pub mod rpc;
pub mod sublet;
pub mod traces;
pub mod wait;

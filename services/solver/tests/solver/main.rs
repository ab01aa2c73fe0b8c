//! The solver from outside: real HTTP, a real store, a chain in memory.
#![allow(clippy::unwrap_used)] // A test that cannot go on should say where.

mod batches;
mod commits;
mod intake;
mod ledger;
mod matching;
mod placed;
mod standing;
mod support;

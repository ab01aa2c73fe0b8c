//! The solver's brain: from a book of offers and orders, which pairs to open now, and why the other orders wait.
//!
//! ```text
//! Book (offers, orders, what the chain says of the accounts) + Policy ──plan──▶ Plan (matches, unfilled with reasons)
//! ```
//! The cheapest offer that fits wins; of equals the one that came first. Earlier orders choose first. The plan depends
//! on nothing else, not even on the order of the lists. Offers are indexed by price with bounds on every size, so that an
//! order looks at a few of them, not at all.

mod book;
mod index;
mod plan;
mod reason;
#[cfg(test)]
mod tests;

pub use book::{Account, Book, OpenOffer, PendingOrder, Policy, Provider};
pub use plan::{Match, Plan, Unfilled, plan};
pub use reason::{Apart, Nearest, Obstacle, Reason, Unusable};

//! Durable state of a service: the only package that sees SQL.
//!
//! A [`Store`] is one SQLite file with four parts, each behind a small API:
//! - [`Journal`]: the steps of each case, before they are done, so that a restart goes on where a crash left off;
//! - [`Documents`]: JSON values by collection and key, with compare-and-put;
//! - [`Cursor`]: how far a follower of the chain has handled its blocks;
//! - [`Book`]: a solver's offers and orders with their statuses.
//!
//! Everything acknowledged is on disk (`synchronous=FULL`). Writes that belong together go through one [`Tx`] and land
//! together or not at all, also when the disk fills up or the process is killed in between.

mod book;
mod cursor;
mod document;
mod error;
mod journal;
mod store;

pub use book::{Book, InBatch, NewOffer, NewOrder, OfferState, OrderState, Put, StoredOffer, StoredOrder};
pub use cursor::{Cursor, Position};
pub use document::{Document, Documents, Expect, Revision};
pub use error::StoreError;
pub use journal::{BadEntry, Begun, Entry, EntryState, Journal, StepRecord, StepState};
pub use store::{Store, Tx};

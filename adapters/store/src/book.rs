//! A solver's order book on disk.
//!
//! Documents are kept as the text their owner signed; what they mean is the caller's business. Offers and orders are listed
//! in the order they came in, so that a rebuilt book gives the same priority as the one that was lost.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sublet_base::{Address, B256, UnixTime};

use crate::cursor::{hash_from, signed, unsigned};
use crate::error::Doing;
use crate::{Store, StoreError, Tx};

/// An offer to put into the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOffer {
    /// EIP-712 hash of the offer.
    pub hash: B256,
    /// Who made it.
    pub provider: Address,
    /// Last second it holds.
    pub valid_until: UnixTime,
    /// The signed document as text.
    pub document: String,
}

/// An order to put into the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// EIP-712 hash of the order.
    pub hash: B256,
    /// Who wants it.
    pub renter: Address,
    /// Last second it holds.
    pub valid_until: UnixTime,
    /// The signed document as text.
    pub document: String,
}

/// Whether a document was new to the book. Putting one twice is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in the book now.
    New,
    /// It was there already; nothing has changed.
    Known,
}

/// An offer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// May be matched.
    Live,
    /// Taken back by its provider.
    Cancelled,
    /// Past its validity.
    Expired,
}

/// A place in a transaction that opens several agreements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InBatch {
    /// Which transaction, by the caller's name for it.
    pub batch: B256,
    /// Which row of it.
    pub row: u32,
}

/// An order's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OrderState {
    /// May be matched.
    Waiting,
    /// Matched; the opening transaction is under way.
    Opening {
        /// Hash of the offer it was matched with.
        offer: B256,
        /// Set once it is part of a transaction that opens several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<InBatch>,
    },
    /// Has become an agreement.
    Filled {
        /// Hash of the offer that filled it.
        offer: B256,
        /// Whose offer it was: the offer itself may never have been in this book. Zero if an earlier version wrote it.
        #[serde(default)]
        provider: Address,
        /// The lease's or job's number on chain.
        agreement: u64,
        /// The transaction that opened it.
        transaction: B256,
    },
    /// Taken back by its renter.
    Cancelled,
    /// Past its validity.
    Expired,
    /// Cannot be opened, ever.
    Refused {
        /// The reason, for people.
        reason: String,
    },
}

/// An offer as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffer {
    /// What was put in.
    pub offer: NewOffer,
    /// Its status.
    pub state: OfferState,
    /// Position in the order of arrival.
    pub seq: u64,
}

/// An order as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// What was put in.
    pub order: NewOrder,
    /// Its status.
    pub state: OrderState,
    /// Position in the order of arrival.
    pub seq: u64,
}

/// The order book of a store.
#[derive(Clone, Debug)]
pub struct Book {
    store: Store,
}

const OFFERS_LIVE: &str =
    "SELECT hash, provider AS party, valid_until, document, state, seq FROM offer WHERE state = 'live' ORDER BY seq";
const OFFER_BY_HASH: &str =
    "SELECT hash, provider AS party, valid_until, document, state, seq FROM offer WHERE hash = ?";
const OFFERS_BY_PROVIDER: &str = "SELECT hash, provider AS party, valid_until, document, state, seq FROM offer WHERE provider = ? ORDER BY seq DESC LIMIT ?";
const ORDERS_LIVE: &str = "SELECT hash, renter AS party, valid_until, document, detail, seq FROM trade_order
     WHERE state IN ('waiting', 'opening') ORDER BY seq";
const ORDER_BY_HASH: &str =
    "SELECT hash, renter AS party, valid_until, document, detail, seq FROM trade_order WHERE hash = ?";
const ORDERS_BY_RENTER: &str = "SELECT hash, renter AS party, valid_until, document, detail, seq FROM trade_order WHERE renter = ? ORDER BY seq DESC LIMIT ?";
const FORGET_OFFERS: &str = "DELETE FROM offer WHERE hash IN
     (SELECT hash FROM offer WHERE state <> 'live' AND valid_until < ? ORDER BY valid_until LIMIT ?)";
const FORGET_ORDERS: &str = "DELETE FROM trade_order WHERE hash IN
     (SELECT hash FROM trade_order WHERE state NOT IN ('waiting', 'opening') AND valid_until < ? ORDER BY valid_until LIMIT ?)";

impl Book {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Adds an offer as [`OfferState::Live`].
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], or the database fails.
    pub async fn put_offer(&self, offer: &NewOffer) -> Result<Put, StoreError> {
        let mut tx = self.store.begin().await?;
        let put = sqlx::query(
            "INSERT INTO offer (hash, provider, valid_until, document, state, seq)
             VALUES (?, ?, ?, ?, 'live', (SELECT coalesce(max(seq), 0) + 1 FROM offer)) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(offer.hash.as_slice())
        .bind(offer.provider.as_slice())
        .bind(signed(offer.valid_until.0, "an offer's validity")?)
        .bind(&offer.document)
        .execute(&mut *tx.inner)
        .await
        .doing("write an offer")?;
        tx.commit().await?;
        Ok(put_from(put.rows_affected()))
    }

    /// Adds an order as [`OrderState::Waiting`].
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`], or the database fails.
    pub async fn put_order(&self, order: &NewOrder) -> Result<Put, StoreError> {
        let mut tx = self.store.begin().await?;
        let put = sqlx::query(
            "INSERT INTO trade_order (hash, renter, valid_until, document, state, detail, seq)
             VALUES (?, ?, ?, ?, 'waiting', ?, (SELECT coalesce(max(seq), 0) + 1 FROM trade_order)) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(order.hash.as_slice())
        .bind(order.renter.as_slice())
        .bind(signed(order.valid_until.0, "an order's validity")?)
        .bind(&order.document)
        .bind(detail_text(&OrderState::Waiting)?)
        .execute(&mut *tx.inner)
        .await
        .doing("write an order")?;
        tx.commit().await?;
        Ok(put_from(put.rows_affected()))
    }

    /// Offers that may be matched, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn live_offers(&self) -> Result<Vec<StoredOffer>, StoreError> {
        let rows = sqlx::query(OFFERS_LIVE).fetch_all(&self.store.pool).await.doing("list offers")?;
        rows.iter().map(offer_from_row).collect()
    }

    /// Orders that wait or are being opened, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn live_orders(&self) -> Result<Vec<StoredOrder>, StoreError> {
        let rows = sqlx::query(ORDERS_LIVE).fetch_all(&self.store.pool).await.doing("list orders")?;
        rows.iter().map(order_from_row).collect()
    }

    /// One offer.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn offer(&self, hash: B256) -> Result<Option<StoredOffer>, StoreError> {
        let row = sqlx::query(OFFER_BY_HASH)
            .bind(hash.as_slice())
            .fetch_optional(&self.store.pool)
            .await
            .doing("read an offer")?;
        row.as_ref().map(offer_from_row).transpose()
    }

    /// One order.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn order(&self, hash: B256) -> Result<Option<StoredOrder>, StoreError> {
        let row = sqlx::query(ORDER_BY_HASH)
            .bind(hash.as_slice())
            .fetch_optional(&self.store.pool)
            .await
            .doing("read an order")?;
        row.as_ref().map(order_from_row).transpose()
    }

    /// The newest `limit` offers of a provider, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn offers_of(&self, provider: Address, limit: u32) -> Result<Vec<StoredOffer>, StoreError> {
        let query = sqlx::query(OFFERS_BY_PROVIDER).bind(provider.as_slice()).bind(i64::from(limit));
        query.fetch_all(&self.store.pool).await.doing("list offers")?.iter().map(offer_from_row).collect()
    }

    /// The newest `limit` orders of a renter, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn orders_of(&self, renter: Address, limit: u32) -> Result<Vec<StoredOrder>, StoreError> {
        let query = sqlx::query(ORDERS_BY_RENTER).bind(renter.as_slice()).bind(i64::from(limit));
        query.fetch_all(&self.store.pool).await.doing("list orders")?.iter().map(order_from_row).collect()
    }

    /// Moves an offer from one status to another.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not in `from` (or not there at all), or the database fails.
    pub async fn move_offer(&self, hash: B256, from: OfferState, to: OfferState) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.move_offer(hash, from, to).await?;
        tx.commit().await
    }

    /// Moves an order from one status to another.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not exactly in `from` (or not there at all), or the database fails.
    pub async fn move_order(&self, hash: B256, from: &OrderState, to: &OrderState) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.move_order(hash, from, to).await?;
        tx.commit().await
    }

    /// Expires live offers and waiting orders whose last second is before `now`; returns their hashes.
    /// An order being opened is left alone: only the chain knows whether it still made it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn expire(&self, now: UnixTime) -> Result<(Vec<B256>, Vec<B256>), StoreError> {
        let now = signed(now.0, "the time")?;
        let mut tx = self.store.begin().await?;
        let offers: Vec<Vec<u8>> = sqlx::query_scalar(
            "UPDATE offer SET state = 'expired' WHERE state = 'live' AND valid_until < ? RETURNING hash",
        )
        .bind(now)
        .fetch_all(&mut *tx.inner)
        .await
        .doing("expire offers")?;
        let orders: Vec<Vec<u8>> = sqlx::query_scalar(
            "UPDATE trade_order SET state = 'expired', detail = ? WHERE state = 'waiting' AND valid_until < ? RETURNING hash",
        )
        .bind(detail_text(&OrderState::Expired)?)
        .bind(now)
        .fetch_all(&mut *tx.inner)
        .await
        .doing("expire orders")?;
        tx.commit().await?;
        let hashes =
            |rows: Vec<Vec<u8>>| rows.iter().map(|bytes| hash_from(bytes, "document")).collect::<Result<Vec<_>, _>>();
        Ok((hashes(offers)?, hashes(orders)?))
    }

    /// Forgets up to `limit` offers and as many orders that ended and whose last second is before `before`; returns how many.
    /// Until that second a document that was taken back must be known, or it could be put in again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_ended(&self, before: UnixTime, limit: u32) -> Result<u64, StoreError> {
        let before = signed(before.0, "the time")?;
        let mut tx = self.store.begin().await?;
        let mut forgotten = 0;
        for query in [FORGET_OFFERS, FORGET_ORDERS] {
            let gone = sqlx::query(query).bind(before).bind(i64::from(limit)).execute(&mut *tx.inner).await;
            forgotten += gone.doing("forget what ended")?.rows_affected();
        }
        tx.commit().await?;
        Ok(forgotten)
    }
}

impl Tx {
    /// [`Book::move_offer`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn move_offer(&mut self, hash: B256, from: OfferState, to: OfferState) -> Result<(), StoreError> {
        let moved = sqlx::query("UPDATE offer SET state = ? WHERE hash = ? AND state = ?")
            .bind(to.word())
            .bind(hash.as_slice())
            .bind(from.word())
            .execute(&mut *self.inner)
            .await
            .doing("move an offer")?;
        moved_one(moved.rows_affected(), "offer", hash)
    }

    /// [`Book::move_order`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn move_order(&mut self, hash: B256, from: &OrderState, to: &OrderState) -> Result<(), StoreError> {
        let moved = sqlx::query("UPDATE trade_order SET state = ?, detail = ? WHERE hash = ? AND detail = ?")
            .bind(to.word())
            .bind(detail_text(to)?)
            .bind(hash.as_slice())
            .bind(detail_text(from)?)
            .execute(&mut *self.inner)
            .await
            .doing("move an order")?;
        moved_one(moved.rows_affected(), "order", hash)
    }
}

fn offer_from_row(row: &SqliteRow) -> Result<StoredOffer, StoreError> {
    let parts = Parts::from_row(row)?;
    let word: String = row.try_get("state").doing("read an offer")?;
    let offer =
        NewOffer { hash: parts.hash, provider: parts.party, valid_until: parts.valid_until, document: parts.document };
    Ok(StoredOffer { offer, state: OfferState::from_word(&word)?, seq: parts.seq })
}

fn order_from_row(row: &SqliteRow) -> Result<StoredOrder, StoreError> {
    let parts = Parts::from_row(row)?;
    let detail: String = row.try_get("detail").doing("read an order")?;
    let state = serde_json::from_str(&detail)
        .map_err(|error| StoreError::Unreadable { what: "order", problem: error.to_string() })?;
    let order =
        NewOrder { hash: parts.hash, renter: parts.party, valid_until: parts.valid_until, document: parts.document };
    Ok(StoredOrder { order, state, seq: parts.seq })
}

/// The columns both tables have.
struct Parts {
    hash: B256,
    party: Address,
    valid_until: UnixTime,
    document: String,
    seq: u64,
}

impl Parts {
    fn from_row(row: &SqliteRow) -> Result<Self, StoreError> {
        let doing = "read the order book";
        let hash: Vec<u8> = row.try_get("hash").doing(doing)?;
        let party: Vec<u8> = row.try_get("party").doing(doing)?;
        let party = Address::try_from(party.as_slice()).map_err(|_| StoreError::Unreadable {
            what: "document",
            problem: format!("an address of {} bytes", party.len()),
        })?;
        Ok(Self {
            hash: hash_from(&hash, "document")?,
            party,
            valid_until: UnixTime(unsigned(row.try_get("valid_until").doing(doing)?, "document")?),
            document: row.try_get("document").doing(doing)?,
            seq: unsigned(row.try_get("seq").doing(doing)?, "document")?,
        })
    }
}

fn detail_text(state: &OrderState) -> Result<String, StoreError> {
    serde_json::to_string(state).map_err(|source| StoreError::Unwritable { what: "order status", source })
}

fn put_from(rows: u64) -> Put {
    if rows == 1 { Put::New } else { Put::Known }
}

fn moved_one(rows: u64, what: &'static str, hash: B256) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Conflict { what, key: hash.to_string() }) }
}

impl OfferState {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "live" => Ok(Self::Live),
            "cancelled" => Ok(Self::Cancelled),
            "expired" => Ok(Self::Expired),
            other => Err(StoreError::Unreadable { what: "offer", problem: format!("unknown state `{other}`") }),
        }
    }
}

impl OrderState {
    fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Opening { .. } => "opening",
            Self::Filled { .. } => "filled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refused { .. } => "refused",
        }
    }
}

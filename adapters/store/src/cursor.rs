//! How far a follower of the chain has come.

use sqlx::Row;
use sublet_base::B256;

use crate::error::Doing;
use crate::{Store, StoreError, Tx};

/// The last block whose events have all been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Block number.
    pub block: u64,
    /// Block hash, to notice that the chain was replaced.
    pub hash: B256,
}

/// One named position. Move it in the same [`Tx`] as what the events changed, and each event counts exactly once.
#[derive(Clone, Debug)]
pub struct Cursor {
    store: Store,
    name: &'static str,
}

impl Cursor {
    pub(crate) fn new(store: Store, name: &'static str) -> Self {
        Self { store, name }
    }

    /// The stored position, or `None` before the first [`Cursor::advance`].
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn load(&self) -> Result<Option<Position>, StoreError> {
        let row = sqlx::query("SELECT block, hash FROM cursor WHERE name = ?")
            .bind(self.name)
            .fetch_optional(&self.store.pool)
            .await
            .doing("read a cursor")?;
        row.map(|row| {
            let block: i64 = row.try_get("block").doing("read a cursor")?;
            let hash: Vec<u8> = row.try_get("hash").doing("read a cursor")?;
            Ok(Position { block: unsigned(block, "cursor")?, hash: hash_from(&hash, "cursor")? })
        })
        .transpose()
    }

    /// Moves the position forward.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it would move backwards, which [`Cursor::rewind`] is for, or the database fails.
    pub async fn advance(&self, to: Position) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.advance_cursor(self.name, to).await?;
        tx.commit().await
    }

    /// Moves the position back: the blocks after it were replaced. Events since then come again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn rewind(&self, to: Position) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        sqlx::query("UPDATE cursor SET block = ?, hash = ? WHERE name = ?")
            .bind(signed(to.block, "a block number")?)
            .bind(to.hash.as_slice())
            .bind(self.name)
            .execute(&mut *tx.inner)
            .await
            .doing("move a cursor back")?;
        tx.commit().await
    }

    /// Forgets the position, so that the follower starts over.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reset(&self) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        sqlx::query("DELETE FROM cursor WHERE name = ?")
            .bind(self.name)
            .execute(&mut *tx.inner)
            .await
            .doing("reset a cursor")?;
        tx.commit().await
    }
}

impl Tx {
    /// Moves the cursor `name` forward with everything else in this transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it would move backwards, or the database fails.
    pub async fn advance_cursor(&mut self, name: &'static str, to: Position) -> Result<(), StoreError> {
        let moved = sqlx::query(
            "INSERT INTO cursor (name, block, hash) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET block = excluded.block, hash = excluded.hash WHERE cursor.block <= excluded.block",
        )
        .bind(name)
        .bind(signed(to.block, "a block number")?)
        .bind(to.hash.as_slice())
        .execute(&mut *self.inner)
        .await
        .doing("move a cursor")?;
        match moved.rows_affected() {
            0 => Err(StoreError::Conflict { what: "cursor", key: name.to_owned() }),
            _ => Ok(()),
        }
    }
}

/// The database counts in `i64`.
pub(crate) fn signed(value: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange { what })
}

pub(crate) fn unsigned(value: i64, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Unreadable { what, problem: format!("negative number {value}") })
}

pub(crate) fn hash_from(bytes: &[u8], what: &'static str) -> Result<B256, StoreError> {
    B256::try_from(bytes)
        .map_err(|_| StoreError::Unreadable { what, problem: format!("a hash of {} bytes", bytes.len()) })
}

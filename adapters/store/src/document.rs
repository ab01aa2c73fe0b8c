//! JSON documents by collection and key, with atomic compare-and-put.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Doing;
use crate::{Store, StoreError, Tx};

/// Stands for one stored value. Never given twice within a store, not even after a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

/// A value and the revision to hand back when changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<T> {
    /// Its key within the collection.
    pub key: String,
    /// The value.
    pub value: T,
    /// What [`Expect::Exactly`] wants to see.
    pub revision: Revision,
}

/// What must be stored for a change to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Anything,
    /// Nothing.
    Absent,
    /// Exactly the value that was read with this revision.
    Exactly(Revision),
}

/// The documents of one collection.
#[derive(Clone, Debug)]
pub struct Documents {
    store: Store,
    collection: &'static str,
}

impl Documents {
    pub(crate) fn new(store: Store, collection: &'static str) -> Self {
        Self { store, collection }
    }

    /// The document at `key`.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the stored JSON is no `T`, or the database fails.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Document<T>>, StoreError> {
        let row = sqlx::query("SELECT key, revision, value FROM document WHERE collection = ? AND key = ?")
            .bind(self.collection)
            .bind(key)
            .fetch_optional(&self.store.pool)
            .await
            .doing("read a document")?;
        row.as_ref().map(from_row).transpose()
    }

    /// Every document of the collection in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if some stored JSON is no `T`, or the database fails.
    pub async fn list<T: DeserializeOwned>(&self) -> Result<Vec<Document<T>>, StoreError> {
        let rows = sqlx::query("SELECT key, revision, value FROM document WHERE collection = ? ORDER BY key")
            .bind(self.collection)
            .fetch_all(&self.store.pool)
            .await
            .doing("list documents")?;
        rows.iter().map(from_row).collect()
    }

    /// Stores `value` if what is there is as expected.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if not, [`StoreError::Unwritable`], or the database fails.
    pub async fn put<T: Serialize + Sync>(&self, key: &str, value: &T, expect: Expect) -> Result<Revision, StoreError> {
        let mut tx = self.store.begin().await?;
        let revision = tx.put_document(self.collection, key, value, expect).await?;
        tx.commit().await?;
        Ok(revision)
    }

    /// Deletes the document if what is there is as expected. Deleting nothing is fine.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], or the database fails.
    pub async fn delete(&self, key: &str, expect: Expect) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.delete_document(self.collection, key, expect).await?;
        tx.commit().await
    }
}

impl Tx {
    /// [`Documents::put`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn put_document<T: Serialize + Sync>(
        &mut self,
        collection: &'static str,
        key: &str,
        value: &T,
        expect: Expect,
    ) -> Result<Revision, StoreError> {
        let text =
            serde_json::to_string(value).map_err(|source| StoreError::Unwritable { what: "document", source })?;
        self.expect_document(collection, key, expect).await?;
        let next: i64 = sqlx::query_scalar("UPDATE revision SET last = last + 1 RETURNING last")
            .fetch_one(&mut *self.inner)
            .await
            .doing("number a document")?;
        sqlx::query("INSERT OR REPLACE INTO document (collection, key, revision, value) VALUES (?, ?, ?, ?)")
            .bind(collection)
            .bind(key)
            .bind(next)
            .bind(text)
            .execute(&mut *self.inner)
            .await
            .doing("write a document")?;
        Ok(Revision(next))
    }

    /// [`Documents::delete`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_document(
        &mut self,
        collection: &'static str,
        key: &str,
        expect: Expect,
    ) -> Result<(), StoreError> {
        self.expect_document(collection, key, expect).await?;
        sqlx::query("DELETE FROM document WHERE collection = ? AND key = ?")
            .bind(collection)
            .bind(key)
            .execute(&mut *self.inner)
            .await
            .doing("delete a document")?;
        Ok(())
    }

    async fn expect_document(&mut self, collection: &'static str, key: &str, expect: Expect) -> Result<(), StoreError> {
        let wanted = match expect {
            Expect::Anything => return Ok(()),
            Expect::Absent => None,
            Expect::Exactly(revision) => Some(revision.0),
        };
        let found: Option<i64> = sqlx::query_scalar("SELECT revision FROM document WHERE collection = ? AND key = ?")
            .bind(collection)
            .bind(key)
            .fetch_optional(&mut *self.inner)
            .await
            .doing("compare a document")?;
        if found == wanted { Ok(()) } else { Err(StoreError::Conflict { what: collection, key: key.to_owned() }) }
    }
}

fn from_row<T: DeserializeOwned>(row: &SqliteRow) -> Result<Document<T>, StoreError> {
    let doing = "read a document";
    let key: String = row.try_get("key").doing(doing)?;
    let text: String = row.try_get("value").doing(doing)?;
    let value = serde_json::from_str(&text)
        .map_err(|error| StoreError::Unreadable { what: "document", problem: format!("`{key}`: {error}") })?;
    Ok(Document { key, value, revision: Revision(row.try_get("revision").doing(doing)?) })
}

//! The journal of multi-step effects.
//!
//! ```text
//! begin(key) -> open: record(step, Intended), effect, record(step, Done), … -> finish
//!                     undo of an effect, record(step, Undone), …           ─┘
//! ```
//! `Intended` is recorded before the effect, so that after a crash the records name all that may have happened. At start a
//! service reads what [`Journal::open_entries`] has and goes on from there: chain and host say which of it did happen.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use thiserror::Error;

use crate::error::Doing;
use crate::{Store, StoreError, Tx};

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// About to happen; after a crash it may or may not have.
    Intended,
    /// Has happened.
    Done,
    /// Has been taken back, or is known not to have happened.
    Undone,
}

/// One record of a step. The last record of a step is the one that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// The step's name.
    pub step: String,
    /// How far it has come.
    pub state: StepState,
    /// What its undo or its successors need to know: a machine's id, a transaction's hash.
    pub data: Value,
}

/// Whether an effect is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Under way, or left by a crash.
    Open,
    /// Over.
    Finished,
}

/// One multi-step effect and its records, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Names the effect, for instance `lease-7/open`.
    pub key: String,
    /// Which sequence of steps it is.
    pub kind: String,
    /// What the steps work on.
    pub payload: Value,
    /// Whether it is still under way.
    pub state: EntryState,
    /// Its records, oldest first.
    pub steps: Vec<StepRecord>,
}

/// What [`Tx::begin_entry`] found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the effect starts now.
    New,
    /// The same effect, open or over.
    Known,
    /// Another effect, which is set aside: this one starts now.
    Instead,
}

impl Entry {
    /// The payload and what the records say, oldest first.
    ///
    /// # Errors
    /// [`BadEntry`] if another version wrote it.
    pub fn read<P: DeserializeOwned, N: DeserializeOwned>(&self) -> Result<(P, Vec<N>), BadEntry> {
        let read = || {
            let payload = P::deserialize(&self.payload)?;
            let notes = self.steps.iter().map(|record| N::deserialize(&record.data)).collect::<Result<_, _>>()?;
            Ok((payload, notes))
        };
        read().map_err(|source| BadEntry { key: self.key.clone(), source })
    }
}

/// A journal entry that this version cannot read.
#[derive(Debug, Error)]
#[error("the journal entry `{key}` cannot be read")]
pub struct BadEntry {
    key: String,
    #[source]
    source: serde_json::Error,
}

/// The journal of a store.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Store,
}

impl Journal {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Records how far a step has come. Durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::NotOpen`] if no open entry has this key, or the database fails.
    pub async fn record<T: Serialize + Sync>(
        &self,
        key: &str,
        step: &str,
        state: StepState,
        data: &T,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.record_step(key, step, state, data).await?;
        tx.commit().await
    }

    /// Ends the effect.
    ///
    /// # Errors
    /// [`StoreError::NotOpen`] if no open entry has this key, or the database fails.
    pub async fn finish(&self, key: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.finish_entry(key).await?;
        tx.commit().await
    }

    /// The entry with this key, open or not.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn entry(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut connection = self.store.pool.acquire().await.doing("read the journal")?;
        find(&mut connection, key).await
    }

    /// Every effect that has begun and not finished, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], or the database fails.
    pub async fn open_entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.store.pool.acquire().await.doing("read the journal")?;
        let rows =
            sqlx::query("SELECT id, key, kind, payload, state FROM journal_entry WHERE state = 'open' ORDER BY id")
                .fetch_all(&mut *connection)
                .await
                .doing("read the journal")?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            entries.push(load(&mut connection, &row).await?);
        }
        Ok(entries)
    }

    /// Deletes entries that finished at least `seconds` ago by the system's clock, and returns how many.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_finished(&self, seconds: u32) -> Result<u64, StoreError> {
        let mut tx = self.store.begin().await?;
        let gone = sqlx::query("DELETE FROM journal_entry WHERE state <> 'open' AND finished_at <= unixepoch() - ?")
            .bind(i64::from(seconds))
            .execute(&mut *tx.inner)
            .await
            .doing("prune the journal")?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }
}

impl Tx {
    /// Opens the effect `key`, before its first step. `same` says whether what is known under this key is the same effect; if
    /// not, that is ended and kept under another key.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if another version wrote what is known, or the database fails.
    pub async fn begin_entry<T: Serialize + DeserializeOwned + Sync>(
        &mut self,
        key: &str,
        kind: &str,
        payload: &T,
        same: impl FnOnce(&T) -> bool + Send,
    ) -> Result<Begun, StoreError> {
        let found = match find(&mut self.inner, key).await? {
            Some(entry) if entry.kind == kind && same(&from_value(&entry.payload)?) => return Ok(Begun::Known),
            Some(_) => Begun::Instead,
            None => Begun::New,
        };
        if found == Begun::Instead {
            sqlx::query(
                "UPDATE journal_entry SET key = key || ' #' || id, state = 'completed',
                    finished_at = coalesce(finished_at, unixepoch()) WHERE key = ?",
            )
            .bind(key)
            .execute(&mut *self.inner)
            .await
            .doing("set a journal entry aside")?;
        }
        sqlx::query("INSERT INTO journal_entry (key, kind, payload, state) VALUES (?, ?, ?, 'open')")
            .bind(key)
            .bind(kind)
            .bind(to_value(payload)?.to_string())
            .execute(&mut *self.inner)
            .await
            .doing("begin a journal entry")?;
        Ok(found)
    }

    /// [`Journal::record`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn record_step<T: Serialize + Sync>(
        &mut self,
        key: &str,
        step: &str,
        state: StepState,
        data: &T,
    ) -> Result<(), StoreError> {
        let data = to_value(data)?;
        let written = sqlx::query(
            "INSERT INTO journal_step (entry, seq, step, state, data)
             SELECT id, (SELECT coalesce(max(seq), 0) + 1 FROM journal_step WHERE entry = id), ?, ?, ?
             FROM journal_entry WHERE key = ? AND state = 'open'",
        )
        .bind(step)
        .bind(state.word())
        .bind(data.to_string())
        .bind(key)
        .execute(&mut *self.inner)
        .await
        .doing("record a step")?;
        one_row(written.rows_affected(), key)
    }

    /// [`Journal::finish`] as part of this transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn finish_entry(&mut self, key: &str) -> Result<(), StoreError> {
        let written = sqlx::query(
            "UPDATE journal_entry SET state = 'completed', finished_at = unixepoch() WHERE key = ? AND state = 'open'",
        )
        .bind(key)
        .execute(&mut *self.inner)
        .await
        .doing("finish a journal entry")?;
        one_row(written.rows_affected(), key)
    }
}

async fn find(connection: &mut SqliteConnection, key: &str) -> Result<Option<Entry>, StoreError> {
    let row = sqlx::query("SELECT id, key, kind, payload, state FROM journal_entry WHERE key = ?")
        .bind(key)
        .fetch_optional(&mut *connection)
        .await
        .doing("read the journal")?;
    match row {
        Some(row) => load(connection, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn load(connection: &mut SqliteConnection, row: &SqliteRow) -> Result<Entry, StoreError> {
    let doing = "read the journal";
    let id: i64 = row.try_get("id").doing(doing)?;
    let rows = sqlx::query("SELECT step, state, data FROM journal_step WHERE entry = ? ORDER BY seq")
        .bind(id)
        .fetch_all(connection)
        .await
        .doing(doing)?;
    let steps = rows.iter().map(step_from_row).collect::<Result<_, _>>()?;
    let (payload, state): (String, String) = (row.try_get("payload").doing(doing)?, row.try_get("state").doing(doing)?);
    Ok(Entry {
        key: row.try_get("key").doing(doing)?,
        kind: row.try_get("kind").doing(doing)?,
        payload: from_text(&payload)?,
        state: EntryState::from_word(&state)?,
        steps,
    })
}

fn step_from_row(row: &SqliteRow) -> Result<StepRecord, StoreError> {
    let doing = "read the journal";
    let (state, data): (String, String) = (row.try_get("state").doing(doing)?, row.try_get("data").doing(doing)?);
    let state = StepState::from_word(&state)?;
    Ok(StepRecord { step: row.try_get("step").doing(doing)?, state, data: from_text(&data)? })
}

fn one_row(rows: u64, key: &str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::NotOpen { key: key.to_owned() }) }
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Unwritable { what: "journal entry", source })
}

fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, StoreError> {
    T::deserialize(value).map_err(|error| StoreError::Unreadable { what: "journal entry", problem: error.to_string() })
}

fn from_text(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable { what: "journal entry", problem: error.to_string() })
}

fn unknown_word(word: &str) -> StoreError {
    StoreError::Unreadable { what: "journal entry", problem: format!("unknown state `{word}`") }
}

impl StepState {
    fn word(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "intended" => Ok(Self::Intended),
            "done" => Ok(Self::Done),
            "undone" => Ok(Self::Undone),
            other => Err(unknown_word(other)),
        }
    }
}

impl EntryState {
    fn from_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "open" => Ok(Self::Open),
            "completed" => Ok(Self::Finished),
            other => Err(unknown_word(other)),
        }
    }
}

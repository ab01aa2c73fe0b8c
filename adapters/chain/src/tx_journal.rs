//! What a transaction sender must not forget: every signed transaction, on disk before it is sent.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Bytes, keccak256};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, U256};
use sublet_daemon::{create_private_dir, write_private};
use thiserror::Error;

/// Which chain and account a record is about, and the caller's name for the effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TxId {
    /// Hash of the chain's first block, so that a local chain that was reset is another chain.
    pub chain: B256,
    /// The sending account.
    pub account: Address,
    /// The caller's key, for instance `lease-7/start`.
    pub key: String,
}

/// One signed form of a transaction. Later attempts offer more for the gas; at most one is ever mined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// The signed bytes.
    pub raw: Bytes,
    /// Highest fee offered, wei per gas.
    pub max_fee: u128,
    /// Tip offered, wei per gas.
    pub tip: u128,
}

/// How a transaction ended. Absent in a record: not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Mined and went through.
    Landed {
        /// The attempt that was mined.
        tx: B256,
    },
    /// Mined and refused by the contract: it changed nothing.
    Reverted {
        /// The attempt that was mined.
        tx: B256,
    },
    /// Another transaction took its number: it changed nothing and never will.
    Replaced,
}

/// Everything needed to find out about a transaction, to send it again, or to offer more for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxRecord {
    /// What it is.
    pub id: TxId,
    /// Its number among the account's transactions.
    pub nonce: u64,
    /// Receiver; none creates a contract.
    pub to: Option<Address>,
    /// Wei sent along.
    pub value: U256,
    /// Call data.
    pub data: Bytes,
    /// Gas limit.
    pub gas: u64,
    /// Signed forms, oldest first.
    pub attempts: Vec<Attempt>,
    /// How it ended, once that is certain.
    pub outcome: Option<Outcome>,
    /// Whether its key lasts ([`crate::TxKey::lasting`]). Records that do not say are kept.
    #[serde(default = "lasting")]
    pub keep: bool,
}

fn lasting() -> bool {
    true
}

/// The journal could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {doing} the transaction journal at {place}")]
pub struct TxJournalError {
    /// What was tried.
    pub doing: &'static str,
    /// Where.
    pub place: String,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Durable memory of a sender. Implement it over any store; [`DirTxJournal`] keeps one file a record.
#[async_trait]
pub trait TxJournal: Send + Sync + std::fmt::Debug {
    /// Stores the record, replacing one with the same id. Durable when this returns.
    async fn save(&self, record: &TxRecord) -> Result<(), TxJournalError>;
    /// The record with this id.
    async fn load(&self, id: &TxId) -> Result<Option<TxRecord>, TxJournalError>;
    /// Records of this chain and account without an outcome, in the order of their nonces.
    async fn pending(&self, chain: B256, account: Address) -> Result<Vec<TxRecord>, TxJournalError>;
    /// Forgets the record; forgetting nothing is fine.
    async fn remove(&self, id: &TxId) -> Result<(), TxJournalError>;
}

/// One file a record in a folder of its own (mode 0700). One process at a time may use a folder.
#[derive(Clone, Debug)]
pub struct DirTxJournal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    records: Mutex<HashMap<TxId, TxRecord>>,
    _lock: File,
}

impl DirTxJournal {
    /// Opens the folder, creating it, and reads what is there.
    ///
    /// # Errors
    /// [`TxJournalError`] if it cannot be read, or another process has it open.
    pub fn open(folder: &Path) -> Result<Self, TxJournalError> {
        let failed = |doing| move |source: std::io::Error| error(doing, folder, source);
        create_private_dir(folder).map_err(|source| error("create", folder, source))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed("lock"))?;
        lock.try_lock().map_err(|_| error("lock", folder, "another process is using it"))?;
        let mut records = HashMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed("read"))? {
            let path = entry.map_err(failed("read"))?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let bytes = std::fs::read(&path).map_err(failed("read"))?;
                let record: TxRecord = serde_json::from_slice(&bytes).map_err(|source| error("read", &path, source))?;
                records.insert(record.id.clone(), record);
            }
        }
        Ok(Self { shared: Arc::new(Shared { folder: folder.to_owned(), records: Mutex::new(records), _lock: lock }) })
    }
}

impl Shared {
    fn path(&self, id: &TxId) -> PathBuf {
        let name = keccak256([id.chain.as_slice(), id.account.as_slice(), id.key.as_bytes()].concat());
        self.folder.join(format!("{}.json", alloy::hex::encode(&name[..16])))
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<TxId, TxRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: &TxRecord) -> Result<(), TxJournalError> {
        let path = self.path(&record.id);
        let bytes = serde_json::to_vec(record).map_err(|source| error("write", &path, source))?;
        write_private(&path, &bytes).map_err(|source| error("write", &path, source))
    }
}

#[async_trait]
impl TxJournal for DirTxJournal {
    async fn save(&self, record: &TxRecord) -> Result<(), TxJournalError> {
        let (shared, record) = (Arc::clone(&self.shared), record.clone());
        let saved = tokio::task::spawn_blocking(move || {
            shared.write(&record)?;
            shared.records().insert(record.id.clone(), record);
            Ok(())
        });
        saved.await.map_err(|source| error("write", &self.shared.folder, source))?
    }

    async fn load(&self, id: &TxId) -> Result<Option<TxRecord>, TxJournalError> {
        Ok(self.shared.records().get(id).cloned())
    }

    async fn pending(&self, chain: B256, account: Address) -> Result<Vec<TxRecord>, TxJournalError> {
        let records = self.shared.records();
        let ours = |r: &&TxRecord| r.id.chain == chain && r.id.account == account && r.outcome.is_none();
        let mut pending: Vec<_> = records.values().filter(ours).cloned().collect();
        pending.sort_by_key(|record| record.nonce);
        Ok(pending)
    }

    async fn remove(&self, id: &TxId) -> Result<(), TxJournalError> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        let removed = tokio::task::spawn_blocking(move || {
            shared.records().remove(&id);
            match std::fs::remove_file(shared.path(&id)) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(error("prune", &shared.folder, source))
                }
                _ => Ok(()),
            }
        });
        removed.await.map_err(|source| error("prune", &self.shared.folder, source))?
    }
}

fn error(
    doing: &'static str,
    place: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TxJournalError {
    TxJournalError { doing, place: place.display().to_string(), source: source.into() }
}

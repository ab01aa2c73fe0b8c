//! Opening the database file, and transactions on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep};

use crate::error::Doing;
use crate::{Book, Cursor, Documents, Journal, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
const CONNECTIONS: u32 = 4;
const BUSY: Duration = Duration::from_secs(5);

/// An open database file. Clones share it; the file stays locked against other processes until the last one is dropped.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: SqlitePool,
    writer: Arc<Mutex<()>>,
    path: Arc<PathBuf>,
    _lock: Arc<File>,
}

/// Writes that land together or not at all. Dropped without [`Tx::commit`], nothing has happened.
///
/// One at a time: a second [`Store::begin`] waits for the first transaction to end.
#[derive(Debug)]
pub struct Tx {
    pub(crate) inner: sqlx::Transaction<'static, sqlx::Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Opens the store at `path`, creating it (mode 0600, folders too) and bringing its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::OtherVersion`] if a later version wrote it,
    /// [`StoreError::Full`], [`StoreError::Damaged`], [`StoreError::Open`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = prepare(path, Sharing::Alone)?;
        Self::connect(path, lock).await
    }

    /// Opens the database at `path` together with other processes that open it this way, creating it if it is missing.
    ///
    /// Writes of all of them land one after the other; what one reads, another may have changed since.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::InUse`] only if a process has it open alone.
    pub async fn open_shared(path: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + BUSY;
        let lock = loop {
            match prepare(path, Sharing::Among) {
                Err(StoreError::InUse { .. }) if Instant::now() < deadline => sleep(BUSY / 500).await,
                prepared => break prepared?,
            }
        };
        let store = Self::connect(path, lock).await?;
        // Whoever came first has made the tables; from here on others may come in.
        store._lock.lock_shared().map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Ok(store)
    }

    async fn connect(path: &Path, lock: File) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .after_release(|connection, _| {
                Box::pin(async move {
                    // First whatever rollback is due. A full disk may have made SQLite roll back by itself; then that failed, and
                    // the connection would think for ever that it is within a transaction.
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options)
            .await
            .doing("open the database")?;
        MIGRATIONS.run(&pool).await.map_err(|source| migration_error(path, source))?;
        Ok(Self { pool, writer: Arc::default(), path: Arc::new(path.to_owned()), _lock: Arc::new(lock) })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal of multi-step effects.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(self.clone())
    }

    /// The documents of one collection.
    #[must_use]
    pub fn documents(&self, collection: &'static str) -> Documents {
        Documents::new(self.clone(), collection)
    }

    /// The block cursor called `name`.
    #[must_use]
    pub fn cursor(&self, name: &'static str) -> Cursor {
        Cursor::new(self.clone(), name)
    }

    /// The order book.
    #[must_use]
    pub fn book(&self) -> Book {
        Book::new(self.clone())
    }

    /// Starts a transaction; waits while another one is open.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Damaged`], [`StoreError::Database`].
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let inner = self.pool.begin_with("BEGIN IMMEDIATE").await.doing("begin a transaction")?;
        Ok(Tx { inner, _turn: turn })
    }

    /// Closes the database, folding the write-ahead log into the file. Later calls on any clone fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx {
    /// Makes everything written through this transaction durable.
    ///
    /// # Errors
    /// As for any write; then nothing of it has been stored.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await.doing("commit a transaction")
    }
}

/// With whom a database file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// With no other process.
    Alone,
    /// With processes that ask for the same.
    Among,
}

/// Creates the folder and the file with tight permissions, and takes the lock that keeps other processes out, or at
/// least those that do not share. The first that shares keeps all others waiting until it has made the tables.
fn prepare(path: &Path, sharing: Sharing) -> Result<File, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Open { path, source }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let private = |truncate| OpenOptions::new().create(true).write(true).truncate(truncate).mode(0o600).to_owned();
    let lock = private(true).open(&lock_path).map_err(at(&lock_path))?;
    let taken = match (lock.try_lock(), sharing) {
        (Err(TryLockError::WouldBlock), Sharing::Among) => lock.try_lock_shared(),
        (taken, _) => taken,
    };
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(StoreError::Open { path: lock_path, source }),
    }
    private(false).open(path).map_err(at(path))?;
    Ok(lock)
}

fn migration_error(path: &Path, source: MigrateError) -> StoreError {
    match source {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            StoreError::database("bring the tables up to date", source)
        }
        source => StoreError::OtherVersion { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{Address, B256, UnixTime};

    use super::*;
    use crate::NewOrder;

    /// As a full disk does.
    #[tokio::test]
    async fn a_transaction_that_the_database_rolled_back_by_itself_costs_a_connection_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("test.db")).await.expect("opens");
        let mut broken = store.begin().await.expect("begins");
        sqlx::query("ROLLBACK").execute(&mut *broken.inner).await.expect("rolled back");
        broken.commit().await.expect_err("there is nothing to commit");
        for _ in 0..2 * CONNECTIONS {
            store.begin().await.expect("begins").commit().await.expect("commits");
        }
    }

    /// A book of the version before knew orders without terms.
    #[tokio::test]
    async fn orders_that_name_no_terms_do_not_outlive_the_version_that_took_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book.db");
        let order = |byte: u8, document: &str| NewOrder {
            hash: B256::repeat_byte(byte),
            renter: Address::repeat_byte(1),
            valid_until: UnixTime(9),
            document: document.to_owned(),
        };
        let (old, new) = (order(1, r#"{"order":{"nonce":"0x1"}}"#), order(2, r#"{"order":{"min_pledge_bps":10000}}"#));
        let store = Store::open(&path).await.expect("opens");
        for order in [&old, &new] {
            store.book().put_order(order).await.expect("puts");
        }
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 2").execute(&store.pool).await.expect("forgets");
        store.close().await;
        drop(store);
        let orders = Store::open(&path).await.expect("opens").book().live_orders().await.expect("reads");
        assert_eq!(orders.into_iter().map(|stored| stored.order).collect::<Vec<_>>(), [new]);
    }
}

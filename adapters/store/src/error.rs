//! What can go wrong with a store, and whether trying again can help.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;
use thiserror::Error;

/// A failed operation on a [`crate::Store`]. After any of these nothing of the operation has been stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system has no room left.
    #[error("the disk is full: could not {doing}; free some space and try again")]
    Full {
        /// The operation.
        doing: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The file was written by a later version of this program, or its migrations were tampered with.
    #[error("{} was written by another version of this program", path.display())]
    OtherVersion {
        /// The database file.
        path: PathBuf,
        /// Which migration disagrees.
        #[source]
        source: MigrateError,
    },
    /// The file is damaged or is not a database.
    #[error("the stored data is damaged: could not {doing}")]
    Damaged {
        /// The operation.
        doing: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// A stored row that this version cannot read back.
    #[error("a stored {what} cannot be read: {problem}")]
    Unreadable {
        /// Which kind of row.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that cannot be written as JSON.
    #[error("a {what} cannot be stored as JSON")]
    Unwritable {
        /// Which kind of value.
        what: &'static str,
        /// The encoder's error.
        #[source]
        source: serde_json::Error,
    },
    /// Somebody else changed it first: read again, decide again.
    #[error("{what} `{key}` has changed meanwhile")]
    Conflict {
        /// Which kind of thing.
        what: &'static str,
        /// Its key.
        key: String,
    },
    /// No journal entry with this key is open.
    #[error("no open journal entry `{key}`")]
    NotOpen {
        /// The key.
        key: String,
    },
    /// A number too large for the database, which counts to 2^63 - 1.
    #[error("{what} is out of range")]
    OutOfRange {
        /// Which number.
        what: &'static str,
    },
    /// The file or its folder cannot be created or opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Anything else the database reports.
    #[error("could not {doing}")]
    Database {
        /// The operation.
        doing: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
}

const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;
/// "Cannot grow the shared-memory file", which is what a full disk looks like before the first write.
const SQLITE_IOERR_SHMSIZE: i32 = 4874;

impl StoreError {
    /// True if the same call may succeed later without anybody changing the program or its data.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::InUse { .. } | Self::Database { .. })
    }

    /// True if there was no room on the disk: the same call works once there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Sorts a database error by what a person can do about it.
    pub(crate) fn database(doing: &'static str, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
        match code {
            Some(SQLITE_IOERR_SHMSIZE) => Self::Full { doing, source },
            Some(extended) => match extended & 0xff {
                SQLITE_FULL => Self::Full { doing, source },
                SQLITE_CORRUPT | SQLITE_NOTADB => Self::Damaged { doing, source },
                _ => Self::Database { doing, source },
            },
            None => Self::Database { doing, source },
        }
    }
}

/// Adds the operation's name to a database error.
pub(crate) trait Doing<T> {
    /// Names the operation, as in "could not `doing`".
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::database(doing, source))
    }
}

//! What can go wrong with the store, in sentences that a user can act on.

use experiment_spec::ids::{AttemptNumber, StepId};

/// Result of a query.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// `SQLite` result codes that get their own sentence (<https://sqlite.org/rescode.html>).
const SQLITE_BUSY: i32 = 5;
const SQLITE_READONLY: i32 = 8;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;
/// The shared memory beside the write-ahead log could not grow: there was no room for it.
const SQLITE_IOERR_SHMSIZE: i32 = 4_874;

/// Why the store did not do as it was asked. Nothing of the transaction was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the disk that holds orchestrator.db is full")]
    Full,
    #[error("orchestrator.db cannot be written: the folder or the file is read-only")]
    ReadOnly,
    #[error("another program keeps orchestrator.db locked")]
    Busy,
    #[error("orchestrator.db is damaged: {0}")]
    Damaged(String),
    #[error("the disk that holds orchestrator.db does not work: {0}")]
    Disk(#[source] sqlx::Error),
    #[error("step {step} is no longer {state} in attempt {attempt}")]
    Guard { step: StepId, state: &'static str, attempt: AttemptNumber },
    #[error("orchestrator.db was closed")]
    Closed,
    #[error("the store refused a query: {0}")]
    Query(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolClosed) {
            return Self::Closed;
        }
        let code = match &error {
            sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
            _ => None,
        };
        // Extended codes keep the primary one in their lowest byte.
        match code.map(|code| if code == SQLITE_IOERR_SHMSIZE { SQLITE_FULL } else { code & 0xff }) {
            Some(SQLITE_FULL) => Self::Full,
            Some(SQLITE_READONLY) => Self::ReadOnly,
            Some(SQLITE_BUSY) => Self::Busy,
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Self::Damaged(error.to_string()),
            Some(SQLITE_IOERR) => Self::Disk(error),
            _ => Self::Query(error),
        }
    }
}

/// A value in the store that the vocabulary does not know: the file was changed from outside.
pub(crate) fn damaged(what: &str, found: &str) -> StoreError {
    StoreError::Damaged(format!("{what} `{}`", found.chars().take(80).collect::<String>()))
}

//! The file `orchestrator.db`: opened, migrated, closed. Every setting is spelled out.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::error::{Result, StoreError};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a connection waits for another one's lock. Only backups and people with `sqlite3` compete.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of the write-ahead log after which it is moved into the file: 16 MiB, so that a page which many commits change is
/// moved once for all of them.
const WAL_PAGES: &str = "4000";
/// Most memory for pages that a reading connection keeps, in KiB with the minus sign that means them.
const READER_CACHE: &str = "-32768";
/// The same of the writing connection: with a million runs queued, what a life-cycle touches is read again and again with less.
const WRITER_CACHE: &str = "-262144";
/// Statements that a connection keeps prepared: those of batches come in eight lengths each.
const PREPARED_STATEMENTS: usize = 300;
/// Connections that read; more than the cores of a small coordinator would only wait for the disk.
const MAX_READERS: u32 = 8;
/// How long a request waits for a reading connection.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("it was written by a newer program (schema step {0})")]
    Newer(i64),
    #[error("schema step {0} differs from this program's: another build wrote it")]
    Other(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MigrateError> for DatabaseError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(step) => Self::Newer(step),
            MigrateError::VersionMismatch(step) => Self::Other(step),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::Store(error.into()),
            other => Self::Store(StoreError::Damaged(other.to_string())),
        }
    }
}

/// Opens the file, making it when it is not there, and brings it to the present schema.
pub(crate) async fn open(path: &Path) -> std::result::Result<(SqliteConnection, SqlitePool), DatabaseError> {
    let mut writer =
        SqliteConnection::connect_with(&writing(path).create_if_missing(true)).await.map_err(StoreError::from)?;
    check_integrity(&mut writer).await?;
    MIGRATIONS.run(&mut writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .acquire_timeout(READER_TIMEOUT)
        .connect_with(options(path).pragma("query_only", "ON"))
        .await
        .map_err(StoreError::from)?;
    Ok((writer, readers))
}

fn writing(path: &Path) -> SqliteConnectOptions {
    options(path).pragma("cache_size", WRITER_CACHE)
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // Every commit is on the disk before it is acknowledged, also through a power loss.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("cache_size", READER_CACHE)
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(PREPARED_STATEMENTS)
}

/// Looks for damage in the file: pages and records, not whether each index agrees with its table.
pub(super) async fn check_integrity(db: &mut SqliteConnection) -> Result<()> {
    let found: Vec<String> = match sqlx::query_scalar("PRAGMA quick_check(3)").fetch_all(&mut *db).await {
        Ok(found) => found,
        Err(error) => match StoreError::from(error) {
            StoreError::Damaged(why) => vec![why],
            other => return Err(other),
        },
    };
    if found == ["ok"] {
        return Ok(());
    }
    Err(StoreError::Damaged(format!("{}; `orchestrator restore` brings a backup back", found.join("; "))))
}

/// Refuses a database that a newer program wrote.
pub(super) async fn check_version(db: &mut SqliteConnection) -> std::result::Result<(), DatabaseError> {
    let latest: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(db)
        .await
        .map_err(|_| StoreError::Damaged("it has no list of schema steps".to_owned()))?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    match latest {
        Some(latest) if Some(latest) > known => Err(DatabaseError::Newer(latest)),
        _ => Ok(()),
    }
}

/// A new writing connection in place of one that failed: on some failures `SQLite` ends the transaction by
/// itself, and the connection that counts its transactions cannot be used any more.
pub(crate) async fn reconnect(readers: &SqlitePool) -> Result<SqliteConnection> {
    let path = readers.connect_options().get_filename().to_owned();
    Ok(SqliteConnection::connect_with(&writing(&path)).await?)
}

/// Moves the write-ahead log into the file and closes it.
pub(crate) async fn close(mut writer: SqliteConnection, readers: SqlitePool) -> Result<()> {
    readers.close().await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer).await?;
    writer.close().await?;
    Ok(())
}

//! Copies of the database, and what must be copied along.

use std::path::Path;

use experiment_spec::ids::ContentHash;
use sqlx::{Connection, SqliteConnection};

use super::{
    database::{self, DatabaseError},
    error::{StoreError, damaged},
};

/// What a database names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) submissions: u64,
    pub(crate) steps: u64,
    /// Artifacts, and files of programs.
    pub(crate) blobs: Vec<ContentHash>,
    /// Contents of checkpoints that steps may go on from.
    pub(crate) checkpoints: Vec<ContentHash>,
}

/// Writes the database as it is now to a new file, in one piece; others may go on writing.
pub(crate) async fn snapshot(from: &Path, to: &Path) -> Result<(), DatabaseError> {
    let mut db = SqliteConnection::connect_with(&database::options(from)).await.map_err(StoreError::from)?;
    database::check_version(&mut db).await?;
    sqlx::query("VACUUM INTO ?1").bind(to.to_string_lossy()).execute(&mut db).await.map_err(StoreError::from)?;
    db.close().await.map_err(StoreError::from)?;
    Ok(())
}

/// Checks a database that nobody works on, and says what it names.
pub(crate) async fn named(path: &Path) -> Result<Named, DatabaseError> {
    let options = database::options(path).read_only(true).immutable(true);
    let mut db = SqliteConnection::connect_with(&options).await.map_err(StoreError::from)?;
    database::check_version(&mut db).await?;
    database::check_integrity(&mut db).await?;
    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql);
    let submissions = count("SELECT COUNT(*) FROM submissions").fetch_one(&mut db).await.map_err(StoreError::from)?;
    let steps = count("SELECT COUNT(*) FROM steps").fetch_one(&mut db).await.map_err(StoreError::from)?;
    let (blobs, checkpoints) = contents(&mut db).await?;
    Ok(Named { submissions: submissions.cast_unsigned(), steps: steps.cast_unsigned(), blobs, checkpoints })
}

/// What a database names that others may be at work on: contents, and contents of checkpoints.
pub(crate) async fn named_now(path: &Path) -> Result<(Vec<ContentHash>, Vec<ContentHash>), DatabaseError> {
    let mut db = SqliteConnection::connect_with(&database::options(path)).await.map_err(StoreError::from)?;
    database::check_version(&mut db).await?;
    contents(&mut db).await
}

/// What is wrong with a database, each index against its table and each reference against what it names; and the contents
/// that it names.
pub(crate) async fn verified(path: &Path) -> Result<(Vec<String>, Vec<ContentHash>), DatabaseError> {
    let mut db = SqliteConnection::connect_with(&database::options(path)).await.map_err(StoreError::from)?;
    database::check_version(&mut db).await?;
    let mut wrong: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut db).await.map_err(StoreError::from)?;
    wrong.retain(|line| line != "ok");
    let dangling: Vec<(String, Option<i64>, String)> =
        sqlx::query_as("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check")
            .fetch_all(&mut db)
            .await
            .map_err(StoreError::from)?;
    wrong.extend(dangling.into_iter().map(|(table, row, parent)| {
        format!(
            "row {} of {table} names what is not in {parent}",
            row.map_or_else(|| "?".to_owned(), |row| row.to_string())
        )
    }));
    let (named, _) = contents(&mut db).await?;
    Ok((wrong, named))
}

async fn contents(db: &mut SqliteConnection) -> Result<(Vec<ContentHash>, Vec<ContentHash>), DatabaseError> {
    // A database of an older schema that nobody has opened since has no keep rules and no checkpoints.
    let rules = "SELECT name FROM pragma_table_info('artifacts') WHERE name = 'removed_at_ms'";
    let artifacts = if exists(db, rules).await? {
        "SELECT DISTINCT hash FROM artifacts WHERE removed_at_ms IS NULL"
    } else {
        "SELECT DISTINCT hash FROM artifacts"
    };
    let artifacts = hashes(db, artifacts).await?;
    let programs =
        "SELECT DISTINCT file.value ->> 'hash' FROM steps, json_each(steps.spec_json, '$.run.program.files') AS file";
    let mut blobs = [artifacts, hashes(db, programs).await?].concat();
    blobs.sort_unstable();
    blobs.dedup();
    let checkpoints = if exists(db, "SELECT name FROM pragma_table_list WHERE name = 'checkpoints'").await? {
        hashes(db, "SELECT DISTINCT hash FROM checkpoints ORDER BY 1").await?
    } else {
        Vec::new()
    };
    Ok((blobs, checkpoints))
}

async fn exists(db: &mut SqliteConnection, name: &'static str) -> Result<bool, DatabaseError> {
    let found: Option<String> = sqlx::query_scalar(name).fetch_optional(db).await.map_err(StoreError::from)?;
    Ok(found.is_some())
}

async fn hashes(db: &mut SqliteConnection, sql: &'static str) -> Result<Vec<ContentHash>, DatabaseError> {
    let hashes: Vec<String> = sqlx::query_scalar(sql).fetch_all(db).await.map_err(StoreError::from)?;
    let read = |hash: String| hash.parse().map_err(|_| DatabaseError::from(damaged("hash of a content", &hash)));
    hashes.into_iter().map(read).collect()
}

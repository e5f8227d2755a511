//! Table `artifacts`: which contents go by a keep rule, and the rows that say so.

use std::time::Duration;

use experiment_spec::ids::{ContentHash, StepId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    error::{Result, damaged},
    rows,
    transitions::{self, Line},
};
use crate::keep::{Keep, Rule};

/// Most contents that go at a time: each is a row to write and a file to remove.
const MAX_AT_ONCE: u32 = 500;

/// A content of a step that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) step: StepId,
    pub(crate) hash: ContentHash,
}

/// What goes by a rule at this time, the oldest first; never all of one content but for some of its rows.
pub(crate) async fn due(db: &SqlitePool, rule: Rule, now_ms: i64) -> Result<Vec<Due>> {
    let before = |time: Duration| now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let by_time = "SELECT step_id, hash FROM artifacts
                   WHERE removed_at_ms IS NULL AND name = ?1 AND accepted_at_ms <= ?2 ORDER BY accepted_at_ms LIMIT ?3";
    let by_size =
        "WITH contents AS (SELECT hash, MAX(bytes) AS bytes, MAX(accepted_at_ms) AS accepted_at_ms FROM artifacts
                                     WHERE removed_at_ms IS NULL AND name = ?1 GROUP BY hash),
                        placed AS (SELECT hash, SUM(bytes) OVER (ORDER BY accepted_at_ms DESC, hash) AS with_newer
                                   FROM contents)
                   SELECT artifacts.step_id, artifacts.hash FROM artifacts JOIN placed USING (hash)
                   WHERE removed_at_ms IS NULL AND name = ?1 AND with_newer > ?2 ORDER BY accepted_at_ms LIMIT ?3";
    let (sql, limit) = match rule.keep {
        Keep::All => return Ok(Vec::new()),
        Keep::Nothing => (by_time, now_ms),
        Keep::For(time) => (by_time, before(time)),
        Keep::Newest(bytes) => (by_size, bytes.cast_signed()),
    };
    let found: Vec<(i64, String)> =
        sqlx::query_as(sql).bind(rule.name).bind(limit).bind(MAX_AT_ONCE).fetch_all(db).await?;
    let due = found.into_iter().map(|(step, hash)| {
        let hash = hash.parse().map_err(|_| damaged("hash of an artifact", &hash))?;
        Ok(Due { step: StepId(step), hash })
    });
    due.collect()
}

/// Notes that contents are kept no more, each in the history of its step. Returns those that nothing names now.
pub(crate) async fn set_removed(
    db: &mut SqliteConnection,
    rule: Rule,
    due: &[Due],
    now_ms: i64,
) -> Result<Vec<ContentHash>> {
    let sql = (
        "UPDATE artifacts SET removed_at_ms = new.column2 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND artifacts.step_id = new.column1 AND artifacts.name = new.column3
             AND artifacts.removed_at_ms IS NULL",
    );
    rows::execute(db, sql, due, 3, |row, of| {
        row.push_bind(of.step.0).push_bind(now_ms).push_bind(rule.name);
    })
    .await?;
    let sentence = format!("its {} is kept no more (`{} {}`)", rule.name, rule.option, rule.keep);
    let line = |of: &Due| Line::of_step(of.step, sentence.clone(), now_ms);
    transitions::history_all(db, &due.iter().map(line).collect::<Vec<_>>()).await?;
    let mut unnamed: Vec<ContentHash> = due.iter().map(|of| of.hash).collect();
    unnamed.sort_unstable();
    unnamed.dedup();
    let still: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT hash FROM artifacts
         WHERE removed_at_ms IS NULL AND hash IN (SELECT value FROM json_each(?1))",
    )
    .bind(serde_json::to_string(&unnamed.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("a list of texts"))
    .fetch_all(db)
    .await?;
    unnamed.retain(|hash| !still.contains(&hash.to_string()));
    Ok(unnamed)
}

/// Bytes of the database that are in use: pages that were given free are written again before the file grows.
pub(crate) async fn database_bytes(db: &SqlitePool) -> Result<u64> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT (pages.page_count - free.freelist_count) * size.page_size
         FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size",
    )
    .fetch_one(db)
    .await?;
    Ok(bytes.cast_unsigned())
}

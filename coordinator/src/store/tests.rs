//! Queries with limits, on a freshly migrated file.

use experiment_spec::{
    ids::{AttemptNumber, StepId},
    run::Resources,
};
use sqlx::{Connection, SqliteConnection, SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{
    attempts, database,
    logs::{self, MAX_LINES, NewLine},
    metrics::{self, NewPoint},
    snapshot,
};

const STEP: &str =
    "INSERT INTO steps (kind, fingerprint, nonce, method, data_set, seed, spec_json, resources_json, state,
                        attempt, retries, retries_left, not_before_ms, order_submission, order_position, created_at_ms,
                        changed_at_ms)
     VALUES ('run', 'f', 0, 'm', 'd', 1, '{}', '{}', 'queued', 0, 0, 0, 0, 1, 0, 0, 0)";

/// The same in the present schema.
const PRESENT_STEP: &str =
    "INSERT INTO steps (kind, fingerprint, nonce, method, data_set, seed, spec_json, resources_json, state,
                        attempt, retries, retries_left, not_before_ms, created_at_ms, changed_at_ms)
     VALUES ('run', 'f', 0, 'm', 'd', 1, '{}', '{}', 'queued', 0, 0, 0, 0, 0, 0)";

/// A store with one step, number 1.
pub(super) async fn store() -> (TempDir, SqliteConnection, SqlitePool) {
    let home = tempfile::tempdir().unwrap();
    let (mut db, readers) = database::open(&home.path().join("orchestrator.db")).await.unwrap();
    sqlx::query(PRESENT_STEP).execute(&mut db).await.unwrap();
    (home, db, readers)
}

/// A result as it was stored before there was a view of scores.
const SCORED: &str = r#"{"scores":[{"task":"image-to-text","normalisation":"none","map":0.25,"per_category":[],
    "precision_recall":[],"tied_share":0.0}],"kind":"cpu","selected_iteration":0,"facts":{}}"#;

#[tokio::test]
async fn the_store_of_every_schema_before_keeps_what_is_in_it() {
    for steps in 1..database::MIGRATIONS.iter().count() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("orchestrator.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        let first = database::MIGRATIONS.iter().take(steps).cloned().collect();
        Migrator { migrations: first, ..Migrator::DEFAULT }.run(&mut db).await.unwrap();
        for statement in [
            if steps < 7 { STEP } else { PRESENT_STEP },
            "INSERT INTO workers (name, host, cpus, gpus_json, memory_bytes, kind, program_version, state,
                                  last_sequence, registered_at_ms, last_seen_ms)
             VALUES ('w', 'h', 1, '[]', 0, 'cpu', '0.1.0', 'lost', 0, 0, 0)",
            "INSERT INTO attempts (step_id, number, worker_id, cpus, gpu_share_milli, memory_bytes, assigned_at_ms, kind)
             VALUES (1, 1, 1, 1, 0, 0, 7, 'cpu avx2 0.1.0')",
            "INSERT INTO submissions (name, file_name, yaml, text_hash, client_version, tables_json, already_scored,
                                      created_at_ms)
             VALUES ('s', 'f', '', '', '', '[]', 0, 0)",
            "INSERT INTO submission_steps (submission_id, position, step_id, label) VALUES (1, 3, 1, 'l')",
        ] {
            sqlx::query(statement).execute(&mut db).await.unwrap();
        }
        let resources = serde_json::to_string(&Resources::default()).unwrap();
        sqlx::query("UPDATE steps SET resources_json = ?1").bind(resources).execute(&mut db).await.unwrap();
        let result = "INSERT INTO results (step_id, attempt, scores_json, seconds) VALUES (1, 1, ?1, 2)";
        sqlx::query(result).bind(SCORED).execute(&mut db).await.unwrap();
        if steps < 6 {
            for task in ["image->text", "text->image"] {
                let score = "INSERT INTO scores (step_id, task, normalisation, map, tied_share) VALUES (1, ?1, 'none', 0.25, 0)";
                sqlx::query(score).bind(task).execute(&mut db).await.unwrap();
            }
        }
        db.close().await.unwrap();

        let (_db, readers) = database::open(&path).await.unwrap();
        let [attempt] = attempts::list(&readers, StepId(1)).await.unwrap().try_into().unwrap();
        assert_eq!((attempt.assigned_at_ms, attempt.kind.as_deref()), (7, Some("cpu avx2 0.1.0")), "of schema {steps}");
        assert_eq!(attempt.code_json, None, "nobody knows what it was made by");
        let scheduler = snapshot::load(&readers, 0).await.unwrap();
        let step = scheduler.step(StepId(1)).unwrap();
        assert_eq!((step.asks.len(), step.asks[0].position, step.expected_ms), (1, 3, None));
        let averages: Vec<Option<f64>> =
            sqlx::query_scalar("SELECT bi_modal_average FROM results").fetch_all(&readers).await.unwrap();
        assert_eq!(averages, [(steps < 6).then_some(0.25)], "of schema {steps}");
        let view: Vec<(i64, String, f64)> =
            sqlx::query_as("SELECT step_id, task, map FROM scores").fetch_all(&readers).await.unwrap();
        assert_eq!(view, [(1, "image-to-text".to_owned(), 0.25)]);
    }
}

#[tokio::test]
async fn every_setting_of_the_connection_is_the_one_asked_for() {
    let (_home, mut db, readers) = store().await;
    for (pragma, expected) in
        [("PRAGMA synchronous", 2_i64), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", 10_000)]
    {
        let found: i64 = sqlx::query_scalar(pragma).fetch_one(&mut db).await.unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut db).await.unwrap();
    assert_eq!(journal, "wal");
    assert!(sqlx::query("DELETE FROM steps").execute(&readers).await.is_err(), "readers cannot write");
}

#[tokio::test]
async fn the_last_lines_of_a_log_are_kept() {
    let (_home, mut db, readers) = store().await;
    let step = StepId(1);
    let texts: Vec<_> = (1..=MAX_LINES + 2).map(|number| number.to_string()).collect();
    let line = |text| NewLine { step, attempt: AttemptNumber(1), at_ms: 0, stream: "stdout", text };
    let lines: Vec<_> = texts.iter().map(|text| line(text)).collect();
    // Numbers go on from one list to the next.
    for lines in lines.chunks(3_001) {
        logs::append_all(&mut db, lines).await.unwrap();
    }
    let first = logs::page(&readers, step, 0).await.unwrap();
    assert_eq!((first[0].position, first[0].text.as_str()), (3, "3"));
    let last = logs::page(&readers, step, (MAX_LINES + 1).unsigned_abs()).await.unwrap();
    assert_eq!(last.iter().map(|line| line.position).collect::<Vec<_>>(), [MAX_LINES + 2]);
    assert!(logs::page(&readers, step, u64::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_page_of_metrics_ends_between_iterations() {
    let (_home, mut db, readers) = store().await;
    let step = StepId(1);
    let every = (1..=3).flat_map(|iteration| ["a", "b"].map(|name| NewPoint { step, name, iteration, value: 0.5 }));
    metrics::put_all(&mut db, &every.collect::<Vec<_>>()).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = metrics::list(&readers, step, None, after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.iteration.unsigned_abs());
        found.extend(page.into_iter().map(|point| (point.iteration, point.name)));
    }
    let expected = [1, 2, 3].into_iter().flat_map(|i| ["a", "b"].map(|name| (i, name.to_owned())));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// See `.cargo/config.toml`: else one that reads all of a large database leaves the writing connection without a cache.
#[tokio::test]
async fn what_one_connection_reads_takes_no_pages_from_another() {
    let (_home, mut db, _) = store().await;
    let options: Vec<String> = sqlx::query_scalar("PRAGMA compile_options").fetch_all(&mut db).await.unwrap();
    assert!(options.iter().any(|option| option.starts_with("THREADSAFE")), "{options:?}");
    assert!(!options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
}

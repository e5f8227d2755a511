//! The state folder: one process at a time, readable sentences when it cannot be used.

use orchestrator_coordinator::{Config, Coordinator, OpenError};

use crate::support::{YAML, catalog, start};

fn config(home: &std::path::Path) -> Config {
    Config::new(home, catalog(), "0.1.0-test")
}

#[tokio::test]
async fn a_second_coordinator_is_told_who_is_first() {
    let home = tempfile::tempdir().unwrap();
    let server = start(home.path()).await;
    let error = Coordinator::open(config(home.path())).await.unwrap_err().to_string();
    let expected = format!("state folder {} is held by process {} (", home.path().display(), std::process::id());
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.ends_with("; stop it or use another folder"), "{error}");
    server.shutdown().await;
    Coordinator::open(config(home.path())).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn a_clean_stop_leaves_everything_in_one_file() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    server.shutdown().await;
    assert!(!home.path().join("orchestrator.db-wal").exists());
    assert_eq!(start(home.path()).await.states().await, ["queued"; 5]);
}

#[tokio::test]
async fn the_database_of_a_newer_program_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    start(home.path()).await.shutdown().await;
    let file = home.path().join("orchestrator.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut db = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', TRUE, X'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    drop(db);
    let error = Coordinator::open(config(home.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::Schema { .. }));
    let expected = format!(
        "{}: it was written by a newer program (schema step 9999); use the program that wrote it, or another folder",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("orchestrator.db");
    let text = "a shopping list, and a long one: ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let error = Coordinator::open(config(home.path())).await.unwrap_err().to_string();
    assert!(error.contains("orchestrator.db is damaged"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_a_file_says_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Coordinator::open(config(&file)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("state folder {} cannot be used", file.display()));
    assert!(std::error::Error::source(&error).is_some());
}

//! Copies of a state folder: of one at work, damaged ones, and back.

use std::{fs, path::Path, time::Duration};

use experiment_spec::ids::ContentHash;
use orchestrator_coordinator::{Coordinator, Removed, backup, gc, gc_mirror, restore, verify};
use orchestrator_proto::mirror::Mirror;
use orchestrator_proto::v1::{Artifact, Chunk, Succeeded, attempt_event::Event};

use crate::support::{Server, Worker, YAML, catalog, scored, scores_json, start};

async fn put(server: &mut Server, content: &[u8]) -> Artifact {
    let (hash, bytes) = (ContentHash::of(content).to_string(), content.len() as u64);
    let chunk = Chunk { hash: hash.clone(), bytes_total: bytes, offset: 0, data: content.to_vec(), checkpoint: false };
    server.blobs.put(tokio_stream::iter([chunk])).await.unwrap();
    Artifact { name: "model".to_owned(), hash, bytes, ..Artifact::default() }
}

/// A coordinator with one run that has left a model, and others that are queued.
async fn with_a_model(home: &Path) -> (Server, Worker) {
    let mut server = start(home).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    worker.poll(&mut server).await;
    let features = put(&mut server, b"features").await;
    let model = put(&mut server, b"model").await;
    let left = |scores_json: String, artifact: Artifact| {
        Event::Succeeded(Succeeded { scores_json, artifacts: vec![artifact], seconds: 1.0 })
    };
    worker.started(1, 1, 0);
    worker.succeed(1, 1, left(String::new(), features));
    worker.poll(&mut server).await;
    worker.started(2, 1, 0);
    worker.succeed(2, 1, left(scores_json(0.25), model));
    worker.poll(&mut server).await;
    (server, worker)
}

#[tokio::test]
async fn a_coordinator_at_work_is_copied_and_the_copy_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (home, copy, other) = (folder.path().join("home"), folder.path().join("copy"), folder.path().join("other"));
    let (mut server, mut worker) = with_a_model(&home).await;
    let copied = backup(&home, &copy).await.unwrap();
    assert_eq!((copied.submissions, copied.steps, copied.blobs, copied.bytes), (1, 5, 2, 13));
    assert_eq!(copied.missing, [""; 0]);
    // What came after it is not in it.
    worker.started(3, 1, 0);
    worker.succeed(3, 1, scored(0.75));
    worker.poll(&mut server).await;
    let before = server.records("toy").await;
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != "home" && name != "copy").count(), 0, "nothing half done is left");

    assert_eq!(restore(&copy, &other).await.unwrap(), copied);
    let mut second = start(&other).await;
    assert_eq!(second.states().await, ["succeeded", "succeeded", "assigned", "queued", "queued"]);
    let records = second.records("toy").await;
    assert_eq!(records[0], before[0]);
    // A worker of the first one reports to the second: its lease is not one of this coordinator's.
    let mut stray = Worker::join(&mut second, "one", 1).await;
    let given = stray.poll(&mut second).await.assignments;
    assert_eq!((given[0].step_id, given[0].attempt), (3, 2), "what was at work is given out anew");
    second.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn nothing_is_written_over_and_nothing_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let (home, copy) = (folder.path().join("home"), folder.path().join("copy"));
    let refused = backup(&home, &copy).await.unwrap_err().to_string();
    assert_eq!(refused, format!("{} is no state folder: it has no orchestrator.db", home.display()));
    start(&home).await.shutdown().await;
    backup(&home, &copy).await.unwrap();
    let refused = backup(&home, &copy).await.unwrap_err().to_string();
    assert_eq!(refused, format!("{} is there already; name a folder that is not", copy.display()));
    let refused = restore(&copy, &home).await.unwrap_err().to_string();
    assert!(refused.contains("is there already; nothing is written over it"), "{refused}");
    let server = start(&folder.path().join("third")).await;
    let refused = restore(&copy, &folder.path().join("third")).await.unwrap_err().to_string();
    assert!(refused.contains("is held by process"), "{refused}");
    server.shutdown().await;
    let refused = restore(&home.join("blobs"), &folder.path().join("fourth")).await.unwrap_err().to_string();
    assert!(refused.ends_with("is no backup: it has no orchestrator.db"), "{refused}");
}

#[tokio::test]
async fn what_is_missing_or_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (home, copy) = (folder.path().join("home"), folder.path().join("copy"));
    let (server, _) = with_a_model(&home).await;
    server.shutdown().await;
    let path = |content: &[u8]| {
        let name = ContentHash::of(content).to_string();
        home.join("blobs").join(&name[..2]).join(name)
    };
    fs::remove_file(path(b"features")).unwrap();
    fs::write(path(b"model"), "other").unwrap();
    let copied = backup(&home, &copy).await.unwrap();
    assert_eq!((copied.steps, copied.blobs), (5, 0));
    let told = |content: &[u8], why: &str| {
        let path = path(content).display().to_string();
        copied.missing.iter().any(|missing| missing.starts_with(&path) && missing.contains(why))
    };
    assert!(told(b"features", "No such file") && told(b"model", "content has the hash"), "{:?}", copied.missing);
}

#[tokio::test]
async fn a_folder_that_is_whole_has_nothing_wrong_and_whatever_is_wrong_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (server, _) = with_a_model(home.path()).await;
    server.shutdown().await;
    assert_eq!(verify(home.path()).await.unwrap(), [] as [String; 0]);
    let path = |content: &[u8]| {
        let name = ContentHash::of(content).to_string();
        home.path().join("blobs").join(&name[..2]).join(name)
    };
    fs::remove_file(path(b"features")).unwrap();
    fs::write(path(b"model"), "other").unwrap();
    let file = home.path().join("orchestrator.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).foreign_keys(false);
    let mut db = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::query("INSERT INTO history (step_id, at_ms, attempt, sentence) VALUES (77, 0, 0, '')")
        .execute(&mut db)
        .await
        .unwrap();
    // An index that no longer agrees with its table, which no look at the pages alone finds.
    for sql in [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX submissions_by_name ON submissions (name, created_at_ms)'
         WHERE name = 'submissions_by_name'",
    ] {
        sqlx::query(sql).execute(&mut db).await.unwrap();
    }
    sqlx::Connection::close(db).await.unwrap();
    let wrong = verify(home.path()).await.unwrap();
    for expected in [
        "submissions_by_name",
        "of history names what is not in steps",
        &format!("{} is missing", path(b"features").display()),
        &format!("{} is damaged", path(b"model").display()),
    ] {
        assert!(wrong.iter().any(|line| line.contains(expected)), "{expected}: {wrong:?}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let (home, copy, other) = (folder.path().join("home"), folder.path().join("copy"), folder.path().join("other"));
    let (server, _) = with_a_model(&home).await;
    server.shutdown().await;
    backup(&home, &copy).await.unwrap();
    for database in [home.join("orchestrator.db"), copy.join("orchestrator.db")] {
        let mut bytes = fs::read(&database).unwrap();
        // Every page but the first one: what is counted and pointed to no longer fits.
        for byte in bytes[4_096..].iter_mut().step_by(97) {
            *byte ^= 0x5a;
        }
        fs::write(&database, bytes).unwrap();
    }
    let config = orchestrator_coordinator::Config::new(&home, catalog(), "0.1.0-test");
    let refused = Coordinator::open(config).await.unwrap_err().to_string();
    assert!(refused.contains("orchestrator.db is damaged"), "{refused}");
    let refused = restore(&copy, &other).await.unwrap_err().to_string();
    assert!(refused.contains("orchestrator.db is damaged"), "{refused}");
    assert!(!other.join("orchestrator.db").exists());
}

#[tokio::test]
async fn damage_that_no_query_at_the_start_would_meet_is_found_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let (server, _) = with_a_model(home.path()).await;
    server.shutdown().await;
    let database = home.path().join("orchestrator.db");
    let mut bytes = fs::read(&database).unwrap();
    // The history of a step is read when somebody looks at it.
    let sentence = b"queued by submission 1";
    let page = bytes.windows(sentence.len()).position(|window| window == sentence).unwrap() / 4_096 * 4_096;
    bytes[page + 3..page + 5].fill(0xff);
    fs::write(&database, bytes).unwrap();
    let config = orchestrator_coordinator::Config::new(home.path(), catalog(), "0.1.0-test");
    let refused = Coordinator::open(config).await.unwrap_err().to_string();
    assert!(refused.contains("orchestrator.db is damaged"), "{refused}");
    assert!(refused.contains("`orchestrator restore` brings a backup back"), "{refused}");
}

#[tokio::test]
async fn contents_that_nothing_names_go_once_they_are_old() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, _) = with_a_model(home.path()).await;
    let stray = put(&mut server, b"left by an attempt that was lost").await;
    let bytes = stray.bytes;
    let (hour, none) = (Duration::from_hours(1), Duration::ZERO);
    let collect = async |younger, dry_run| gc(home.path(), younger, dry_run).await.unwrap();
    assert_eq!(collect(hour, false).await, Removed { blobs: 0, bytes: 0, kept: 3 }, "its report may be on its way");
    let name = &stray.hash;
    let file = fs::File::open(home.path().join("blobs").join(&name[..2]).join(name)).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(48);
    file.set_modified(long_ago).unwrap();
    assert_eq!(collect(hour, true).await.blobs, 1);
    put(&mut server, b"left by an attempt that was lost").await;
    assert_eq!(collect(hour, true).await.blobs, 0, "another attempt has just left the same");
    file.set_modified(long_ago).unwrap();
    let request = orchestrator_proto::v1::HasRequest { hashes: vec![name.clone()], checkpoint: false };
    server.blobs.has(request).await.unwrap();
    assert_eq!(collect(hour, true).await.blobs, 0, "or would have, had it not been there");
    assert_eq!(collect(none, true).await, Removed { blobs: 1, bytes, kept: 2 });
    assert_eq!(collect(none, false).await, Removed { blobs: 1, bytes, kept: 2 });
    assert_eq!(collect(none, false).await, Removed { blobs: 0, bytes: 0, kept: 2 });
    let request = orchestrator_proto::v1::HasRequest {
        hashes: vec![stray.hash, ContentHash::of(b"model").to_string()],
        checkpoint: false,
    };
    assert_eq!(server.blobs.has(request).await.unwrap().into_inner().present, [false, true]);
    server.shutdown().await;
    let refused = gc(&home.path().join("blobs"), none, false).await.unwrap_err().to_string();
    assert!(refused.ends_with("is no state folder: it has no orchestrator.db"), "{refused}");
}

#[tokio::test]
async fn what_a_mirror_has_that_nothing_names_goes_once_it_is_old() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _) = with_a_model(home.path()).await;
    let mirror = Mirror::open_with(&format!("file://{}", folder.path().display()), []).unwrap();
    let put = async |content: &'static [u8], days: u64| {
        let hash = ContentHash::of(content);
        mirror.put(&hash, content.len() as u64, Box::new(content), false).await.unwrap();
        let name = hash.to_string();
        let file = fs::File::open(folder.path().join(&name[..2]).join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_hours(24 * days)).unwrap();
    };
    for (content, days) in [(&b"features"[..], 9), (b"data set", 9), (b"old checkpoint", 8), (b"on its way", 0)] {
        put(content, days).await;
    }
    let collect = async |dry_run| gc_mirror(home.path(), &mirror, Duration::from_hours(24 * 7), dry_run).await;
    let old = Removed { blobs: 2, bytes: 22, kept: 2 };
    assert_eq!(collect(true).await.unwrap(), old);
    assert_eq!(collect(false).await.unwrap(), old);
    assert_eq!(collect(false).await.unwrap(), Removed { blobs: 0, bytes: 0, kept: 2 });
    for (content, stays) in [(&b"features"[..], true), (b"on its way", true), (b"data set", false)] {
        assert_eq!(mirror.object(&ContentHash::of(content)).await.unwrap().is_some(), stays);
    }
    let blobs = gc(home.path(), Duration::ZERO, true).await.unwrap();
    assert_eq!((blobs.blobs, blobs.kept), (0, 2), "the coordinator's own are not touched");
    server.shutdown().await;
    let none = tempfile::tempdir().unwrap();
    let refused = gc_mirror(none.path(), &mirror, Duration::ZERO, false).await.unwrap_err().to_string();
    assert!(refused.ends_with("is no state folder: it has no orchestrator.db"), "{refused}");
    drop(folder);
    let refused = collect(false).await.unwrap_err().to_string();
    assert!(refused.starts_with("mirror file:///") && refused.contains("No such file"), "{refused}");
}

//! What stays of what runs leave, for how long, and within which bounds.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use experiment_spec::{
    artifacts::{EMBEDDINGS, MODEL},
    ids::ContentHash,
};
use orchestrator_coordinator::{Config, Keep, KeepRules, backup, verify};
use orchestrator_proto::v1::{self, Artifact, Chunk, HasRequest, Succeeded, attempt_event::Event};
use tonic::Code;

use crate::support::{ONE_RUN, Server, Worker, YAML, catalog, impatient, metric, scores_json, start_with};

const LEASE: Duration = Duration::from_secs(1);
/// For so long content may be named by a report that is on its way.
const YOUTH: Duration = Duration::from_secs(2);

async fn put(server: &mut Server, name: &str, content: &[u8]) -> Artifact {
    let (hash, bytes) = (ContentHash::of(content).to_string(), content.len() as u64);
    let chunk = Chunk { hash: hash.clone(), bytes_total: bytes, offset: 0, data: content.to_vec(), checkpoint: false };
    server.blobs.put(tokio_stream::iter([chunk])).await.unwrap();
    Artifact { name: name.to_owned(), hash, bytes, ..Artifact::default() }
}

fn left(artifacts: Vec<Artifact>) -> Event {
    Event::Succeeded(Succeeded { scores_json: scores_json(0.5), artifacts, seconds: 1.0 })
}

fn keeping(home: &Path, models: Keep, embeddings: Keep) -> Config {
    Config { keep: KeepRules { models, embeddings }, lease: LEASE, ..Config::new(home, catalog(), "0.1.0-test") }
}

/// A coordinator whose worker is at work on all runs of YAML: 2 to 5.
async fn all_at_work(config: Config) -> (Server, Worker) {
    let mut server = start_with(config).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    let features = put(&mut server, "features", b"features").await;
    worker.started(1, 1, 0);
    worker.succeed(
        1,
        1,
        Event::Succeeded(Succeeded { scores_json: String::new(), artifacts: vec![features], seconds: 1.0 }),
    );
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 4);
    (2..=5).for_each(|run| worker.started(run, 1, 0));
    worker.poll(&mut server).await;
    (server, worker)
}

async fn artifacts(server: &mut Server, run: i64) -> Vec<(String, bool)> {
    let shown = server.show(run).await.artifacts.into_iter();
    shown.map(|artifact| (artifact.name, artifact.removed_at_ms == 0)).collect()
}

/// Polls, so that no lease runs out, until the record says that an artifact of a run is gone.
async fn until_gone(server: &mut Server, worker: &mut Worker, run: i64, name: &str) {
    while artifacts(server, run).await.contains(&(name.to_owned(), true)) {
        worker.poll(server).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn has(home: &Path, content: &[u8]) -> bool {
    let hash = ContentHash::of(content).to_string();
    home.join("blobs").join(&hash[..2]).join(hash).exists()
}

async fn until_removed(home: &Path, content: &[u8]) {
    while has(home, content) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_model_that_is_not_kept_goes_and_everything_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (mut server, mut worker) = all_at_work(keeping(&home, Keep::Nothing, Keep::All)).await;
    let both = vec![put(&mut server, EMBEDDINGS, b"embeddings").await, put(&mut server, MODEL, b"model").await];
    worker.succeed(2, 1, left(both));
    worker.poll(&mut server).await;
    until_gone(&mut server, &mut worker, 2, MODEL).await;
    until_removed(&home, b"model").await;
    assert_eq!(artifacts(&mut server, 2).await, [(EMBEDDINGS.to_owned(), true), (MODEL.to_owned(), false)]);
    assert!(has(&home, b"embeddings") && has(&home, b"features"));
    let said = server.history(2).await.pop().unwrap();
    assert_eq!(said, "its model.safetensors is kept no more (`serve --keep-models none`)");
    assert_eq!(server.records("toy").await[0].scores_json, scores_json(0.5));
    // What went on purpose is missed by nobody.
    let copied = backup(&home, &folder.path().join("copy")).await.unwrap();
    assert_eq!((copied.blobs, copied.missing.len()), (2, 0));
    server.shutdown().await;
    assert_eq!(verify(&home).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_newest_stay_up_to_a_size_and_equal_ones_count_once() {
    let home = tempfile::tempdir().unwrap();
    let config = keeping(home.path(), Keep::Newest(12), Keep::All);
    let (mut server, mut worker) = all_at_work(config).await;
    // Of 5 bytes each: there is room for two.
    for (run, model) in [(2, b"first"), (3, b"equal"), (4, b"equal"), (5, b"third")] {
        let model = put(&mut server, MODEL, model).await;
        worker.succeed(run, 1, left(vec![model]));
        worker.poll(&mut server).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until_gone(&mut server, &mut worker, 2, MODEL).await;
    until_removed(home.path(), b"first").await;
    tokio::time::sleep(2 * YOUTH).await;
    for run in 3..=5 {
        assert_eq!(artifacts(&mut server, run).await, [(MODEL.to_owned(), true)], "run {run}");
    }
    assert!(has(home.path(), b"equal") && has(home.path(), b"third"));
    server.shutdown().await;
}

#[tokio::test]
async fn what_another_run_still_keeps_stays_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let age = Duration::from_secs(3);
    let (mut server, mut worker) = all_at_work(keeping(home.path(), Keep::For(age), Keep::All)).await;
    let model = put(&mut server, MODEL, b"equal").await;
    worker.succeed(2, 1, left(vec![model.clone()]));
    worker.poll(&mut server).await;
    let early = Instant::now();
    while early.elapsed() < age / 2 {
        worker.poll(&mut server).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(artifacts(&mut server, 2).await, [(MODEL.to_owned(), true)], "it is not old enough");
    worker.succeed(3, 1, left(vec![model]));
    worker.poll(&mut server).await;
    until_gone(&mut server, &mut worker, 2, MODEL).await;
    assert!(early.elapsed() >= age);
    assert_eq!(artifacts(&mut server, 3).await, [(MODEL.to_owned(), true)]);
    assert!(has(home.path(), b"equal"), "run 3 names it");
    until_gone(&mut server, &mut worker, 3, MODEL).await;
    until_removed(home.path(), b"equal").await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_somebody_asks_for_stays_until_its_report_has_come() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = all_at_work(keeping(home.path(), Keep::Nothing, Keep::All)).await;
    let model = put(&mut server, MODEL, b"equal").await;
    worker.succeed(2, 1, left(vec![model.clone()]));
    let began = Instant::now();
    while began.elapsed() < 3 * YOUTH {
        worker.poll(&mut server).await;
        let asked = HasRequest { hashes: vec![model.hash.clone()], checkpoint: false };
        assert_eq!(server.blobs.has(asked).await.unwrap().into_inner().present, [true]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while has(home.path(), b"equal") {
        worker.poll(&mut server).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Too late: its run is none the worse for it, and nobody looks for the model.
    worker.succeed(3, 1, left(vec![model]));
    worker.poll(&mut server).await;
    assert_eq!(artifacts(&mut server, 3).await, [(MODEL.to_owned(), false)]);
    assert_eq!(server.states().await[2], "succeeded");
    server.shutdown().await;
    assert_eq!(verify(home.path()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn after_a_start_reports_have_time_to_come_before_anything_goes() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = all_at_work(keeping(home.path(), Keep::All, Keep::All)).await;
    let model = put(&mut server, MODEL, b"equal").await;
    worker.succeed(2, 1, left(vec![model]));
    worker.poll(&mut server).await;
    server.shutdown().await;
    let hash = ContentHash::of(b"equal").to_string();
    let file = File::open(home.path().join("blobs").join(&hash[..2]).join(hash)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    let began = Instant::now();
    let server = start_with(keeping(home.path(), Keep::Nothing, Keep::All)).await;
    until_removed(home.path(), b"equal").await;
    assert!(began.elapsed() >= YOUTH, "it went after {:?}", began.elapsed());
    server.shutdown().await;
}

#[tokio::test]
async fn a_folder_that_holds_too_much_gives_nothing_out_until_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 4 << 20, ..keeping(home.path(), Keep::Nothing, Keep::All) };
    let mut server = start_with(config).await;
    server.submit(ONE_RUN).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let large = vec![7; 4 << 20];
    put(&mut server, MODEL, &large).await;
    let halted = loop {
        let halted = server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().halted;
        if !halted.is_empty() {
            break halted;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let expected =
        "the state folder holds 4 MiB, and may hold 4 MiB (`serve --max-size`): keep rules, `gc` and `thin` make room";
    assert_eq!(halted, expected);
    assert_eq!(worker.poll(&mut server).await.assignments, []);
    assert_eq!(server.show(1).await.standing[0], format!("it is not given out, nor is anything else: {expected}"));
    // Also after a start, from the first moment on.
    server.shutdown().await;
    let config = Config { max_bytes: 4 << 20, ..impatient(home.path()) };
    let mut server = start_with(config).await;
    worker.register(&mut server).await;
    assert_eq!(worker.poll(&mut server).await.assignments, []);
    orchestrator_coordinator::gc(home.path(), Duration::ZERO, false).await.unwrap();
    assert!(!has(home.path(), &large));
    server.shutdown().await;
    let mut server = start_with(Config { max_bytes: 4 << 20, ..impatient(home.path()) }).await;
    worker.register(&mut server).await;
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn curves_are_thinned_when_a_user_asks_and_only_of_what_has_ended() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = all_at_work(Config::new(home.path(), catalog(), "0.1.0-test")).await;
    for iteration in 0..100 {
        worker.report(2, 1, metric(iteration, if iteration == 41 { 9.0 } else { 1.0 }));
        worker.report(3, 1, metric(iteration, 1.0));
    }
    worker.succeed(2, 1, left(Vec::new()));
    worker.poll(&mut server).await;

    let all = v1::ThinMetricsRequest { submission: "toy".to_owned(), points: 12, dry_run: true, ..Default::default() };
    let mut thin = async |request: &v1::ThinMetricsRequest| server.submissions.thin_metrics(request.clone()).await;
    let told = thin(&all).await.unwrap().into_inner();
    assert_eq!((told.steps, told.points_before, told.points_after, told.next), (1, 100, 11, 0));
    let real = v1::ThinMetricsRequest { dry_run: false, ..all.clone() };
    assert_eq!(thin(&real).await.unwrap().into_inner(), told, "it does what it said");
    assert_eq!(thin(&real).await.unwrap().into_inner().steps, 0, "nothing is left to do");
    let few = thin(&v1::ThinMetricsRequest { points: 9, ..real.clone() }).await.unwrap_err();
    assert_eq!((few.code(), few.message()), (Code::InvalidArgument, "points: 9, at least 10 stay"));
    let unknown = thin(&v1::ThinMetricsRequest { steps: vec![99], ..real.clone() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let nothing = thin(&v1::ThinMetricsRequest { submission: String::new(), ..real.clone() }).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);

    // Nine stretches of eleven or twelve iterations, the first highest and the last point; the first is the lowest.
    let expected = [0, 12, 23, 34, 41, 45, 56, 67, 78, 89, 99];
    let kept: Vec<u64> = server.metrics(2).await.into_iter().map(|(iteration, _)| iteration).collect();
    assert_eq!(kept, expected);
    assert_eq!(server.metrics(3).await.len(), 100, "it is at work");
    let said = server.history(2).await.pop().unwrap();
    assert_eq!(said, "its metrics were thinned from 100 to 11 points, as a user asked");
    server.shutdown().await;
}

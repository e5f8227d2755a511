//! A year of a lab on a small disk: ten thousand runs leave more than it holds.

use std::{path::Path, sync::Arc, time::Duration};

use experiment_spec::{
    artifacts::{EMBEDDINGS, MODEL},
    ids::ContentHash,
    scores::Scores,
};
use orchestrator_coordinator::{Config, Keep, KeepRules, verify};
use orchestrator_proto::{
    link::Link,
    v1::{
        Artifact, CheckpointSaved, Chunk, ListSubmissionsRequest, LogLine, MetricPoint, Metrics, Succeeded,
        attempt_event::Event, blobs_client::BlobsClient, fleet_client::FleetClient,
    },
};

use crate::{
    disk::Disk,
    support::{Server, Worker, catalog, extracted, rows, scores_json, start_with},
};

const WORKERS: usize = 6;
const SLOTS: u32 = 16;
const RUNS: usize = 10_000;
/// What a run sends: together 1.5 GiB.
const MODEL_BYTES: usize = 96 << 10;
const EMBEDDINGS_BYTES: usize = 32 << 10;
const CHECKPOINT_BYTES: usize = 32 << 10;
/// What stays of the models.
const MODELS_KEPT: u64 = 128 << 20;

/// As much text as the scores of a real run.
fn long_scores() -> String {
    let mut scores: Scores = serde_json::from_str(&scores_json(0.123_456_789)).unwrap();
    for score in &mut scores.scores {
        score.per_category = vec![Some(0.987_654_321); 20];
        score.precision_recall = vec![0.123_456_789; 100];
    }
    serde_json::to_string(&scores).unwrap()
}

/// A worker over clients of its own.
struct Seat {
    worker: Worker,
    fleet: FleetClient<Link>,
    blobs: BlobsClient<Link>,
    scores_json: Arc<String>,
}

impl Seat {
    async fn put(&mut self, content: Vec<u8>, checkpoint: bool) -> (String, u64) {
        let (hash, bytes_total) = (ContentHash::of(&content).to_string(), content.len() as u64);
        let parts = content.chunks(orchestrator_proto::CHUNK_BYTES).enumerate();
        let chunks: Vec<Chunk> = parts
            .map(|(index, data)| Chunk {
                hash: hash.clone(),
                bytes_total,
                offset: (index * orchestrator_proto::CHUNK_BYTES) as u64,
                data: data.to_vec(),
                checkpoint,
            })
            .collect();
        // A checkpoint that there is no room for is not taken: its run goes on without.
        match self.blobs.put(tokio_stream::iter(chunks)).await {
            Ok(_) => {}
            Err(status) => assert!(checkpoint && status.code() == tonic::Code::ResourceExhausted, "{status}"),
        }
        (hash, bytes_total)
    }

    async fn artifact(&mut self, name: &str, run: i64, bytes: usize) -> Artifact {
        let content: Vec<u8> = name.bytes().chain(run.to_le_bytes()).cycle().take(bytes).collect();
        let (hash, bytes) = self.put(content, false).await;
        Artifact { name: name.to_owned(), hash, bytes, ..Artifact::default() }
    }

    /// All that a run says and leaves.
    async fn work(&mut self, run: i64, attempt: u32) {
        self.worker.started(run, attempt, 0);
        let point = |iteration: u32| {
            let value = 1.0 / f64::from(iteration + 1);
            MetricPoint { name: "loss".to_owned(), iteration: iteration.into(), value }
        };
        self.worker.report(run, attempt, Event::Metrics(Metrics { points: (0..60).map(point).collect() }));
        for line in 0..10 {
            let text = format!("epoch {line} of a run that says what it does");
            self.worker.report(
                run,
                attempt,
                Event::Log(LogLine { stream: "stdout".to_owned(), text, ..LogLine::default() }),
            );
        }
        let content: Vec<u8> = run.to_le_bytes().into_iter().cycle().take(CHECKPOINT_BYTES).collect();
        let (hash, bytes) = self.put(content, true).await;
        let kind = "cpu avx2 0.1.0".to_owned();
        self.worker.report(run, attempt, Event::CheckpointSaved(CheckpointSaved { iteration: 30, bytes, hash, kind }));
        let artifacts =
            vec![self.artifact(EMBEDDINGS, run, EMBEDDINGS_BYTES).await, self.artifact(MODEL, run, MODEL_BYTES).await];
        let scores_json = String::clone(&self.scores_json);
        self.worker.succeed(run, attempt, Event::Succeeded(Succeeded { scores_json, artifacts, seconds: 1.0 }));
    }

    /// Works until all of it is done; returns how often it was given nothing though something was left.
    async fn live(mut self, done: Arc<std::sync::atomic::AtomicUsize>) -> usize {
        use std::sync::atomic::Ordering::Relaxed;
        let mut waits = 0;
        while done.load(Relaxed) < RUNS {
            let answer = self.fleet.poll(self.worker.request()).await.unwrap().into_inner();
            self.worker.take_in(&answer);
            if answer.assignments.is_empty() {
                waits += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for given in answer.assignments {
                self.work(given.step_id, given.attempt).await;
                done.fetch_add(1, Relaxed);
            }
        }
        // The last reports.
        while !self.worker.outbox.is_empty() {
            let answer = self.fleet.poll(self.worker.request()).await.unwrap().into_inner();
            self.worker.take_in(&answer);
        }
        waits
    }
}

async fn submit(server: &mut Server) {
    server.submit(&format!("name: year\ndatasets: [points]\nseeds: 1000\nmethods:\n{}", rows(1..10))).await;
    let more: Vec<String> = (1001..=2000).map(|seed| seed.to_string()).collect();
    let yaml = format!("name: more\ndatasets: [points]\nseeds: [{}]\nmethods: [linear]\n", more.join(", "));
    server.submit(&yaml).await;
}

fn content_bytes(home: &Path) -> u64 {
    let store = |name: &str| orchestrator_proto::content::ContentStore::open(home.join(name)).unwrap().list().unwrap();
    ["blobs", "checkpoints"].map(store).into_iter().flatten().map(|(_, bytes, _)| bytes).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_runs_pass_through_one_gibibyte() {
    let Some(disk) = Disk::mount_sized("ten_thousand_runs_pass_through_one_gibibyte", "1g") else { return };
    let keep = KeepRules { models: Keep::Newest(MODELS_KEPT), embeddings: Keep::Nothing };
    let config = Config {
        keep,
        max_bytes: 900 << 20,
        lease: Duration::from_secs(2),
        ..Config::new(disk.home(), catalog(), "0.1.0-test")
    };
    let mut server = start_with(config).await;
    submit(&mut server).await;
    let scores_json = Arc::new(long_scores());
    let done = Arc::default();
    let mut seats = Vec::new();
    for index in 0..WORKERS {
        let worker = Worker::join(&mut server, &format!("node-{index}"), SLOTS).await;
        let (fleet, blobs) = (server.fleet.clone(), server.blobs.clone());
        seats.push(Seat { worker, fleet, blobs, scores_json: Arc::clone(&scores_json) });
    }
    // The features that all of them read.
    seats[0].put(b"features".to_vec(), false).await;
    let first = &mut seats[0].worker;
    for given in first.poll(&mut server).await.assignments {
        first.started(given.step_id, given.attempt, 0);
        first.succeed(given.step_id, given.attempt, extracted());
    }
    first.report_only(&mut server).await;
    let at_work: Vec<_> = seats.into_iter().map(|seat| tokio::spawn(seat.live(Arc::clone(&done)))).collect();
    let mut most = 0;
    while at_work.iter().any(|seat| !seat.is_finished()) {
        most = most.max(disk.used());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut waits = 0;
    for seat in at_work {
        waits += seat.await.unwrap();
    }
    let states =
        server.submissions.list_submissions(ListSubmissionsRequest::default()).await.unwrap().into_inner().submissions;
    assert_eq!(states.iter().map(|of| of.succeeded as usize).sum::<usize>(), RUNS, "{states:?}");
    // What is too young to go, goes.
    while content_bytes(&disk.home()) > MODELS_KEPT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("most on the disk: {} MiB, polls without work: {waits}, at the end {} MiB", most >> 20, disk.used() >> 20);
    server.shutdown().await;
    assert_eq!(verify(&disk.home()).await.unwrap(), [""; 0]);
}

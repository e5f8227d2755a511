//! Checkpoints that travel: kept while their step may go on from them, told to its next attempt, and gone after.

use std::time::Duration;

use experiment_spec::ids::ContentHash;
use orchestrator_coordinator::{Removed, backup, gc, restore};
use orchestrator_proto::v1::{self, CheckpointSaved, Chunk, HasRequest, Released, Started, attempt_event::Event};

use crate::support::{Server, Worker, at_work, scored, start};

const KIND: &str = "cpu/avx2/0.1.0";

/// Sends a checkpoint; returns what is reported of it.
async fn send(server: &mut Server, iteration: u64, content: &str) -> CheckpointSaved {
    let (hash, bytes) = (ContentHash::of(content.as_bytes()).to_string(), content.len() as u64);
    let data = content.as_bytes().to_vec();
    let chunk = Chunk { hash: hash.clone(), bytes_total: bytes, offset: 0, data, checkpoint: true };
    server.blobs.put(tokio_stream::iter([chunk])).await.unwrap();
    CheckpointSaved { iteration, bytes, hash, kind: KIND.to_owned() }
}

async fn save(server: &mut Server, worker: &mut Worker, iteration: u64, content: &str) -> CheckpointSaved {
    let saved = send(server, iteration, content).await;
    worker.report(2, 1, Event::CheckpointSaved(saved.clone()));
    worker.poll(server).await;
    saved
}

async fn has(server: &mut Server, saved: &CheckpointSaved) -> bool {
    let asked = HasRequest { hashes: vec![saved.hash.clone()], checkpoint: true };
    server.blobs.has(asked).await.unwrap().into_inner().present[0]
}

async fn goes(server: &mut Server, saved: &CheckpointSaved) {
    for _ in 0..500 {
        if !has(server, saved).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the content of the checkpoint of iteration {} is still there", saved.iteration);
}

fn told(saved: &CheckpointSaved, (made_by, attempt): (&str, u32)) -> v1::Checkpoint {
    let CheckpointSaved { iteration, bytes, hash, kind } = saved.clone();
    v1::Checkpoint { hash, bytes, iteration, kind, made_by: made_by.to_owned(), attempt }
}

/// The worker gives run 2 back; what its next attempt is told to go on from.
async fn given_on(server: &mut Server, worker: &mut Worker, other: &mut Worker) -> Option<v1::Checkpoint> {
    worker.succeed(2, 1, Event::Released(Released { iteration: 0, reason: "the worker is shut down".to_owned() }));
    let mut request = worker.request();
    request.draining = true;
    server.fleet.poll(request).await.unwrap();
    let mut given = Vec::new();
    while given.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        given = other.poll(server).await.assignments;
    }
    assert_eq!((given.len(), given[0].step_id, given[0].attempt), (1, 2, 2));
    given.remove(0).checkpoint
}

#[tokio::test]
async fn the_last_checkpoint_is_told_to_the_next_attempt_and_goes_with_the_scores() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let first = save(&mut server, &mut worker, 20, "weights at 20").await;
    assert!(has(&mut server, &first).await);
    let second = save(&mut server, &mut worker, 40, "weights at 40").await;
    goes(&mut server, &first).await;
    assert!(has(&mut server, &second).await);

    let mut other = Worker::join(&mut server, "two", 1).await;
    let checkpoint = given_on(&mut server, &mut worker, &mut other).await;
    assert_eq!(checkpoint, Some(told(&second, ("one", 1))));
    let started = Started { from_iteration: 40, kind: KIND.to_owned(), of_attempt: 1, ..Default::default() };
    other.report(2, 2, Event::Started(started));
    other.poll(&mut server).await;
    let history = server.history(2).await;
    let sentence = "started on cpu/avx2/0.1.0, goes on from iteration 40, made by worker one";
    assert_eq!(history.last().unwrap(), sentence, "{history:?}");

    let mut bytes = Vec::new();
    let request = v1::GetRequest { hash: second.hash.clone(), offset: 0 };
    let mut chunks = server.blobs.get(request).await.unwrap().into_inner();
    while let Some(chunk) = chunks.message().await.unwrap() {
        bytes.extend(chunk.data);
    }
    assert_eq!(bytes, b"weights at 40");
    other.succeed(2, 2, scored(0.5));
    other.poll(&mut server).await;
    goes(&mut server, &second).await;
}

#[tokio::test]
async fn what_is_not_there_or_does_not_count_is_not_told_and_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let (iteration, kind, hash) = (60, KIND.to_owned(), ContentHash::of(b"never sent").to_string());
    worker.report(2, 1, Event::CheckpointSaved(CheckpointSaved { iteration, bytes: 10, hash, kind }));
    let mut cut = send(&mut server, 60, "weights at 60").await;
    cut.bytes += 1;
    worker.report(2, 1, Event::CheckpointSaved(cut));
    worker.poll(&mut server).await;
    let mut other = Worker::join(&mut server, "two", 1).await;
    assert_eq!(given_on(&mut server, &mut worker, &mut other).await, None, "nobody could go on from either");

    let right = send(&mut server, 20, "weights at 20").await;
    other.report(2, 2, Event::CheckpointSaved(right.clone()));
    other.poll(&mut server).await;
    // The first attempt no longer has its lease: what it sends replaces nothing, and is not kept.
    let late = send(&mut server, 80, "weights at 80").await;
    worker.outbox.clear();
    worker.report(2, 1, Event::CheckpointSaved(late.clone()));
    worker.report(2, 1, Event::CheckpointSaved(right.clone()));
    worker.poll(&mut server).await;
    goes(&mut server, &late).await;
    assert!(has(&mut server, &right).await, "the attempt that counts has named it");
    other.held.clear();
    let again = other.poll(&mut server).await.assignments;
    assert_eq!(again[0].checkpoint, Some(told(&right, ("two", 2))));
}

#[tokio::test]
async fn a_run_that_is_cancelled_leaves_no_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let saved = save(&mut server, &mut worker, 20, "weights at 20").await;
    let cancel = v1::CancelRequest { submission: String::new(), steps: vec![2] };
    server.submissions.cancel(cancel).await.unwrap();
    goes(&mut server, &saved).await;
}

#[tokio::test]
async fn a_copy_has_the_checkpoints_and_gc_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let (home, copy, other) = (folder.path().join("home"), folder.path().join("copy"), folder.path().join("other"));
    let (mut server, mut worker) = at_work(&home).await;
    let saved = save(&mut server, &mut worker, 20, "weights at 20").await;
    let stray = send(&mut server, 30, "weights of nobody").await;
    let copied = backup(&home, &copy).await.unwrap();
    assert_eq!((copied.blobs, copied.bytes), (2, 21), "the features too");
    assert_eq!(copied.missing, [""; 0]);
    let removed = gc(&home, Duration::ZERO, false).await.unwrap();
    assert_eq!(removed, Removed { blobs: 1, bytes: 17, kept: 2 });
    assert!(has(&mut server, &saved).await && !has(&mut server, &stray).await);
    server.shutdown().await;

    assert_eq!(restore(&copy, &other).await.unwrap().blobs, 2);
    let mut second = start(&other).await;
    assert!(has(&mut second, &saved).await);
    let mut stranger = Worker::join(&mut second, "one", 1).await;
    let given = stranger.poll(&mut second).await.assignments;
    assert_eq!(given[0].checkpoint, Some(told(&saved, ("one", 1))));
}

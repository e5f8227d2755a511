//! What users ask for: linking, idempotence, going on, cancelling, trying again.

use orchestrator_proto::v1::{CancelRequest, ListSubmissionsRequest, RetryRequest, SubmitRequest};

use crate::support::{Server, Worker, YAML, extracted, failed, start};

fn request(yaml: &str) -> SubmitRequest {
    SubmitRequest { yaml: yaml.to_owned(), ..Default::default() }
}

async fn cancel(server: &mut Server, submission: &str, steps: &[i64]) -> u32 {
    let request = CancelRequest { submission: submission.to_owned(), steps: steps.to_vec() };
    server.submissions.cancel(request).await.unwrap().into_inner().cancelled
}

async fn retry(server: &mut Server, request: RetryRequest) -> u32 {
    server.submissions.retry(request).await.unwrap().into_inner().queued
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_every_mistake_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let response = server.submit("name: toy\ndatasets: [point]\nseeds: 1\nmethods: [linera]\n").await;
    let told: Vec<_> = response.problems.iter().map(|p| (p.line, p.key_path.as_str())).collect();
    assert_eq!(told, [(2, "datasets[0]"), (4, "methods[0]")]);
    assert_eq!(response.submission_id, 0);
    assert_eq!(server.steps().await.len(), 0);
    let list = server.submissions.list_submissions(ListSubmissionsRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().submissions, []);
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_queues_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let response = server.submit_with(SubmitRequest { dry_run: true, ..request(YAML) }).await;
    assert_eq!((response.submission_id, response.runs, response.extractions), (0, 4, 1));
    let listed: Vec<_> = response.steps.iter().map(|s| (s.kind.as_str(), s.label.as_str(), s.seed)).collect();
    assert_eq!(listed[..3], [("extraction", "identity", 1), ("run", "Linear", 1), ("run", "Steep", 1)]);
    assert!(response.steps.iter().all(|step| !step.expected_known));
    assert_eq!(server.steps().await.len(), 0);

    server.submit(YAML).await;
    Worker::join(&mut server, "one", 4).await.work(&mut server).await;
    let response = server.submit_with(SubmitRequest { dry_run: true, ..request(YAML) }).await;
    assert_eq!(response.already_scored, 4);
    let run = &response.steps[1];
    assert!(run.already_scored && run.expected_known);
    assert_eq!(run.expected_seconds.to_bits(), 3.0_f64.to_bits());
}

#[tokio::test]
async fn the_same_request_twice_is_one_submission() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let asked = SubmitRequest { request_id: "r-1".to_owned(), ..request(YAML) };
    let first = server.submit_with(asked.clone()).await;
    let second = server.submit_with(asked).await;
    assert_eq!(first.submission_id, second.submission_id);
    assert_eq!(server.steps().await.len(), 5);
    let third = server.submit(YAML).await;
    assert_ne!(third.submission_id, first.submission_id);
    assert_eq!(server.steps().await.len(), 5, "linked, not computed twice");
}

#[tokio::test]
async fn an_unchanged_file_goes_on_with_its_submission_and_a_changed_one_does_not() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let resume = |yaml: &str| SubmitRequest { resume: true, ..request(yaml) };
    let first = server.submit_with(resume(YAML)).await;
    assert!(!first.resumed, "there was nothing to go on with");
    let again = server.submit_with(resume(YAML)).await;
    assert!(again.resumed && again.submission_id == first.submission_id);
    let changed = server.submit_with(resume(&YAML.replace("seeds: 2", "seeds: 3"))).await;
    assert!(!changed.resumed && changed.submission_id != first.submission_id);
    let back = server.submit_with(resume(YAML)).await;
    assert!(!back.resumed, "the latest of that name has another text");
    let forced = server.submit_with(SubmitRequest { force: true, ..resume(YAML) }).await;
    assert!(!forced.resumed);
}

#[tokio::test]
async fn scored_runs_are_linked_unless_forced() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    assert_eq!(worker.work(&mut server).await, 5);
    let other = YAML.replace("name: toy", "name: other");
    assert_eq!(server.submit(&other).await.already_scored, 4);
    assert_eq!(worker.work(&mut server).await, 0);
    assert_eq!(server.records("other").await.len(), 4);
    let forced = server.submit_with(SubmitRequest { force: true, ..request(&other) }).await;
    assert_eq!(forced.already_scored, 0);
    assert_eq!(worker.work(&mut server).await, 4, "the runs, not their features");
    assert_eq!(server.show(2).await.submissions, [1, 2]);
}

#[tokio::test]
async fn cancelling_a_submission_leaves_what_another_one_needs() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    server.submit(&YAML.replace("name: toy", "name: half").replace("seeds: 2", "seeds: 1")).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    worker.started(1, 1, 0);
    worker.poll(&mut server).await;

    assert_eq!(cancel(&mut server, "toy", &[]).await, 2, "the runs of seed 2");
    assert_eq!(server.states().await, ["running", "queued", "queued", "cancelled", "cancelled"]);
    assert_eq!(cancel(&mut server, "half", &[]).await, 3, "now nobody needs the rest");
    assert_eq!(server.states().await, ["cancelled"; 5]);
    assert_eq!(worker.poll(&mut server).await.stop.len(), 1, "the process is told to end");
    assert_eq!(server.history(1).await.last().unwrap(), "cancelled while running");

    let toy = || RetryRequest { submission: "toy".to_owned(), ..Default::default() };
    assert_eq!(retry(&mut server, toy()).await, 0, "what was taken back on purpose stays so");
    assert_eq!(retry(&mut server, RetryRequest { cancelled_too: true, ..toy() }).await, 5);
    assert_eq!(worker.work(&mut server).await, 5);
}

#[tokio::test]
async fn one_run_may_be_cancelled_and_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    assert_eq!(cancel(&mut server, "", &[3]).await, 1);
    assert_eq!(cancel(&mut server, "", &[3]).await, 0, "it is already");
    assert_eq!(server.states().await, ["queued", "queued", "cancelled", "queued", "queued"]);
    assert_eq!(retry(&mut server, RetryRequest { steps: vec![3], ..Default::default() }).await, 1);
    assert_eq!(Worker::join(&mut server, "one", 4).await.work(&mut server).await, 5);
}

#[tokio::test]
async fn failed_runs_are_tried_again_by_kind_with_their_retries_back() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    worker.succeed(1, 1, extracted());
    worker.poll(&mut server).await;
    for (step, kind) in [(2, "nan"), (3, "timeout")] {
        worker.succeed(step, 1, failed(kind));
    }
    worker.poll(&mut server).await;
    let by_kind =
        RetryRequest { submission: "toy".to_owned(), failure_kind: "timeout".to_owned(), ..Default::default() };
    assert_eq!(retry(&mut server, by_kind).await, 1);
    let step = server.steps().await.remove(2);
    assert_eq!((step.state.as_str(), step.failure_kind.as_str(), step.attempt), ("queued", "", 1));
    assert_eq!(retry(&mut server, RetryRequest { submission: "toy".to_owned(), ..Default::default() }).await, 1);
}

#[tokio::test]
async fn runs_whose_features_failed_are_tried_again_with_them() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    worker.succeed(1, 1, failed("data"));
    worker.poll(&mut server).await;
    assert_eq!(server.states().await, ["failed"; 5]);
    assert_eq!(retry(&mut server, RetryRequest { steps: vec![2], ..Default::default() }).await, 2);
    assert_eq!(server.states().await, ["queued", "queued", "failed", "failed", "failed"]);
    // The same file again asks for the rest too.
    server.submit(YAML).await;
    assert_eq!(worker.work(&mut server).await, 5);
}

#[tokio::test]
async fn a_name_means_its_latest_submission_and_an_id_its_own() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    server.submit(&YAML.replace("seeds: 2", "seeds: 1")).await;
    assert_eq!(server.records("toy").await.len(), 2);
    assert_eq!(server.records("1").await.len(), 4);
    let request = CancelRequest { submission: "nobody".to_owned(), steps: Vec::new() };
    let status = server.submissions.cancel(request).await.unwrap_err();
    assert_eq!(status.message(), "there is no submission `nobody`; `orchestrator status` lists them");
    let status = server.submissions.cancel(CancelRequest::default()).await.unwrap_err();
    assert_eq!(status.message(), "neither a submission nor runs are named");
}

#[tokio::test]
async fn runs_are_listed_with_the_seed_of_the_features_they_read() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&YAML.replace("seeds: 2", "encoder-seeds: [7, 9]\nseeds: 1")).await;
    let steps = server.steps().await;
    let of = |kind: &str, seed| steps.iter().filter(|step| step.kind == kind && step.encoder_seed == seed).count();
    assert_eq!((of("run", 7), of("run", 9), of("extraction", 0)), (2, 2, 2));
}

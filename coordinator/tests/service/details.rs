//! Metrics, logs, progress, summaries: what is seen while runs are at work.

use std::time::Duration;

use orchestrator_proto::v1::{self, attempt_event::Event};

use crate::support::{Server, Worker, YAML, at_work, code, extracted, failed, metric, scored, start};

fn line(text: &str) -> Event {
    Event::Log(v1::LogLine { stream: "stdout".to_owned(), text: text.to_owned(), ..Default::default() })
}

#[tokio::test]
async fn a_repeated_stretch_replaces_its_points_and_leaves_none_of_the_future() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    for iteration in 1..=6 {
        worker.report(2, 1, metric(iteration, 1.0));
    }
    worker.succeed(2, 1, failed("killed"));
    worker.poll(&mut server).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(worker.poll(&mut server).await.assignments[0].attempt, 2);
    worker.started(2, 2, 3);
    worker.report(2, 2, metric(4, 2.0));
    worker.report(2, 1, metric(5, 9.0));
    worker.poll(&mut server).await;
    assert_eq!(server.metrics(2).await, [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]);
    let request = v1::GetMetricsRequest { id: 2, name: "loss".to_owned(), after_iteration: 3 };
    let points = server.submissions.get_metrics(request).await.unwrap().into_inner().points;
    assert_eq!(points.len(), 1);
}

#[tokio::test]
async fn a_point_that_is_not_a_number_stays_one() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    worker.report(2, 1, metric(1, f64::NAN));
    worker.report(2, 1, metric(2, f64::INFINITY));
    worker.poll(&mut server).await;
    let points = server.metrics(2).await;
    assert!(points[0].1.is_nan() && points[1] == (2, f64::INFINITY), "{points:?}");
}

#[tokio::test]
async fn logs_are_followed_until_the_step_has_ended() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    worker.report(2, 1, line("first"));
    worker.poll(&mut server).await;
    let request = v1::LogsRequest { id: 2, follow: true, after: 0 };
    let mut stream = server.submissions.logs(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.position, first.attempt, first.text.as_str()), (1, 1, "first"));
    worker.report(2, 1, line("second"));
    worker.succeed(2, 1, scored(0.5));
    worker.poll(&mut server).await;
    let second = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((second.position, second.text.as_str()), (2, "second"));
    assert_eq!(stream.message().await.unwrap(), None, "the run has ended");

    let request = v1::LogsRequest { id: 2, follow: false, after: 1 };
    let mut stream = server.submissions.logs(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().text, "second");
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test]
async fn following_ends_when_the_coordinator_is_stopped() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, _worker) = at_work(home.path()).await;
    let request = v1::LogsRequest { id: 2, follow: true, after: 0 };
    let mut stream = server.submissions.logs(request).await.unwrap().into_inner();
    server.coordinator.shutdown().await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.unwrap().unwrap_err();
    assert_eq!(status.message(), "the coordinator is being stopped");
}

#[tokio::test]
async fn progress_is_shown_while_it_lasts_and_gives_the_time_left() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 2).await;
    worker.poll(&mut server).await;
    worker.succeed(1, 1, extracted());
    worker.poll(&mut server).await;
    worker.succeed(2, 1, scored(0.5));
    let progress = v1::Progress {
        stage: "train".to_owned(),
        iteration: 40,
        iterations: 100,
        iterations_per_second: 10.0,
        loss: 0.5,
        seconds_left: 6.0,
    };
    worker.report(3, 1, Event::Progress(progress.clone()));
    worker.poll(&mut server).await;
    assert_eq!(server.steps().await[2].progress, Some(progress));
    let summary = summary(&mut server).await;
    assert_eq!((summary.succeeded, summary.assigned, summary.queued), (1, 2, 1));
    // Run 3 has 6 s left, runs 4 and 5 last 3 s as run 2 did; two are at work.
    assert!(summary.seconds_left_known);
    assert_eq!(summary.seconds_left.to_bits(), 6.0_f64.to_bits());
    worker.succeed(3, 1, scored(0.5));
    worker.poll(&mut server).await;
    assert_eq!(server.steps().await[2].progress, None);
}

async fn summary(server: &mut Server) -> v1::SubmissionSummary {
    let request = v1::ListSubmissionsRequest { name_or_id: "toy".to_owned(), limit: 0 };
    let mut list = server.submissions.list_submissions(request).await.unwrap().into_inner().submissions;
    assert_eq!(list.len(), 1);
    let summary = list.remove(0);
    assert_eq!(summary.yaml, YAML);
    summary
}

#[tokio::test]
async fn time_left_is_not_guessed() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let summary = summary(&mut server).await;
    assert!(!summary.seconds_left_known, "no such run was ever seen to end");
    assert_eq!((summary.queued, summary.extractions_pending), (4, 1));
}

#[tokio::test]
async fn steps_are_listed_by_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, _worker) = at_work(home.path()).await;
    server.submit(YAML).await;
    let mut count = async |request: v1::ListStepsRequest| {
        server.submissions.list_steps(request).await.unwrap().into_inner().steps.len()
    };
    let all = v1::ListStepsRequest::default;
    assert_eq!(count(all()).await, 5, "the first run is shared");
    assert_eq!(count(v1::ListStepsRequest { submission: "one".to_owned(), ..all() }).await, 2);
    assert_eq!(count(v1::ListStepsRequest { state: "running".to_owned(), ..all() }).await, 1);
    assert_eq!(count(v1::ListStepsRequest { kind: "extraction".to_owned(), ..all() }).await, 1);
    assert_eq!(count(v1::ListStepsRequest { seed: Some(2), ..all() }).await, 2);
    assert_eq!(count(v1::ListStepsRequest { method: "linear".to_owned(), ..all() }).await, 4);
    assert_eq!(count(v1::ListStepsRequest { data_set: "nowhere".to_owned(), ..all() }).await, 0);
    assert_eq!(count(v1::ListStepsRequest { limit: 3, ..all() }).await, 3);
    let request = v1::ListStepsRequest { state: "busy".to_owned(), ..all() };
    let status = server.submissions.list_steps(request).await.unwrap_err();
    assert_eq!(status.message(), "state: `busy` is not one of queued, assigned, running, succeeded, failed, cancelled");
}

#[tokio::test]
async fn the_fleet_is_shown_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let workers = server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let one = &workers[0];
    assert_eq!((one.name.as_str(), one.state.as_str(), one.cpus, one.cpus_used), ("one", "online", 1, 1));
    assert_eq!((one.steps.as_slice(), one.devices[0].as_str()), ([2].as_slice(), "1 cpus"));
    let request = v1::PollRequest { draining: true, ..worker.request() };
    server.fleet.poll(request).await.unwrap();
    let workers = server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!(workers[0].state, "draining");
    worker.held.clear();
}

#[tokio::test]
async fn a_score_names_the_programs_that_it_comes_from() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    // The third goes on from what the second left; the first, which said nothing, left nothing.
    for (attempt, from_iteration, revision) in [(2, 0, "b"), (3, 7, "c")] {
        // A worker that was started again without its attempt is given the run again.
        worker.held.clear();
        while worker.held.is_empty() {
            worker.poll(&mut server).await;
        }
        let kind = "cpu avx2 0.1.0".to_owned();
        let started = v1::Started { from_iteration, kind, process_id: 1, code: Some(code(revision)), of_attempt: 0 };
        worker.report(2, attempt, Event::Started(started));
        worker.poll(&mut server).await;
        assert_eq!(server.fetch("one").await.records[0].codes, [], "there is no score yet");
    }
    worker.succeed(2, 3, scored(0.5));
    worker.poll(&mut server).await;
    let shown: Vec<_> = server.show(2).await.attempts.into_iter().map(|attempt| attempt.code).collect();
    assert_eq!(shown, [None, Some(code("b")), Some(code("c"))]);
    assert_eq!(server.fetch("one").await.records[0].codes, [code("b"), code("c")]);
}

#[tokio::test]
async fn the_whole_story_of_a_run_is_told_in_sentences() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    worker.succeed(2, 1, scored(0.5));
    worker.poll(&mut server).await;
    let shown = server.show(2).await;
    let told: Vec<_> = shown.history.iter().map(|line| line.sentence.as_str()).collect();
    assert_eq!(
        told,
        [
            "queued by submission 1",
            "assigned to worker one (attempt 1), queued for 0 s",
            "started on cpu avx2 0.1.0",
            "succeeded after 0 s",
        ]
    );
    assert_eq!(shown.attempts[0].kind, "cpu avx2 0.1.0");
    assert_eq!(shown.step.unwrap().needs, 1);
    assert!(shown.spec_json.starts_with("{\"run\""));
    assert_eq!(server.show(1).await.artifacts[0].name, "features");
    let catalog = server.submissions.get_catalog(v1::GetCatalogRequest {}).await.unwrap().into_inner();
    assert!(
        catalog.catalog_json.contains("\"linear\"") && catalog.protocol_version == orchestrator_proto::PROTOCOL_VERSION
    );
}

//! When steps are given out, and what users are told of it.

use orchestrator_proto::v1::{self, SubmitRequest, steer_request::Change};
use tonic::Code;

use crate::support::{Server, Worker, extracted, scored, start};

/// One run of the toy method, with its slope and whatever else it says.
fn one_run(name: &str, slope: u32, rest: &str) -> String {
    format!("name: {name}\ndatasets: [points]\nseeds: 1\nmethods: [{{ method: linear, slope: {slope} }}]\n{rest}")
}

async fn steer(server: &mut Server, submission: &str, steps: &[i64], change: Change) -> Result<u32, tonic::Status> {
    let (submission, steps) = (submission.to_owned(), steps.to_vec());
    let request = v1::SteerRequest { submission, steps, change: Some(change) };
    server.submissions.steer(request).await.map(|answer| answer.into_inner().steps)
}

async fn summary(server: &mut Server, name: &str) -> v1::SubmissionSummary {
    let request = v1::ListSubmissionsRequest { name_or_id: name.to_owned(), limit: 1 };
    server.submissions.list_submissions(request).await.unwrap().into_inner().submissions.remove(0)
}

/// Makes the features that all toy runs read.
async fn extract(server: &mut Server, worker: &mut Worker) {
    assert_eq!(worker.poll(server).await.assignments[0].step_id, 1);
    worker.started(1, 1, 0);
    worker.succeed(1, 1, extracted());
}

#[tokio::test]
async fn users_decide_which_submission_goes_first_and_which_waits() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&one_run("first", 1, "")).await;
    let urgent = SubmitRequest { yaml: one_run("urgent", 2, ""), priority: 10, ..Default::default() };
    server.submit_with(urgent).await;
    server.submit(&one_run("paused", 3, "")).await;
    assert_eq!(steer(&mut server, "paused", &[], Change::Paused(true)).await.unwrap(), 2, "its run, and the features");
    let shown = summary(&mut server, "urgent").await;
    assert_eq!((shown.priority, shown.paused), (10, false));
    assert!(summary(&mut server, "paused").await.paused);

    let mut worker = Worker::join(&mut server, "one", 1).await;
    extract(&mut server, &mut worker).await;
    for expected in [3, 2] {
        assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, expected);
        worker.started(expected, 1, 0);
        worker.succeed(expected, 1, scored(0.5));
    }
    assert_eq!(worker.poll(&mut server).await.assignments, []);
    let standing = server.show(4).await.standing;
    assert_eq!(standing, ["it is paused with submission 3; `orchestrator resume 3`"]);
    steer(&mut server, "", &[4], Change::Paused(true)).await.unwrap();
    steer(&mut server, "paused", &[], Change::Paused(false)).await.unwrap();
    assert_eq!(server.show(4).await.standing, ["it is paused; `orchestrator resume --run 4`"]);
    assert_eq!(worker.poll(&mut server).await.assignments, []);
    steer(&mut server, "", &[4], Change::Paused(false)).await.unwrap();
    assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, 4);
    server.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_what_users_said_about_the_order() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&one_run("first", 1, "")).await;
    server.submit(&one_run("second", 2, "")).await;
    steer(&mut server, "second", &[], Change::Priority(1)).await.unwrap();
    steer(&mut server, "first", &[], Change::Paused(true)).await.unwrap();
    server.kill(home.path()).await;
    let mut server = start(home.path()).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    extract(&mut server, &mut worker).await;
    assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, 3);
    assert!(summary(&mut server, "first").await.paused);
    server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_steered_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&one_run("first", 1, "")).await;
    let refused = steer(&mut server, "first", &[], Change::Priority(1_001)).await.unwrap_err();
    assert_eq!(refused.message(), "priority: 1001, from -1000 to 1000 are taken");
    let refused = steer(&mut server, "second", &[], Change::Paused(true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = steer(&mut server, "first", &[7], Change::Paused(true)).await.unwrap_err();
    assert_eq!(refused.message(), "there is no run or extraction 7; `orchestrator runs` lists them");
    assert!(!summary(&mut server, "first").await.paused, "nothing was changed");
    let refused = server.submissions.steer(v1::SteerRequest::default()).await.unwrap_err();
    assert_eq!(refused.message(), "change: say `paused` or `priority`");
    let request = SubmitRequest { yaml: one_run("x", 1, ""), priority: -1_001, ..Default::default() };
    let refused = server.submissions.submit(request).await.unwrap_err();
    assert_eq!(refused.message(), "priority: -1001, from -1000 to 1000 are taken");
    server.shutdown().await;
}

#[tokio::test]
async fn a_plan_tells_its_hours_its_end_and_what_fits_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let yaml = one_run("first", 1, "resources: { cpus: 2 }\n");
    let planned = |yaml: &str| SubmitRequest { yaml: yaml.to_owned(), dry_run: true, ..Default::default() };
    let forecast = server.submit_with(planned(&yaml)).await.forecast.unwrap();
    assert_eq!(
        (forecast.unknown, forecast.seconds_left_known),
        (2, false),
        "nothing like it has ended, nobody is there"
    );
    assert_eq!(forecast.never_fits, [""; 0], "nobody is there: nothing is known of what would fit");

    server.submit(&yaml).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.work(&mut server).await;
    // Like ones took 3 s on 2 cores; the worker holds two at a time.
    let like = "name: like\ndatasets: [points]\nseeds: [7, 8]\nmethods: [{ method: linear, slope: 5 }]\nresources: { cpus: 2 }\n";
    let answer = server.submit_with(planned(like)).await;
    assert_eq!((answer.runs, answer.already_scored), (2, 0));
    let forecast = answer.forecast.unwrap();
    assert_eq!((forecast.unknown, forecast.seconds_left_known), (0, true));
    assert!((forecast.seconds_left - 3.0).abs() < 1e-9, "{}", forecast.seconds_left);
    assert!((forecast.core_hours - 12.0 / 3_600.0).abs() < 1e-12, "{}", forecast.core_hours);
    assert!(forecast.gpu_hours.abs() < 1e-12);
    let scored = server.submit_with(planned(&yaml)).await.forecast.unwrap();
    assert!(scored.core_hours.abs() + scored.seconds_left.abs() < 1e-12, "what is scored takes nothing");

    // What is queued already comes before it, and is not counted twice.
    server.submit(like).await;
    let more = one_run("more", 6, "resources: { cpus: 2 }\n");
    for (yaml, expected) in [(more.as_str(), 4.5), (like, 3.0), (yaml.as_str(), 0.0)] {
        let left = server.submit_with(planned(yaml)).await.forecast.unwrap().seconds_left;
        assert!((left - expected).abs() < 1e-9, "{left}");
    }

    for (resources, lack) in [
        ("{ cpus: 2, memory: 64GiB }", "2 cpus, 64.0 GiB of memory (one: it has 8.0 GiB of memory)"),
        ("{ cpus: 2, device: cuda }", "2 cpus, a CUDA GPU (`device: cuda`) (one: it has no GPU)"),
    ] {
        let yaml = one_run("large", 7, &format!("resources: {resources}\n"));
        let answer = server.submit_with(planned(&yaml)).await;
        let expected = format!("1 step fits on no worker that is online: it asks for {lack}");
        assert_eq!(answer.forecast.unwrap().never_fits, [expected]);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_submission_of_thousands_of_runs_is_queued_and_cancelled_without_silence() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let rows: Vec<_> = (1..=9).map(|slope| slope.to_string()).collect();
    let yaml = format!(
        "name: many\ndatasets: [points]\nseeds: 1000\nmethods: [{{ method: linear, slope: [{}] }}]\n",
        rows.join(", ")
    );
    let answer = server.submit(&yaml).await;
    assert_eq!((answer.runs, answer.extractions, answer.steps.len()), (9_000, 1, 9_001));
    let shown = summary(&mut server, "many").await;
    assert_eq!((shown.queued, shown.extractions_pending), (9_000, 1));
    let mut worker = Worker::join(&mut server, "one", 4).await;
    extract(&mut server, &mut worker).await;
    let seeds: Vec<_> = worker.poll(&mut server).await.assignments.iter().map(|given| given.step_id).collect();
    assert_eq!(seeds, [2, 3, 4, 5], "the first seed of the first rows");
    let again = server.submit(&yaml).await;
    assert_eq!((again.submission_id, summary(&mut server, "many").await.queued), (2, 8_996), "linked, not made again");
    for (submission, cancelled) in [("1", 0), ("2", 9_000)] {
        let request = v1::CancelRequest { submission: submission.to_owned(), steps: Vec::new() };
        assert_eq!(server.submissions.cancel(request).await.unwrap().into_inner().cancelled, cancelled);
    }
    let request = v1::RetryRequest { submission: "1".to_owned(), cancelled_too: true, ..Default::default() };
    assert_eq!(server.submissions.retry(request).await.unwrap().into_inner().queued, 9_000);
    assert_eq!(summary(&mut server, "1").await.queued, 9_000);
    server.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_takes_nothing_says_why() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&one_run("first", 1, "")).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let halted = v1::PollRequest { halted: "its disk is full".to_owned(), ..worker.request() };
    assert_eq!(server.fleet.poll(halted).await.unwrap().into_inner().assignments, []);
    let shown =
        server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers.remove(0);
    assert_eq!(
        (shown.state.as_str(), shown.aside_reason.as_str(), shown.aside_until_ms),
        ("halted", "its disk is full", 0)
    );
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 1);
    assert_eq!(server.worker_state("one").await, "online");
    server.shutdown().await;
}

#[tokio::test]
async fn a_run_that_asks_for_a_label_waits_for_a_worker_that_calls_itself_so_also_over_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&one_run("labelled", 1, "resources: { labels: [a100] }\n")).await;
    let mut plain = Worker::join(&mut server, "plain", 1).await;
    assert!(plain.poll(&mut server).await.assignments.is_empty());
    let mut labelled = Worker::join_labelled(&mut server, "labelled", &["a100", "ssd"]).await;
    extract(&mut server, &mut labelled).await;
    let workers = server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let labels: Vec<_> = workers.iter().map(|worker| worker.labels.as_slice()).collect();
    assert_eq!(labels, [&[][..], &["a100".to_owned(), "ssd".to_owned()]]);
    server.shutdown().await;
    // Both are taken up as they were: neither has registered again.
    let mut server = start(home.path()).await;
    assert!(plain.poll(&mut server).await.assignments.is_empty());
    assert_eq!(labelled.poll(&mut server).await.assignments[0].step_id, 2);
    server.shutdown().await;
}

//! Submissions as large as they may be, beside a worker that is at work and wants its heartbeats answered.

use std::time::Duration;

use experiment_spec::catalog::{Catalog, ParameterKind};
use orchestrator_coordinator::Config;
use orchestrator_proto::v1::{self, SubmitRequest, SubmitResponse};

use crate::support::{ONE_RUN, Server, Worker, catalog, extracted, rows, start_with, started};

/// The toy method with many more values.
fn many_slopes() -> Catalog {
    let mut catalog = catalog();
    catalog.methods[0].parameters[0].kind = ParameterKind::Integer { min: 1, max: 1_000_000 };
    catalog
}

/// A coordinator whose one worker is at work on run 2, under a lease that a long silence would cost it.
async fn at_work(home: &std::path::Path) -> (Server, Worker) {
    let lease = Duration::from_secs(5);
    let mut server = start_with(Config { lease, ..Config::new(home, many_slopes(), "0.1.0-test") }).await;
    server.submit(ONE_RUN).await;
    let mut worker = Worker::join(&mut server, "busy", 1).await;
    worker.poll(&mut server).await;
    worker.report(1, 1, started(0));
    worker.succeed(1, 1, extracted());
    assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, 2);
    worker.report(2, 1, started(0));
    worker.poll(&mut server).await;
    (server, worker)
}

/// Submits while the worker polls. It must lose nothing.
async fn submit(server: &mut Server, worker: &mut Worker, yaml: String) -> SubmitResponse {
    let (mut submissions, mut fleet) = (server.submissions.clone(), server.fleet.clone());
    let request = SubmitRequest { yaml, ..SubmitRequest::default() };
    let answer = tokio::spawn(async move { submissions.submit(request).await.unwrap().into_inner() });
    while !answer.is_finished() {
        let polled = fleet.poll(v1::PollRequest { cpus_free: 0, ..worker.request() }).await.unwrap().into_inner();
        assert_eq!((polled.stop.len(), polled.register_again), (0, false), "its lease holds");
        worker.take_in(&polled);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    answer.await.unwrap()
}

/// A hundred values of a grid.
fn slopes(from: u32) -> String {
    (from..from + 100).map(|slope| slope.to_string()).collect::<Vec<_>>().join(", ")
}

async fn queued(server: &mut Server, name: &str) -> u32 {
    let request = v1::ListSubmissionsRequest { name_or_id: name.to_owned(), limit: 0 };
    server.submissions.list_submissions(request).await.unwrap().into_inner().submissions[0].queued
}

async fn submissions(server: &mut Server) -> usize {
    let all = v1::ListSubmissionsRequest::default();
    server.submissions.list_submissions(all).await.unwrap().into_inner().submissions.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cells_are_one_submission() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let row = |n: u32| format!("  - {{ method: linear, label: R{n}, slope: [{}] }}\n", slopes(100 * n + 10));
    let cells: Vec<_> = (0..100).map(row).collect();
    let yaml = format!("name: cells\ndatasets: [points]\nseeds: 1\nmethods:\n{}", cells.concat());
    let answer = submit(&mut server, &mut worker, yaml.clone()).await;
    assert_eq!((answer.problems, answer.runs), (vec![], 10_000));
    assert_eq!(queued(&mut server, "cells").await, 10_000);
    let mut labels: Vec<_> = server.records("cells").await.into_iter().map(|record| record.label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), 10_000, "each cell has a name of its own");

    let one_more = format!("{yaml}  - {{ method: linear, label: one more, slope: 9 }}\n");
    let answer = submit(&mut server, &mut worker, one_more).await;
    let sentence = &answer.problems[0].message;
    assert!(sentence.starts_with("too many runs: data sets x rows may be 10000"), "{sentence}");
    assert_eq!(submissions(&mut server).await, 2, "nothing was changed");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_runs_are_one_submission_and_survive_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let yaml = |seeds| format!("name: runs\ndatasets: [points]\nseeds: {seeds}\nmethods:\n{}", rows(10..1_010));
    let answer = submit(&mut server, &mut worker, yaml(100)).await;
    assert_eq!((answer.problems, answer.runs), (vec![], 100_000));
    assert_eq!(queued(&mut server, "runs").await, 100_000);
    // One run more than may be: 9,091 cells of 11 seeds.
    let row = |n: u32| format!("  - {{ method: linear, label: G{n}, slope: [{}] }}\n", slopes(100 * n + 2_000));
    let cells: Vec<_> = (0..90).map(row).chain([rows(10..101)]).collect();
    let too_many = format!("name: more\ndatasets: [points]\nseeds: 11\nmethods:\n{}", cells.concat());
    let sentence = &submit(&mut server, &mut worker, too_many).await.problems[0].message;
    assert!(sentence.contains("times seeds 100000, here 9091 and 100001"), "{sentence}");
    assert_eq!(submissions(&mut server).await, 2, "nothing was changed");
    let page = v1::ListStepsRequest { submission: "runs".to_owned(), ..v1::ListStepsRequest::default() };
    assert_eq!(server.submissions.list_steps(page).await.unwrap().into_inner().steps.len(), 10_000, "a page");

    server.kill(home.path()).await;
    let config = Config { lease: Duration::from_secs(5), ..Config::new(home.path(), many_slopes(), "0.1.0-test") };
    let mut server = start_with(config).await;
    assert_eq!(queued(&mut server, "runs").await, 100_000);
    // What was at work goes on, and what is given out next is the first seed of a row.
    let polled = worker.poll(&mut server).await;
    assert_eq!((polled.stop.len(), polled.register_again), (0, false));
    let mut other = Worker::join(&mut server, "other", 2).await;
    let given = other.poll(&mut server).await.assignments;
    assert_eq!(given.iter().map(|it| it.step_id).collect::<Vec<_>>(), [3, 4]);
    let cancel = v1::CancelRequest { submission: "runs".to_owned(), steps: Vec::new() };
    assert_eq!(server.submissions.cancel(cancel).await.unwrap().into_inner().cancelled, 100_000);
    server.shutdown().await;
}

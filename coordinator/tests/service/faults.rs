//! Reports that come twice or too late, workers that vanish, coordinators that are killed.

use std::time::Duration;

use orchestrator_proto::v1::{self, Held};

use crate::support::{ONE_RUN, Worker, YAML, at_work, extracted, failed, impatient, scored, start, start_with};

#[tokio::test]
async fn a_report_that_comes_twice_counts_once() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    worker.succeed(2, 1, scored(0.5));
    let request = worker.request();
    let first = server.fleet.poll(request.clone()).await.unwrap().into_inner();
    let history = server.history(2).await;
    let second = server.fleet.poll(request).await.unwrap().into_inner();
    assert_eq!((first.acknowledged, second.acknowledged), (worker.sequence, worker.sequence));
    assert_eq!(server.history(2).await, history, "nothing happened the second time");
    assert_eq!(server.states().await, ["succeeded"; 2]);
}

#[tokio::test]
async fn reports_of_an_older_attempt_are_set_aside_and_said_so() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    worker.held.clear();
    let again = worker.poll(&mut server).await.assignments;
    assert_eq!((again[0].step_id, again[0].attempt), (2, 2));
    worker.report(2, 1, scored(0.9));
    worker.poll(&mut server).await;
    assert!(worker.outbox.is_empty(), "it is acknowledged all the same");
    assert_eq!(server.states().await, ["succeeded", "assigned"]);
    worker.succeed(2, 2, scored(0.25));
    worker.poll(&mut server).await;
    assert_eq!(server.steps().await[1].bi_modal_average, Some(0.25));
    let history = server.history(2).await;
    assert!(history.iter().any(|line| line == "queued again: worker one started again without it"), "{history:?}");
    assert!(
        history
            .iter()
            .any(|line| line == "attempt 1 no longer had its lease: what it reported late (result) does not count"),
        "{history:?}"
    );
}

#[tokio::test]
async fn the_right_attempt_under_another_lease_does_not_count() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let right = worker.leases[&(2, 1)];
    assert_ne!(right, 0);
    // As from before the store was set back to an older copy, which gave the same attempt a second time.
    for wrong in [0, right ^ 1] {
        worker.leases.insert((2, 1), wrong);
        worker.report(2, 1, scored(0.9));
        let stopped = worker.poll(&mut server).await.stop;
        assert_eq!((stopped.len(), server.states().await[1].as_str()), (0, "running"));
        let foreign = Held { step_id: 2, attempt: 1, lease: wrong };
        worker.held.push(foreign);
        assert_eq!(worker.poll(&mut server).await.stop, [foreign], "it is told to stop what is not its own");
    }
    worker.leases.insert((2, 1), right);
    worker.succeed(2, 1, scored(0.25));
    worker.poll(&mut server).await;
    assert_eq!(server.steps().await[1].bi_modal_average, Some(0.25));
    server.kill(home.path()).await;
}

#[tokio::test]
async fn the_runs_of_a_silent_worker_go_to_another_one() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start_with(impatient(home.path())).await;
    server.submit(ONE_RUN).await;
    let mut silent = Worker::join(&mut server, "silent", 1).await;
    silent.poll(&mut server).await;
    silent.started(1, 1, 0);
    silent.poll(&mut server).await;
    let mut other = Worker::join(&mut server, "other", 1).await;
    let mut done = 0;
    for _ in 0..100 {
        done += other.work(&mut server).await;
        if done == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.states().await, ["succeeded"; 2]);
    let shown = server.show(1).await;
    let told: Vec<_> = shown.attempts.iter().map(|a| (a.number, a.worker.as_str(), a.outcome.as_str())).collect();
    assert_eq!(told, [(1, "silent", "lost"), (2, "other", "succeeded")]);

    silent.succeed(1, 1, extracted());
    let answer = silent.poll(&mut server).await;
    assert!(answer.register_again && !silent.outbox.is_empty(), "nothing of a lost worker is taken");
    silent.held = vec![Held { step_id: 1, attempt: 1, lease: silent.leases[&(1, 1)] }];
    let registered = silent.register(&mut server).await;
    assert_eq!(registered.drop, silent.held);
}

#[tokio::test]
async fn a_killed_coordinator_takes_up_attempts_where_they_are() {
    let home = tempfile::tempdir().unwrap();
    let (server, mut worker) = at_work(home.path()).await;
    worker.report(2, 1, crate::support::metric(1, 0.5));
    server.kill(home.path()).await;

    let mut server = start(home.path()).await;
    assert_eq!(server.states().await, ["succeeded", "running"]);
    let answer = worker.poll(&mut server).await;
    assert!(!answer.register_again && answer.stop.is_empty());
    worker.succeed(2, 1, scored(0.5));
    worker.poll(&mut server).await;
    assert_eq!(server.states().await, ["succeeded"; 2]);
    assert_eq!(server.show(2).await.attempts.len(), 1, "the same attempt");
    assert_eq!(server.metrics(2).await, [(1, 0.5)]);
}

#[tokio::test]
async fn workers_have_the_whole_timeout_after_a_restart_and_no_longer() {
    let home = tempfile::tempdir().unwrap();
    let (server, _worker) = at_work(home.path()).await;
    server.shutdown().await;
    let mut server = start_with(impatient(home.path())).await;
    assert_eq!(server.states().await[1], "running");
    for _ in 0..100 {
        if server.states().await[1] == "queued" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the run is still with a worker that was never heard of again");
}

#[tokio::test]
async fn a_worker_that_starts_again_without_its_attempt_gets_a_new_one() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, _gone) = at_work(home.path()).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    assert_eq!(worker.sequence, 3, "it goes on numbering where it was");
    let given = worker.poll(&mut server).await.assignments;
    assert_eq!((given[0].step_id, given[0].attempt), (2, 2));
}

#[tokio::test]
async fn failures_are_tried_again_by_kind() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    worker.succeed(1, 1, extracted());
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 4);
    for (step, kind) in [(2, "nan"), (3, "out-of-memory"), (4, "no-such-kind")] {
        worker.started(step, 1, 0);
        worker.succeed(step, 1, failed(kind));
    }
    worker.succeed(5, 1, crate::support::scored(f64::NAN));
    worker.poll(&mut server).await;
    let steps = server.steps().await;
    let told: Vec<_> = steps[1..].iter().map(|s| (s.state.as_str(), s.failure_kind.as_str())).collect();
    assert_eq!(told, [("failed", "nan"), ("queued", ""), ("queued", ""), ("failed", "data")]);
    assert_eq!(steps[1].failure, "it was nan");
    assert!(steps[4].failure.starts_with("its result cannot be taken"), "{}", steps[4].failure);
    let history = server.history(3).await;
    let last = history.last().unwrap();
    assert_eq!(
        last,
        "attempt 1 failed (out-of-memory): it was out-of-memory; again after 2 s on another worker, if one could hold it, 2 retries left"
    );
    assert!(server.history(4).await.last().unwrap().contains("unknown kind of failure `no-such-kind`"));
}

#[tokio::test]
async fn an_extraction_without_features_fails_its_runs() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(ONE_RUN).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    worker.poll(&mut server).await;
    worker.succeed(1, 1, scored(0.5));
    worker.poll(&mut server).await;
    let record = server.records("one").await.remove(0);
    assert_eq!((record.state.as_str(), record.scores_json.as_str()), ("failed", ""));
    assert_eq!(
        record.failure,
        "data: its features could not be made: extraction 1 failed: its result cannot be taken: it left no features"
    );
}

#[tokio::test]
async fn what_is_at_work_says_how_long_its_lease_is() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, worker) = at_work(home.path()).await;
    let standing = server.show(2).await.standing;
    assert_eq!(standing[0], format!("it runs on worker {} as attempt 1", worker.name));
    let [_, lease] = &standing[..] else { panic!("{standing:?}") };
    assert!(lease.starts_with("its worker was heard of "), "{lease}");
    assert!(lease.ends_with(" s ago; its lease is over after 15 s of silence"), "{lease}");
    assert!(server.show(1).await.standing.is_empty(), "what has succeeded has no lease");
    server.kill(home.path()).await;
}

#[tokio::test]
async fn a_drained_worker_ends_what_it_has_and_stays_drained_over_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, mut worker) = at_work(home.path()).await;
    let drain = |worker: &str, undo| v1::DrainWorkerRequest { worker: worker.to_owned(), undo };
    let refused = server.submissions.drain_worker(drain("nobody", false)).await.unwrap_err();
    assert_eq!(refused.message(), "there is no worker `nobody`; `orchestrator workers` lists them");
    for name in ["one-0af3", "one-0af4", "other-1", "two-1", "two-2"] {
        Worker::join(&mut server, name, 1).await;
    }
    let named = |name: &str| drain(name, true);
    let refused = server.submissions.drain_worker(named("on")).await.unwrap_err();
    assert!(refused.message().starts_with("there is no worker `on`"), "{refused}");
    let refused = server.submissions.drain_worker(named("two")).await.unwrap_err();
    assert_eq!(refused.message(), "several workers may be meant: two-1, two-2; say which");
    assert_eq!(server.submissions.drain_worker(named("other")).await.unwrap().into_inner().name, "other-1");
    assert_eq!(server.submissions.drain_worker(named("3")).await.unwrap().into_inner().name, "one-0af4");
    assert_eq!(server.submissions.drain_worker(named("one")).await.unwrap().into_inner().name, "one");
    let answer = server.submissions.drain_worker(drain("one", false)).await.unwrap().into_inner();
    assert_eq!((answer.name.as_str(), answer.steps), ("one", vec![2]));
    assert_eq!(server.worker_state("one").await, "draining");
    worker.succeed(2, 1, scored(0.5));
    worker.poll(&mut server).await;
    assert_eq!(server.states().await, ["succeeded"; 2]);
    server.submit("name: more\ndatasets: [points]\nseeds: [7]\nmethods: [linear]\n").await;
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 0);
    server.kill(home.path()).await;

    let mut server = start(home.path()).await;
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 0);
    worker.register(&mut server).await;
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 0);
    assert_eq!(server.worker_state("one").await, "drained");
    server.submissions.drain_worker(drain("one", true)).await.unwrap();
    assert_eq!(server.worker_state("one").await, "online");
    assert_eq!(worker.poll(&mut server).await.assignments.len(), 1);
}

//! From a file to records, through a real server and a real store.

use crate::support::{self, Worker, YAML, scores_json, start};

#[tokio::test]
async fn a_submission_runs_to_its_records() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let submitted = server.submit(YAML).await;
    assert_eq!(submitted.problems, []);
    assert_eq!((submitted.runs, submitted.extractions, submitted.already_scored), (4, 1, 0));

    let mut worker = Worker::join(&mut server, "one", 2).await;
    let first = worker.poll(&mut server).await.assignments;
    assert_eq!(first.len(), 1, "runs wait for their features");
    let (extraction, attempt) = (first[0].step_id, first[0].attempt);
    worker.started(extraction, attempt, 0);
    worker.succeed(extraction, attempt, support::extracted());
    let runs = worker.poll(&mut server).await.assignments;
    assert_eq!(runs.len(), 2, "two cpus, two runs");
    assert_eq!(runs[0].features.len(), 1, "runs are told their features");

    let map = 0.1 + 0.2;
    for run in runs {
        worker.started(run.step_id, 1, 0);
        worker.succeed(run.step_id, 1, support::scored(map));
    }
    assert_eq!(worker.work(&mut server).await, 2);
    assert_eq!(server.states().await, ["succeeded"; 5]);

    let records = server.records("toy").await;
    let order: Vec<_> = records.iter().map(|record| (record.label.as_str(), record.seed)).collect();
    assert_eq!(order, [("Linear", 1), ("Steep", 1), ("Linear", 2), ("Steep", 2)], "seeds breadth first");
    assert_eq!(records[0].scores_json, scores_json(map), "scores come back to the bit");
    assert_eq!(records[0].seconds.to_bits(), 3.0_f64.to_bits());
    assert_eq!(server.steps().await[1].bi_modal_average, Some(map));
    server.shutdown().await;
}

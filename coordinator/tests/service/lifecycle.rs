//! From a file to records, through a real server and a real store.

use experiment_spec::spec::TableSpec;
use orchestrator_proto::v1;

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

#[tokio::test]
async fn runs_that_insist_on_a_gpu_do_not_insist_for_their_features() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let submitted = server.submit(&format!("{YAML}resources: {{ device: cuda }}\n")).await;
    assert_eq!(submitted.problems, []);
    let mut worker = Worker::join(&mut server, "without GPUs", 2).await;
    let given = worker.poll(&mut server).await.assignments;
    assert_eq!(given.iter().map(|a| (a.step_id, a.gpu_index)).collect::<Vec<_>>(), [(1, -1)]);
    worker.succeed(1, 1, support::extracted());
    assert_eq!(worker.poll(&mut server).await.assignments, [], "runs wait for a GPU");
    server.shutdown().await;
}

#[tokio::test]
async fn many_long_scores_come_in_pages() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(&YAML.replace("seeds: 2", "seeds: 3")).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let mut long = Vec::new();
    while let Some(assignment) = worker.poll(&mut server).await.assignments.pop() {
        let step = assignment.step_id;
        if step == 1 {
            worker.succeed(step, 1, support::extracted());
            continue;
        }
        // About 0.9 MB of white space each.
        let scores_json = format!("{}{}", scores_json(0.5), " ".repeat(900_000));
        long.push(scores_json.clone());
        let succeeded = v1::Succeeded { scores_json, ..Default::default() };
        worker.succeed(step, 1, v1::attempt_event::Event::Succeeded(succeeded));
    }
    let first = v1::GetRecordsRequest { submission: "toy".to_owned(), from: 0 };
    let first = server.submissions.get_records(first).await.unwrap().into_inner();
    assert!(first.next > 0 && first.records.len() < 6, "{} records, next {}", first.records.len(), first.next);
    let all = server.fetch("toy").await;
    let texts: Vec<_> = all.records.into_iter().map(|record| record.scores_json).collect();
    assert!(texts == long, "every record once, in order, to the byte");
}

#[tokio::test]
async fn the_tables_are_those_of_the_file() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let tables = "tables:\n  - { kind: ablation, title: Slopes, rows: [Steep, Linear] }\n";
    server.submit(&format!("{YAML}{tables}")).await;
    let specs: Vec<TableSpec> = serde_json::from_str(&server.fetch("toy").await.tables_json).unwrap();
    assert_eq!(
        (specs[0].title.as_str(), specs[0].rows.as_slice()),
        ("Slopes", ["Steep", "Linear"].map(str::to_owned).as_slice())
    );
}

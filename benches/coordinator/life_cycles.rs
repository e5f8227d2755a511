//! Durable life-cycles of runs: assigned, started, ten reports of metrics, scored.

use std::{sync::atomic::Ordering, time::Instant};

use orchestrator_proto::v1::{Succeeded, attempt_event::Event};

use crate::{
    Figure, Sample,
    fleet::{self, Worker, at_once, points, scores_json, started},
    server::Server,
};

const RUNS: usize = 10_000;
const WORKERS: usize = 16;
/// Runs that a worker has at the same time.
const SLOTS: u32 = 4;
/// Reports of metrics of a run, of one point of three quantities each; half of them come with its start, half with its
/// score.
const REPORTS: u64 = 10;

pub(crate) async fn measure(repetitions: usize) {
    let figure =
        Figure { bench: "coordinator", metric: "life_cycles_per_s", unit: "1/s", n: RUNS, workers: WORKERS };
    figure.repeat(repetitions, once).await;
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn once() -> Sample {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(home.path()).await;
    server.submit(RUNS, "life-cycles").await;
    fleet::extract(&server.url).await;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        workers.push(Worker::join(&server.url, &format!("worker-{index}"), SLOTS).await);
    }
    let (cpu, start) = (server.cpu_us(), Instant::now());
    let done = at_once(workers, |mut worker, done| async move {
        let scores_json = scores_json();
        let report_metrics = |worker: &mut Worker, of: &_, reports: std::ops::Range<u64>| {
            for report in reports {
                worker.report(of, points("loss", 10 * report, 3));
            }
        };
        loop {
            let given = worker.poll().await;
            if given.is_empty() {
                return;
            }
            for of in &given {
                worker.report(of, started());
                report_metrics(&mut worker, of, 0..REPORTS / 2);
            }
            assert_eq!(worker.poll().await.len(), 0, "its slots are taken");
            for of in &given {
                report_metrics(&mut worker, of, REPORTS / 2..REPORTS);
                let done = Succeeded { scores_json: scores_json.clone(), artifacts: Vec::new(), seconds: 1.0 };
                worker.report(of, Event::Succeeded(done));
            }
            done.fetch_add(given.len(), Ordering::Relaxed);
        }
    })
    .await;
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), server.cpu_us() - cpu);
    assert_eq!(done, RUNS);
    server.assert_all("succeeded").await;
    server.kill();
    Sample { value: RUNS as f64 / seconds, cpu_us: cpu_us / RUNS as f64 }
}

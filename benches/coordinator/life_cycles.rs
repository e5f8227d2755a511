//! Durable life-cycles of runs: assigned, started, ten reports of metrics, scored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use orchestrator_proto::v1::{Succeeded, attempt_event::Event};

use crate::{
    Figure, Sample,
    fleet::{self, Worker, at_once, points, scores_json, started},
    server::Server,
};

const RUNS: usize = 10_000;
const WORKERS: usize = 16;
/// Runs that a worker has at the same time.
const SLOTS: u32 = 32;
/// Reports of metrics of a run, of one point each; half of them come with its start, half with its score.
const REPORTS: u64 = 10;

/// Once with scores as runs leave them (26 KiB: 20 categories and 100 levels of recall in each cell), once with nothing but
/// the MAP of each cell.
pub(crate) async fn measure(repetitions: usize) {
    for (metric, categories, levels) in [("life_cycles_per_s", 20, 100), ("life_cycles_bare_score_per_s", 0, 0)] {
        let figure = Figure { bench: "coordinator", metric, unit: "1/s", n: RUNS, workers: WORKERS };
        figure.repeat(repetitions, || once(scores_json(categories, levels))).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn once(scores_json: String) -> Sample {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(home.path()).await;
    server.submit(RUNS, "life-cycles").await;
    fleet::extract(&server.url).await;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        workers.push(Worker::join(&server.url, &format!("worker-{index}"), SLOTS).await);
    }
    let (cpu, start) = (server.cpu_us(), Instant::now());
    let scores_json = Arc::new(scores_json);
    let done = at_once(workers, move |worker, done| work(worker, Arc::clone(&scores_json), done)).await;
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), server.cpu_us() - cpu);
    assert_eq!(done, RUNS);
    server.assert_all("succeeded").await;
    server.kill();
    Sample { value: RUNS as f64 / seconds, cpu_us: cpu_us / RUNS as f64 }
}

/// Works until there is nothing left, and counts what it has done.
async fn work(mut worker: Worker, scores_json: Arc<String>, done: Arc<AtomicUsize>) {
    let report_metrics = |worker: &mut Worker, of: &_, reports: std::ops::Range<u64>| {
        for report in reports {
            worker.report(of, points("loss", 10 * report, 1));
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
            let scores_json = String::clone(&scores_json);
            worker.report(of, Event::Succeeded(Succeeded { scores_json, artifacts: Vec::new(), seconds: 1.0 }));
        }
        done.fetch_add(given.len(), Ordering::Relaxed);
    }
}

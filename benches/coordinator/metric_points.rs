//! Durable points of metrics from eight workers, a thousand in a report.

use std::{sync::atomic::Ordering, time::Instant};

use crate::{
    Figure, Sample,
    fleet::{self, Worker, at_once, points, started},
    server::Server,
};

const WORKERS: usize = 8;
const POINTS: usize = 800_000;
/// Points of a report, and reports of a poll.
const REPORT: u64 = 1_000;
const POLL: u64 = 5;

pub(crate) async fn measure(repetitions: usize) {
    let figure =
        Figure { bench: "coordinator", metric: "metric_points_per_s", unit: "1/s", n: POINTS, workers: WORKERS };
    figure.repeat(repetitions, once).await;
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn once() -> Sample {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(home.path()).await;
    server.submit(WORKERS, "metric-points").await;
    fleet::extract(&server.url).await;
    let mut workers = Vec::new();
    for index in 0..WORKERS {
        workers.push(Worker::join(&server.url, &format!("worker-{index}"), 1).await);
    }
    let polls = POINTS as u64 / WORKERS as u64 / REPORT / POLL;
    let (cpu, start) = (server.cpu_us(), Instant::now());
    let done = at_once(workers, move |mut worker, done| async move {
        let given = worker.poll().await.pop().expect("there is a run for each");
        worker.report(&given, started());
        for poll in 0..polls {
            for report in 0..POLL {
                worker.report(&given, points("loss", (poll * POLL + report) * REPORT, REPORT));
            }
            worker.poll().await;
            done.fetch_add(usize::try_from(POLL * REPORT).expect("few"), Ordering::Relaxed);
        }
    })
    .await;
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), server.cpu_us() - cpu);
    assert_eq!(done, POINTS);
    server.kill();
    Sample { value: POINTS as f64 / seconds, cpu_us: cpu_us / POINTS as f64 }
}

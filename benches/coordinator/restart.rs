//! Time from the start of a killed coordinator to its first answer, with many runs in its store.

use std::time::Instant;

use crate::{
    Figure, Sample,
    fleet::{self, Worker},
    server::Server,
};

const RUNS: usize = 10_000;

pub(crate) async fn measure(repetitions: usize) {
    let figure = Figure { bench: "coordinator", metric: "restart_s", unit: "s", n: RUNS, workers: 1 };
    figure.repeat(repetitions, once).await;
}

async fn once() -> Sample {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(home.path()).await;
    server.submit(RUNS, "restart").await;
    fleet::extract(&server.url).await;
    let mut worker = Worker::join(&server.url, "worker", 1).await;
    assert_eq!(worker.poll().await.len(), 1);
    server.kill();
    let start = Instant::now();
    let server = Server::start(home.path()).await;
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let cpu_us = server.cpu_us() / RUNS as f64;
    server.kill();
    Sample { value: seconds, cpu_us }
}

//! Whole runs through coordinator and a real worker daemon whose attempts are the program `true`: it ends at once and
//! leaves no result, so each run fails and none is ever scored. What is measured is all but the computation.

use std::{path::Path, time::Instant};

use orchestrator_proto::{link::Bearer, v1::ListSubmissionsRequest};
use orchestrator_worker::{Config, Links};
use tokio_util::sync::CancellationToken;

use crate::{
    Figure, Sample, fleet,
    server::{Server, connect},
};

const RUNS: usize = 4_000;
const CPUS: u32 = 64;

pub(crate) async fn measure(repetitions: usize) {
    let figure = Figure { bench: "coordinator", metric: "true_runs_per_s", unit: "1/s", n: RUNS, workers: 2 };
    figure.repeat(repetitions, once).await;
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn once() -> Sample {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(home.path()).await;
    server.submit(RUNS, "true-runs").await;
    fleet::extract(&server.url).await;
    let stop = CancellationToken::new();
    let (cpu, start) = (server.cpu_us(), Instant::now());
    let link = Bearer::default().over(connect(&server.url).await);
    let worker = tokio::spawn(orchestrator_worker::run(
        config(home.path()),
        Links { calls: link.clone(), contents: link },
        stop.clone(),
    ));
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let request = ListSubmissionsRequest { name_or_id: "true-runs".to_owned(), limit: 1 };
        let listed = server.submissions.list_submissions(request).await.expect("it answers").into_inner();
        if listed.submissions[0].failed as usize == RUNS {
            break;
        }
    }
    let (seconds, cpu_us) = (start.elapsed().as_secs_f64(), server.cpu_us() - cpu);
    stop.cancel();
    worker.await.expect("it does not panic").expect("it ends in good order");
    server.kill();
    Sample { value: RUNS as f64 / seconds, cpu_us: cpu_us / RUNS as f64 }
}

fn config(home: &Path) -> Config {
    let mut config = Config::new(home.join("bench-worker"), "/bin/true", CPUS);
    config.blobs = home.join("blobs");
    config.shared_blobs = true;
    config
}

//! What a run, a worker and a life-cycle cost in a small system and in one that is a hundred times as large.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use orchestrator_proto::v1::{Succeeded, attempt_event::Event};
use tonic::transport::Channel;

use crate::{
    fleet::{self, Worker, points, scores_json, started},
    server::{Server, connect},
};

/// A system of some size.
#[derive(Clone, Copy)]
struct Size {
    workers: usize,
    /// Queued runs.
    runs: usize,
    /// Life-cycles that are timed.
    life_cycles: usize,
}

const SMALL: Size = Size { workers: 1_000, runs: 10_000, life_cycles: 5_000 };
const LARGE: Size = Size { workers: 10_000, runs: 1_000_000, life_cycles: 20_000 };
/// Submissions that bring the runs: no more than a hundred thousand may come in one.
const SUBMISSIONS: usize = 10;
/// Workers that poll at the same time, each set over a connection of its own: more are told to come again.
const AT_ONCE: usize = 200;
/// By so much may a figure of the large system be above that of the small one.
const TOLERANCE: f64 = 1.2;

/// What one size costs.
struct Costs {
    submit_us_per_run: f64,
    memory_bytes_per_run: f64,
    memory_bytes_per_worker: f64,
    life_cycle_us: f64,
    life_cycle_cpu_us: f64,
    poll_cpu_us: f64,
    open_us_per_run: f64,
}

impl Costs {
    fn named(&self) -> [(&'static str, &'static str, f64); 7] {
        [
            ("submit_us_per_run", "us", self.submit_us_per_run),
            ("memory_bytes_per_run", "B", self.memory_bytes_per_run),
            ("memory_bytes_per_worker", "B", self.memory_bytes_per_worker),
            ("life_cycle_us", "us", self.life_cycle_us),
            ("life_cycle_cpu_us", "us", self.life_cycle_cpu_us),
            ("poll_cpu_us", "us", self.poll_cpu_us),
            ("open_us_per_run", "us", self.open_us_per_run),
        ]
    }
}

/// Both sizes, and by what factor they differ.
pub(crate) async fn measure(repetitions: usize) {
    for _ in 0..repetitions {
        let (small, large) = (once(SMALL).await, once(LARGE).await);
        for ((metric, unit, small), (_, _, large)) in small.named().into_iter().zip(large.named()) {
            let ratio = large / small;
            let line = serde_json::json!({
                "bench": "scale", "metric": metric, "unit": unit, "small": small, "large": large, "ratio": ratio,
                "is_within": ratio <= TOLERANCE,
            });
            println!("{line}");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn once(size: Size) -> Costs {
    let home = tempfile::tempdir().expect("a folder");
    let (mut server, _) = start(home.path()).await;
    let per_submission = size.runs / SUBMISSIONS;
    // The features are made before anything is timed.
    server.submit(1, "features").await;
    fleet::extract(&server.url).await;
    let empty_bytes = restarted(&mut server, home.path()).await.0;
    // While there is nothing else: what reading many runs took is given back only little by little.
    drop(join_all(&server, size.workers).await);
    let fleet_bytes = server.resident_bytes() - empty_bytes;

    let start_of_all = Instant::now();
    for index in 0..SUBMISSIONS {
        server.submit_rows(index, per_submission).await;
    }
    let submit_us = start_of_all.elapsed().as_secs_f64() * 1e6;
    let (full_bytes, open_us) = restarted(&mut server, home.path()).await;

    let mut workers = join_all(&server, size.workers).await;
    let cpu_us = server.cpu_us();
    workers = idle(workers).await;
    let poll_cpu_us = (server.cpu_us() - cpu_us) / size.workers as f64;

    let (cpu_us, began) = (server.cpu_us(), Instant::now());
    let done = live(workers, size.life_cycles).await;
    let (life_us, life_cpu_us) = (began.elapsed().as_secs_f64() * 1e6, server.cpu_us() - cpu_us);
    server.kill();
    let runs = size.runs as f64;
    Costs {
        submit_us_per_run: submit_us / runs,
        memory_bytes_per_run: (full_bytes - empty_bytes - fleet_bytes) / runs,
        memory_bytes_per_worker: fleet_bytes / size.workers as f64,
        life_cycle_us: life_us / done as f64,
        life_cycle_cpu_us: life_cpu_us / done as f64,
        poll_cpu_us,
        open_us_per_run: open_us / runs,
    }
}

async fn start(home: &Path) -> (Server, f64) {
    let began = Instant::now();
    // Nobody is lost who has to wait for the turn of others.
    let server = Server::start_with(home, &["--lease", "10m"]).await;
    (server, began.elapsed().as_secs_f64() * 1e6)
}

/// Kills it and starts it again, so that nothing is in memory but what it needs; the bytes, and how long it took to open.
async fn restarted(server: &mut Server, home: &Path) -> (f64, f64) {
    server.stop();
    let (again, open_us) = start(home).await;
    *server = again;
    (server.resident_bytes(), open_us)
}

/// Workers with one slot each; every set shares a connection.
async fn join_all(server: &Server, count: usize) -> Vec<Vec<Worker>> {
    let mut channels: Vec<Channel> = Vec::new();
    for _ in 0..AT_ONCE {
        // One after the other: so many at once are taken for a flood.
        channels.push(connect(&server.url).await);
    }
    let sets = channels.into_iter().enumerate().map(|(set, channel)| {
        tokio::spawn(async move {
            let mut workers = Vec::new();
            for index in (set..count).step_by(AT_ONCE) {
                workers.push(Worker::join_over(channel.clone(), &format!("worker-{index}"), 1).await);
            }
            workers
        })
    });
    let mut workers = Vec::new();
    for set in sets.collect::<Vec<_>>() {
        workers.push(set.await.expect("they join"));
    }
    workers
}

/// Every worker polls once and takes nothing.
async fn idle(sets: Vec<Vec<Worker>>) -> Vec<Vec<Worker>> {
    let polled = sets.into_iter().map(|mut workers| {
        tokio::spawn(async move {
            for worker in &mut workers {
                worker.report_only().await;
            }
            workers
        })
    });
    let mut sets = Vec::new();
    for set in polled.collect::<Vec<_>>() {
        sets.push(set.await.expect("they poll"));
    }
    sets
}

/// So many life-cycles, by one worker of each set after the other; how many there were.
async fn live(sets: Vec<Vec<Worker>>, life_cycles: usize) -> usize {
    let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let scores_json = Arc::new(scores_json(0, 0));
    let tasks = sets.into_iter().map(|mut workers| {
        let (begun, done, scores_json) = (Arc::clone(&begun), Arc::clone(&done), Arc::clone(&scores_json));
        tokio::spawn(async move {
            for turn in 0.. {
                if begun.fetch_add(1, Ordering::Relaxed) >= life_cycles {
                    return;
                }
                let count = workers.len();
                let worker = &mut workers[turn % count];
                let given = worker.poll().await.pop().expect("runs are queued");
                worker.report(&given, started());
                worker.report(&given, points("loss", 0, 1));
                assert_eq!(worker.poll().await.len(), 0, "its slot is taken");
                let scores_json = String::clone(&scores_json);
                worker.report(&given, Event::Succeeded(Succeeded { scores_json, artifacts: Vec::new(), seconds: 1.0 }));
                worker.report_only().await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the worker does not panic");
    }
    done.load(Ordering::Relaxed)
}

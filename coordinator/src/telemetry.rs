//! What a monitoring system reads: counters since the start, and how things stand at this moment.

use std::{path::Path, sync::Arc, time::Duration};

use experiment_spec::run::State;
use orchestrator_proto::room::free_bytes;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::{
    coordinator::DATABASE_FILE,
    scheduler::{
        census::Census,
        effects::{Because, Effect},
    },
};

/// Seconds that a commit may take: from a fast disk to one that is in trouble.
const COMMIT_SECONDS: [f64; 9] = [0.000_5, 0.002, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Counters that the owner raises, and everything else that is shown beside them.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    polls: IntCounter,
    reports: IntCounter,
    late_reports: IntCounter,
    assigned: IntCounter,
    given_back: IntCounterVec,
    ended: IntCounterVec,
    failures: IntCounterVec,
    commits: Histogram,
    steps: IntGaugeVec,
    workers: IntGaugeVec,
    cores: IntGaugeVec,
    database_bytes: IntGauge,
    contents_bytes: IntGauge,
    disk_free_bytes: IntGauge,
}

/// Names and help texts are constants of this file: that they are well formed is seen by every test that opens a
/// coordinator.
const WELL_FORMED: &str = "names of metrics are well formed, and each is there once";

impl Telemetry {
    pub(crate) fn new(program_version: &str) -> Arc<Self> {
        let registry = Registry::new_custom(Some("orchestrator".to_owned()), None).expect(WELL_FORMED);
        let counter = |name, help| kept(&registry, IntCounter::new(name, help));
        let counters = |name, help, label| kept(&registry, IntCounterVec::new(Opts::new(name, help), &[label]));
        let gauge = |name, help| kept(&registry, IntGauge::new(name, help));
        let gauges = |name, help| kept(&registry, IntGaugeVec::new(Opts::new(name, help), &["state"]));
        let build =
            IntGauge::with_opts(Opts::new("build_info", "The program.").const_label("version", program_version));
        kept(&registry, build).set(1);
        let seconds = HistogramOpts::new("commit_seconds", "Time to have what polls bring on the disk.");
        Arc::new(Self {
            polls: counter("polls_total", "Polls of workers that were answered."),
            reports: counter("reports_total", "Reports of attempts that were accepted."),
            late_reports: counter("late_reports_total", "Reports of attempts without their lease."),
            assigned: counter("attempts_total", "Attempts that were given to workers."),
            given_back: counters("attempts_given_back_total", "Attempts whose step was queued again.", "outcome"),
            ended: counters("steps_ended_total", "Runs and extractions that came to an end.", "state"),
            failures: counters("steps_failed_total", "Runs and extractions that failed for good.", "kind"),
            commits: kept(&registry, Histogram::with_opts(seconds.buckets(COMMIT_SECONDS.to_vec()))),
            steps: gauges("steps", "Runs and extractions that are not ended."),
            workers: gauges("workers", "Workers that are online."),
            cores: gauges("cores", "Cores of workers that are online."),
            database_bytes: gauge("database_bytes", "Size of the database and its log."),
            contents_bytes: gauge("contents_bytes", "Size of features, models, embeddings and checkpoints."),
            disk_free_bytes: gauge("disk_free_bytes", "Free space on the disk of the state folder."),
            registry,
        })
    }

    /// Polls were answered, with so many reports that count.
    pub(crate) fn polled(&self, polls: usize, reports: usize) {
        self.polls.inc_by(polls as u64);
        self.reports.inc_by(reports as u64);
    }

    /// A transaction took so long.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// This was decided, and is stored.
    pub(crate) fn decided(&self, effect: &Effect) {
        let end = |state: State| self.ended.with_label_values(&[state.name()]).inc();
        match effect {
            Effect::Assign { .. } => self.assigned.inc(),
            Effect::Requeue { because, .. } => {
                let outcome = match because {
                    Because::WorkerLost => "lost",
                    Because::WorkerWithoutIt | Because::Released { .. } => "given-back",
                    Because::Failed { .. } => "failed",
                };
                self.given_back.with_label_values(&[outcome]).inc();
            }
            Effect::Succeed { .. } => end(State::Succeeded),
            Effect::Fail { kind, .. } => {
                end(State::Failed);
                self.failures.with_label_values(&[kind.name()]).inc();
            }
            Effect::Cancel { .. } => end(State::Cancelled),
            Effect::SetAside { .. } => self.late_reports.inc(),
            Effect::Start { .. } | Effect::PutAside { .. } => {}
        }
    }

    /// Everything as text, in the text format of Prometheus.
    pub(crate) fn text(&self, census: &Census, home: &Path, contents_bytes: u64) -> String {
        let set = |gauges: &IntGaugeVec, state, value: u64| gauges.with_label_values(&[state]).set(whole(value));
        for (state, value) in census.steps() {
            set(&self.steps, state, value);
        }
        for (state, value) in census.workers() {
            set(&self.workers, state, value);
        }
        set(&self.cores, "taken", census.cores_taken);
        set(&self.cores, "free", census.cores - census.cores_taken);
        let bytes_of = |name: String| std::fs::metadata(home.join(name)).map_or(0, |metadata| metadata.len());
        let database = [String::new(), "-wal".to_owned()].map(|end| bytes_of(format!("{DATABASE_FILE}{end}")));
        self.database_bytes.set(whole(database.iter().sum()));
        self.contents_bytes.set(whole(contents_bytes));
        if let Ok(free) = free_bytes(home) {
            self.disk_free_bytes.set(whole(free));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Registers a metric.
fn kept<T: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<T>) -> T {
    let metric = metric.expect(WELL_FORMED);
    registry.register(Box::new(metric.clone())).expect(WELL_FORMED);
    metric
}

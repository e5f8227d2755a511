//! Tells the daemon what a computation does, at a bounded rate, and keeps its checkpoints.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use orchestrator_proto::v1::{CheckpointSaved, MetricPoint, Metrics, Progress, attempt_event::Event};
use retrieval::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    method::Observer,
};

use super::{lifeline::StopFlag, pipe::Pipe};
use crate::{config::CheckpointPolicy, events, fail_point, step_folder::KIND_FACT};

/// Between two messages about progress.
const PROGRESS: Duration = Duration::from_millis(200);
/// Metric points are sent at the latest after so long, or when there are so many.
const METRICS: Duration = Duration::from_millis(500);
const METRIC_POINTS: usize = 500;
/// Rates are averaged over about this long.
const RATE: Duration = Duration::from_secs(5);
/// Fact of a checkpoint that holds the metric points since the one before: they may be in no outbox yet.
const POINTS_FACT: &str = "worker.metrics";
/// Most points that a checkpoint holds; older ones were said long ago.
const MOST_POINTS: usize = 20_000;
/// Iterations that a computation which keeps no checkpoints may go on after it was told to stop.
const ITERATIONS_TO_STOP: u64 = 2;

/// The observer of an attempt.
#[derive(Debug)]
pub(super) struct AttemptObserver<'a> {
    pipe: &'a Pipe,
    stage: &'static str,
    path: PathBuf,
    kind: String,
    policy: CheckpointPolicy,
    stop: StopFlag,
    points: Vec<MetricPoint>,
    points_since_checkpoint: Vec<MetricPoint>,
    points_said: Instant,
    progress_said: Option<Instant>,
    rate: Rate,
    checkpoint_iteration: u64,
    checkpoint_kept: Instant,
    /// Iterations done since the stop flag was seen.
    since_stop: Option<u64>,
    /// The daemon could not be told; it is the lifeline's business to end the process.
    broken: Option<std::io::ErrorKind>,
}

/// Iterations a second over the last one to two times [`RATE`].
#[derive(Debug)]
struct Rate {
    older: (Instant, u64),
    newer: (Instant, u64),
}

impl Rate {
    fn from(iteration: u64, now: Instant) -> Self {
        Self { older: (now, iteration), newer: (now, iteration) }
    }

    fn update(&mut self, iteration: u64, now: Instant) -> f64 {
        if now.duration_since(self.newer.0) >= RATE {
            self.older = std::mem::replace(&mut self.newer, (now, iteration));
        }
        let (since, from) = self.older;
        #[allow(clippy::cast_precision_loss)] // a rate, for people
        let done = iteration.saturating_sub(from) as f64;
        done / now.duration_since(since).as_secs_f64().max(1e-6)
    }
}

impl<'a> AttemptObserver<'a> {
    pub(super) fn new(
        pipe: &'a Pipe,
        stage: &'static str,
        path: PathBuf,
        kind: String,
        policy: CheckpointPolicy,
        stop: StopFlag,
    ) -> Self {
        let now = Instant::now();
        Self {
            pipe,
            stage,
            path,
            kind,
            policy,
            stop,
            points: Vec::new(),
            points_since_checkpoint: Vec::new(),
            points_said: now,
            progress_said: None,
            rate: Rate::from(0, now),
            checkpoint_iteration: 0,
            checkpoint_kept: now,
            since_stop: None,
            broken: None,
        }
    }

    /// Whether this attempt may go on from a checkpoint: it is of the same kind.
    pub(super) fn may_go_on_from(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.facts.get(KIND_FACT) == Some(&self.kind)
    }

    /// Takes the metric points out of a checkpoint, to be said again. `None` for one of another kind: what
    /// two kinds computed between them could never be repeated.
    pub(super) fn unpack(&mut self, mut checkpoint: Checkpoint) -> Option<Checkpoint> {
        let kind = checkpoint.facts.remove(KIND_FACT).unwrap_or_default();
        if kind != self.kind {
            let line = format!(
                "the checkpoint of iteration {} is of kind `{kind}`, this attempt of kind `{}`: beginning again",
                checkpoint.iteration, self.kind
            );
            self.say_log(&line);
            return None;
        }
        if let Some(text) = checkpoint.facts.remove(POINTS_FACT) {
            let points: Vec<(String, u64, f64)> = serde_json::from_str(&text).unwrap_or_default();
            self.points =
                points.into_iter().map(|(name, iteration, value)| MetricPoint { name, iteration, value }).collect();
        }
        Some(checkpoint)
    }

    /// Sets the clocks for the first iteration.
    pub(super) fn goes_on(&mut self, resume: Option<&Checkpoint>) {
        let now = Instant::now();
        self.checkpoint_iteration = resume.map_or(0, |checkpoint| checkpoint.iteration);
        self.checkpoint_kept = now;
        self.rate = Rate::from(self.checkpoint_iteration, now);
        self.flush();
    }

    /// Iteration of the checkpoint that stands; 0 = there is none.
    pub(super) fn checkpoint_iteration(&self) -> u64 {
        self.checkpoint_iteration
    }

    pub(super) fn say_log(&mut self, line: &str) {
        for line in line.lines() {
            self.say(events::log(events::ATTEMPT, line));
        }
    }

    /// Says what has been collected.
    pub(super) fn flush(&mut self) {
        self.points_said = Instant::now();
        while !self.points.is_empty() {
            let rest = self.points.split_off(self.points.len().min(METRIC_POINTS));
            let points = std::mem::replace(&mut self.points, rest);
            self.say(Event::Metrics(Metrics { points }));
        }
    }

    fn say(&mut self, event: Event) {
        if let Err(error) = self.pipe.say(event) {
            self.broken = Some(error.kind());
        }
    }

    fn say_progress(&mut self, iteration: u64, iterations: u64, loss: f64) {
        let now = Instant::now();
        let early = self.progress_said.is_some_and(|said| now.duration_since(said) < PROGRESS);
        if early && iteration != iterations {
            return;
        }
        self.progress_said = Some(now);
        let rate = self.rate.update(iteration, now);
        #[allow(clippy::cast_precision_loss)] // time left, for people
        let seconds_left = if rate > 0.0 { iterations.saturating_sub(iteration) as f64 / rate } else { 0.0 };
        self.say(Event::Progress(Progress {
            stage: self.stage.into(),
            iteration,
            iterations,
            iterations_per_second: rate,
            loss,
            seconds_left,
        }));
    }

    fn stop_wanted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Observer for AttemptObserver<'_> {
    fn iteration(&mut self, iteration: u64, iterations: u64, loss: f64, metrics: &[(&str, f64)]) -> Result<()> {
        for &(name, value) in metrics {
            let point = MetricPoint { name: name.into(), iteration, value };
            if self.points_since_checkpoint.len() == MOST_POINTS {
                self.points_since_checkpoint.drain(..MOST_POINTS / 2);
            }
            self.points_since_checkpoint.push(point.clone());
            self.points.push(point);
        }
        if self.points.len() >= METRIC_POINTS || self.points_said.elapsed() >= METRICS {
            self.flush();
        }
        self.say_progress(iteration, iterations, loss);
        if let Some(kind) = self.broken {
            return Err(Error::file("the pipe to the daemon")(kind.into()));
        }
        if self.stop_wanted() {
            // The checkpoint of this iteration is asked for next; the one after ends the computation.
            let since = self.since_stop.map_or(0, |since| since + 1);
            self.since_stop = Some(since);
            let kept = self.checkpoint_iteration + 1 >= iteration && self.checkpoint_iteration > 0;
            if kept || since >= ITERATIONS_TO_STOP {
                return Err(Error::Stopped(iteration));
            }
        }
        Ok(())
    }

    fn wants_checkpoint(&self, iteration: u64) -> bool {
        let CheckpointPolicy { iterations, seconds } = self.policy;
        let due = iterations > 0 && iteration.is_multiple_of(iterations);
        let late = seconds > 0 && self.checkpoint_kept.elapsed() >= Duration::from_secs(seconds);
        due || late || self.stop_wanted()
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.flush();
        fail_point::passes("checkpoint-before-write");
        let points: Vec<(&str, u64, f64)> =
            self.points_since_checkpoint.iter().map(|p| (p.name.as_str(), p.iteration, p.value)).collect();
        // JSON has no word for NaN: a run with one is about to fail, its points are read back as none.
        let points = serde_json::to_string(&points).map_err(|e| Error::Data(e.to_string()))?;
        let added = [(POINTS_FACT.to_owned(), points), (KIND_FACT.to_owned(), self.kind.clone())];
        checkpoint.save_with(&self.path, &added.into(), || fail_point::passes("checkpoint-before-rename"))?;
        fail_point::passes("checkpoint-written");
        self.points_since_checkpoint.clear();
        self.checkpoint_iteration = checkpoint.iteration;
        self.checkpoint_kept = Instant::now();
        let bytes = fs::metadata(&self.path).map_err(Error::file(&self.path))?.len();
        self.say(Event::CheckpointSaved(CheckpointSaved {
            iteration: checkpoint.iteration,
            bytes,
            ..Default::default()
        }));
        Ok(())
    }

    fn log(&mut self, line: &str) {
        self.say_log(line);
    }

    fn printed(&mut self, on_error: bool, line: &str) {
        self.say(events::log(if on_error { events::STDERR } else { events::STDOUT }, line));
    }

    fn wants_stop(&self) -> bool {
        self.stop_wanted()
    }
}

//! Following a submission to its end: live bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use orchestrator_proto::v1::{self, StepSummary};

use crate::{
    cli::Global,
    client::Client,
    exit::{Failure, Outcome},
    output,
};

/// How often the coordinator is asked; fast enough for bars to move, slow enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(300);
/// A pipe gets a line on the total this often, besides one for every step that ends.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);
/// How long a coordinator may be away before following is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a submission ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) cancelled: usize,
}

/// Follows a submission until every step has ended.
pub(crate) async fn follow(client: &mut Client, submission: i64, global: &Global) -> Outcome<Ending> {
    let mut view = View::new(global);
    let mut last_answer = Instant::now();
    loop {
        let answer = overview(client, submission).await;
        match answer {
            Ok((summary, steps)) => {
                last_answer = Instant::now();
                view.show(&summary, &steps);
                if steps.iter().all(|step| matches!(step.state.as_str(), "succeeded" | "failed" | "cancelled")) {
                    view.finish();
                    let count = |state| steps.iter().filter(|s| s.kind == "run" && s.state == state).count();
                    return Ok(Ending {
                        succeeded: count("succeeded"),
                        failed: count("failed"),
                        cancelled: count("cancelled"),
                    });
                }
            }
            Err(status) if last_answer.elapsed() < PATIENCE && status.code() == tonic::Code::Unavailable => {}
            Err(status) => return Err(status.into()),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn overview(
    client: &mut Client,
    submission: i64,
) -> Result<(v1::SubmissionSummary, Vec<StepSummary>), tonic::Status> {
    let name_or_id = submission.to_string();
    let request = v1::ListSubmissionsRequest { name_or_id: name_or_id.clone(), limit: 1 };
    let summary = client.list_submissions(request).await?.into_inner().submissions.pop();
    let summary = summary.ok_or_else(|| tonic::Status::not_found(format!("there is no submission {submission}")))?;
    let steps = client
        .list_steps(v1::ListStepsRequest { submission: name_or_id, ..Default::default() })
        .await?
        .into_inner()
        .steps;
    Ok((summary, steps))
}

/// What the user sees.
struct View {
    bars: MultiProgress,
    total: ProgressBar,
    steps: HashMap<i64, ProgressBar>,
    ended: HashMap<i64, String>,
    plain: bool,
    silent: bool,
    last_total: Option<Instant>,
    shown: bool,
}

impl View {
    fn new(global: &Global) -> Self {
        let silent = global.quiet || global.json;
        let plain = silent || !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(0));
        total.set_style(style("{prefix:<34} {bar:24} {pos:>5}/{len:<6} {msg}"));
        total.set_prefix("all runs");
        Self {
            bars,
            total,
            steps: HashMap::new(),
            ended: HashMap::new(),
            plain,
            silent,
            last_total: None,
            shown: false,
        }
    }

    fn show(&mut self, summary: &v1::SubmissionSummary, steps: &[StepSummary]) {
        let first = !std::mem::replace(&mut self.shown, true);
        let several_encoder_seeds = output::encoder_seeds_differ(steps);
        let named = |step| name(step, several_encoder_seeds);
        let runs = || steps.iter().filter(|step| step.kind == "run");
        let done = runs().filter(|step| is_final(step)).count() as u64;
        self.total.set_length(runs().count() as u64);
        self.total.set_position(done);
        let left = if summary.seconds_left_known {
            format!("{} left", output::span(summary.seconds_left))
        } else {
            String::new()
        };
        self.total.set_message(left.clone());
        for step in steps {
            if step.state == "running" {
                self.running(step, &named(step));
            } else if is_final(step) {
                self.ended(step, &named(step), first);
            } else if let Some(bar) = self.steps.remove(&step.id) {
                bar.finish_and_clear();
            }
        }
        let due = self.last_total.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL);
        if self.plain && !self.silent && due && done < runs().count() as u64 {
            self.last_total = Some(Instant::now());
            let left = if left.is_empty() { left } else { format!(", {left}") };
            eprintln!("{done} of {} runs done{left}", runs().count());
        }
    }

    fn running(&mut self, step: &StepSummary, name: &str) {
        let progress = step.progress.clone().unwrap_or_default();
        let bar = self.steps.entry(step.id).or_insert_with(|| {
            let bar = self.bars.insert_before(&self.total, ProgressBar::new(0));
            bar.set_style(style("{prefix:<34} {bar:24} {pos:>5}/{len:<6} {msg}"));
            bar.set_prefix(output::printable(name));
            bar
        });
        bar.set_length(progress.iterations.max(progress.iteration));
        bar.set_position(progress.iteration);
        bar.set_message(format!(
            "{:.1} it/s  loss {:.3}  {} left",
            progress.iterations_per_second,
            progress.loss,
            output::span(progress.seconds_left)
        ));
    }

    fn ended(&mut self, step: &StepSummary, name: &str, first: bool) {
        if let Some(bar) = self.steps.remove(&step.id) {
            bar.finish_and_clear();
        }
        if self.ended.insert(step.id, step.state.clone()).as_ref() == Some(&step.state) {
            return;
        }
        // A step that was done before this command came is no news.
        let old = first && step.state == "succeeded";
        if self.silent || old {
            return;
        }
        let line = sentence(step, name);
        if self.plain {
            eprintln!("{line}");
        } else {
            // Losing a line of progress to a closed terminal is no failure of the runs.
            let _ = self.bars.println(line);
        }
    }

    fn finish(&self) {
        for bar in self.steps.values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

fn is_final(step: &StepSummary) -> bool {
    matches!(step.state.as_str(), "succeeded" | "failed" | "cancelled")
}

/// What a step is called; where runs of one data set read features of several encoder seeds, with theirs.
fn name(step: &StepSummary, several_encoder_seeds: bool) -> String {
    let StepSummary { label, data_set, method, seed, encoder_seed, .. } = step;
    match (step.kind == "run", several_encoder_seeds) {
        (true, false) => format!("{label} {data_set} seed {seed}"),
        (true, true) => format!("{label} {data_set} seed {seed}, encoder seed {encoder_seed}"),
        (false, false) => format!("features of {data_set} ({method})"),
        (false, true) => format!("features of {data_set} ({method}, seed {seed})"),
    }
}

fn sentence(step: &StepSummary, name: &str) -> String {
    let took = if step.started_at_ms > 0 && step.ended_at_ms > step.started_at_ms {
        #[allow(clippy::cast_precision_loss)] // spans of milliseconds are far below 2^53
        let seconds = (step.ended_at_ms - step.started_at_ms) as f64 / 1000.0;
        format!(" in {}", output::span(seconds))
    } else {
        String::new()
    };
    let result = match step.state.as_str() {
        "succeeded" => {
            step.bi_modal_average.map_or_else(|| "done".to_owned(), |map| format!("bi-modal average {map:.3}"))
        }
        "failed" => format!("failed: {} ({})", step.failure_kind, step.failure),
        other => other.to_owned(),
    };
    output::printable(&format!("{:>4}  {name}: {result}{took}", step.id))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are literals of this file").progress_chars("━╸ ")
}

/// Waits for the first Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() -> Outcome {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::request(format!("cannot listen for signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

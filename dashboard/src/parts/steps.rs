//! Runs of one submission and the extractions they wait for, with their progress.

use experiment_spec::run::State;
use maud::{Markup, html};
use orchestrator_proto::v1::{Progress, StepSummary};

use super::scrolling;
use crate::{
    overview::Shown,
    wording::{count, rate, time_left},
};

pub(crate) fn section(shown: &Shown) -> Markup {
    html! {
        section #steps aria-labelledby="steps-title" {
            h2 #steps-title { "Runs of " (shown.summary.name) }
            (scrolling("Runs", &table(shown)))
            @if shown.left_out > 0 {
                p .aside {
                    (count(shown.left_out as u64, "more run")) " not shown; "
                    code { "orchestrator runs" } " lists them all."
                }
            }
        }
    }
}

fn table(shown: &Shown) -> Markup {
    html! {
        table {
            thead {
                tr {
                    @for heading in ["step", "state", "what", "seed", "progress", "rate", "loss", "time left", "data set", "result"] {
                        th scope="col" { (heading) }
                    }
                }
            }
            tbody {
                @for step in &shown.steps { (row(step)) }
            }
        }
    }
}

fn row(step: &StepSummary) -> Markup {
    // What a step that is not at work said last is history, not progress.
    let progress = step.progress.as_ref().filter(|_| step.state == State::Running.name());
    html! {
        tr {
            td .figure { (step.id) }
            td {
                (state(&step.state))
                @if step.attempt > 1 { small { " attempt " (step.attempt) } }
                @if !step.worker.is_empty() { small { " " (step.worker) } }
            }
            th scope="row" { @if step.kind == "extraction" { "features by " } (step.label) }
            td .figure { (step.seed) }
            @if let Some(progress) = progress {
                td { (bar(step, progress)) }
                td .figure { (rate(progress.iterations_per_second)) }
                td .figure { @if progress.iteration > 0 { (format!("{:.4}", progress.loss)) } }
                td .figure { (time_left(progress.seconds_left)) }
            } @else {
                td {} td {} td {} td {}
            }
            td { (step.data_set) }
            td {
                @if let Some(average) = step.bi_modal_average {
                    span .figure title="bi-modal average" { (format!("{average:.3}")) }
                }
                @if !step.failure_kind.is_empty() || !step.failure.is_empty() {
                    span .failure { (step.failure_kind) @if !step.failure.is_empty() { ": " (short(&step.failure)) } }
                }
            }
        }
    }
}

/// A state, with its colour where it is one we know.
fn state(name: &str) -> Markup {
    let class = State::from_name(name).map(|state| format!("state-{}", state.name()));
    html! { span class=(format!("state {}", class.unwrap_or_default()).trim_end()) { (name) } }
}

fn bar(step: &StepSummary, progress: &Progress) -> Markup {
    let label = format!("progress of step {}", step.id);
    html! {
        @if progress.iterations > 0 {
            progress value=(progress.iteration.min(progress.iterations)) max=(progress.iterations) aria-label=(label) {}
            " " (progress.iteration) "/" (progress.iterations)
        } @else {
            progress aria-label=(label) {}
        }
        small { " " (progress.stage) }
    }
}

/// The start of a failure; the whole of it is in `orchestrator show`.
fn short(failure: &str) -> String {
    const MOST_CHARS: usize = 300;
    let mut text: String = failure.chars().take(MOST_CHARS).collect();
    if text.len() < failure.len() {
        text.push_str("...");
    }
    text
}

//! `runs`: runs (and extractions), filtered.

use orchestrator_proto::v1::{self, StepSummary};

use crate::{
    cli::{Global, RunsArgs},
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Lists runs.
pub(super) async fn runs(global: &Global, args: RunsArgs) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let request = v1::ListStepsRequest {
        submission: args.submission.unwrap_or_default(),
        method: args.method.unwrap_or_default(),
        data_set: args.dataset.unwrap_or_default(),
        state: args.state.unwrap_or_default(),
        seed: args.seed,
        kind: if args.extractions { String::new() } else { "run".to_owned() },
        limit: 0,
    };
    let answer = session.client.list_steps(request).await.map(tonic::Response::into_inner);
    session.close().await;
    let steps = answer?.steps;
    if global.json {
        return steps.iter().try_for_each(output::json);
    }
    let mut headings = vec!["run", "label", "data set", "seed", "state", "attempt", "progress", "bi-modal", "worker"];
    let mut rows: Vec<Vec<String>> = steps.iter().map(row).collect();
    if output::encoder_seeds_differ(&steps) {
        headings.insert(SEED + 1, "encoder seed");
        for (row, step) in rows.iter_mut().zip(&steps) {
            row.insert(SEED + 1, if step.kind == "run" { step.encoder_seed.to_string() } else { String::new() });
        }
    }
    output::table(&headings, rows)
}

/// Column of the seed.
const SEED: usize = 3;

fn row(step: &StepSummary) -> Vec<String> {
    let progress = match (&step.progress, step.state.as_str()) {
        (Some(p), "running") => format!(
            "{}/{} ({:.1}/s, {} left)",
            p.iteration,
            p.iterations,
            p.iterations_per_second,
            output::span(p.seconds_left)
        ),
        (_, "failed") => format!("{}: {}", step.failure_kind, step.failure),
        _ => String::new(),
    };
    vec![
        step.id.to_string(),
        step.label.clone(),
        step.data_set.clone(),
        step.seed.to_string(),
        step.state.clone(),
        if step.attempt == 0 { String::new() } else { step.attempt.to_string() },
        progress,
        step.bi_modal_average.map_or_else(String::new, |map| format!("{map:.3}")),
        step.worker.clone(),
    ]
}

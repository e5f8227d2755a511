//! `show`: one run's whole history in sentences.

use experiment_spec::{code::CodeVersion, scores::Scores};
use orchestrator_proto::v1::{self, ShowStepResponse};

use crate::{
    cli::Global,
    client::{Need, Session},
    exit::{Failure, Outcome},
    output,
};

/// Shows one run or extraction.
pub(super) async fn show(global: &Global, id: i64) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let answer = session.client.show_step(v1::ShowStepRequest { id }).await.map(tonic::Response::into_inner);
    session.close().await;
    let answer = answer?;
    if global.json { output::json(&answer) } else { print(&answer) }
}

fn print(answer: &ShowStepResponse) -> Outcome {
    let step = answer.step.clone().unwrap_or_default();
    let mut lines = vec![format!(
        "{} {}: {} on {}, seed {}: {}",
        step.kind, step.id, step.label, step.data_set, step.seed, step.state
    )];
    if !step.failure.is_empty() {
        lines.push(format!("failure     {}: {}", step.failure_kind, step.failure));
    }
    lines.push(format!("fingerprint {}", answer.fingerprint));
    lines.push(format!("resolved    {}", answer.spec_json));
    for attempt in &answer.attempts {
        let outcome = if attempt.outcome.is_empty() { "at work" } else { &attempt.outcome };
        lines.push(format!("attempt {}   {} ({}): {outcome}", attempt.number, attempt.worker, attempt.kind));
        lines.extend(attempt.code.clone().map(|code| format!("  code      {}", CodeVersion::from(code))));
    }
    for artifact in &answer.artifacts {
        let gone = match artifact.removed_at_ms {
            0 => String::new(),
            at_ms => format!(" (kept no more since {})", output::time(at_ms)),
        };
        lines.push(format!("artifact    {} {} bytes {}{gone}", artifact.name, artifact.bytes, artifact.hash));
    }
    lines.push("history".to_owned());
    lines.extend(answer.history.iter().map(|line| format!("  {} {}", output::time(line.at_ms), line.sentence)));
    output::lines(lines)?;
    if answer.scores_json.is_empty() {
        return Ok(());
    }
    let scores: Scores = serde_json::from_str(&answer.scores_json)
        .map_err(|error| Failure::request(format!("the scores of {} cannot be read: {error}", step.id)))?;
    let rows = scores.scores.iter().map(|s| {
        vec![
            s.task.name().into(),
            s.normalisation.name().into(),
            format!("{:.4}", s.map),
            format!("{:.3}", s.tied_share),
        ]
    });
    output::lines([format!("scores      {} (iteration {})", scores.kind, scores.selected_iteration)])?;
    output::table(&["  task", "normalisation", "MAP", "tied"], rows.collect())?;
    if let Some(tuning) = &scores.tuning {
        let from = if tuning.carved { "carved off the training pairs" } else { "of the split" };
        output::lines([format!("tuning      on {} validation pairs {from}", tuning.validation_pairs)])?;
        output::lines(tuning.candidates.iter().enumerate().map(|(index, candidate)| {
            let values: Vec<String> =
                candidate.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let score = candidate.validation_map.as_ref().map_or_else(Clone::clone, |score| format!("{score:.4}"));
            let mark = if index == tuning.chosen { "  <- chosen" } else { "" };
            format!("  {}: {score}{mark}", values.join(", "))
        }))?;
    }
    output::lines(scores.notes.iter().map(|note| format!("  note: {note}")))?;
    output::lines(scores.facts.iter().map(|(name, value)| format!("  {name} = {value}")))
}

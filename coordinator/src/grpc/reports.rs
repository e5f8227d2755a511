//! Reports of attempts, from the wire. Whatever cannot be read becomes a failure of its attempt or is
//! set aside: a report that is refused would be sent for ever.

use std::sync::Arc;

use experiment_spec::{
    code::CodeVersion,
    ids::{AttemptKey, AttemptNumber},
    run::FailureKind,
};
use orchestrator_proto::{
    convert,
    v1::{self, attempt_event::Event as Wire},
};

use crate::{
    contents::Contents,
    service::reports::{Event, Report},
    store::{
        attempts::Start,
        checkpoints::Checkpoint,
        scores::{Artifact, Outcome},
    },
};

/// Longest name of a metric, an artifact or a log stream, in bytes; longer ones are cut.
const MAX_NAME_BYTES: usize = 100;
/// Longest log line, in bytes; longer ones are cut.
const MAX_LINE_BYTES: usize = 8 << 10;
/// Longest failure message, in bytes; longer ones are cut.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Longest text of scores, in bytes.
const MAX_SCORES_BYTES: usize = 1 << 20;
/// Most artifacts of a step.
const MAX_ARTIFACTS: usize = 1_000;

/// Reads one report.
pub(crate) fn decode(report: v1::Report) -> Report {
    let key = AttemptKey::from(&report);
    let v1::Report { sequence, at_ms, event, .. } = report;
    let event = match event.and_then(|event| event.event) {
        None => Event::Unknown,
        Some(wire) => decode_event(wire),
    };
    Report { sequence, key, at_ms, event }
}

fn decode_event(wire: Wire) -> Event {
    match wire {
        Wire::Started(started) => Event::Started(Start {
            from_iteration: started.from_iteration,
            kind: cut(started.kind, MAX_NAME_BYTES * 2),
            of_attempt: (started.of_attempt > 0).then_some(AttemptNumber(started.of_attempt)),
            code: started.code.map(code),
        }),
        Wire::Progress(mut progress) => {
            progress.stage = cut(progress.stage, MAX_NAME_BYTES);
            Event::Progress(progress)
        }
        Wire::Metrics(metrics) => {
            let point = |point: v1::MetricPoint| (cut(point.name, MAX_NAME_BYTES), point.iteration, point.value);
            Event::Metrics(metrics.points.into_iter().map(point).collect())
        }
        Wire::Log(line) => {
            Event::Log { stream: cut(line.stream, MAX_NAME_BYTES), text: cut(line.text, MAX_LINE_BYTES) }
        }
        Wire::CheckpointSaved(saved) => {
            let v1::CheckpointSaved { iteration, bytes, hash, kind } = saved;
            let checkpoint = |hash| Checkpoint { hash, bytes, iteration, kind: cut(kind, MAX_NAME_BYTES * 2) };
            Event::CheckpointSaved { iteration, content: hash.parse().ok().map(checkpoint) }
        }
        Wire::Succeeded(succeeded) => match outcome(succeeded) {
            Ok(outcome) => Event::Succeeded(Box::new(outcome)),
            Err(why) => Event::bad_result(&why),
        },
        Wire::Failed(failed) => {
            let message = cut(failed.message, MAX_MESSAGE_BYTES);
            let Some(kind) = FailureKind::from_name(&failed.failure_kind) else {
                let kind = cut(failed.failure_kind, MAX_NAME_BYTES);
                let message = format!("unknown kind of failure `{kind}`: {message}");
                return Event::Failed { kind: FailureKind::Killed, message };
            };
            Event::Failed { kind, message }
        }
        Wire::Released(released) => Event::Released { reason: cut(released.reason, MAX_MESSAGE_BYTES) },
    }
}

fn code(code: v1::CodeVersion) -> CodeVersion {
    let v1::CodeVersion { version, revision, dirty, compiler } = code;
    let [version, revision, compiler] = [version, revision, compiler].map(|text| cut(text, MAX_NAME_BYTES));
    v1::CodeVersion { version, revision, dirty, compiler }.into()
}

/// Reads a result; whether it has what its step must leave is checked where the step is known.
fn outcome(succeeded: v1::Succeeded) -> Result<Outcome, String> {
    let v1::Succeeded { scores_json, artifacts, seconds } = succeeded;
    if scores_json.len() > MAX_SCORES_BYTES {
        return Err(format!("its scores have {} bytes, at most {MAX_SCORES_BYTES} are taken", scores_json.len()));
    }
    let scores = serde_json::from_str(&scores_json).map_err(|error| format!("its scores cannot be read: {error}"));
    if artifacts.len() > MAX_ARTIFACTS {
        return Err(format!("it left {} artifacts, at most {MAX_ARTIFACTS} are taken", artifacts.len()));
    }
    let artifacts = artifacts.into_iter().map(|artifact| {
        let hash = convert::hash("artifacts.hash", &artifact.hash).map_err(|error| error.to_string())?;
        let name = cut(artifact.name, MAX_NAME_BYTES);
        Ok(Artifact { name, hash, bytes: artifact.bytes, removed_at_ms: None })
    });
    let artifacts = artifacts.collect::<Result<_, String>>()?;
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    Ok(Outcome { scores_json, scores, artifacts, seconds })
}

/// Looks whether the contents are here that reports name. Of checkpoints those that are not are forgotten: nobody could go
/// on from them. What a run left beside its scores is noted as kept no more: a keep rule can be quicker than its report.
pub(crate) async fn only_with_content(mut reports: Vec<Report>, contents: &Arc<Contents>, now_ms: i64) -> Vec<Report> {
    let names_any = |report: &Report| matches!(report.event, Event::CheckpointSaved { .. } | Event::Succeeded(_));
    if !reports.iter().any(names_any) {
        return reports;
    }
    let contents = Arc::clone(contents);
    let looked = tokio::task::spawn_blocking(move || {
        for report in &mut reports {
            match &mut report.event {
                Event::CheckpointSaved { content, .. } => {
                    content.take_if(|it| contents.checkpoints.bytes(&it.hash) != Some(it.bytes));
                }
                // Features are left alone: who needs them says that they are not here.
                Event::Succeeded(outcome) if outcome.scores.is_ok() => {
                    let gone = |artifact: &&mut Artifact| !contents.blobs.has(&artifact.hash);
                    outcome.artifacts.iter_mut().filter(gone).for_each(|it| it.removed_at_ms = Some(now_ms));
                }
                _ => {}
            }
        }
        reports
    });
    // Lost in a panic: the worker reports them again.
    looked.await.unwrap_or_default()
}

/// The text, cut at a character's border to so many bytes.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

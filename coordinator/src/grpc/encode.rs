//! Rows of the store to messages.

use std::collections::HashMap;

use experiment_spec::{
    code::CodeVersion,
    ids::{StepId, WorkerId},
};
use orchestrator_proto::v1;

use crate::{
    scheduler::forecast::Forecast,
    service::{
        handle::Assignment,
        live::{Live, LiveWorker},
        refusal::Refusal,
    },
    store::{
        attempts::{self, AttemptRow, HistoryRow},
        checkpoints::{Checkpoint, Made},
        listing::StepRow,
        logs::LogRow,
        metrics::MetricRow,
        records::RecordRow,
        scores::Artifact,
        snapshot,
        workers::WorkerRow,
    },
};

/// A share of a GPU in thousandths, at most a whole one.
pub(crate) fn milli(share: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 first")]
    let milli = (share * 1e3).round().clamp(0.0, 1e3) as u32;
    milli
}

/// An assignment; with it go the files of its data set, and whether programs of users may be run.
pub(crate) fn assignment(assignment: Assignment, data_files: Vec<Artifact>, commands_allowed: bool) -> v1::Assignment {
    let Assignment { key, grant, told } = assignment;
    let checkpoint = told.checkpoint.map(|Made { checkpoint, attempt, worker: made_by }| {
        let Checkpoint { hash, bytes, iteration, kind } = checkpoint;
        v1::Checkpoint { hash: hash.to_string(), bytes, iteration, kind, made_by, attempt: attempt.0 }
    });
    v1::Assignment {
        step_id: key.step.0,
        attempt: key.attempt.0,
        lease: key.lease.0,
        spec_json: told.spec_json,
        fingerprint: told.fingerprint,
        cpus: grant.cpus,
        gpu_share: grant.gpu.map_or(0.0, |(_, milli)| f64::from(milli) / 1e3),
        gpu_index: grant.gpu.and_then(|(index, _)| i32::try_from(index).ok()).unwrap_or(-1),
        memory_bytes: grant.memory_bytes,
        time_limit_s: told.time_limit_s,
        features: told.features.into_iter().map(artifact).collect(),
        commands_allowed,
        checkpoint,
        data_files: data_files.into_iter().map(artifact).collect(),
    }
}

/// An artifact.
pub(crate) fn artifact(artifact: Artifact) -> v1::Artifact {
    let Artifact { name, hash, bytes, removed_at_ms } = artifact;
    v1::Artifact { name, hash: hash.to_string(), bytes, removed_at_ms: removed_at_ms.unwrap_or_default() }
}

/// A step with its latest progress.
pub(crate) fn step(row: StepRow, live: &Live) -> v1::StepSummary {
    v1::StepSummary {
        progress: live.progress(StepId(row.id)),
        id: row.id,
        kind: row.kind,
        state: row.state,
        attempt: row.attempt,
        method: row.method,
        label: row.label,
        data_set: row.data_set,
        seed: row.seed.cast_unsigned(),
        needs: row.needs.unwrap_or(0),
        worker: row.worker.unwrap_or_default(),
        failure_kind: row.failure_kind.unwrap_or_default(),
        failure: row.failure.unwrap_or_default(),
        created_at_ms: row.created_at_ms,
        started_at_ms: row.started_at_ms.unwrap_or(0),
        ended_at_ms: row.ended_at_ms.unwrap_or(0),
        bi_modal_average: row.bi_modal_average,
        encoder_seed: row.encoder_seed.map_or(0, i64::cast_unsigned),
    }
}

/// An attempt.
pub(crate) fn attempt(row: AttemptRow) -> Result<v1::Attempt, Refusal> {
    let code = row.code_json.as_deref().map(attempts::codes::<CodeVersion>).transpose()?;
    Ok(v1::Attempt {
        number: row.number,
        worker: row.worker,
        outcome: row.outcome.unwrap_or_default(),
        assigned_at_ms: row.assigned_at_ms,
        started_at_ms: row.started_at_ms.unwrap_or(0),
        ended_at_ms: row.ended_at_ms.unwrap_or(0),
        kind: row.kind.unwrap_or_default(),
        code: code.map(Into::into),
    })
}

/// A line of history.
pub(crate) fn history(row: HistoryRow) -> v1::HistoryLine {
    v1::HistoryLine { at_ms: row.at_ms, attempt: row.attempt, sentence: row.sentence }
}

/// A log line.
pub(crate) fn log(row: LogRow) -> v1::LogLine {
    v1::LogLine {
        position: row.position.cast_unsigned(),
        at_ms: row.at_ms,
        attempt: row.attempt,
        stream: row.stream,
        text: row.text,
    }
}

/// A metric point.
pub(crate) fn metric(row: MetricRow) -> v1::MetricPoint {
    let MetricRow { name, iteration, value } = row;
    v1::MetricPoint { name, iteration: iteration.cast_unsigned(), value: value.unwrap_or(f64::NAN) }
}

/// A record.
pub(crate) fn record(row: RecordRow) -> Result<v1::Record, Refusal> {
    let codes: Vec<CodeVersion> = attempts::codes(&row.codes_json)?;
    Ok(v1::Record {
        step_id: row.step_id,
        data_set: row.data_set,
        method: row.method,
        label: row.label,
        seed: row.seed.cast_unsigned(),
        state: row.state,
        failure: row.failure.unwrap_or_default(),
        scores_json: row.scores_json.unwrap_or_default(),
        spec_json: row.spec_json,
        seconds: row.seconds,
        encoder_seed: row.encoder_seed.cast_unsigned(),
        features_hash: row.features_hash.unwrap_or_default(),
        codes: codes.into_iter().map(Into::into).collect(),
    })
}

/// A forecast.
pub(crate) fn forecast(forecast: Forecast) -> v1::Forecast {
    v1::Forecast {
        core_hours: forecast.core_hours,
        gpu_hours: forecast.gpu_hours,
        unknown: forecast.unknown,
        seconds_left: forecast.seconds_left.unwrap_or(0.0),
        seconds_left_known: forecast.seconds_left.is_some(),
        never_fits: forecast.never_fits,
    }
}

/// A worker: as it is now when it is online, else as it was last seen.
pub(crate) fn worker(row: WorkerRow, live: &HashMap<WorkerId, LiveWorker>) -> Result<v1::WorkerSummary, Refusal> {
    let now = live.get(&WorkerId(row.id));
    let state = match now {
        None => row.state,
        Some(now) if row.drained && !now.stopping && now.steps.is_empty() => "drained".to_owned(),
        Some(now) if row.drained || now.stopping => "draining".to_owned(),
        Some(now) if now.aside.is_some() => "put aside".to_owned(),
        Some(now) if now.halted.is_some() => "halted".to_owned(),
        Some(_) => "online".to_owned(),
    };
    let gpus = snapshot::gpus(&row.gpus_json)?;
    let labels = snapshot::labels(&row.labels_json)?.into_iter().collect();
    let devices = if gpus.is_empty() {
        vec![format!("{} cpus", row.cpus)]
    } else {
        gpus.iter().map(|gpu| format!("GPU {} {}", gpu.index, gpu.model)).collect()
    };
    let halted = || now.and_then(|now| now.halted.clone()).map(|why| (0, why));
    let (aside_until_ms, aside_reason) = now.and_then(|now| now.aside.clone()).or_else(halted).unwrap_or_default();
    Ok(v1::WorkerSummary {
        id: row.id,
        name: row.name,
        state,
        cpus: row.cpus,
        cpus_used: now.map_or(0, |now| now.cpus_used),
        devices,
        version: row.program_version,
        kind: row.kind,
        last_seen_ms: now.map_or(row.last_seen_ms, |now| now.last_seen_ms.max(row.last_seen_ms)),
        memory_bytes: row.memory_bytes.cast_unsigned(),
        memory_used_bytes: now.map_or(0, |now| now.memory_used_bytes),
        aside_reason,
        aside_until_ms,
        labels,
        steps: now.map(|now| now.steps.iter().map(|step| step.0).collect()).unwrap_or_default(),
    })
}

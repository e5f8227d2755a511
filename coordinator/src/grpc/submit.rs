//! Submitting a file: read, checked, planned, and unless it is a dry run queued.

use std::{collections::HashSet, sync::Arc};

use experiment_spec::{run::State, spec::limits::MAX_BYTES};
use orchestrator_proto::v1;

use super::{encode, sent_files::SentFiles};
use crate::{
    coordinator::Shared,
    scheduler::forecast::Group,
    service::{
        handle::{Command, Submit},
        planning::{self, Planned},
        refusal::Refusal,
    },
    store::{estimates, queueing, steps, submissions::NewSubmission},
};

/// Longest name of a file, request id or version, in bytes.
const MAX_NAME_BYTES: usize = 1_000;
/// Most steps listed in an answer; their number is told in any case.
const MAX_LISTED: usize = 10_000;

/// Bounds of a priority: more than anybody tells apart.
const MAX_PRIORITY: std::ops::RangeInclusive<i32> = -1_000..=1_000;

/// Handles one request.
pub(crate) async fn submit(shared: &Shared, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, Refusal> {
    check(&request)?;
    let v1::SubmitRequest { yaml, file_name, dry_run, force, request_id, resume, client_version, files, priority } =
        request;
    let priority = self::priority(priority)?;
    let sent = SentFiles::read(files)?;
    let catalog = Arc::clone(&shared.config);
    // Planning a large grid takes a while: not on the threads that answer everybody.
    let read = tokio::task::spawn_blocking(move || {
        let planned = planning::read(&yaml, &catalog.catalog, &mut &sent);
        (planned, yaml, sent)
    });
    let (planned, yaml, sent) =
        read.await.map_err(|error| Refusal::Invalid(format!("the file cannot be planned: {error}")))?;
    let mut planned = match planned {
        Ok(planned) => planned,
        Err(problems) => {
            let problems = problems.into_iter().map(v1::Problem::from).collect();
            return Ok(v1::SubmitResponse { problems, ..Default::default() });
        }
    };
    let mut response = describe(shared, &mut planned, force).await?;
    if !dry_run {
        let content = Arc::clone(&shared.contents.blobs);
        let keeping = tokio::task::spawn_blocking(move || sent.keep(&planned, &content).map(|()| planned));
        let planned =
            keeping.await.map_err(|error| Refusal::Invalid(format!("the files cannot be kept: {error}")))??;
        let new = NewSubmission {
            name: planned.name.clone(),
            file_name,
            yaml,
            request_id: (!request_id.is_empty()).then_some(request_id),
            client_version,
            tables_json: serde_json::to_string(&planned.tables).expect("tables are plain data that JSON can say"),
            priority,
        };
        let submit = Box::new(Submit { new, planned, force, resume });
        let submitted = shared.handle.ask(|reply| Command::Submit(submit, reply)).await?;
        response.submission_id = submitted.id.0;
        response.resumed = submitted.resumed;
    }
    Ok(response)
}

fn check(request: &v1::SubmitRequest) -> Result<(), Refusal> {
    let texts = [
        ("yaml", &request.yaml, MAX_BYTES),
        ("file_name", &request.file_name, MAX_NAME_BYTES),
        ("request_id", &request.request_id, MAX_NAME_BYTES),
        ("client_version", &request.client_version, MAX_NAME_BYTES),
    ];
    for (field, text, most) in texts {
        if text.len() > most {
            return Err(Refusal::Invalid(format!("{field}: {} bytes, at most {most} are taken", text.len())));
        }
    }
    Ok(())
}

/// What the plan holds, what of it is scored, and how long the rest may take.
async fn describe(shared: &Shared, planned: &mut Planned, force: bool) -> Result<v1::SubmitResponse, Refusal> {
    let (runs, extractions) = planned.counts();
    let alike = |step: &steps::NewStep| {
        let (method, data_set, _) = step.listed_under();
        (step.kind().to_owned(), method, data_set)
    };
    let likenesses: HashSet<_> = planned.steps.iter().map(alike).collect();
    let means = estimates::mean_seconds(&shared.readers, likenesses).await?;
    let stored = queueing::find(&shared.readers, planned.steps.iter().map(|step| step.fingerprint)).await?;
    let mut already_scored = 0;
    let mut listed = Vec::with_capacity(planned.steps.len().min(MAX_LISTED));
    let mut groups: Vec<Group> = Vec::new();
    for step in &mut planned.steps {
        let is_run = step.needs.is_some();
        let expected = means.get(&alike(step)).copied();
        step.expected_ms = expected.map(whole_ms);
        let found = stored.get(&step.fingerprint);
        let is_scored = found.is_some_and(|found| found.state == State::Succeeded) && !(force && is_run);
        already_scored += u32::from(is_scored && is_run);
        if !is_scored {
            Group::add(&mut groups, &step.resources, expected, found.is_some_and(|found| !found.state.is_final()));
        }
        if listed.len() == MAX_LISTED {
            continue;
        }
        let (_, data_set, seed) = step.listed_under();
        listed.push(v1::PlannedStep {
            kind: step.kind().to_owned(),
            data_set,
            label: step.label.clone(),
            seed,
            already_scored: is_scored,
            expected_seconds: expected.unwrap_or(0.0),
            expected_known: expected.is_some(),
        });
    }
    let forecast = shared.handle.ask(|reply| Command::Forecast(groups, reply)).await?;
    Ok(v1::SubmitResponse {
        name: planned.name.clone(),
        runs,
        extractions,
        already_scored,
        steps: listed,
        left_out: planned.left_out.clone(),
        forecast: Some(encode::forecast(forecast)),
        ..Default::default()
    })
}

/// A priority within its bounds.
pub(crate) fn priority(priority: i32) -> Result<i32, Refusal> {
    if MAX_PRIORITY.contains(&priority) {
        return Ok(priority);
    }
    let (least, most) = (MAX_PRIORITY.start(), MAX_PRIORITY.end());
    Err(Refusal::Invalid(format!("priority: {priority}, from {least} to {most} are taken")))
}

/// Milliseconds of a time that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a time of years first")]
fn whole_ms(seconds: f64) -> u64 {
    (seconds * 1e3).clamp(0.0, 1e12) as u64
}

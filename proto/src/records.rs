//! Records of a submission off the wire: what tables are made of.

use experiment_spec::{
    run::{RunSpec, State, StepSpec},
    scores::Scores,
    table::RunRecord,
};

use tonic::Status;

use crate::{
    link::Link,
    v1::{self, submissions_client::SubmissionsClient},
};

/// A message that does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A field is missing or holds what its type does not allow.
    #[error("field {field} of step {step}: {why}")]
    Field { field: &'static str, step: i64, why: String },
}

/// Fetches a submission (id or name) with all its records, page by page.
///
/// # Errors
/// Whatever the coordinator answers to a page.
pub async fn fetch(client: &mut SubmissionsClient<Link>, submission: &str) -> Result<v1::GetRecordsResponse, Status> {
    let first = v1::GetRecordsRequest { submission: submission.to_owned(), from: 0 };
    let mut all = client.get_records(first).await?.into_inner();
    while all.next != 0 {
        // By its id: meanwhile the name may have come to mean a later submission.
        let request = v1::GetRecordsRequest { submission: all.submission_id.to_string(), from: all.next };
        let page = client.get_records(request).await?.into_inner();
        all.records.extend(page.records);
        all.next = page.next;
    }
    Ok(all)
}

/// Records of a submission, in the order of the plan.
///
/// # Errors
/// Names the step and the field that cannot be read.
pub fn records(answer: &v1::GetRecordsResponse) -> Result<Vec<RunRecord>, RecordError> {
    answer.records.iter().map(|record| run_record(&answer.name, record)).collect()
}

fn run_record(submission: &str, record: &v1::Record) -> Result<RunRecord, RecordError> {
    let refuse = |field, why: String| RecordError::Field { field, step: record.step_id, why };
    let state =
        State::from_name(&record.state).ok_or_else(|| refuse("state", format!("`{}` is no state", record.state)))?;
    let spec: StepSpec =
        serde_json::from_str(&record.spec_json).map_err(|error| refuse("spec_json", error.to_string()))?;
    let spec: RunSpec = match spec {
        StepSpec::Run(spec) => spec,
        StepSpec::Extraction(_) => return Err(refuse("spec_json", "an extraction stands where a run must".to_owned())),
    };
    let scores: Option<Scores> = if record.scores_json.is_empty() {
        None
    } else {
        Some(serde_json::from_str(&record.scores_json).map_err(|error| refuse("scores_json", error.to_string()))?)
    };
    Ok(RunRecord {
        submission: submission.to_owned(),
        data_set: record.data_set.clone(),
        method: record.method.clone(),
        label: record.label.clone(),
        seed: record.seed,
        state,
        failure: (!record.failure.is_empty()).then(|| record.failure.clone()),
        scores,
        encoder_seed: record.encoder_seed,
        features_hash: record.features_hash.clone(),
        seconds: record.seconds,
        codes: record.codes.iter().cloned().map(Into::into).collect(),
        spec: Some(spec),
    })
}

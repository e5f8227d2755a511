//! What workers are told of the steps that they are to work on.

use std::collections::HashMap;

use experiment_spec::ids::StepId;
use sqlx::{FromRow, SqliteConnection};

use super::{
    checkpoints::{self, Made},
    error::Result,
    rows,
    scores::{self, Artifact},
    steps::resources,
};

/// What an attempt needs to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) spec_json: String,
    pub(crate) fingerprint: String,
    pub(crate) time_limit_s: u64,
    /// What its extraction left.
    pub(crate) features: Vec<Artifact>,
    /// What it may go on from.
    pub(crate) checkpoint: Option<Made>,
}

#[derive(FromRow)]
struct ToldRow {
    id: i64,
    spec_json: String,
    fingerprint: String,
    resources_json: String,
    needs: Option<i64>,
}

/// What to tell about these steps, all of which exist.
pub(crate) async fn told(db: &mut SqliteConnection, steps: &[StepId]) -> Result<HashMap<StepId, Told>> {
    if steps.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<ToldRow> = sqlx::query_as(
        "SELECT id, spec_json, fingerprint, resources_json, needs FROM steps
         WHERE id IN (SELECT value FROM json_each(?1))",
    )
    .bind(rows::json_list(steps))
    .fetch_all(&mut *db)
    .await?;
    let mut needs: Vec<StepId> = rows.iter().filter_map(|row| row.needs).map(StepId).collect();
    needs.sort_unstable();
    needs.dedup();
    let artifacts = scores::artifacts_of(&mut *db, &needs).await?;
    let mut checkpoints = checkpoints::of_steps(db, steps).await?;
    rows.into_iter()
        .map(|row| {
            let features = row.needs.and_then(|needs| artifacts.get(&StepId(needs)).cloned()).unwrap_or_default();
            let time_limit_s = resources(&row.resources_json)?.time_limit_s;
            let ToldRow { spec_json, fingerprint, .. } = row;
            let checkpoint = checkpoints.remove(&StepId(row.id));
            Ok((StepId(row.id), Told { spec_json, fingerprint, time_limit_s, features, checkpoint }))
        })
        .collect()
}

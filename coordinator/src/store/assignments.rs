//! What a worker is told of a step that it is to work on.

use experiment_spec::ids::StepId;
use sqlx::{FromRow, SqliteConnection};

use super::{
    error::Result,
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
}

#[derive(FromRow)]
struct ToldRow {
    spec_json: String,
    fingerprint: String,
    resources_json: String,
    needs: Option<i64>,
}

/// What to tell about a step.
pub(crate) async fn told(db: &mut SqliteConnection, step: StepId) -> Result<Told> {
    let row: ToldRow = sqlx::query_as("SELECT spec_json, fingerprint, resources_json, needs FROM steps WHERE id = ?1")
        .bind(step.0)
        .fetch_one(&mut *db)
        .await?;
    let features = match row.needs {
        Some(needs) => scores::artifacts(db, StepId(needs)).await?,
        None => Vec::new(),
    };
    Ok(Told {
        spec_json: row.spec_json,
        fingerprint: row.fingerprint,
        time_limit_s: resources(&row.resources_json)?.time_limit_s,
        features,
    })
}

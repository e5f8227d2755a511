//! Many rows in one statement: what a statement costs besides its rows is paid once for all of them.

use experiment_spec::ids::StepId;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated};

use super::error::Result;

/// Most rows of one statement.
const MAX_ROWS: usize = 128;

/// One row while its values are pushed.
pub(super) type Row<'a> = Separated<'a, Sqlite, &'static str>;

/// Executes `before VALUES (…), (…) after` for all rows; returns how many rows it changed. A statement has a power of two
/// of rows, so that few different ones are kept prepared.
pub(super) async fn execute<T>(
    db: &mut SqliteConnection,
    (before, after): (&str, &str),
    rows: &[T],
    push: impl Fn(&mut Row<'_>, &T),
) -> Result<u64> {
    let mut changed = 0;
    let mut rest = rows;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(1 << rest.len().min(MAX_ROWS).ilog2());
        let mut query = QueryBuilder::new(before);
        query.push_values(now, |mut row, of| push(&mut row, of)).push(after);
        changed += query.build().execute(&mut *db).await?.rows_affected();
        rest = later;
    }
    Ok(changed)
}

/// Numbers of steps as one value, for `IN (SELECT value FROM json_each(?))`.
pub(super) fn json_list(steps: &[StepId]) -> String {
    serde_json::to_string(&steps.iter().map(|step| step.0).collect::<Vec<_>>()).expect("a list of numbers")
}

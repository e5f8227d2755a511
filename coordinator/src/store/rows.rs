//! Many rows in one statement: what a statement costs besides its rows is paid once for all of them.

use experiment_spec::ids::StepId;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated};

use super::error::Result;

/// Most rows of one statement.
const MAX_ROWS: usize = 256;

/// One row while its values are pushed.
pub(super) type Row<'a> = Separated<'a, Sqlite, &'static str>;

/// Executes `before VALUES (…), (…) after` for all rows, of so many columns each; returns how many rows it changed.
///
/// A statement has a power of two of rows, so that few different ones are kept prepared. What is too many of them are
/// NULL: the statement must pass over rows whose first column is.
pub(super) async fn execute<T>(
    db: &mut SqliteConnection,
    (before, after): (&str, &str),
    rows: &[T],
    columns: usize,
    push: impl Fn(&mut Row<'_>, &T),
) -> Result<u64> {
    let mut changed = 0;
    for rows in rows.chunks(MAX_ROWS) {
        let padded = rows.iter().map(Some).chain(std::iter::repeat(None)).take(rows.len().next_power_of_two());
        let mut query = QueryBuilder::new(before);
        let push_padded = |mut row: Row<'_>, of: Option<&T>| match of {
            Some(of) => push(&mut row, of),
            None => (0..columns).for_each(|_| {
                row.push_bind(None::<i64>);
            }),
        };
        query.push_values(padded, push_padded).push(after);
        changed += query.build().execute(&mut *db).await?.rows_affected();
    }
    Ok(changed)
}

/// Numbers of steps as one value, for `IN (SELECT value FROM json_each(?))`.
pub(super) fn json_list(steps: &[StepId]) -> String {
    serde_json::to_string(&steps.iter().map(|step| step.0).collect::<Vec<_>>()).expect("a list of numbers")
}

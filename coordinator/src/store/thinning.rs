//! Fewer points of curves that are long over, when somebody asks for it.
//!
//! Of a curve with more than *n* points these stay: the last one, the first lowest and the first highest one, and the first
//! one of each of *n* - 3 stretches of equal length between its first and its last iteration. So no curve has more than *n*
//! points afterwards, it begins and ends where it did, its extremes are true, and doing it again changes nothing.

use experiment_spec::ids::{StepId, SubmissionId};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{error::Result, rows};

/// Points that stay besides those of the stretches.
const MARKED: u32 = 3;
/// Fewer points say little of a curve.
pub(crate) const MIN_POINTS: u32 = 10;

/// Points of a step before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub(crate) struct Thinned {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

/// A query of the points that are too many: of step ?1, of curves with more than ?2 points, in ?3 stretches.
macro_rules! with_surplus {
    ($query:literal) => {
        concat!(
            "WITH curves AS (
                 SELECT name, iteration,
                        COUNT(*) OVER curve AS points, MIN(iteration) OVER curve AS first, MAX(iteration) OVER curve AS last,
                        FIRST_VALUE(iteration) OVER (PARTITION BY name ORDER BY value NULLS LAST, iteration) AS lowest,
                        FIRST_VALUE(iteration) OVER (PARTITION BY name ORDER BY value DESC NULLS LAST, iteration) AS highest
                 FROM metrics WHERE step_id = ?1 WINDOW curve AS (PARTITION BY name)),
             placed AS (
                 SELECT *, ROW_NUMBER() OVER (PARTITION BY name, (iteration - first) * ?3 / (last - first + 1)
                                              ORDER BY iteration) AS nth
                 FROM curves WHERE points > ?2),
             surplus AS (
                 SELECT name, iteration FROM placed WHERE nth > 1 AND iteration NOT IN (last, lowest, highest)) ",
            $query
        )
    };
}

/// Removes what is too much of a step's curves.
pub(crate) async fn thin(db: &mut SqliteConnection, step: StepId, most: u32) -> Result<Thinned> {
    let before: u32 =
        sqlx::query_scalar("SELECT COUNT(*) FROM metrics WHERE step_id = ?1").bind(step.0).fetch_one(&mut *db).await?;
    if before <= most {
        return Ok(Thinned { before, after: before });
    }
    let sql = with_surplus!("DELETE FROM metrics WHERE step_id = ?1 AND (name, iteration) IN (SELECT * FROM surplus)");
    let removed = sqlx::query(sql).bind(step.0).bind(most).bind(stretches(most)).execute(db).await?;
    let removed = u32::try_from(removed.rows_affected()).unwrap_or(u32::MAX);
    Ok(Thinned { before, after: before - removed })
}

/// What [`thin`] would do.
pub(crate) async fn preview(db: &SqlitePool, step: StepId, most: u32) -> Result<Thinned> {
    let sql = with_surplus!(
        "SELECT before, before - (SELECT COUNT(*) FROM surplus) AS after
         FROM (SELECT COUNT(*) AS before FROM metrics WHERE step_id = ?1)"
    );
    let query = sqlx::query_as(sql).bind(step.0).bind(most).bind(stretches(most));
    Ok(query.fetch_one(db).await?)
}

/// Steps that have ended and have points, after a step: those of a submission, or these.
pub(crate) async fn candidates(
    db: &SqlitePool,
    submission: Option<SubmissionId>,
    steps: &[StepId],
    after: StepId,
    most: u32,
) -> Result<Vec<StepId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM steps
         WHERE (id IN (SELECT step_id FROM submission_steps WHERE submission_id = ?1)
                OR id IN (SELECT value FROM json_each(?2)))
             AND id > ?3 AND state IN ('succeeded', 'failed', 'cancelled')
         ORDER BY id LIMIT ?4",
    )
    .bind(submission.map(|submission| submission.0))
    .bind(rows::json_list(steps))
    .bind(after.0)
    .bind(most)
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(StepId).collect())
}

fn stretches(most: u32) -> u32 {
    most.max(MIN_POINTS) - MARKED
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{
        metrics::{self, NewPoint},
        tests::store,
    };

    /// Points by name and iteration; `None` is not a number.
    type Curves = BTreeMap<(String, u64), Option<f64>>;

    /// The rule in words of the module's head, curve by curve.
    fn thinned(curves: &Curves, most: u32) -> Curves {
        let names: std::collections::BTreeSet<&String> = curves.keys().map(|(name, _)| name).collect();
        let mut kept = Curves::new();
        for name in names {
            let curve: Vec<_> = curves.iter().filter(|((of, _), _)| of == name).collect();
            let (first, last) = (curve[0].0.1, curve[curve.len() - 1].0.1);
            let stretch = |iteration: u64| (iteration - first) * u64::from(most - 3) / (last - first + 1);
            let numbers = || curve.iter().filter_map(|((_, at), value)| value.map(|value| (value, *at)));
            let better = |(a, b): ((f64, u64), (f64, u64))| if b.0 < a.0 { b } else { a };
            let lowest = numbers().reduce(|a, b| better((a, b))).map(|(_, at)| at);
            let highest = numbers().map(|(value, at)| (-value, at)).reduce(|a, b| better((a, b))).map(|(_, at)| at);
            let mut before = None;
            for (key, value) in &curve {
                let at = key.1;
                let begins = before != Some(stretch(at));
                before = Some(stretch(at));
                let stays = begins || at == last || Some(at) == lowest || Some(at) == highest;
                if curve.len() <= most as usize || stays {
                    kept.insert((*key).clone(), **value);
                }
            }
        }
        kept
    }

    async fn stored(db: &SqlitePool) -> Curves {
        let rows = metrics::list(db, StepId(1), None, None, metrics::MAX_POINTS).await.unwrap();
        rows.into_iter().map(|row| ((row.name, row.iteration.cast_unsigned()), row.value)).collect()
    }

    fn curves() -> impl Strategy<Value = Curves> {
        let value = prop_oneof![4 => (-3_i8..3).prop_map(|value| Some(f64::from(value))), 1 => Just(None)];
        prop::collection::btree_map(("[ab]", prop_oneof![0_u64..60, 0_u64..100_000]), value, 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_stays_is_what_the_rule_says_and_no_more_and_again_changes_nothing(curves in curves(), most in 10_u32..40) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_home, mut db, readers) = store().await;
                let points: Vec<_> = curves
                    .iter()
                    .map(|((name, iteration), value)| NewPoint {
                        step: StepId(1),
                        name,
                        iteration: *iteration,
                        value: value.unwrap_or(f64::NAN),
                    })
                    .collect();
                metrics::put_all(&mut db, &points).await.unwrap();
                let expected = thinned(&curves, most);
                let told = preview(&readers, StepId(1), most).await.unwrap();
                assert_eq!((told.before as usize, told.after as usize), (curves.len(), expected.len()));
                assert_eq!(thin(&mut db, StepId(1), most).await.unwrap(), told);
                assert_eq!(stored(&readers).await, expected);
                for name in ["a", "b"] {
                    assert!(expected.keys().filter(|(of, _)| of == name).count() <= most as usize);
                }
                let again = thin(&mut db, StepId(1), most).await.unwrap();
                assert_eq!((again.before, again.after), (told.after, told.after));
            });
        }
    }
}

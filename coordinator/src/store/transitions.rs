//! Steps go from state to state. Each transition repeats its precondition, state and attempt, in the `WHERE`; exactly one
//! row must change; a sentence for people is written with it.

use experiment_spec::{
    ids::{AttemptNumber, StepId, WorkerId},
    run::{FailureKind, State},
};
use sqlx::SqliteConnection;

use super::{
    error::{Result, StoreError},
    rows,
};
use crate::scheduler::effects::Guard;

/// A step that goes on to another state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Move<'a> {
    pub(super) guard: Guard,
    pub(super) to: State,
    /// Its attempt from then on.
    pub(super) attempt: AttemptNumber,
    pub(super) now_ms: i64,
    /// Of a step that goes back into the queue: retries left, when it may be assigned, and where not.
    pub(super) queued: Option<(u32, i64, Option<WorkerId>)>,
    /// Of a step that failed.
    pub(super) failure: Option<(FailureKind, &'a str)>,
}

impl Move<'_> {
    /// From where the guard says, with nothing else to be told.
    pub(super) fn new(guard: &Guard, to: State, now_ms: i64) -> Self {
        Self { guard: *guard, to, attempt: guard.attempt, now_ms, queued: None, failure: None }
    }
}

/// Moves steps, each of which must be where its guard says and be there only once.
///
/// # Panics
/// When a step would go a way that [`State::next`] does not know: a mistake in the scheduler.
pub(super) async fn move_all(db: &mut SqliteConnection, moves: &[Move<'_>]) -> Result<()> {
    for Move { guard: Guard { step, state, .. }, to, .. } in moves {
        assert!(state.next().contains(to), "step {step} cannot go from {} to {}", state.name(), to.name());
    }
    let sql = (
        "UPDATE steps SET state = new.column4, attempt = new.column5, changed_at_ms = new.column6,
             retries_left = COALESCE(new.column7, retries_left), not_before_ms = COALESCE(new.column8, not_before_ms),
             shuns = new.column9, failure_kind = new.column10, failure = new.column11 FROM (",
        ") AS new
         WHERE new.column1 IS NOT NULL AND steps.id = new.column1 AND steps.state = new.column2
             AND steps.attempt = new.column3",
    );
    let changed = rows::execute(db, sql, moves, 11, |row, of| {
        row.push_bind(of.guard.step.0).push_bind(of.guard.state.name()).push_bind(of.guard.attempt.0);
        row.push_bind(of.to.name()).push_bind(of.attempt.0).push_bind(of.now_ms);
        row.push_bind(of.queued.map(|queued| queued.0)).push_bind(of.queued.map(|queued| queued.1));
        row.push_bind(of.queued.and_then(|queued| queued.2).map(|worker| worker.0));
        row.push_bind(of.failure.map(|failure| failure.0.name())).push_bind(of.failure.map(|failure| failure.1));
    });
    if changed.await? == moves.len() as u64 {
        return Ok(());
    }
    Err(refused(db, moves).await?)
}

/// Which of these moves was not made.
async fn refused(db: &mut SqliteConnection, moves: &[Move<'_>]) -> Result<StoreError> {
    for Move { guard, to, attempt, .. } in moves {
        let made: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM steps WHERE id = ?1 AND state = ?2 AND attempt = ?3)")
                .bind(guard.step.0)
                .bind(to.name())
                .bind(attempt.0)
                .fetch_one(&mut *db)
                .await?;
        if !made {
            return Ok(StoreError::Guard { step: guard.step, state: guard.state.name(), attempt: guard.attempt });
        }
    }
    Ok(StoreError::Damaged("fewer steps changed their state than there are".to_owned()))
}

/// One line of the history of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(super) step: StepId,
    pub(super) attempt: AttemptNumber,
    pub(super) sentence: String,
    pub(super) now_ms: i64,
}

impl Line {
    /// About a step as such, not one of its attempts.
    pub(crate) fn of_step(step: StepId, sentence: String, now_ms: i64) -> Self {
        Self { step, attempt: AttemptNumber(0), sentence, now_ms }
    }
}

/// Appends lines in their order; nothing happens for a step that does not exist.
pub(crate) async fn history_all(db: &mut SqliteConnection, lines: &[Line]) -> Result<()> {
    let sql = (
        "INSERT INTO history (step_id, at_ms, attempt, sentence) SELECT column1, column2, column3, column4 FROM (",
        ") WHERE column1 IS NOT NULL AND EXISTS (SELECT 1 FROM steps WHERE id = column1)",
    );
    rows::execute(db, sql, lines, 4, |row, of| {
        row.push_bind(of.step.0).push_bind(of.now_ms).push_bind(of.attempt.0).push_bind(of.sentence.as_str());
    })
    .await?;
    Ok(())
}

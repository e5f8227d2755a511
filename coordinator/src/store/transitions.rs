//! Effects of the scheduler become rows. Each transition repeats its precondition, state and attempt,
//! in the `WHERE`; exactly one row must change; a sentence for people is written with it.

use experiment_spec::{
    ids::{AttemptNumber, StepId, WorkerId},
    run::{FailureKind, State},
};
use sqlx::SqliteConnection;

use super::{
    error::{Result, StoreError},
    rows, workers,
};
use crate::scheduler::effects::{Because, Effect, Guard};

/// Writes one effect that is rare, inside the caller's transaction.
pub(super) async fn apply(db: &mut SqliteConnection, effect: &Effect, now_ms: i64) -> Result<()> {
    match effect {
        Effect::Requeue { guard, because, retries_left, not_before_ms, shuns } => {
            requeue(db, guard, because, (*retries_left, *not_before_ms, *shuns), now_ms).await
        }
        Effect::Fail { guard, kind, message } => fail(db, guard, *kind, message, now_ms).await,
        Effect::Cancel { guard } => {
            if guard.worker.is_some() {
                end_attempt(db, guard, "cancelled", None, now_ms).await?;
            }
            transition(db, guard, State::Cancelled, now_ms).await?;
            let sentence = format!("cancelled while {}", guard.state.name());
            history(db, guard.step, guard.attempt, &sentence, now_ms).await
        }
        Effect::PutAside { worker, until_ms, reason } => workers::put_aside(db, *worker, *until_ms, reason).await,
        Effect::Assign { .. } | Effect::Start { .. } | Effect::Succeed { .. } | Effect::SetAside { .. } => {
            unreachable!("a batch writes these many at a time")
        }
    }
}

/// A step on the usual way from queued to succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) guard: Guard,
    pub(super) to: State,
    /// Its attempt from then on.
    pub(super) attempt: AttemptNumber,
    pub(super) now_ms: i64,
}

/// Moves steps, each of which must be where its guard says and be there only once.
///
/// # Panics
/// As [`transition`].
pub(super) async fn move_all(db: &mut SqliteConnection, moves: &[Move]) -> Result<()> {
    for Move { guard: Guard { step, state, .. }, to, .. } in moves {
        assert!(state.next().contains(to), "step {step} cannot go from {} to {}", state.name(), to.name());
    }
    let sql = (
        "UPDATE steps SET state = new.column4, attempt = new.column5, changed_at_ms = new.column6,
             shuns = CASE new.column4 WHEN 'assigned' THEN NULL ELSE shuns END FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND steps.id = new.column1 AND steps.state = new.column2 AND steps.attempt = new.column3",
    );
    let changed = rows::execute(db, sql, moves, 6, |row, of| {
        row.push_bind(of.guard.step.0).push_bind(of.guard.state.name()).push_bind(of.guard.attempt.0);
        row.push_bind(of.to.name()).push_bind(of.attempt.0).push_bind(of.now_ms);
    });
    if changed.await? == moves.len() as u64 {
        return Ok(());
    }
    Err(refused(db, moves).await?)
}

/// Which of these moves was not made.
async fn refused(db: &mut SqliteConnection, moves: &[Move]) -> Result<StoreError> {
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

async fn requeue(
    db: &mut SqliteConnection,
    guard: &Guard,
    because: &Because,
    (retries_left, not_before_ms, shuns): (u32, i64, Option<WorkerId>),
    now_ms: i64,
) -> Result<()> {
    let worker = match guard.worker {
        Some(worker) => worker_name(db, worker).await?,
        None => String::new(),
    };
    let (outcome, failure, sentence) = match because {
        Because::WorkerLost => {
            let told = format!("worker {worker} was not heard of any more");
            ("lost", Some((FailureKind::Lost, told.clone())), format!("queued again: {told}"))
        }
        Because::WorkerWithoutIt => {
            let told = format!("worker {worker} started again without it");
            ("given-back", Some((FailureKind::Lost, told.clone())), format!("queued again: {told}"))
        }
        Because::Released { reason } => {
            let told = format!("worker {worker} gave it back: {reason}");
            ("given-back", Some((FailureKind::Lost, told.clone())), format!("queued again: {told}"))
        }
        Because::Failed { kind, message } => {
            let pause = seconds(not_before_ms - now_ms);
            let left =
                if retries_left == 1 { "1 retry left".to_owned() } else { format!("{retries_left} retries left") };
            let place = if shuns.is_some() { " on another worker, if one could hold it" } else { "" };
            let sentence = format!(
                "attempt {} failed ({}): {message}; again after {pause}{place}, {left}",
                guard.attempt,
                kind.name()
            );
            ("failed", Some((*kind, message.clone())), sentence)
        }
    };
    end_attempt(db, guard, outcome, failure.as_ref().map(|(kind, told)| (*kind, told.as_str())), now_ms).await?;
    transition(db, guard, State::Queued, now_ms).await?;
    sqlx::query("UPDATE steps SET retries_left = ?1, not_before_ms = ?2, shuns = ?4 WHERE id = ?3")
        .bind(retries_left)
        .bind(not_before_ms)
        .bind(guard.step.0)
        .bind(shuns.map(|worker| worker.0))
        .execute(&mut *db)
        .await?;
    history(db, guard.step, guard.attempt, &sentence, now_ms).await
}

async fn fail(db: &mut SqliteConnection, guard: &Guard, kind: FailureKind, message: &str, now_ms: i64) -> Result<()> {
    if guard.worker.is_some() {
        end_attempt(db, guard, "failed", Some((kind, message)), now_ms).await?;
    }
    transition(db, guard, State::Failed, now_ms).await?;
    sqlx::query("UPDATE steps SET failure_kind = ?1, failure = ?2 WHERE id = ?3")
        .bind(kind.name())
        .bind(message)
        .bind(guard.step.0)
        .execute(&mut *db)
        .await?;
    let sentence = format!("failed for good ({}): {message}", kind.name());
    history(db, guard.step, guard.attempt, &sentence, now_ms).await
}

/// Changes the state of one step, which must be where the guard says.
///
/// # Panics
/// When the step would go a way that [`State::next`] does not know: a mistake in the scheduler.
pub(crate) async fn transition(db: &mut SqliteConnection, guard: &Guard, to: State, now_ms: i64) -> Result<()> {
    let Guard { step, state, attempt, .. } = *guard;
    assert!(state.next().contains(&to), "step {step} cannot go from {} to {}", state.name(), to.name());
    let changed =
        sqlx::query("UPDATE steps SET state = ?1, changed_at_ms = ?2 WHERE id = ?3 AND state = ?4 AND attempt = ?5")
            .bind(to.name())
            .bind(now_ms)
            .bind(step.0)
            .bind(state.name())
            .bind(attempt.0)
            .execute(db)
            .await?
            .rows_affected();
    if changed == 1 { Ok(()) } else { Err(StoreError::Guard { step, state: state.name(), attempt }) }
}

async fn end_attempt(
    db: &mut SqliteConnection,
    guard: &Guard,
    outcome: &str,
    failure: Option<(FailureKind, &str)>,
    now_ms: i64,
) -> Result<()> {
    let changed = sqlx::query(
        "UPDATE attempts SET ended_at_ms = ?1, outcome = ?2, failure_kind = ?3, failure = ?4,
             seconds = COALESCE(seconds, (?1 - started_at_ms) / 1000.0, 0)
         WHERE step_id = ?5 AND number = ?6 AND ended_at_ms IS NULL",
    )
    .bind(now_ms)
    .bind(outcome)
    .bind(failure.map(|(kind, _)| kind.name()))
    .bind(failure.map(|(_, message)| message))
    .bind(guard.step.0)
    .bind(guard.attempt.0)
    .execute(db)
    .await?
    .rows_affected();
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Guard { step: guard.step, state: guard.state.name(), attempt: guard.attempt })
}

/// Appends one line to the history of a step; nothing happens for a step that does not exist.
pub(crate) async fn history(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
    sentence: &str,
    now_ms: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO history (step_id, at_ms, attempt, sentence) SELECT id, ?2, ?3, ?4 FROM steps WHERE id = ?1",
    )
    .bind(step.0)
    .bind(now_ms)
    .bind(attempt.0)
    .bind(sentence)
    .execute(db)
    .await?;
    Ok(())
}

/// One line of the history of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) step: StepId,
    pub(super) attempt: AttemptNumber,
    pub(super) sentence: String,
    pub(super) now_ms: i64,
}

/// As [`history`], many lines in their order.
pub(super) async fn history_all(db: &mut SqliteConnection, lines: &[Line]) -> Result<()> {
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

async fn worker_name(db: &mut SqliteConnection, worker: WorkerId) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT name FROM workers WHERE id = ?1").bind(worker.0).fetch_one(db).await?)
}

/// A length of time for people.
pub(super) fn seconds(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

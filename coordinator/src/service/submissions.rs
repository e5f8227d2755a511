//! Submitting, cancelling, trying again: what the owner does for users.

use experiment_spec::{
    ids::{StepId, SubmissionId, WorkerId},
    run::State,
};
use sqlx::SqliteConnection;

use super::{
    handle::{Answer, Chosen, Retry, Submit, Submitted},
    owner::Owner,
    planning::Planned,
    refusal::Refusal,
};
use crate::{
    clock::now_ms,
    scheduler::{
        reactor,
        state::{Order, Step},
    },
    store::{batch::Batch, error::Result, steps, submissions, workers},
};

impl Owner {
    /// Queues a submission; the same request twice is one submission.
    pub(crate) async fn submit(&mut self, submit: Submit) -> Answer<Submitted> {
        let Submit { new, planned, force, resume } = submit;
        if let Some(request) = &new.request_id
            && let Some(id) = submissions::of_request(&mut self.writer, request).await?
        {
            return Ok(Submitted { id, resumed: false });
        }
        if resume
            && !force
            && let Some(id) = submissions::latest_like(&mut self.writer, &new.name, &new.yaml).await?
            && self.is_same_plan(id, &planned).await?
        {
            return Ok(Submitted { id, resumed: true });
        }
        let now_ms = now_ms();
        let mut transaction = Self::begin(&mut self.writer).await?;
        let id = submissions::insert(&mut transaction, &new, now_ms).await?;
        let queued = queue(&mut transaction, id, &planned, force, now_ms).await?;
        transaction.commit().await?;
        tracing::info!(submission = id.0, name = new.name, queued = queued.len(), "submission queued");
        reactor::on_queued(&mut self.scheduler, queued);
        self.committed(&[]);
        Ok(Submitted { id, resumed: false })
    }

    /// Whether the steps of a stored submission are those of this plan: a newer program may compute
    /// something else from the same file.
    async fn is_same_plan(&mut self, id: SubmissionId, planned: &Planned) -> Result<bool> {
        let stored = steps::fingerprints(&mut self.writer, id).await?;
        Ok(stored.len() == planned.steps.len()
            && stored.iter().zip(&planned.steps).all(|(stored, step)| *stored == step.fingerprint.to_string()))
    }

    /// Takes steps back: those of a submission that no other one asks for, or these. Returns how many.
    pub(crate) async fn cancel(&mut self, chosen: Chosen) -> Answer<u32> {
        let now_ms = now_ms();
        let mut ids = chosen.steps;
        for id in &ids {
            if !steps::exists(&mut self.writer, *id).await? {
                return Err(Refusal::no_step(id.0));
            }
        }
        let submission = match &chosen.submission {
            Some(name) => Some(self.resolve(name).await?),
            None => None,
        };
        if let Some(id) = submission {
            ids.extend(steps::only_of(&mut self.writer, id).await?);
        }
        let mut effects = Vec::new();
        reactor::on_cancelled(&mut self.scheduler, &ids, &mut effects);
        let mut transaction = Self::begin(&mut self.writer).await?;
        if let Some(id) = submission {
            submissions::set_cancelled(&mut transaction, id, Some(now_ms)).await?;
        }
        Batch::of(&effects, &self.scheduler.workers, now_ms).write(&mut transaction).await?;
        transaction.commit().await?;
        self.committed(&effects);
        Ok(u32::try_from(effects.len()).unwrap_or(u32::MAX))
    }

    /// Queues failed steps again, and the extractions they need. Returns how many.
    pub(crate) async fn retry(&mut self, retry: Retry) -> Answer<u32> {
        let now_ms = now_ms();
        let submission = match &retry.chosen.submission {
            Some(name) => Some(self.resolve(name).await?),
            None => None,
        };
        let mut ids = retry.chosen.steps.clone();
        for id in &ids {
            if !steps::exists(&mut self.writer, *id).await? {
                return Err(Refusal::no_step(id.0));
            }
        }
        let named = ids.len();
        if let Some(id) = submission {
            ids.extend(steps::of_submission(&mut self.writer, id).await?);
        }
        let mut transaction = Self::begin(&mut self.writer).await?;
        let mut queued = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let Some(step) = steps::retryable(&mut transaction, *id).await? else { continue };
            let cancelled = step.found.state == State::Cancelled;
            let wanted = match &retry.failure_kind {
                Some(kind) => step.failure_kind.as_ref() == Some(kind),
                None => !cancelled || index < named || retry.cancelled_too,
            };
            if wanted {
                queue_with_needs(&mut transaction, *id, &mut queued, now_ms).await?;
            }
        }
        if let Some(id) = submission {
            submissions::set_cancelled(&mut transaction, id, None).await?;
        }
        transaction.commit().await?;
        let count = u32::try_from(queued.len()).unwrap_or(u32::MAX);
        reactor::on_queued(&mut self.scheduler, queued);
        self.committed(&[]);
        Ok(count)
    }

    /// A worker gets nothing new, or gets work again. Returns its name and what it is at work on.
    pub(crate) async fn drain(&mut self, name_or_id: &str, undo: bool) -> Answer<(String, Vec<StepId>)> {
        let mut meant = workers::find(&mut self.writer, name_or_id).await?;
        let (id, name) = match meant.len() {
            0 => return Err(Refusal::no_worker(name_or_id)),
            1 => meant.remove(0),
            _ => {
                let names: Vec<_> = meant.into_iter().map(|(_, name)| name).collect();
                let names = names.join(", ");
                return Err(Refusal::Invalid(format!("several workers may be meant: {names}; say which")));
            }
        };
        let id = WorkerId(id);
        workers::set_drained(&mut self.writer, id, !undo).await?;
        reactor::on_drained(&mut self.scheduler, id, !undo);
        tracing::info!(worker = id.0, name, undo, "drained by a user");
        self.committed(&[]);
        self.publish(id);
        Ok((name, self.scheduler.at_work(id).into_iter().map(|key| key.step).collect()))
    }

    async fn resolve(&mut self, name_or_id: &str) -> Answer<SubmissionId> {
        let found = submissions::resolve(&mut self.writer, name_or_id).await?;
        found.ok_or_else(|| Refusal::no_submission(name_or_id))
    }
}

/// Links every planned step to a stored one, or makes it. Returns those that came into the queue.
async fn queue(
    db: &mut SqliteConnection,
    submission: SubmissionId,
    planned: &Planned,
    force: bool,
    now_ms: i64,
) -> Result<Vec<Step>> {
    let mut ids: Vec<StepId> = Vec::with_capacity(planned.steps.len());
    let mut queued = Vec::new();
    let mut already_scored = 0;
    for (position, new) in (0..).zip(&planned.steps) {
        let order = Order { submission, position };
        let is_run = new.needs.is_some();
        let found = match steps::find(&mut *db, &new.fingerprint).await? {
            // What is forced is computed again, but not twice at a time; its features are not.
            Some(found) if force && is_run && found.state == State::Succeeded => None,
            found => found,
        };
        let id = match found {
            None => {
                let step = steps::insert(db, new, new.needs.map(|index| ids[index]), order, now_ms).await?;
                queued.push(step);
                queued.last().expect("pushed one statement above").id
            }
            Some(found) => {
                if found.state.next() == [State::Queued] {
                    let why = format!("queued again by submission {submission}");
                    let asked = (&new.resources, new.retries);
                    queued.push(steps::queue_again(db, &found, order, asked, &why, now_ms).await?);
                }
                already_scored += u32::from(is_run && found.state == State::Succeeded);
                found.id
            }
        };
        submissions::link(db, submission, position, id, &new.label).await?;
        ids.push(id);
    }
    submissions::set_already_scored(db, submission, already_scored).await?;
    Ok(queued)
}

/// Queues a step again, after the extraction it needs when that one has no features either.
async fn queue_with_needs(db: &mut SqliteConnection, id: StepId, queued: &mut Vec<Step>, now_ms: i64) -> Result<()> {
    let needs = steps::needs(db, id).await?;
    for id in needs.into_iter().chain([id]) {
        if let Some(step) = steps::retryable(db, id).await? {
            let asked = (&step.resources, step.retries);
            let why = "queued again: a user asked for it";
            queued.push(steps::queue_again(db, &step.found, step.order, asked, why, now_ms).await?);
        }
    }
    Ok(())
}

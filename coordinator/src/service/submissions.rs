//! Submitting, cancelling, trying again: what the owner does for users.

use std::collections::{BTreeSet, HashMap, HashSet};

use experiment_spec::{
    ids::{ContentHash, StepId, SubmissionId, WorkerId},
    run::State,
};
use orchestrator_proto::fail_point;
use sqlx::SqliteConnection;

use super::{
    handle::{Answer, Change, Chosen, Retry, Submit, Submitted},
    owner::Owner,
    planning::Planned,
    refusal::Refusal,
};
use crate::{
    contents::Contents,
    scheduler::{
        queue::{Ask, Standing},
        reactor,
        state::Step,
    },
    store::{
        batch::Batch,
        error::Result,
        queueing::{self, Again, Found, Insert, Link},
        scores::{self, Artifact},
        snapshot,
        steps::{self, NewStep},
        submissions, workers,
    },
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
            && self.has_features(&planned).await?
        {
            return Ok(Submitted { id, resumed: true });
        }
        let now_ms = self.clock.now_ms();
        let mut transaction = Self::begin(&mut self.writer).await?;
        let id = submissions::insert(&mut transaction, &new, now_ms).await?;
        let Queued { steps, asked } =
            queue(&mut transaction, self.contents.as_deref(), id, &planned, force, now_ms).await?;
        fail_point::passes("submission-before-commit");
        transaction.commit().await?;
        fail_point::passes("submission-before-answer");
        tracing::info!(submission = id.0, name = new.name, queued = steps.len(), "submission queued");
        let standing = Standing { priority: new.priority, ..Standing::default() };
        self.scheduler.set_standing(id, standing);
        reactor::on_asked(&mut self.scheduler, &asked);
        reactor::on_queued(&mut self.scheduler, steps);
        self.committed(&[]);
        Ok(Submitted { id, resumed: false })
    }

    /// Whether the features are here that runs of a plan still need.
    async fn has_features(&mut self, planned: &Planned) -> Result<bool> {
        let known = queueing::find(&mut self.writer, planned.steps.iter().map(|step| step.fingerprint)).await?;
        Ok(lost_features(&mut self.writer, self.contents.as_deref(), planned, &known, false).await?.is_empty())
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
        let now_ms = self.clock.now_ms();
        let (submission, mut ids) = self.find(chosen).await?;
        if let Some(id) = submission {
            ids.extend(steps::only_of(&mut self.writer, id).await?);
        }
        let mut effects = Vec::new();
        reactor::on_cancelled(&mut self.scheduler, &ids, &mut effects);
        let mut transaction = Self::begin(&mut self.writer).await?;
        if let Some(id) = submission {
            submissions::set_cancelled(&mut transaction, id, Some(now_ms)).await?;
        }
        let loose = Batch::of(&effects, |id| self.scheduler.name_of(id), now_ms).write(&mut transaction).await?;
        transaction.commit().await?;
        fail_point::passes("cancel-before-answer");
        self.discard(loose);
        if let Some(id) = submission {
            let standing = Standing { cancelled: true, ..self.scheduler.standing(id) };
            self.scheduler.set_standing(id, standing);
        }
        self.committed(&effects);
        Ok(u32::try_from(effects.len()).unwrap_or(u32::MAX))
    }

    /// Queues failed steps again, and the extractions they need. Returns how many.
    pub(crate) async fn retry(&mut self, retry: Retry) -> Answer<u32> {
        let now_ms = self.clock.now_ms();
        let Retry { chosen, failure_kind, cancelled_too } = retry;
        let (submission, mut ids) = self.find(chosen).await?;
        let named: HashSet<StepId> = ids.iter().copied().collect();
        if let Some(id) = submission {
            ids.extend(steps::of_submission(&mut self.writer, id).await?);
        }
        let mut transaction = Self::begin(&mut self.writer).await?;
        let mut candidates = queueing::retryable(&mut transaction, &ids).await?;
        let wanted = |id: &&StepId| {
            candidates.get(id).is_some_and(|step| match &failure_kind {
                Some(kind) => step.failure_kind.as_ref() == Some(kind),
                None => step.again.found.state != State::Cancelled || named.contains(id) || cancelled_too,
            })
        };
        let mut wanted: BTreeSet<StepId> = ids.iter().filter(wanted).copied().collect();
        let needed = wanted.iter().filter_map(|id| candidates[id].again.found.needs);
        wanted.extend(needed.filter(|id| candidates.contains_key(id)).collect::<Vec<_>>());
        let again: Vec<_> =
            wanted.iter().filter_map(|id| candidates.remove(id)).map(|candidate| candidate.again).collect();
        queueing::queue_again(&mut transaction, &again, "queued again: a user asked for it", now_ms).await?;
        let queued = snapshot::queued(&mut transaction, &wanted.into_iter().collect::<Vec<_>>()).await?;
        if let Some(id) = submission {
            submissions::set_cancelled(&mut transaction, id, None).await?;
        }
        transaction.commit().await?;
        if let Some(id) = submission {
            let standing = Standing { cancelled: false, ..self.scheduler.standing(id) };
            self.scheduler.set_standing(id, standing);
        }
        let count = u32::try_from(queued.len()).unwrap_or(u32::MAX);
        reactor::on_queued(&mut self.scheduler, queued);
        self.committed(&[]);
        Ok(count)
    }

    /// Changes when steps are given out: all of a submission, or these. Returns how many live ones it is about.
    pub(crate) async fn steer(&mut self, chosen: Chosen, change: Change) -> Answer<u32> {
        let now_ms = self.clock.now_ms();
        let (submission, mut ids) = self.find(chosen).await?;
        if let Change::Priority(priority) = change {
            // A run goes no earlier than its features.
            ids.extend(self.scheduler.held_back_by(&ids, priority));
        }
        let mut transaction = Self::begin(&mut self.writer).await?;
        if let Some(id) = submission {
            match change {
                Change::Paused(paused) => {
                    submissions::set_paused(&mut transaction, id, paused.then_some(now_ms)).await?;
                }
                Change::Priority(priority) => submissions::set_priority(&mut transaction, id, priority).await?,
            }
        }
        match change {
            Change::Paused(paused) => steps::set_paused(&mut transaction, &ids, paused.then_some(now_ms)).await?,
            Change::Priority(priority) => steps::set_priority(&mut transaction, &ids, priority).await?,
        }
        transaction.commit().await?;
        let mut about: BTreeSet<StepId> = ids.into_iter().filter(|id| self.scheduler.step(*id).is_some()).collect();
        for id in &about {
            self.scheduler.update(*id, |step| match change {
                Change::Paused(paused) => step.paused = paused,
                Change::Priority(priority) => step.priority = Some(priority),
            });
        }
        if let Some(id) = submission {
            let standing = self.scheduler.standing(id);
            let standing = match change {
                Change::Paused(paused) => Standing { paused, ..standing },
                Change::Priority(priority) => Standing { priority, ..standing },
            };
            self.scheduler.set_standing(id, standing);
            about.extend(self.scheduler.asked_by(id));
        }
        self.committed(&[]);
        Ok(u32::try_from(about.len()).unwrap_or(u32::MAX))
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

    /// The submission that is named, and the steps, which all exist.
    pub(super) async fn find(&mut self, chosen: Chosen) -> Answer<(Option<SubmissionId>, Vec<StepId>)> {
        if let Some(missing) = steps::missing(&mut self.writer, &chosen.steps).await? {
            return Err(Refusal::no_step(missing.0));
        }
        let submission = match &chosen.submission {
            Some(name) => Some(self.resolve(name).await?),
            None => None,
        };
        Ok((submission, chosen.steps))
    }

    async fn resolve(&mut self, name_or_id: &str) -> Answer<SubmissionId> {
        let found = submissions::resolve(&mut self.writer, name_or_id).await?;
        found.ok_or_else(|| Refusal::no_submission(name_or_id))
    }
}

/// What a submission brought into the queue, and what it found there.
struct Queued {
    steps: Vec<Step>,
    asked: Vec<(StepId, Ask)>,
}

/// Links every planned step to a stored one, or makes it.
async fn queue(
    db: &mut SqliteConnection,
    contents: Option<&Contents>,
    submission: SubmissionId,
    planned: &Planned,
    force: bool,
    now_ms: i64,
) -> Result<Queued> {
    let known = queueing::find(&mut *db, planned.steps.iter().map(|step| step.fingerprint)).await?;
    let lost = lost_features(&mut *db, contents, planned, &known, force).await?;
    let mut next_id = queueing::next_id(&mut *db).await?;
    let mut ids: Vec<StepId> = Vec::with_capacity(planned.steps.len());
    let (mut inserts, mut again, mut links) = (Vec::new(), Vec::new(), Vec::with_capacity(planned.steps.len()));
    let mut already_scored = 0;
    // No two steps of a plan have one fingerprint, so each is looked for once.
    for (position, new) in (0..).zip(&planned.steps) {
        let is_run = new.needs.is_some();
        let id = match known.get(&new.fingerprint) {
            // What is forced is computed again, but not twice at a time; its features are not.
            Some(found) if !(lost.contains(&found.id) || force && is_run && found.state == State::Succeeded) => {
                already_scored += u32::from(is_run && found.state == State::Succeeded);
                if found.state.next() == [State::Queued] {
                    let (resources, retries, expected_ms) = (new.resources.clone(), new.retries, new.expected_ms);
                    let needs = new.needs.map(|index| ids[index]);
                    again.push(Again { found: Found { needs, ..found.clone() }, resources, retries, expected_ms });
                }
                found.id
            }
            found => {
                let (id, nonce) = (StepId(next_id), found.map_or(0, |found| found.next_nonce));
                next_id += 1;
                inserts.push(Insert { id, nonce, new, needs: new.needs.map(|index| ids[index]) });
                id
            }
        };
        links.push(Link { ask: Ask { submission, round: new.round, position }, step: id, label: &new.label });
        ids.push(id);
    }
    queueing::insert(db, submission, &inserts, now_ms).await?;
    queueing::queue_again(db, &again, &format!("queued again by submission {submission}"), now_ms).await?;
    queueing::link(db, &links).await?;
    submissions::set_already_scored(db, submission, already_scored).await?;
    let queued: Vec<_> =
        inserts.iter().map(|insert| insert.id).chain(again.iter().map(|again| again.found.id)).collect();
    let steps = snapshot::queued(db, &queued).await?;
    Ok(Queued { steps, asked: links.iter().map(|link| (link.step, link.ask)).collect() })
}

/// Extractions of a plan whose features are here no more, since they were damaged or somebody removed them, and that runs
/// which are still to be computed need anew.
async fn lost_features(
    db: &mut SqliteConnection,
    contents: Option<&Contents>,
    planned: &Planned,
    known: &HashMap<ContentHash, Found>,
    force: bool,
) -> Result<HashSet<StepId>> {
    let Some(contents) = contents else { return Ok(HashSet::new()) };
    let done = |step: &NewStep| known.get(&step.fingerprint).filter(|found| found.state == State::Succeeded);
    let to_compute = planned.steps.iter().filter(|step| force || done(step).is_none());
    let needed: BTreeSet<usize> = to_compute.filter_map(|run| run.needs).collect();
    let made: Vec<StepId> =
        needed.into_iter().filter_map(|index| done(&planned.steps[index])).map(|it| it.id).collect();
    let left = scores::artifacts_of(db, &made).await?;
    let is_lost = |artifact: &Artifact| contents.blobs.bytes(&artifact.hash) != Some(artifact.bytes);
    Ok(left.into_iter().filter(|(_, features)| features.iter().any(is_lost)).map(|(id, _)| id).collect())
}

//! The order in which steps are given out: priority, then the pass over the seeds (every cell gets its first seed before any
//! gets its second), then the submission with the fewest cores at work, then what takes longest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, btree_map, btree_set},
};

use experiment_spec::ids::{StepId, SubmissionId};

use super::state::Step;

/// A submission asks for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ask {
    pub(crate) submission: SubmissionId,
    /// Pass over the seeds, from 0.
    pub(crate) round: u32,
    /// Place in its plan.
    pub(crate) position: u32,
}

/// What decides about all steps of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Higher goes first.
    pub(crate) priority: i32,
    pub(crate) paused: bool,
    pub(crate) cancelled: bool,
}

/// Steps that are given out before all of the next class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    priority: Reverse<i32>,
    round: u32,
}

/// Order among the steps of one submission in one class: extractions first, since runs wait for them; then what takes
/// longest, and before it what nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_run: bool,
    expected_ms: Reverse<u64>,
    position: u32,
    step: StepId,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    class: Class,
    submission: SubmissionId,
    rank: Rank,
}

impl Place {
    /// The best place that one of the submissions which ask for a step gives it; `None` while it is paused: by itself, or
    /// by all that still ask for it.
    pub(super) fn of(step: &Step, standings: &BTreeMap<SubmissionId, Standing>) -> Option<Self> {
        let standing = |ask: &Ask| standings.get(&ask.submission).copied().unwrap_or_default();
        // A step of which only cancelled submissions know was queued again by itself.
        let nobody_else = step.asks.iter().all(|ask| standing(ask).cancelled);
        step.asks
            .iter()
            .filter(|ask| !step.paused && !standing(ask).paused && (nobody_else || !standing(ask).cancelled))
            .map(|ask| {
                let priority = Reverse(step.priority.unwrap_or(standing(ask).priority));
                (Class { priority, round: ask.round }, ask)
            })
            .min()
            .map(|(class, ask)| Self {
                class,
                submission: ask.submission,
                rank: Rank {
                    is_run: step.needs.is_some(),
                    expected_ms: Reverse(step.expected_ms.unwrap_or(u64::MAX)),
                    position: ask.position,
                    step: step.id,
                },
            })
    }
}

/// Every step that may be given out, and how much of the fleet each submission has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    classes: BTreeMap<Class, BTreeMap<SubmissionId, BTreeSet<Rank>>>,
    /// Of submissions that have any.
    cores_at_work: BTreeMap<SubmissionId, u64>,
}

impl Queue {
    pub(super) fn insert(&mut self, place: Place) {
        self.classes.entry(place.class).or_default().entry(place.submission).or_default().insert(place.rank);
    }

    pub(super) fn remove(&mut self, place: Place) {
        let Some(submissions) = self.classes.get_mut(&place.class) else { return };
        if let Some(ranks) = submissions.get_mut(&place.submission) {
            ranks.remove(&place.rank);
            if ranks.is_empty() {
                submissions.remove(&place.submission);
            }
        }
        if submissions.is_empty() {
            self.classes.remove(&place.class);
        }
    }

    /// A submission has so many more cores at work.
    pub(super) fn add_cores(&mut self, submission: SubmissionId, cores: u64) {
        *self.cores_at_work.entry(submission).or_default() += cores;
    }

    /// A submission has so many cores fewer at work.
    pub(super) fn remove_cores(&mut self, submission: SubmissionId, cores: u64) {
        if let Some(at_work) = self.cores_at_work.get_mut(&submission) {
            *at_work = at_work.saturating_sub(cores);
            if *at_work == 0 {
                self.cores_at_work.remove(&submission);
            }
        }
    }

    /// Steps in the order in which they would be given out if each went to work at once, taking `cores` of the fleet.
    pub(super) fn walk<F: Fn(StepId) -> u64>(&self, cores: F) -> Walk<'_, F> {
        let (turns, rest) = (BTreeSet::new(), BTreeMap::new());
        Walk { classes: self.classes.values(), at_work: self.cores_at_work.clone(), turns, rest, cores }
    }
}

/// See [`Queue::walk`].
pub(super) struct Walk<'a, F> {
    classes: btree_map::Values<'a, Class, BTreeMap<SubmissionId, BTreeSet<Rank>>>,
    at_work: BTreeMap<SubmissionId, u64>,
    /// Of the present class: whose turn it is, and what each submission has left.
    turns: BTreeSet<(u64, SubmissionId)>,
    rest: BTreeMap<SubmissionId, btree_set::Iter<'a, Rank>>,
    cores: F,
}

impl<F: Fn(StepId) -> u64> Iterator for Walk<'_, F> {
    type Item = StepId;

    fn next(&mut self) -> Option<StepId> {
        loop {
            let Some((used, submission)) = self.turns.pop_first() else {
                let submissions = self.classes.next()?;
                self.rest = submissions.iter().map(|(id, ranks)| (*id, ranks.iter())).collect();
                let used = |id| self.at_work.get(&id).copied().unwrap_or_default();
                self.turns = submissions.keys().map(|id| (used(*id), *id)).collect();
                continue;
            };
            let rank = self.rest.get_mut(&submission).and_then(Iterator::next);
            if let Some(rank) = rank {
                let used = used + (self.cores)(rank.step);
                self.turns.insert((used, submission));
                self.at_work.insert(submission, used);
                return Some(rank.step);
            }
        }
    }
}

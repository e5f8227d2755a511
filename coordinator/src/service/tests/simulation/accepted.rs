//! Which reports of a poll count, and what each leaves in the ledger.

use std::collections::BTreeSet;

use experiment_spec::ids::AttemptKey;

use super::ledger::{Ledger, Verdict, must};
use crate::service::{
    handle::Poll,
    reports::{Event, Report},
};

/// What a poll reported.
pub(super) struct Heard {
    /// What its worker has, with what it reported of.
    pub(super) held: BTreeSet<AttemptKey>,
    /// Attempts of which something counts.
    pub(super) accepted: BTreeSet<AttemptKey>,
    /// Number of its last report.
    pub(super) last: u64,
    /// Whether anything of it is written.
    pub(super) is_durable: bool,
}

impl Ledger {
    /// What a poll reports.
    pub(super) fn hear(&mut self, poll: &Poll) -> Result<Heard, String> {
        let id = poll.worker;
        let (mut held, mut is_durable) = (poll.held.clone(), false);
        let mut accepted = BTreeSet::new();
        let mut reports: Vec<&Report> = poll.reports.iter().collect();
        reports.sort_by_key(|report| report.sequence);
        let last = reports.last().map_or(0, |report| report.sequence);
        let known = self.members[&id].durable;
        for report in reports.into_iter().filter(|report| report.sequence > known) {
            if self.open.get(&report.key).is_some_and(|open| open.worker == id) {
                accepted.insert(report.key);
                held.insert(report.key);
                is_durable |= !matches!(report.event, Event::Progress(_) | Event::Unknown);
                self.accept(report)?;
            } else if let Event::Started(_) | Event::Succeeded(_) | Event::Failed { .. } | Event::Released { .. } =
                report.event
            {
                if self.needs.contains_key(&report.key.step) {
                    *self.told.late.entry((report.key.step, report.key.attempt)).or_default() += 1;
                }
                is_durable = true;
            }
        }
        Ok(Heard { held, accepted, last, is_durable })
    }

    /// Takes in a report that counts.
    fn accept(&mut self, report: &Report) -> Verdict {
        let key = report.key;
        let AttemptKey { step, attempt, .. } = key;
        match &report.event {
            Event::Started(start) => {
                if attempt.0 > 1 {
                    self.told.points.retain(|(of, _, at), _| *of != step || *at <= start.from_iteration);
                }
                *self.told.starts.entry((step, attempt)).or_default() += 1;
                self.open.get_mut(&key).expect("it counts").is_started = true;
            }
            Event::Metrics(points) => {
                let points = points.iter().map(|(name, at, value)| ((step, name.clone(), *at), *value));
                self.told.points.extend(points);
            }
            Event::Log { text, .. } => self.told.lines.entry(step).or_default().push((attempt, text.clone())),
            Event::CheckpointSaved { iteration, .. } => {
                self.told.checkpoints.insert((step, attempt), *iteration);
            }
            // What a run may not leave is judged here by the MAP alone; what an extraction says of scores is nobody's business.
            Event::Succeeded(outcome)
                if self.needs[&step].is_some()
                    && outcome
                        .scores
                        .as_ref()
                        .is_ok_and(|scores| scores.scores.iter().any(|score| score.map > 1.0)) =>
            {
                self.end(key, "failed")?;
            }
            Event::Succeeded(outcome) => {
                self.end(key, "succeeded")?;
                let before = self.results.insert(step, (attempt, outcome.scores_json.clone()));
                must!(before.is_none(), "step {step} has two results: {before:?} and that of attempt {attempt}");
            }
            Event::Failed { .. } => self.end(key, "failed")?,
            Event::Released { .. } => self.end(key, "given-back")?,
            Event::Progress(_) | Event::Unknown => {}
        }
        Ok(())
    }
}

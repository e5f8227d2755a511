//! The search over the candidates of a stepwise training, most often over one: what is done, what is kept, and how
//! all of it is put into a checkpoint.

use std::collections::BTreeMap;

use experiment_spec::scores::Candidate;

use super::{
    iterative::{Iterative, Training},
    trials::{Trial, trials},
};
use crate::{
    checkpoint::{Checkpoint, NamedTensor},
    error::{Error, Result},
    method::{Observer, TrainingData},
    metrics::map::bi_modal_average,
    parameters::Reader,
};

/// Facts of a checkpoint: candidates scored so far, steps done of the one at work, steps that all share, which of the
/// scored is kept.
const SCORED: &str = "scored-candidates";
const STEP: &str = "step";
const SHARED_STEP: &str = "shared-step";
const KEPT: &str = "kept-candidate";
/// Folders of its tensors: the training at work, where all candidates go on from, the end of the best one so far.
const AT_WORK: &str = "training/";
const SHARED: &str = "shared/";
const BEST: &str = "best/";

/// A training's tensors after so many steps.
#[derive(Clone)]
pub(super) struct State {
    step: u64,
    tensors: Vec<NamedTensor>,
}

/// A search at work.
pub(super) struct Search<'a, M> {
    method: &'a M,
    data: TrainingData<'a>,
    seed: u64,
    trials: Vec<Trial>,
    /// Whether there is a choice between candidates.
    tuned: bool,
    /// Steps that all candidates share.
    shared_steps: u64,
    /// Where the first candidate was after them.
    shared: Option<State>,
    /// Candidates that are done.
    scored: Vec<Candidate>,
    /// The best of them.
    best: Option<(usize, State)>,
}

impl<'a, M: Iterative> Search<'a, M> {
    /// Nothing done yet.
    pub(super) fn new(method: &'a M, data: &TrainingData<'a>, seed: u64, reader: Reader<'_>) -> Self {
        let trials = trials(reader, None);
        let tuned = reader.left_to_the_run().next().is_some();
        let shared_steps = if trials.len() > 1 { method.shared_steps(&trials[0].parameters) } else { 0 };
        Self { method, data: *data, seed, trials, tuned, shared_steps, shared: None, scored: Vec::new(), best: None }
    }

    /// Every candidate with its score, and the training of the best one at its end.
    #[allow(clippy::type_complexity)] // a list, and a training that may not come back
    pub(super) fn into_best(self) -> (Vec<Candidate>, Option<Result<Box<dyn Training + 'a>>>) {
        let best = self.best.as_ref().map(|(trial, state)| {
            let mut training = self.begin(*trial)?;
            training.restore(state.step, state.tensors.clone())?;
            Ok(training)
        });
        (self.scored, best)
    }

    fn begin(&self, trial: usize) -> Result<Box<dyn Training + 'a>> {
        self.method.begin(self.data, &self.trials[trial].parameters, self.seed)
    }

    /// Trains every candidate that is not done yet, going on with the one of `from`; gives the last training. One
    /// that ends in numbers that are none is passed over, unless it is the only one.
    pub(super) fn run(
        &mut self,
        mut from: Option<State>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Box<dyn Training + 'a>>> {
        let mut last = None;
        for trial in self.scored.len()..self.trials.len() {
            drop(last.take()); // its tensors go before those of the next are made
            let mut training = self.begin(trial)?;
            let mut done = 0;
            if let Some(state) = from.take().or_else(|| self.shared.clone()) {
                done = state.step;
                training.restore(state.step, state.tensors)?;
            }
            let ended = self.train(trial, training.as_mut(), done, observer);
            if self.tuned {
                match ended.and_then(|end| self.score(training.as_ref(), end)) {
                    Ok((score, state)) => self.keep(trial, Ok(score), Some(state)),
                    // Steps that all share would fail for all.
                    Err(error @ Error::Nan { .. }) if self.shared_steps == 0 || self.shared.is_some() => {
                        self.keep(trial, Err(error.to_string()), None);
                    }
                    Err(error) => return Err(error),
                }
            } else {
                ended?;
            }
            last = Some(training);
        }
        Ok(last)
    }

    /// Makes the steps that are left; gives the number of the last one.
    fn train(
        &mut self,
        trial: usize,
        training: &mut dyn Training,
        done: u64,
        observer: &mut dyn Observer,
    ) -> Result<u64> {
        let steps = training.steps();
        let own = steps - self.shared_steps;
        let (before, total) = (trial as u64 * own, self.shared_steps + self.trials.len() as u64 * own);
        let mut step = done;
        while step < steps {
            step += 1;
            let told = training.step(step)?;
            if !told.loss.is_finite() {
                return Err(Error::Nan { what: "the loss".into(), iteration: before + step });
            }
            if step == self.shared_steps && self.shared.is_none() {
                self.shared = Some(State { step, tensors: training.state()? });
            }
            let end = if told.over { steps } else { step };
            let metrics: Vec<(&str, f64)> = told.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            observer.iteration(before + end, total, told.loss, &metrics)?;
            if told.over {
                break;
            }
            if observer.wants_checkpoint(before + step) {
                observer.checkpoint(&self.checkpoint(before + step, step, training)?)?;
            }
        }
        Ok(step)
    }

    /// Bi-modal average on the validation pairs, and what is to be kept if it is the best.
    fn score(&self, training: &dyn Training, step: u64) -> Result<(f64, State)> {
        let fitted = training.fitted()?;
        let pairs = self.data.validation;
        let (image, text) = (fitted.embed_image(pairs.image)?, fitted.embed_text(pairs.text)?);
        let score = bi_modal_average(&image, &text, pairs.labels)?;
        Ok((score, State { step, tensors: training.state()? }))
    }

    fn keep(&mut self, trial: usize, validation_map: std::result::Result<f64, String>, state: Option<State>) {
        let highest = self.best.as_ref().and_then(|(best, _)| self.scored[*best].validation_map.clone().ok());
        if let (Ok(score), Some(state)) = (&validation_map, state)
            && highest.is_none_or(|highest| *score > highest)
        {
            self.best = Some((trial, state));
        }
        self.scored.push(Candidate { parameters: self.trials[trial].tried.clone(), validation_map });
    }

    fn checkpoint(&self, iteration: u64, step: u64, training: &dyn Training) -> Result<Checkpoint> {
        let scored = serde_json::to_string(&self.scored).expect("candidates are plain data that JSON can say");
        let mut facts = BTreeMap::from([(SCORED.into(), scored), (STEP.into(), step.to_string())]);
        let mut tensors = inside(AT_WORK, training.state()?);
        if let Some(shared) = &self.shared {
            facts.insert(SHARED_STEP.into(), shared.step.to_string());
            tensors.extend(inside(SHARED, shared.tensors.clone()));
        }
        if let Some((kept, state)) = &self.best {
            facts.insert(KEPT.into(), format!("{kept} {}", state.step));
            tensors.extend(inside(BEST, state.tensors.clone()));
        }
        Ok(Checkpoint { iteration, tensors, facts })
    }

    /// Takes up what a checkpoint holds; gives the state of the training that was at work.
    pub(super) fn take_up(&mut self, checkpoint: Checkpoint) -> Result<Option<State>> {
        let damaged = |what: &str| Error::Data(format!("the checkpoint has no {what}; remove it and run again"));
        let fact = |key: &str| checkpoint.facts.get(key).map(String::as_str);
        let scored: Option<Vec<Candidate>> = fact(SCORED).and_then(|text| serde_json::from_str(text).ok());
        self.scored = scored.filter(|it| it.len() < self.trials.len()).ok_or_else(|| damaged("scored candidates"))?;
        let step = fact(STEP).and_then(|text| text.parse().ok()).ok_or_else(|| damaged("step"))?;
        let shared_step = fact(SHARED_STEP).map(|text| text.parse().map_err(|_| damaged("shared step"))).transpose()?;
        let kept = fact(KEPT).map(|text| {
            let (kept, step) = text.split_once(' ')?;
            Some((kept.parse::<usize>().ok().filter(|kept| *kept < self.scored.len())?, step.parse::<u64>().ok()?))
        });
        let kept = kept.map(|kept| kept.ok_or_else(|| damaged("kept candidate"))).transpose()?;
        if kept.is_none() && self.scored.iter().any(|candidate| candidate.validation_map.is_ok()) {
            return Err(damaged("kept candidate"));
        }
        let mut folders = BTreeMap::from([(AT_WORK, Vec::new()), (SHARED, Vec::new()), (BEST, Vec::new())]);
        for tensor in checkpoint.tensors {
            let found = folders.iter_mut().find_map(|(folder, list)| Some((tensor.name.strip_prefix(folder)?, list)));
            let (name, list) = found.ok_or_else(|| damaged("known tensors"))?;
            let name = name.to_owned();
            list.push(NamedTensor { name, ..tensor });
        }
        let mut taken = |folder| folders.remove(folder).unwrap_or_default();
        self.shared = shared_step.map(|step| State { step, tensors: taken(SHARED) });
        self.best = kept.map(|(kept, step)| (kept, State { step, tensors: taken(BEST) }));
        Ok(Some(State { step, tensors: taken(AT_WORK) }))
    }
}

fn inside(folder: &str, tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.into_iter().map(|tensor| NamedTensor { name: format!("{folder}{}", tensor.name), ..tensor }).collect()
}

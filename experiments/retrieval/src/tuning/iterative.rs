//! The driver of methods that are trained step by step, in one stage or several.

use std::collections::BTreeMap;

use experiment_spec::{
    catalog::{MethodEntry, Parameters},
    scores::Candidate,
};

use super::{
    recorded::Recorded,
    trials::{Trial, choose, trials},
};
use crate::{
    checkpoint::{Checkpoint, NamedTensor},
    error::{Error, Result},
    method::{FitContext, FitRecord, Fitted, Method, Observer, TrainingData},
    metrics::map::bi_modal_average,
    parameters::Reader,
};

/// Facts of a checkpoint: candidates scored so far, steps done of the one at work, which of the scored is kept.
const SCORED: &str = "scored-candidates";
const STEP: &str = "step";
const KEPT: &str = "kept-candidate";
/// Folders of its tensors: the training at work, and the end of the best one before it.
const AT_WORK: &str = "training/";
const BEST: &str = "best/";

/// A method that is trained step by step.
pub trait Iterative: Sync {
    /// Key, label, parameters, departures.
    fn entry(&self) -> MethodEntry;

    /// Whether a training looks at validation pairs although every parameter is fixed (to stop early, say).
    fn looks_at_validation(&self, parameters: &Parameters) -> bool;

    /// A training from its beginning, every parameter fixed. It learns from `data.train` alone and may look at
    /// `data.validation`.
    ///
    /// # Errors
    /// By kind: data or parameters that cannot be used.
    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>>;
}

/// A training under way. Its draws are functions of the run's seed, a named stream and the step: what it is
/// after a step follows from its tensors before it and the number of the step.
pub trait Training {
    /// Steps of all stages together; a training may be over earlier.
    fn steps(&self) -> u64;

    /// Makes one step, counted from 1.
    ///
    /// # Errors
    /// [`Error::Nan`] naming the quantity and the step.
    fn step(&mut self, step: u64) -> Result<Step>;

    /// Everything that the next steps and the fitted method depend on.
    fn state(&self) -> Vec<NamedTensor>;

    /// Puts a training that has just begun where `state` was taken, after `step` steps.
    ///
    /// # Errors
    /// [`Error::Data`] when the tensors are not those of such a training.
    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()>;

    /// The method as trained so far.
    ///
    /// # Errors
    /// When something of it is not a number, or an operation fails.
    fn fitted(&self) -> Result<Box<dyn Fitted>>;
}

/// What a step tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The loss shown to people.
    pub loss: f64,
    /// Further quantities to record, by name.
    pub metrics: Vec<(String, f64)>,
    /// Whether the training is over.
    pub over: bool,
}

/// Makes a method of an [`Iterative`].
#[derive(Clone, Copy, Debug)]
pub struct Trained<M>(pub M);

impl<M: Iterative> Method for Trained<M> {
    fn entry(&self) -> MethodEntry {
        self.0.entry()
    }

    fn chooses(&self, parameters: &Parameters) -> bool {
        let entry = self.0.entry();
        Reader::new(&entry, parameters)
            .is_ok_and(|reader| reader.left_to_the_run().next().is_some() || self.0.looks_at_validation(&reader.all()))
    }

    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        let entry = self.0.entry();
        let reader = Reader::new(&entry, context.parameters)?;
        let tuned = reader.left_to_the_run().next().is_some();
        if self.chooses(context.parameters) && data.validation.rows() == 0 {
            let why = "there is something to choose, but there are no validation pairs";
            return Err(Error::User(format!("{why}; take a split that has some")));
        }
        let mut search = Search {
            method: &self.0,
            data,
            seed: context.seed,
            trials: trials(reader, None),
            scored: Vec::new(),
            best: None,
            tuned,
        };
        let from = match context.resume {
            Some(checkpoint) => search.take_up(checkpoint)?,
            None => None,
        };
        let last = search.run(from, context.observer)?;
        let mut record = FitRecord::default();
        if data.is_carved() {
            let (learnt, all) = (data.train.rows(), data.all.rows());
            record
                .notes
                .push(format!("learnt from {learnt} of {all} training pairs: a tenth was held out to choose by"));
        }
        if !tuned {
            return Ok(Box::new(Recorded { record, fitted: last.fitted()? }));
        }
        let (kept, state) = search.best.take().expect("every candidate was scored, so one is the best");
        let mut training = search.begin(kept)?;
        training.restore(state.step, state.tensors)?;
        record.tuning = Some(choose(search.scored, &data)?);
        Ok(Box::new(Recorded { record, fitted: training.fitted()? }))
    }
}

/// A training's tensors after so many steps.
struct State {
    step: u64,
    tensors: Vec<NamedTensor>,
}

/// A search over candidates, most often over one.
struct Search<'a, M> {
    method: &'a M,
    data: TrainingData<'a>,
    seed: u64,
    trials: Vec<Trial>,
    /// Candidates trained to their end.
    scored: Vec<Candidate>,
    /// The best of them.
    best: Option<(usize, State)>,
    /// Whether there is a choice between candidates.
    tuned: bool,
}

impl<'a, M: Iterative> Search<'a, M> {
    fn begin(&self, trial: usize) -> Result<Box<dyn Training + 'a>> {
        self.method.begin(self.data, &self.trials[trial].parameters, self.seed)
    }

    /// Trains every candidate that is not scored yet, going on with the one of `from`; gives the last training.
    fn run(&mut self, mut from: Option<State>, observer: &mut dyn Observer) -> Result<Box<dyn Training + 'a>> {
        let mut last = None;
        for trial in self.scored.len()..self.trials.len() {
            let mut training = self.begin(trial)?;
            let mut done = 0;
            if let Some(state) = from.take() {
                done = state.step;
                training.restore(state.step, state.tensors)?;
            }
            let end = self.train(trial, training.as_mut(), done, observer)?;
            if self.tuned {
                self.score(trial, training.as_ref(), end)?;
            }
            last = Some(training);
        }
        Ok(last.expect("there is at least one candidate"))
    }

    /// Makes the steps that are left; gives the number of the last one.
    fn train(&self, trial: usize, training: &mut dyn Training, done: u64, observer: &mut dyn Observer) -> Result<u64> {
        let steps = training.steps();
        let (before, total) = (trial as u64 * steps, self.trials.len() as u64 * steps);
        let mut step = done;
        while step < steps {
            step += 1;
            let told = training.step(step)?;
            if !told.loss.is_finite() {
                return Err(Error::Nan { what: "the loss".into(), iteration: before + step });
            }
            let end = if told.over { steps } else { step };
            let metrics: Vec<(&str, f64)> = told.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            observer.iteration(before + end, total, told.loss, &metrics)?;
            if told.over {
                break;
            }
            if observer.wants_checkpoint(before + step) {
                observer.checkpoint(&self.checkpoint(before + step, step, training))?;
            }
        }
        Ok(step)
    }

    fn score(&mut self, trial: usize, training: &dyn Training, step: u64) -> Result<()> {
        let fitted = training.fitted()?;
        let pairs = self.data.validation;
        let (image, text) = (fitted.embed_image(pairs.image)?, fitted.embed_text(pairs.text)?);
        let score = bi_modal_average(&image, &text, pairs.labels)?;
        let before = self.best.as_ref().and_then(|(best, _)| self.scored[*best].validation_map.clone().ok());
        if before.is_none_or(|before| score > before) {
            self.best = Some((trial, State { step, tensors: training.state() }));
        }
        self.scored.push(Candidate { parameters: self.trials[trial].tried.clone(), validation_map: Ok(score) });
        Ok(())
    }

    fn checkpoint(&self, iteration: u64, step: u64, training: &dyn Training) -> Checkpoint {
        let scored = serde_json::to_string(&self.scored).expect("candidates are plain data that JSON can say");
        let mut facts = BTreeMap::from([(SCORED.into(), scored), (STEP.into(), step.to_string())]);
        let mut tensors = inside(AT_WORK, training.state());
        if let Some((kept, state)) = &self.best {
            facts.insert(KEPT.into(), format!("{kept} {}", state.step));
            tensors.extend(inside(BEST, state.tensors.clone()));
        }
        Checkpoint { iteration, tensors, facts }
    }

    /// Takes up what a checkpoint holds; gives the state of the training that was at work.
    fn take_up(&mut self, checkpoint: Checkpoint) -> Result<Option<State>> {
        let damaged = |what: &str| Error::Data(format!("the checkpoint has no {what}; remove it and run again"));
        let fact = |key: &str| checkpoint.facts.get(key).map(String::as_str);
        let scored: Option<Vec<Candidate>> = fact(SCORED).and_then(|text| serde_json::from_str(text).ok());
        self.scored = scored.filter(|it| it.len() < self.trials.len()).ok_or_else(|| damaged("scored candidates"))?;
        let step = fact(STEP).and_then(|text| text.parse().ok()).ok_or_else(|| damaged("step"))?;
        let kept = fact(KEPT).map(|text| {
            let (kept, step) = text.split_once(' ')?;
            Some((kept.parse::<usize>().ok().filter(|kept| *kept < self.scored.len())?, step.parse::<u64>().ok()?))
        });
        let kept = kept.map(|kept| kept.ok_or_else(|| damaged("kept candidate"))).transpose()?;
        if kept.is_none() && !self.scored.is_empty() {
            return Err(damaged("kept candidate"));
        }
        let (mut at_work, mut best) = (Vec::new(), Vec::new());
        for tensor in checkpoint.tensors {
            let (folder, list) =
                if tensor.name.starts_with(AT_WORK) { (AT_WORK, &mut at_work) } else { (BEST, &mut best) };
            let name = tensor.name.strip_prefix(folder).ok_or_else(|| damaged("known tensors"))?.to_owned();
            list.push(NamedTensor { name, ..tensor });
        }
        self.best = kept.map(|(kept, step)| (kept, State { step, tensors: best }));
        Ok(Some(State { step, tensors: at_work }))
    }
}

fn inside(folder: &str, tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.into_iter().map(|tensor| NamedTensor { name: format!("{folder}{}", tensor.name), ..tensor }).collect()
}

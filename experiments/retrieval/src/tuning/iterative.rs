//! The driver of methods that are trained step by step, in one stage or several.

use experiment_spec::catalog::{MethodEntry, Parameters};

use super::{recorded::Recorded, search::Search, trials::choose};
use crate::{
    checkpoint::NamedTensor,
    error::{Error, Result},
    method::{FitContext, FitRecord, Fitted, Method, TrainingData},
    parameters::Reader,
};

/// A method that is trained step by step.
pub trait Iterative: Sync {
    /// Key, label, parameters, departures.
    fn entry(&self) -> MethodEntry;

    /// Whether a training looks at validation pairs although every parameter is fixed (to stop early, say).
    fn looks_at_validation(&self, parameters: &Parameters) -> bool;

    /// Whether a training computes on the GPU when the process has taken one (see [`crate::nn::device`]).
    fn runs_on_gpu(&self) -> bool {
        false
    }

    /// How many of the first steps are the same whatever is chosen (pretraining, say): they depend on no parameter
    /// that may be left to the run, and are made once for all candidates.
    fn shared_steps(&self, _parameters: &Parameters) -> u64 {
        0
    }

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
    ///
    /// # Errors
    /// When it cannot be read back from its device.
    fn state(&self) -> Result<Vec<NamedTensor>>;

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

    fn runs_on_gpu(&self) -> bool {
        self.0.runs_on_gpu()
    }

    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        let entry = self.0.entry();
        let reader = Reader::new(&entry, context.parameters)?;
        let tuned = reader.left_to_the_run().next().is_some();
        if self.chooses(context.parameters) && data.validation.rows() == 0 {
            let why = "there is something to choose, but there are no validation pairs";
            return Err(Error::User(format!("{why}; take a split that has some")));
        }
        let mut search = Search::new(&self.0, &data, context.seed, reader);
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
            let training = last.expect("one candidate is trained, and its failure ends the fit");
            return Ok(Box::new(Recorded { record, fitted: training.fitted()? }));
        }
        drop(last);
        let (scored, best) = search.into_best();
        record.tuning = Some(choose(scored, &data)?);
        let training = best.expect("a candidate was chosen, so its training was kept")?;
        Ok(Box::new(Recorded { record, fitted: training.fitted()? }))
    }
}

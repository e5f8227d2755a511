//! The driver of methods with a solution in closed form.

use std::collections::BTreeMap;

use experiment_spec::{
    catalog::{MethodEntry, ParameterValue, Parameters},
    scores::Candidate,
};

use super::{
    recorded::Recorded,
    trials::{Trial, choose, trials},
};
use crate::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    features::Pairs,
    method::{Embedding, EmbeddingValues, FitContext, FitRecord, Fitted, Method, TrainingData, Unlabelled},
    metrics::map::bi_modal_average,
    parameters::Reader,
};

/// Parameter that says how many components are kept. A solution has all of them in order of worth, so every
/// number of them is tried on one solution.
pub const DIMS: &str = "dims";
/// Fact of a checkpoint: the candidates scored so far.
const SCORED: &str = "scored-candidates";

/// What a solution is found from.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// Pairs to fit on.
    pub train: Pairs<'a>,
    /// Validation pairs; their labels are not to be learnt from (JRL takes them as unlabelled rows).
    pub validation: Pairs<'a>,
    /// Features of the test pairs, for a method that says it is transductive.
    pub unlabelled: Option<Unlabelled<'a>>,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Most components that are asked for, where the method has the parameter `dims`.
    pub most_dims: usize,
}

/// Takes the solution of one candidate, by its index in the settings, or why it has none.
pub type Visit<'v> = dyn FnMut(usize, Result<Box<dyn Solution>>) -> Result<()> + 'v;

/// A method with a solution in closed form (or one so short that nothing of it is kept while it runs).
pub trait ClosedForm: Sync {
    /// Key, label, parameters, departures.
    fn entry(&self) -> MethodEntry;

    /// As [`Method::transductive`].
    fn transductive(&self, _parameters: &Parameters) -> bool {
        false
    }

    /// Solves for every one of `settings` in their order and hands each solution to `visit`: what two of them
    /// have in common (a covariance, a kernel, a graph) is computed once. In the settings every parameter is
    /// fixed but `dims`: a solution has its first [`Problem::most_dims`] components, or all there are.
    ///
    /// # Errors
    /// What `visit` returns, and what makes every candidate impossible: a reason of one candidate alone is
    /// handed to `visit`.
    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()>;
}

/// A fitted method whose components stand in order of worth.
pub trait Solution: Fitted {
    /// Number of components.
    fn dims(&self) -> usize;

    /// Keeps the first `dims` components. Only called where the method has the parameter `dims`.
    fn truncate(&mut self, dims: usize);
}

/// Makes a method of a [`ClosedForm`].
#[derive(Clone, Copy, Debug)]
pub struct Solved<M>(pub M);

impl<M: ClosedForm> Method for Solved<M> {
    fn entry(&self) -> MethodEntry {
        self.0.entry()
    }

    fn chooses(&self, parameters: &Parameters) -> bool {
        let entry = self.0.entry();
        Reader::new(&entry, parameters).is_ok_and(|reader| reader.left_to_the_run().next().is_some())
    }

    fn transductive(&self, parameters: &Parameters) -> bool {
        self.0.transductive(parameters)
    }

    fn fit(&self, data: TrainingData<'_>, mut context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        let entry = self.0.entry();
        let reader = Reader::new(&entry, context.parameters)?;
        let dims = dims_to_try(reader);
        let tries_dims = reader.has(DIMS) && reader.is_auto(DIMS);
        let search = Search { method: &self.0, data, trials: trials(reader, Some(DIMS)), dims, tries_dims };
        let problem = Problem {
            train: data.train,
            validation: data.validation,
            unlabelled: context.unlabelled,
            classes: data.classes,
            seed: context.seed,
            most_dims: search.dims.iter().copied().max().unwrap_or(usize::MAX),
        };
        let mut record = FitRecord::default();
        let (mut parameters, mut kept) = (search.trials[0].parameters.clone(), search.dims.first().copied());
        if reader.left_to_the_run().next().is_some() {
            let candidates = search.scored(&problem, &mut context)?;
            let tuning = choose(candidates, &data)?;
            let chosen = &tuning.candidates[tuning.chosen].parameters;
            parameters.extend(chosen.clone());
            if let Some(ParameterValue::Integer(dims)) = chosen.get(DIMS) {
                kept = usize::try_from(*dims).ok();
            }
            record.tuning = Some(tuning);
        }
        let mut solution = None;
        let all = Problem { train: data.all, most_dims: kept.unwrap_or(usize::MAX), ..problem };
        self.0.solve(&all, std::slice::from_ref(&parameters), &mut |_, found| {
            solution = Some(found?);
            Ok(())
        })?;
        let mut solution = solution.expect("a closed form hands over a solution, or the reason why not, a setting");
        if let Some(wanted) = kept.filter(|&wanted| wanted < solution.dims()) {
            solution.truncate(wanted);
        }
        if let Some(wanted) = kept.filter(|&wanted| wanted > solution.dims()) {
            let found = solution.dims();
            record.notes.push(format!("{found} components are kept, not {wanted}: the features have no more"));
        }
        let last = search.trials.len() as u64 + 1;
        context.observer.iteration(last, last, 0.0, &[])?;
        Ok(Box::new(Recorded { record, fitted: solution as Box<dyn Fitted> }))
    }
}

/// Numbers of components to try, or the one that is given; empty where the method has no such parameter.
fn dims_to_try(reader: Reader<'_>) -> Vec<usize> {
    if reader.has(DIMS) && !reader.is_auto(DIMS) {
        return vec![reader.size(DIMS)];
    }
    let values = reader.left_to_the_run().filter(|parameter| parameter.key == DIMS).flat_map(|it| &it.candidates);
    let whole = |value: &ParameterValue| match value {
        ParameterValue::Integer(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    values.filter_map(whole).collect()
}

/// A search over candidates.
struct Search<'a, M> {
    method: &'a M,
    data: TrainingData<'a>,
    trials: Vec<Trial>,
    /// Numbers of components; empty where the method has no such parameter.
    dims: Vec<usize>,
    /// Whether these are candidates, not the one number that is given.
    tries_dims: bool,
}

impl<M: ClosedForm> Search<'_, M> {
    /// Every candidate with its score, those of a checkpoint not computed again.
    fn scored(&self, problem: &Problem<'_>, context: &mut FitContext<'_>) -> Result<Vec<Candidate>> {
        if self.data.validation.rows() == 0 {
            let why = "there are parameters to choose, but no validation pairs; fix every parameter of the method";
            return Err(Error::User(why.into()));
        }
        let mut candidates = match context.resume.take() {
            Some(checkpoint) => self.taken_up(&checkpoint)?,
            None => Vec::new(),
        };
        let each = self.dims.len().max(1);
        let done = candidates.len() / each;
        let settings: Vec<Parameters> = self.trials[done..].iter().map(|trial| trial.parameters.clone()).collect();
        let total = self.trials.len() as u64 + 1;
        let observer = &mut *context.observer;
        self.method.solve(problem, &settings, &mut |index, found| {
            let trial = &self.trials[done + index];
            let scored = self.score(trial, found)?;
            let best = scored.iter().filter_map(|candidate| candidate.validation_map.clone().ok()).fold(0.0, f64::max);
            candidates.extend(scored);
            let iteration = (done + index) as u64 + 1;
            observer.iteration(iteration, total, 1.0 - best, &[("validation-map", best)])?;
            if observer.wants_checkpoint(iteration) {
                let text = serde_json::to_string(&candidates).expect("candidates are plain data that JSON can say");
                let facts = BTreeMap::from([(SCORED.into(), text)]);
                observer.checkpoint(&Checkpoint { iteration, tensors: Vec::new(), facts })?;
            }
            Ok(())
        })?;
        Ok(candidates)
    }

    fn taken_up(&self, checkpoint: &Checkpoint) -> Result<Vec<Candidate>> {
        let read = checkpoint.facts.get(SCORED).and_then(|text| serde_json::from_str::<Vec<Candidate>>(text).ok());
        let whole = self.trials.len() * self.dims.len().max(1);
        read.filter(|read| read.len() <= whole && read.len().is_multiple_of(self.dims.len().max(1)))
            .ok_or_else(|| Error::Data("the checkpoint holds no scored candidates; remove it and run again".into()))
    }

    /// The candidates of one trial: one for each number of components.
    fn score(&self, trial: &Trial, found: Result<Box<dyn Solution>>) -> Result<Vec<Candidate>> {
        let tried = |dims: Option<usize>| {
            let mut parameters = trial.tried.clone();
            if let (Some(dims), true) = (dims, self.tries_dims) {
                let dims = i64::try_from(dims).expect("a number of components that a catalog lists");
                parameters.insert(DIMS.into(), ParameterValue::Integer(dims));
            }
            parameters
        };
        let dims: Vec<Option<usize>> =
            if self.dims.is_empty() { vec![None] } else { self.dims.iter().copied().map(Some).collect() };
        let solution = match found {
            Ok(solution) => solution,
            Err(stop @ (Error::Stopped(_) | Error::File { .. })) => return Err(stop),
            Err(why) => {
                let none = |dims| Candidate { parameters: tried(dims), validation_map: Err(why.to_string()) };
                return Ok(dims.into_iter().map(none).collect());
            }
        };
        let pairs = self.data.validation;
        let (image, text) = (solution.embed_image(pairs.image)?, solution.embed_text(pairs.text)?);
        // Where the features have fewer components than any candidate asks for, the smallest stands for all there are.
        let fewest = dims.iter().flatten().copied().min();
        dims.into_iter()
            .map(|dims| {
                let validation_map = match dims.unwrap_or(image.dims) {
                    kept if kept > image.dims && Some(kept) == fewest => {
                        Ok(bi_modal_average(&image, &text, pairs.labels)?)
                    }
                    kept if kept > image.dims => Err(format!("the features have {} components", image.dims)),
                    kept => Ok(bi_modal_average(&first(&image, kept), &first(&text, kept), pairs.labels)?),
                };
                Ok(Candidate { parameters: tried(dims), validation_map })
            })
            .collect()
    }
}

/// The first columns of an embedding.
fn first(embedding: &Embedding, dims: usize) -> Embedding {
    fn cut<T: Copy>(values: &[T], from: usize, to: usize) -> Vec<T> {
        values.chunks_exact(from).flat_map(|row| &row[..to]).copied().collect()
    }
    let values = match &embedding.values {
        EmbeddingValues::F32(values) => EmbeddingValues::F32(cut(values, embedding.dims, dims)),
        EmbeddingValues::F64(values) => EmbeddingValues::F64(cut(values, embedding.dims, dims)),
    };
    Embedding { rows: embedding.rows, dims, values }
}

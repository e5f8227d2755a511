//! The training loop of CM-GANs, over any form of the training step (spec A.8): batches, learning rate,
//! what is recorded, which weights are kept, and checkpoints from which it goes on to the same bits.

use experiment_spec::catalog::{MethodEntry, Parameters};

use super::{
    configuration::{Configuration, Selection},
    entry,
    fast::FastForm,
    form::{Batch, Form},
    init::initial_state,
    model::{Model, Normalisers},
    plain::PlainForm,
    progress::{Best, Progress},
    sampler::{Draw, Sampler},
    settings::{Settings, Sizes},
    state::State,
    watch::Watch,
};
use crate::{
    error::{Error, Result},
    features::{Pairs, Rows},
    method::{FitContext, Fitted, Method, Observer, TrainingData},
    metrics::map::bi_modal_average,
    nn::device::device,
    normalise::Normaliser,
};

/// The registry's line.
#[derive(Clone, Copy, Debug)]
pub struct CmGans;

/// Makes the form of the training step that a device runs best.
///
/// # Errors
/// When the state is not of these settings and sizes, or the device has no room for it.
pub fn make_form(settings: &Settings, sizes: Sizes, state: &State<f32>) -> Result<Box<dyn Form<f32>>> {
    match device() {
        candle_core::Device::Cpu => Ok(Box::new(FastForm::new(settings, sizes, state)?)),
        device => Ok(Box::new(PlainForm::new(settings, sizes, state, &device)?)),
    }
}

impl Method for CmGans {
    fn entry(&self) -> MethodEntry {
        entry::entry()
    }

    fn chooses(&self, parameters: &Parameters) -> bool {
        Configuration::read(parameters).is_ok_and(|it| it.schedule.selection == Selection::BestOnValidation)
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        let configuration = Configuration::read(context.parameters)?;
        let mut training = Training::begin(configuration, &data, context.seed, context.resume)?;
        training.run(context.observer)?;
        Ok(Box::new(training.model()?))
    }
}

/// A fit under way.
struct Training<'a> {
    configuration: Configuration,
    data: TrainingData<'a>,
    normalisers: Normalisers,
    sampler: Sampler,
    seed: u64,
    form: Box<dyn Form<f32>>,
    /// Iterations done.
    iteration: u64,
    best: Option<Best>,
    watch: Watch,
}

impl<'a> Training<'a> {
    fn begin(
        configuration: Configuration,
        data: &TrainingData<'a>,
        seed: u64,
        resume: Option<crate::checkpoint::Checkpoint>,
    ) -> Result<Self> {
        let sizes = configuration.sizes(data)?;
        let settings = &configuration.settings;
        if let Some(label) = data.train.labels.iter().find(|&&label| label as usize >= data.classes) {
            let classes = data.classes;
            return Err(Error::Data(format!("a training pair has label {label}, but there are {classes} classes")));
        }
        let sampler = Sampler::new(data.train.labels, seed)?;
        let progress = match resume {
            Some(checkpoint) => Progress::from_checkpoint(checkpoint, settings, sizes, seed)?,
            None => Progress {
                iteration: 0,
                seed,
                state: initial_state(settings, sizes, seed),
                best: None,
                outside: std::collections::BTreeMap::new(),
            },
        };
        if progress.iteration > configuration.schedule.iterations {
            let (done, wanted) = (progress.iteration, configuration.schedule.iterations);
            return Err(Error::Data(format!("the checkpoint is of iteration {done}, beyond the last one, {wanted}")));
        }
        let norm = configuration.feature_norm;
        Ok(Self {
            normalisers: Normalisers {
                image: Normaliser::fit(norm, data.train.image),
                text: Normaliser::fit(norm, data.train.text),
            },
            form: make_form(settings, sizes, &progress.state)?,
            configuration,
            data: *data,
            sampler,
            seed,
            iteration: progress.iteration,
            best: progress.best,
            watch: Watch::going_on(progress.outside),
        })
    }

    fn run(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let schedule = self.configuration.schedule.clone();
        let mut batch = Batch::default();
        while self.iteration < schedule.iterations {
            let iteration = self.iteration + 1;
            let draw = self.sampler.draw(iteration, self.configuration.settings.batch_size);
            fill(&mut batch, self.data.train, &draw, &self.normalisers);
            self.watch.begin();
            self.form.iteration(&batch, schedule.rate(iteration), &mut self.watch)?;
            self.watch.end(iteration, observer)?;
            self.iteration = iteration;

            let mut metrics = self.watch.metrics();
            metrics.push(("learning-rate".into(), schedule.rate(iteration)));
            if schedule.looks(iteration) {
                metrics.push(("validation-map".into(), self.look()?));
            }
            let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            // First the point, then the checkpoint: a run that goes on from a checkpoint has every point before it.
            observer.iteration(iteration, schedule.iterations, self.watch.shown_loss(), &metrics)?;
            if observer.wants_checkpoint(iteration) {
                observer.checkpoint(&self.progress()?.into_checkpoint())?;
            }
        }
        Ok(())
    }

    fn progress(&self) -> Result<Progress> {
        Ok(Progress {
            iteration: self.iteration,
            seed: self.seed,
            state: self.form.state()?,
            best: self.best.clone(),
            outside: self.watch.outside.clone(),
        })
    }

    /// The encoders as they are now.
    fn current(&self) -> Result<Model> {
        let state = self.form.state()?;
        Ok(Model::of_state(&self.configuration.settings, state, self.normalisers.clone(), self.iteration))
    }

    /// Scores the present encoders on validation and keeps them if none was better or as good before.
    fn look(&mut self) -> Result<f64> {
        let model = self.current()?;
        let pairs = self.data.validation;
        let score = bi_modal_average(&model.embed_image(pairs.image)?, &model.embed_text(pairs.text)?, pairs.labels)?;
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            let (weights, running) = model.into_tensors();
            self.best = Some(Best { iteration: self.iteration, score, weights, running });
        }
        Ok(score)
    }

    /// The encoders that the selection rule keeps.
    fn model(mut self) -> Result<Model> {
        match (self.configuration.schedule.selection, self.best.take()) {
            (Selection::BestOnValidation, Some(best)) => {
                let settings = &self.configuration.settings;
                Ok(Model::new(settings, best.weights, best.running, self.normalisers, best.iteration))
            }
            _ => self.current(),
        }
    }
}

/// Reads the rows of a draw, normalised, into the batch's buffers.
fn fill(batch: &mut Batch<f32>, pairs: Pairs<'_>, draw: &Draw, normalisers: &Normalisers) {
    let read = |out: &mut Vec<f32>, rows: Rows<'_>, selection: &[usize], normaliser: &Normaliser| {
        out.resize(selection.len() * rows.dims(), 0.0);
        for (&row, out) in selection.iter().zip(out.chunks_exact_mut(rows.dims())) {
            normaliser.apply(rows.row(row), out);
        }
    };
    read(&mut batch.h_i, pairs.image, &draw.matched, &normalisers.image);
    read(&mut batch.h_t, pairs.text, &draw.matched, &normalisers.text);
    read(&mut batch.mismatched_h_i, pairs.image, &draw.mismatched, &normalisers.image);
    read(&mut batch.mismatched_h_t, pairs.text, &draw.mismatched, &normalisers.text);
    batch.labels.clear();
    batch.labels.extend(draw.matched.iter().map(|&row| pairs.labels[row]));
}

//! The classifier of one modality, trained without a look at the other.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{largest, temperature};
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::{Pairs, Rows},
    linalg::standardise::Standardisation,
    method::TrainingData,
    methods::stacked::standardised,
    nn::{
        batches::batch,
        kept::{Kept, named},
        learner::{Descent, Learner, Start},
        losses::cross_entropy,
        stack::{Activation, Stack},
    },
};

/// Settings of one modality.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Rectified units between features and classes; 0 for none.
    pub(super) hidden: usize,
    pub(super) l2: f64,
    pub(super) rate: f64,
    pub(super) batch: usize,
    /// Passes without a better accuracy after which it stops; 0 for never.
    pub(super) patience: u64,
    /// Whether features are standardised first.
    pub(super) zscore: bool,
    pub(super) classes: usize,
    pub(super) seed: u64,
}

/// What one pass over the training rows told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pass {
    /// Mean cross-entropy over the pass.
    pub(super) loss: f64,
    /// On the validation rows, where they are looked at.
    pub(super) accuracy: Option<f64>,
}

/// The best pass so far, by validation accuracy.
struct Best {
    accuracy: f64,
    pass: u64,
    layers: Stack,
}

/// A classifier under training.
pub(super) struct Side {
    name: &'static str,
    settings: Settings,
    standardisation: Standardisation,
    /// Standardised training rows in an order of their own, and their classes.
    x: Tensor,
    labels: Vec<u32>,
    /// Standardised validation rows and their classes; none where nothing is chosen.
    validation: Option<(Tensor, Vec<u32>)>,
    learner: Learner,
    best: Option<Best>,
    stopped: bool,
}

fn rows_of<'a>(name: &str, pairs: Pairs<'a>) -> Rows<'a> {
    if name == "image" { pairs.image } else { pairs.text }
}

impl Side {
    pub(super) fn new(
        name: &'static str,
        data: &TrainingData<'_>,
        settings: Settings,
        device: &Device,
    ) -> Result<Self> {
        let train = rows_of(name, data.train);
        // An order that the pairing has no part in: whoever stands beside an item does not change what is learnt.
        let mut own: Vec<(u32, u32)> =
            train.selection().iter().copied().zip(data.train.labels.iter().copied()).collect();
        own.sort_unstable();
        let (order, labels): (Vec<u32>, Vec<u32>) = own.into_iter().unzip();
        let train = train.with_selection(&order);
        let fitted = Standardisation::fit(name, train)?;
        let standardisation = if settings.zscore { fitted } else { Standardisation::none(train.dims()) };
        let x = standardised(&standardisation, train, device)?;
        let validation = if data.validation.rows() > 0 {
            let x = standardised(&standardisation, rows_of(name, data.validation), device)?;
            Some((x, data.validation.labels.to_vec()))
        } else {
            None
        };
        let mut learner = Learner::new(device, DType::F32);
        let mut inputs = train.dims();
        if settings.hidden > 0 {
            learner.add_layer(&format!("{name}.hidden"), (inputs, settings.hidden), Start::He, settings.seed)?;
            inputs = settings.hidden;
        }
        // A linear classifier is a convex problem and may start from nothing; behind hidden units it may not.
        let start = if settings.hidden > 0 { Start::Normal } else { Start::Zero };
        learner.add_layer(&format!("{name}.out"), (inputs, settings.classes), start, settings.seed)?;
        Ok(Self { name, settings, standardisation, x, labels, validation, learner, best: None, stopped: false })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn standardisation(&self) -> &Standardisation {
        &self.standardisation
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// One pass over the training rows, counted from 1; none once it has stopped.
    pub(super) fn pass(&mut self, number: u64) -> Result<Option<Pass>> {
        if self.stopped {
            return Ok(None);
        }
        let rows = self.labels.len();
        let size = self.settings.batch.min(rows);
        let updates = rows.div_ceil(size) as u64;
        let mut sum = 0.0;
        for within in 1..=updates {
            let update = (number - 1) * updates + within;
            let chosen = batch(self.settings.seed, &format!("{} classifier", self.name), rows, size, update);
            let labels: Vec<u32> = chosen.iter().map(|&row| self.labels[row as usize]).collect();
            let x = self.x.index_select(&Tensor::new(chosen, self.x.device())?, 0)?;
            let loss = cross_entropy(&self.logits(&x)?, &Tensor::new(labels, self.x.device())?)?;
            let descent = Descent::Adam { rate: self.settings.rate, decay: self.settings.l2 };
            sum += self.learner.descend(&loss, descent, update)?;
        }
        #[allow(clippy::cast_precision_loss)] // steps of a pass
        let loss = sum / updates as f64;
        let accuracy = if self.settings.patience > 0 { self.judge(number)? } else { None };
        Ok(Some(Pass { loss, accuracy }))
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if self.settings.hidden > 0 {
            x = Activation::Rectified.of(&self.learner.affine(&format!("{}.hidden", self.name), &x)?)?;
        }
        self.learner.affine(&format!("{}.out", self.name), &x)
    }

    /// Accuracy on the validation rows; keeps the layers of the best pass and stops when it is long ago.
    fn judge(&mut self, pass: u64) -> Result<Option<f64>> {
        let Some((x, labels)) = &self.validation else { return Ok(None) };
        let hits = largest(&self.logits(x)?.detach())?.iter().zip(labels).filter(|(a, b)| a == b).count();
        #[allow(clippy::cast_precision_loss)] // numbers of rows
        let accuracy = hits as f64 / labels.len() as f64;
        if self.best.as_ref().is_none_or(|best| accuracy > best.accuracy) {
            self.best = Some(Best { accuracy, pass, layers: self.layers()? });
        }
        let best = self.best.as_ref().map_or(pass, |best| best.pass);
        self.stopped = pass - best >= self.settings.patience;
        Ok(Some(accuracy))
    }

    /// The layers as they are now, hidden ones first.
    fn layers(&self) -> Result<Stack> {
        let layer = |part: &str, activation| self.learner.layer(&format!("{}.{part}", self.name), activation);
        let hidden = if self.settings.hidden > 0 { vec![layer("hidden", Activation::Rectified)?] } else { vec![] };
        Ok(Stack([hidden, vec![layer("out", Activation::Softmax)?]].concat()))
    }

    /// The layers of the best pass, or of the last where none was looked for.
    pub(super) fn stack(&self) -> Result<Stack> {
        match &self.best {
            Some(best) => Ok(best.layers.clone()),
            None => self.layers(),
        }
    }

    /// The temperature that makes the validation labels likeliest; 1 without validation rows.
    pub(super) fn temperature(&self, stack: &Stack) -> Result<f64> {
        let Some((x, labels)) = &self.validation else { return Ok(1.0) };
        let mut linear = stack.clone();
        linear.0.last_mut().expect("a classifier has a layer").activation = Activation::Identity;
        temperature::fit(&linear.apply(x)?, labels)
    }

    pub(super) fn facts(&self) -> BTreeMap<String, f64> {
        let Some(best) = &self.best else { return BTreeMap::new() };
        #[allow(clippy::cast_precision_loss)] // passes
        let pass = best.pass as f64;
        BTreeMap::from([
            (format!("{}-validation-accuracy", self.name), best.accuracy),
            (format!("{}-best-pass", self.name), pass),
        ])
    }

    fn best_name(&self) -> String {
        format!("{}.best", self.name)
    }

    pub(super) fn state(&self) -> Result<Vec<NamedTensor>> {
        let mut state = self.learner.state()?;
        let Some(best) = &self.best else { return Ok(state) };
        #[allow(clippy::cast_precision_loss)] // passes
        let progress = [best.accuracy, best.pass as f64, f64::from(u8::from(self.stopped))];
        state.push(named(self.best_name(), &Tensor::new(&progress, &Device::Cpu)?)?);
        state.extend(best.layers.tensors(&self.best_name())?);
        Ok(state)
    }

    pub(super) fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)?;
        (self.best, self.stopped) = (None, false);
        if !kept.has(&self.best_name()) {
            return Ok(());
        }
        let like = Tensor::zeros(3, DType::F64, &Device::Cpu)?;
        let progress = kept.take(&self.best_name(), &like)?.to_vec1::<f64>()?;
        let mut layers = self.layers()?;
        layers.restore(&self.best_name(), kept)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // written from a u64 far below 2^53
        let pass = progress[1] as u64;
        self.best = Some(Best { accuracy: progress[0], pass, layers });
        self.stopped = progress[2] > 0.5;
        Ok(())
    }
}

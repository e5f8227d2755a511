//! DCCA: deep canonical correlation analysis on fixed features (spec C.7).

use candle_core::{DType, Device, Tensor};
use experiment_spec::catalog::{MethodEntry, Parameters};

use self::{
    correlation::{columns_of, correlation},
    towers::{Sizes, Towers},
};
use super::{
    cca::{Canonical, Shared},
    stacked::{Stacked, standardised},
};
use crate::{
    checkpoint::NamedTensor,
    error::{Error, Result},
    features::{Pairs, Rows},
    linalg::{components::fix_signs, standardise::Standardisation},
    method::{FitRecord, Fitted, TrainingData},
    metrics::map::bi_modal_average,
    nn::{
        batches::batch,
        device::device,
        kept::{Kept, named},
        learner::{Descent, Learner},
        stack::{Activation, Layer, Stack},
    },
    parameters::{Reader, choice, count, float, integers, tuned},
    tuning::iterative::{Iterative, Step, Training},
};

pub mod correlation;
mod towers;

/// Whether features are standardised first.
const FEATURE_NORMS: [(&str, bool); 2] = [("zscore", true), ("raw", false)];

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Dcca;

impl Iterative for Dcca {
    fn entry(&self) -> MethodEntry {
        MethodEntry {
            key: "dcca".into(),
            label: "DCCA".into(),
            revision: 1,
            objective: "max tr (T'T)^(1/2) with T = S11^(-1/2) S12 S22^(-1/2) of the outputs H1, H2 of two networks, \
                        covariances with rI; then linear CCA on the outputs"
                .into(),
            reference: "Yan and Mikolajczyk: Deep correlation for matching images and text. CVPR 2015; objective of \
                        Andrew et al.: Deep canonical correlation analysis. ICML 2013"
                .into(),
            parameters: vec![
                tuned(count("dims", (1, 4096), 50, "Outputs of each network (inferred)."), integers([10, 50, 100])),
                count("hidden", (1, 8192), 1024, "Rectified units of each of the two hidden layers (inferred)."),
                float("ridge", (1e-12, 1e6), 1e-3, "r, added to the diagonals of both covariances."),
                count("epochs", (1, 100_000), 100, "Passes over the training pairs at most."),
                count(
                    "patience",
                    (0, 100_000),
                    20,
                    "Passes without a better validation score after which training \
                                                     stops, the best pass kept; 0: every pass is made (inferred).",
                ),
                count(
                    "batch-size",
                    (2, 65_536),
                    2000,
                    "Pairs a step; all of them where there are at most a tenth more.",
                ),
                float("learning-rate", (1e-8, 10.0), 1e-3, "Rate of Adam."),
                float("weight-decay", (0.0, 10.0), 1e-4, "L2 penalty of the weights."),
                choice("feature-norm", &FEATURE_NORMS, "Features as read by the networks (inferred)."),
            ],
            presets: vec![],
            departures: vec![
                "the CNNs are fixed: two fully connected networks (d-hidden-hidden-dims) on the features that all \
                 methods read are trained, not the CNNs of the 2015 paper"
                    .into(),
                "sizes and the rule to stop by are inferred: dims are chosen and training stops by the bi-modal \
                 average on validation pairs"
                    .into(),
            ],
        }
    }

    fn looks_at_validation(&self, parameters: &Parameters) -> bool {
        let entry = self.entry();
        Reader::new(&entry, parameters).is_ok_and(|reader| reader.count("patience") > 0)
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        Ok(Box::new(Correlating::new(&data, Settings::of(reader), seed, &device())?))
    }
}

/// Parameters of one fit.
#[derive(Clone, Copy, Debug)]
struct Settings {
    dims: usize,
    hidden: usize,
    ridge: f64,
    epochs: u64,
    patience: u64,
    batch: usize,
    descent: Descent,
    zscore: bool,
}

impl Settings {
    fn of(reader: Reader<'_>) -> Self {
        Self {
            dims: reader.size("dims"),
            hidden: reader.size("hidden"),
            ridge: reader.float("ridge"),
            epochs: reader.count("epochs"),
            patience: reader.count("patience"),
            batch: reader.size("batch-size"),
            descent: Descent::Adam { rate: reader.float("learning-rate"), decay: reader.float("weight-decay") },
            zscore: reader.choice("feature-norm", &FEATURE_NORMS),
        }
    }
}

/// Pairs a step of `rows` training pairs: all of them unless they are clearly more than was asked for, since a few that
/// are left over would wait a pass (spec C.7: the full batch up to 2,200 pairs, otherwise 2,000).
fn batch_size(asked: usize, rows: usize) -> usize {
    if rows <= asked + asked / 10 { rows } else { asked }
}

/// The best pass so far, by the bi-modal average on validation pairs.
struct Best {
    score: f64,
    pass: u64,
    towers: [Stack; 2],
}

/// Two networks under training.
struct Correlating<'a> {
    settings: Settings,
    seed: u64,
    device: Device,
    validation: Pairs<'a>,
    standardisations: [Standardisation; 2],
    /// Features of the training pairs as the networks read them.
    x: [Tensor; 2],
    towers: Towers,
    best: Option<Best>,
    passes: u64,
}

impl<'a> Correlating<'a> {
    fn new(data: &TrainingData<'a>, settings: Settings, seed: u64, device: &Device) -> Result<Self> {
        let sides = [("image", data.train.image), ("text", data.train.text)];
        let standardisation = |(name, rows): (&str, Rows<'_>)| -> Result<Standardisation> {
            let fitted = Standardisation::fit(name, rows)?;
            Ok(if settings.zscore { fitted } else { Standardisation::none(rows.dims()) })
        };
        let standardisations = [standardisation(sides[0])?, standardisation(sides[1])?];
        let batch = batch_size(settings.batch, data.train.rows());
        if batch <= settings.dims {
            return Err(Error::User(format!(
                "{batch} pairs a step for `dims: {}`: with no more pairs than outputs every correlation is 1; give \
                 more training pairs, a larger `batch-size` or fewer `dims`",
                settings.dims
            )));
        }
        let x = [
            standardised(&standardisations[0], sides[0].1, device)?,
            standardised(&standardisations[1], sides[1].1, device)?,
        ];
        let of = |columns| Sizes { columns, hidden: settings.hidden, outputs: settings.dims };
        let learner = Learner::new(device, DType::F32);
        let towers = Towers::new(learner, [of(sides[0].1.dims()), of(sides[1].1.dims())], seed)?;
        let device = device.clone();
        Ok(Self {
            settings,
            seed,
            device,
            validation: data.validation,
            standardisations,
            x,
            towers,
            best: None,
            passes: 0,
        })
    }

    /// One step on the rows of a batch; gives their correlation before it, the sum over all components.
    fn update(&mut self, rows: &[u32], update: u64) -> Result<f64> {
        let rows = Tensor::new(rows, &self.device)?;
        let outputs = self.towers.outputs(&[self.x[0].index_select(&rows, 0)?, self.x[1].index_select(&rows, 0)?])?;
        let found = correlation(&columns_of(&outputs[0])?, &columns_of(&outputs[1])?, self.settings.ridge)?;
        let slope = |gradient, like: &Tensor| correlation::tensor_of(gradient, like);
        let (first, second) = (slope(&found.image, &outputs[0])?, slope(&found.text, &outputs[1])?);
        // Its gradient is that of minus the correlation.
        let surrogate = ((&outputs[0] * first)?.sum_all()? + (&outputs[1] * second)?.sum_all()?)?.neg()?;
        self.towers.learner.descend(&surrogate, self.settings.descent, update)?;
        Ok(found.total)
    }

    /// The networks followed by linear CCA on what they say of the training pairs.
    fn model(&self, towers: &[Stack; 2], pass: u64) -> Result<Stacked> {
        let outputs = [towers[0].apply(&self.x[0])?, towers[1].apply(&self.x[1])?];
        let sides = [correlation::centred(&columns_of(&outputs[0])?), correlation::centred(&columns_of(&outputs[1])?)];
        let mut found = Shared::of(&sides[0].0, &sides[1].0)?.solve(self.settings.ridge)?;
        fix_signs(&mut found.image, &mut found.text);
        let Canonical { image, text, correlations } = found;
        let last = |map, mean: &[f64], like: &Tensor| -> Result<Layer> {
            let weight = correlation::tensor_of(map, like)?;
            let shift: Vec<f64> =
                (0..map.ncols()).map(|j| -(0..map.nrows()).map(|i| mean[i] * map[(i, j)]).sum::<f64>()).collect();
            let bias = Tensor::from_vec(shift, map.ncols(), &Device::Cpu)?.to_dtype(like.dtype())?;
            Ok(Layer { weight, bias: bias.to_device(&self.device)?, activation: Activation::Identity })
        };
        let with = |tower: &Stack, layer: Layer| Stack(tower.0.iter().cloned().chain([layer]).collect());
        let image = with(&towers[0], last(&image, &sides[0].1, &outputs[0])?);
        let text = with(&towers[1], last(&text, &sides[1].1, &outputs[1])?);
        let mut record = FitRecord::default();
        record.facts.insert("canonical-correlation-total".into(), correlations.iter().sum());
        let [of_image, of_text] = &self.standardisations;
        Ok(Stacked {
            image: (of_image.clone(), image),
            text: (of_text.clone(), text),
            device: self.device.clone(),
            iteration: pass,
            record,
        })
    }

    /// Bi-modal average of the networks as they are on the validation pairs; keeps them when it is the best.
    fn judge(&mut self, pass: u64) -> Result<Option<f64>> {
        if self.settings.patience == 0 || self.validation.rows() == 0 {
            return Ok(None);
        }
        let towers = self.towers.stacks()?;
        let model = self.model(&towers, pass)?;
        let (image, text) = (model.embed_image(self.validation.image)?, model.embed_text(self.validation.text)?);
        let score = bi_modal_average(&image, &text, self.validation.labels)?;
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            self.best = Some(Best { score, pass, towers });
        }
        Ok(Some(score))
    }
}

impl Training for Correlating<'_> {
    fn steps(&self) -> u64 {
        self.settings.epochs
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        let rows = self.x[0].dim(0)?;
        let size = batch_size(self.settings.batch, rows);
        // A last batch that is short would have no more pairs than outputs: the rest of a pass waits for the next.
        let updates = (rows / size) as u64;
        let mut sum = 0.0;
        for within in 1..=updates {
            let update = (step - 1) * updates + within;
            let total = self.update(&batch(self.seed, "pairs", rows, size, update), update)?;
            if !total.is_finite() {
                return Err(Error::Nan { what: "the correlation".into(), iteration: step });
            }
            sum += total;
        }
        #[allow(clippy::cast_precision_loss)] // steps of a pass
        let mean = sum / updates as f64;
        self.passes = step;
        let mut metrics = vec![("correlation".to_owned(), mean)];
        metrics.extend(self.judge(step)?.map(|score| ("validation-bi-modal-average".to_owned(), score)));
        let over = self.best.as_ref().is_some_and(|best| step - best.pass >= self.settings.patience);
        Ok(Step { loss: -mean, metrics, over })
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let mut state = self.towers.learner.state()?;
        if let Some(best) = &self.best {
            #[allow(clippy::cast_precision_loss)] // passes
            let progress = [best.score, best.pass as f64];
            state.push(named("best", &Tensor::new(&progress, &Device::Cpu)?)?);
            for (tower, name) in best.towers.iter().zip(["best.image", "best.text"]) {
                state.extend(tower.tensors(name)?);
            }
        }
        Ok(state)
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let mut kept = Kept::new(tensors, &self.device);
        self.towers.learner.restore(&mut kept)?;
        self.best = None;
        if kept.has("best") {
            let progress = kept.take("best", &Tensor::zeros(2, DType::F64, &Device::Cpu)?)?.to_vec1::<f64>()?;
            let mut towers = self.towers.stacks()?;
            for (tower, name) in towers.iter_mut().zip(["best.image", "best.text"]) {
                tower.restore(name, &mut kept)?;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // written from a u64 far below 2^53
            let pass = progress[1] as u64;
            self.best = Some(Best { score: progress[0], pass, towers });
        }
        self.passes = step;
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        Ok(Box::new(match &self.best {
            Some(best) => self.model(&best.towers, best.pass)?,
            None => self.model(&self.towers.stacks()?, self.passes)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::batch_size;

    #[test]
    fn wikipedia_is_one_batch_and_xmedianet_is_not() {
        let sizes = [1956, 2173, 2200, 2201, 32_000].map(|rows| batch_size(2000, rows));
        assert_eq!(sizes, [1956, 2173, 2200, 2000, 2000]);
    }
}

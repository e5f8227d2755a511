//! CCL: cross-modal correlation learning, coarse grain (spec C.10).

use candle_core::{DType, Device, Tensor};
use experiment_spec::catalog::{MethodEntry, Parameters};

use self::multi_task::MultiTask;
use super::{
    column_scales::Scaling,
    corr_ae::network::{CorrNet, Plan, Variant},
    fine_tuning::FineTuning,
    rbm_stacks::{Inputs, RbmStacks, Shape},
    stacked::{Stacked, standardised},
};
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    linalg::standardise::Standardisation,
    method::{FitRecord, Fitted, TrainingData},
    nn::{batches::batch, device::device, kept::Kept, stack::Stack, unit::UnitKind},
    parameters::{Reader, count, float},
    tuning::iterative::{Iterative, Step, Training},
};

pub mod multi_task;

/// Rate and penalty of the correspondence autoencoder (spec C.6).
const CORR_RATE: f64 = 0.05;
const CORR_DECAY: f64 = 1e-4;
/// Rows a step of the first stage.
const STAGE_ONE_BATCH: usize = 100;

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Ccl;

impl Iterative for Ccl {
    fn entry(&self) -> MethodEntry {
        MethodEntry {
            key: "ccl".into(),
            label: "CCL".into(),
            revision: 1,
            objective: "representations of each modality by RBMs, a correspondence autoencoder and fine-tuning on the \
                        classes; then min contrastive loss over all image-text combinations + both class losses"
                .into(),
            reference: "Peng, Qi, Huang, Yuan: CCL: Cross-modal correlation learning with multi-grained fusion by \
                        hierarchical network. IEEE Transactions on Multimedia 20(2), 2018"
                .into(),
            parameters: vec![
                count("hidden", (1, 8192), 1024, "Units of every layer; the first image RBM has twice as many."),
                count("rbm-steps", (1, 10_000_000), 50_000, "Steps of each of the four RBMs."),
                count("rbm-batch-size", (1, 65_536), 128, "Rows an RBM step."),
                float(
                    "alpha",
                    (0.0, 1.0),
                    0.7,
                    "Weight of the distance of the codes in the correspondence autoencoder.",
                ),
                count("corr-steps", (1, 10_000_000), 10_000, "Steps of the correspondence autoencoder."),
                count("tuning-steps", (1, 10_000_000), 50_000, "Steps of fine-tuning on the classes."),
                count("iterations", (1, 10_000_000), 20_000, "Steps of the second stage."),
                count(
                    "batch-size",
                    (2, 65_536),
                    80,
                    "Pairs a step of the second stage; all their combinations are compared.",
                ),
                float(
                    "learning-rate",
                    (1e-8, 10.0),
                    1e-4,
                    "Rate of the second stage; a tenth after each 25,000 steps.",
                ),
            ],
            presets: vec![],
            departures: vec![
                "coarse grain only: there are no patches of images or segments of texts, so the joint RBM of both \
                 grains gives way to the coarse autoencoder's output; expect less than the published figures"
                    .into(),
                "the text features are real numbers: the lowest text RBM is Gaussian on z-scored features; RBMs \
                 have sparsity target 0.1 with cost 0.01 on the hidden biases, of the ranges in the released scripts"
                    .into(),
                "fine-tuning has the rate of CMDN's released code (0.01, halved each 10,000 steps, momentum 0.9, L2 \
                 0.001): CCL's own is not recorded (inferred)"
                    .into(),
                "the contrastive loss counts twice, as in the released backward pass; biases do not decay (inferred)"
                    .into(),
            ],
        }
    }

    fn looks_at_validation(&self, _: &Parameters) -> bool {
        false
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        Ok(Box::new(Grained::new(&data, reader, seed, &device())?))
    }
}

/// Steps of each part, in order.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    rbms: u64,
    corr: u64,
    tuning: u64,
    multi: u64,
}

/// Both stages under training.
struct Grained<'a> {
    standardisations: [Standardisation; 2],
    labels: &'a [u32],
    /// Inputs of the RBMs, of the autoencoder, of fine-tuning and of the second stage, made when first needed.
    inputs: [Option<Inputs>; 4],
    stacks: RbmStacks,
    corr: CorrNet,
    tuning: [FineTuning; 2],
    multi: MultiTask,
    lengths: Lengths,
    batch: usize,
    seed: u64,
    device: Device,
    done: u64,
}

impl<'a> Grained<'a> {
    fn new(data: &TrainingData<'a>, reader: Reader<'_>, seed: u64, device: &Device) -> Result<Self> {
        let (image, text) = (data.train.image, data.train.text);
        let standardisations = [Standardisation::fit("image", image)?, Standardisation::fit("text", text)?];
        let features = Inputs {
            image: standardised(&standardisations[0], image, device)?,
            text: standardised(&standardisations[1], text, device)?,
        };
        let (hidden, classes, on) = (reader.size("hidden"), data.classes, (device, DType::F32));
        let (steps, size) = (reader.count("rbm-steps"), reader.size("rbm-batch-size"));
        let shape =
            Shape { image: [2 * hidden, hidden], text: [hidden, hidden], steps, batch: size, units: UnitKind::Rbm };
        let stacks = RbmStacks::new(shape, [image.dims(), text.dims()], seed, on)?;
        let plan = Plan {
            variant: Variant::CorrAe,
            alpha: reader.float("alpha"),
            inputs: [hidden; 2],
            hidden,
            pretrained: true,
            rate: CORR_RATE,
            decay: CORR_DECAY,
        };
        let tuning = |name| FineTuning::new(name, [hidden, hidden, classes], STAGE_ONE_BATCH, seed, device);
        Ok(Self {
            standardisations,
            labels: data.train.labels,
            inputs: [Some(features), None, None, None],
            lengths: Lengths {
                rbms: stacks.steps(),
                corr: reader.count("corr-steps"),
                tuning: reader.count("tuning-steps"),
                multi: reader.count("iterations"),
            },
            stacks,
            corr: CorrNet::new(plan, seed, on)?,
            tuning: [tuning("image")?, tuning("text")?],
            multi: MultiTask::new([hidden, hidden, classes], reader.float("learning-rate"), seed, on)?,
            batch: reader.size("batch-size"),
            seed,
            device: device.clone(),
            done: 0,
        })
    }

    /// Inputs of a part for all training pairs: what the parts before it say of them.
    fn inputs(&mut self, part: usize) -> Result<Inputs> {
        if let Some(inputs) = &self.inputs[part] {
            return Ok(inputs.clone());
        }
        let below = self.inputs(part - 1)?;
        let stacks = match part {
            1 => self.stacks.stacks()?,
            2 => self.corr.coders()?.map(Stack),
            _ => [self.tuning[0].hidden()?, self.tuning[1].hidden()?],
        };
        let mut made = Inputs { image: stacks[0].apply(&below.image)?, text: stacks[1].apply(&below.text)? };
        if part == 3 {
            let scaled = |x: &Tensor| -> Result<Tensor> { Scaling::zscore(x)?.apply(x) };
            made = Inputs { image: scaled(&made.image)?, text: scaled(&made.text)? };
        }
        self.inputs[part] = Some(made.clone());
        Ok(made)
    }

    fn rows(&self, name: &str, size: usize, step: u64) -> Vec<u32> {
        batch(self.seed, name, self.labels.len(), size, step)
    }
}

impl Training for Grained<'_> {
    fn steps(&self) -> u64 {
        let Lengths { rbms, corr, tuning, multi } = self.lengths;
        rbms + corr + tuning + multi
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        self.done = step;
        let Lengths { rbms, corr, tuning, .. } = self.lengths;
        let told = |name: &str, loss: f64| Step { loss, metrics: vec![(name.to_owned(), loss)], over: false };
        if step <= rbms {
            let inputs = self.inputs(0)?;
            return Ok(told("rbm-error", self.stacks.step(&inputs, step)?));
        }
        if step <= rbms + corr {
            let within = step - rbms;
            let rows = self.rows("ccl corr", STAGE_ONE_BATCH, within);
            let inputs = self.inputs(1)?.rows(&rows)?;
            return Ok(told("corr-ae-loss", self.corr.step(&inputs, within)?));
        }
        if step <= rbms + corr + tuning {
            let (within, labels) = (step - rbms - corr, self.labels);
            let inputs = self.inputs(2)?;
            let image = self.tuning[0].step(&inputs.image, labels, within)?;
            return Ok(told("tuning-loss", image + self.tuning[1].step(&inputs.text, labels, within)?));
        }
        let within = step - rbms - corr - tuning;
        let rows = self.rows("ccl pairs", self.batch, within);
        let labels: Vec<u32> = rows.iter().map(|&row| self.labels[row as usize]).collect();
        let inputs = self.inputs(3)?.rows(&rows)?;
        Ok(told("multi-task-loss", self.multi.step(&inputs, &labels, within)?))
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let parts = [self.stacks.state()?, self.corr.state()?, self.multi.state()?];
        Ok([parts.concat(), self.tuning[0].state()?, self.tuning[1].state()?].concat())
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let mut kept = Kept::new(tensors, &self.device);
        self.stacks.restore(&mut kept)?;
        self.corr.restore(&mut kept)?;
        self.tuning.iter_mut().try_for_each(|tuning| tuning.restore(&mut kept))?;
        self.multi.restore(&mut kept)?;
        self.inputs[1..].fill(None);
        self.done = step;
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        let [features, ..] = &self.inputs;
        let features = features.as_ref().expect("the features are there from the beginning");
        let (stacks, coders, last) = (self.stacks.stacks()?, self.corr.coders()?, self.multi.layers()?);
        let side = |at: usize, x: &Tensor| -> Result<Stack> {
            let mut layers = [&stacks[at].0[..], &coders[at][..], &self.tuning[at].hidden()?.0[..]].concat();
            let scaling = Scaling::zscore(&Stack(layers.clone()).apply(x)?)?;
            layers.push(scaling.folded(&last[at][0])?);
            layers.extend_from_slice(&last[at][1..]);
            Ok(Stack(layers))
        };
        Ok(Box::new(Stacked {
            image: (self.standardisations[0].clone(), side(0, &features.image)?),
            text: (self.standardisations[1].clone(), side(1, &features.text)?),
            device: self.device.clone(),
            iteration: self.done,
            record: FitRecord::default(),
        }))
    }
}

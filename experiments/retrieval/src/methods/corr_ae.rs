//! CorrAE: correspondence autoencoders on pretrained layers, the best of three variants (spec C.6).

use candle_core::{DType, Device};
use experiment_spec::catalog::{MethodEntry, ParameterValue, Parameters};

use self::network::{CorrNet, Plan, Variant};
use super::{
    rbm_stacks::{Inputs, RbmStacks, Shape},
    stacked::{Stacked, standardised},
};
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    linalg::standardise::Standardisation,
    method::{FitRecord, Fitted, TrainingData},
    nn::{batches::batch, device::device, kept::Kept, stack::Stack, unit::UnitKind},
    parameters::{Reader, choice, count, float, floats, tuned},
    tuning::iterative::{Iterative, Step, Training},
};

pub mod network;

const VARIANTS: [(&str, Variant); 3] =
    [("corr-ae", Variant::CorrAe), ("cross", Variant::Cross), ("full", Variant::Full)];
const PRETRAININGS: [(&str, bool); 2] = [("rbm", true), ("none", false)];

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct CorrAe;

impl Iterative for CorrAe {
    fn entry(&self) -> MethodEntry {
        let grid = [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99];
        let variant = choice("variant", &VARIANTS, "Which side is rebuilt from which code: its own, the other, both.");
        let names = VARIANTS.map(|(name, _)| ParameterValue::Text(name.into()));
        MethodEntry {
            key: "corr-ae".into(),
            label: "CorrAE".into(),
            revision: 1,
            objective:
                "min (1 - alpha) (errors of rebuilding image and text from the codes f and g) + alpha ||f - g||^2"
                    .into(),
            reference: "Feng, Wang, Li: Cross-modal retrieval with correspondence autoencoder. ACM MM 2014".into(),
            parameters: vec![
                tuned(variant, names),
                tuned(float("alpha", (0.0, 1.0), 0.7, "Weight of the distance of the codes."), floats(grid)),
                choice(
                    "pretrain",
                    &PRETRAININGS,
                    "Two-layer RBM stacks below the codes, or one layer trained with the rest.",
                ),
                count(
                    "hidden",
                    (1, 8192),
                    1024,
                    "Units of the codes and of the layers below; the first image RBM has twice as many.",
                ),
                count("rbm-steps", (1, 10_000_000), 50_000, "Steps of each of the four RBMs."),
                count("rbm-batch-size", (1, 65_536), 128, "Rows an RBM step."),
                count("iterations", (1, 10_000_000), 10_000, "Steps of the autoencoder."),
                count("batch-size", (1, 65_536), 100, "Pairs a step."),
                float(
                    "learning-rate",
                    (1e-8, 10.0),
                    0.05,
                    "Rate of the first step; that of a step is rate / (1 + step / 10,000).",
                ),
                float("weight-decay", (0.0, 10.0), 1e-4, "L2 penalty of the weights."),
            ],
            presets: vec![],
            departures: vec![
                "text features are real numbers, so the lowest text RBM is Gaussian on z-scored features, not a \
                 replicated softmax over word counts; its rate is that of the image's (inferred)"
                    .into(),
                "of the ranges in the released scripts: 50,000 RBM steps, sparsity target 0.1 with cost 0.01, on the \
                 hidden biases alone"
                    .into(),
                "variant and alpha are chosen on validation pairs".into(),
            ],
        }
    }

    fn looks_at_validation(&self, _: &Parameters) -> bool {
        false
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn shared_steps(&self, parameters: &Parameters) -> u64 {
        let entry = self.entry();
        let read =
            |reader: Reader<'_>| 4 * reader.count("rbm-steps") * u64::from(reader.choice("pretrain", &PRETRAININGS));
        Reader::new(&entry, parameters).map_or(0, read)
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        Ok(Box::new(Corresponding::new(&data, reader, seed, &device())?))
    }
}

/// Pretraining, then the autoencoder.
struct Corresponding {
    standardisations: [Standardisation; 2],
    /// Standardised features of the training pairs.
    features: Inputs,
    stacks: Option<RbmStacks>,
    /// What the stacks say of the training pairs, once they are trained.
    lifted: Option<Inputs>,
    network: CorrNet,
    iterations: u64,
    batch: usize,
    seed: u64,
    device: Device,
    done: u64,
}

impl Corresponding {
    fn new(data: &TrainingData<'_>, reader: Reader<'_>, seed: u64, device: &Device) -> Result<Self> {
        let (image, text) = (data.train.image, data.train.text);
        let standardisations = [Standardisation::fit("image", image)?, Standardisation::fit("text", text)?];
        let features = Inputs {
            image: standardised(&standardisations[0], image, device)?,
            text: standardised(&standardisations[1], text, device)?,
        };
        let hidden = reader.size("hidden");
        let pretrained = reader.choice("pretrain", &PRETRAININGS);
        let columns = [image.dims(), text.dims()];
        let on = (device, DType::F32);
        let shape = Shape {
            image: [2 * hidden, hidden],
            text: [hidden, hidden],
            steps: reader.count("rbm-steps"),
            batch: reader.size("rbm-batch-size"),
            units: UnitKind::Rbm,
        };
        let stacks = if pretrained { Some(RbmStacks::new("", shape, columns, seed, on)?) } else { None };
        let plan = Plan {
            variant: reader.choice("variant", &VARIANTS),
            alpha: reader.float("alpha"),
            inputs: if pretrained { [hidden; 2] } else { columns },
            hidden,
            pretrained,
            rate: reader.float("learning-rate"),
            decay: reader.float("weight-decay"),
        };
        Ok(Self {
            standardisations,
            features,
            stacks,
            lifted: None,
            network: CorrNet::new("", plan, seed, on)?,
            iterations: reader.count("iterations"),
            batch: reader.size("batch-size"),
            seed,
            device: device.clone(),
            done: 0,
        })
    }

    fn pretraining(&self) -> u64 {
        self.stacks.as_ref().map_or(0, RbmStacks::steps)
    }

    /// Inputs of the autoencoder for all training pairs.
    fn inputs(&mut self) -> Result<&Inputs> {
        if self.lifted.is_none() {
            self.lifted = Some(match &self.stacks {
                None => self.features.clone(),
                Some(stacks) => {
                    let [image, text] = stacks.stacks()?;
                    Inputs { image: image.apply(&self.features.image)?, text: text.apply(&self.features.text)? }
                }
            });
        }
        Ok(self.lifted.as_ref().expect("it was made above"))
    }
}

impl Training for Corresponding {
    fn steps(&self) -> u64 {
        self.pretraining() + self.iterations
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        self.done = step;
        let pretraining = self.pretraining();
        if let Some(stacks) = self.stacks.as_mut().filter(|_| step <= pretraining) {
            let error = stacks.step(&self.features, step)?;
            return Ok(Step { loss: error, metrics: vec![("rbm-error".into(), error)], over: false });
        }
        let within = step - pretraining;
        let (seed, size) = (self.seed, self.batch);
        let inputs = self.inputs()?;
        let rows = batch(seed, "corr-ae", inputs.image.dim(0)?, size, within);
        let inputs = inputs.rows(&rows)?;
        let loss = self.network.step(&inputs, within)?;
        Ok(Step { loss, metrics: vec![("corr-ae-loss".into(), loss)], over: false })
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let mut state = self.stacks.as_ref().map_or(Ok(Vec::new()), RbmStacks::state)?;
        // While the stacks are trained there is nothing of a candidate's own.
        if self.done > self.pretraining() {
            state.extend(self.network.state()?);
        }
        Ok(state)
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let mut kept = Kept::new(tensors, &self.device);
        if let Some(stacks) = &mut self.stacks {
            stacks.restore(&mut kept)?;
        }
        if step > self.pretraining() {
            self.network.restore(&mut kept)?;
        }
        (self.done, self.lifted) = (step, None);
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        let [image, text] = self.network.coders()?;
        let below = self.stacks.as_ref().map(RbmStacks::stacks).transpose()?.unwrap_or_default();
        let [below_image, below_text] = below;
        let [of_image, of_text] = &self.standardisations;
        Ok(Box::new(Stacked {
            image: (of_image.clone(), Stack([below_image.0, image].concat())),
            text: (of_text.clone(), Stack([below_text.0, text].concat())),
            device: self.device.clone(),
            iteration: self.done,
            record: FitRecord::default(),
        }))
    }
}

//! DeepSM: deep semantic matching, the class probabilities of each modality by itself (spec C.9).

use candle_core::{DType, Device, Tensor};
use experiment_spec::catalog::{MethodEntry, Parameters};

use self::side::{Settings, Side};
use super::stacked::Stacked;
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    method::{FitRecord, Fitted, TrainingData},
    nn::{device::device, kept::Kept},
    parameters::{Reader, choice, count, float, floats, tuned},
    tuning::iterative::{Iterative, Step, Training},
};

mod side;
mod temperature;

/// Whether features are standardised first.
const FEATURE_NORMS: [(&str, bool); 2] = [("zscore", true), ("raw", false)];
/// Whether the sharpness of the probabilities is fitted to the validation pairs.
const TEMPERATURES: [(&str, bool); 2] = [("none", false), ("validation", true)];

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct DeepSm;

impl Iterative for DeepSm {
    fn entry(&self) -> MethodEntry {
        let penalty = |key: &str, side: &str| {
            let help = format!("L2 penalty of the {side} classifier's weights, biases free (inferred).");
            tuned(float(key, (0.0, 1e3), 1e-4, &help), floats([1e-4, 1e-3, 1e-2, 1e-1]))
        };
        MethodEntry {
            key: "deep-sm".into(),
            label: "DeepSM".into(),
            revision: 1,
            objective:
                "for each modality alone: min mean CE(softmax(f(h)), y) + l2/2 ||W||^2; class probabilities are \
                        the common space"
                    .into(),
            reference: "Wei et al.: Cross-Modal Retrieval With CNN Visual Features: A New Baseline. IEEE Transactions \
                        on Cybernetics 47(2), 2017"
                .into(),
            parameters: vec![
                penalty("image-l2", "image"),
                penalty("text-l2", "text"),
                count(
                    "text-hidden",
                    (0, 8192),
                    0,
                    "Hidden rectified units of the text classifier; 0: one linear layer.",
                ),
                count("epochs", (1, 100_000), 100, "Passes over the training pairs at most (inferred)."),
                count(
                    "patience",
                    (0, 100_000),
                    10,
                    "Passes without a better validation accuracy after which a modality \
                                                     stops, its best pass kept; 0: every pass is made (inferred).",
                ),
                count("batch-size", (1, 65_536), 64, "Rows a step."),
                float("learning-rate", (1e-8, 10.0), 1e-3, "Rate of Adam."),
                choice("feature-norm", &FEATURE_NORMS, "Features as the classifiers read them."),
                choice(
                    "temperature",
                    &TEMPERATURES,
                    "Sharpness of the probabilities: as trained, or fitted to the \
                                                      validation pairs.",
                ),
            ],
            presets: vec![],
            departures: vec![
                "the image CNN is fixed, as for all methods: its fine-tuned softmax layer is a linear classifier on \
                 its features"
                    .into(),
                "features are z-scored with training statistics; the penalties are chosen on validation pairs and \
                 each modality stops by its validation accuracy: the authors' settings are not recorded"
                    .into(),
            ],
        }
    }

    fn looks_at_validation(&self, parameters: &Parameters) -> bool {
        let entry = self.entry();
        Reader::new(&entry, parameters)
            .is_ok_and(|reader| reader.count("patience") > 0 || reader.choice("temperature", &TEMPERATURES))
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        Ok(Box::new(Classifiers::new(&data, reader, seed, &device())?))
    }
}

/// The two classifiers under training. They share nothing: not even which rows a step sees.
struct Classifiers {
    sides: [Side; 2],
    epochs: u64,
    calibrated: bool,
    device: Device,
    /// Passes made.
    passes: u64,
}

impl Classifiers {
    fn new(data: &TrainingData<'_>, reader: Reader<'_>, seed: u64, device: &Device) -> Result<Self> {
        let settings = |l2: &str, hidden| Settings {
            hidden,
            l2: reader.float(l2),
            rate: reader.float("learning-rate"),
            batch: reader.size("batch-size"),
            patience: reader.count("patience"),
            zscore: reader.choice("feature-norm", &FEATURE_NORMS),
            classes: data.classes,
            seed,
        };
        let sides = [
            Side::new("image", data, settings("image-l2", 0), device)?,
            Side::new("text", data, settings("text-l2", reader.size("text-hidden")), device)?,
        ];
        let calibrated = reader.choice("temperature", &TEMPERATURES);
        Ok(Self { sides, epochs: reader.count("epochs"), calibrated, device: device.clone(), passes: 0 })
    }
}

impl Training for Classifiers {
    fn steps(&self) -> u64 {
        self.epochs
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        let (mut loss, mut metrics) = (0.0, Vec::new());
        for side in &mut self.sides {
            if let Some(pass) = side.pass(step)? {
                loss += pass.loss;
                metrics.push((format!("{}-loss", side.name()), pass.loss));
                metrics.extend(pass.accuracy.map(|it| (format!("{}-validation-accuracy", side.name()), it)));
            }
        }
        self.passes = step;
        Ok(Step { loss, metrics, over: self.sides.iter().all(Side::has_stopped) })
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let [image, text] = &self.sides;
        Ok([image.state()?, text.state()?].concat())
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let mut kept = Kept::new(tensors, &self.device);
        self.sides.iter_mut().try_for_each(|side| side.restore(&mut kept))?;
        self.passes = step;
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        let mut record = FitRecord::default();
        let mut sides = Vec::with_capacity(2);
        for side in &self.sides {
            let mut stack = side.stack()?;
            if self.calibrated {
                let temperature = side.temperature(&stack)?;
                temperature::soften(&mut stack, temperature)?;
                record.facts.insert(format!("{}-temperature", side.name()), temperature);
            }
            record.facts.extend(side.facts());
            sides.push((side.standardisation().clone(), stack));
        }
        let text = sides.pop().expect("two sides were pushed");
        let image = sides.pop().expect("two sides were pushed");
        Ok(Box::new(Stacked { image, text, device: self.device.clone(), iteration: self.passes, record }))
    }
}

/// Which columns of each row are the largest, the first of equals: `[n, columns]` to n.
///
/// # Errors
/// When candle refuses.
fn largest(scores: &Tensor) -> Result<Vec<u32>> {
    let rows = scores.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let place = |row: &Vec<f64>| {
        let best =
            row.iter().enumerate().fold(0, |best, (column, value)| if *value > row[best] { column } else { best });
        u32::try_from(best).expect("classes are counted in u32")
    };
    Ok(rows.iter().map(place).collect())
}

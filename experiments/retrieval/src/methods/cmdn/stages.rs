//! The five steps of CMDN under training, one after the other.

use candle_core::{DType, Device, Tensor};

use super::{
    bimodal::Level,
    intra::Intra,
    joint::Joint,
    model::{Model, Pathway},
};
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    linalg::standardise::Standardisation,
    method::{Fitted, TrainingData},
    methods::{
        column_scales::Scaling,
        fine_tuning::FineTuning,
        rbm_stacks::{Inputs, OVER_OTHERS, RbmStacks, Shape},
        stacked::standardised,
    },
    nn::{
        batches::batch,
        kept::Kept,
        stack::Stack,
        unit::{Unit, UnitKind},
    },
    tuning::iterative::{Step, Training},
};

/// Levels of step 5 that are trained.
pub(super) const LEVELS: usize = 4;
/// Rows a step of fine-tuning.
const TUNING_BATCH: usize = 100;

/// Sizes and lengths of one fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) hidden: usize,
    pub(super) units: UnitKind,
    /// Steps of each of the two parts of step 1, of each RBM, of the joint and the combination layers, of fine-tuning
    /// and of each level.
    pub(super) intra: u64,
    pub(super) rbm: u64,
    pub(super) joint: u64,
    pub(super) combination: u64,
    pub(super) tuning: u64,
    pub(super) level: u64,
    /// Rows a step of the RBMs.
    pub(super) batch: usize,
    /// Levels that are used.
    pub(super) levels: usize,
    /// Whether the codes of step 5 learn classes.
    pub(super) labelled: bool,
    pub(super) seed: u64,
}

/// What the rows are when a part of the training reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Features scaled to 0..1, for step 1.
    UnitRange,
    /// Standardised features, for the RBMs of step 2.
    Standardised,
    /// Outputs of these RBMs, for the joint layer.
    Lifted,
    /// Codes of step 1 beside joint means of step 2, for step 3.
    Combined,
    /// Standardised outputs of step 3, for step 4.
    Combination,
    /// Outputs of step 4 scaled to 0..1, for the first level of step 5; then the codes of each level for the next.
    Level(usize),
}

const READINGS: usize = 5 + LEVELS;

impl Reading {
    fn place(self) -> usize {
        match self {
            Self::UnitRange => 0,
            Self::Standardised => 1,
            Self::Lifted => 2,
            Self::Combined => 3,
            Self::Combination => 4,
            Self::Level(number) => 5 + number,
        }
    }
}

/// Everything under training.
pub(super) struct Stages<'a> {
    settings: Settings,
    labels: &'a [u32],
    scales: [[Standardisation; 2]; 2],
    rows: [Option<Inputs>; READINGS],
    intra: [Intra; 2],
    stacks: RbmStacks,
    joint: Joint,
    combination: [Unit; 2],
    tuning: [FineTuning; 2],
    levels: Vec<Level>,
    device: Device,
    done: u64,
}

impl<'a> Stages<'a> {
    pub(super) fn new(data: &TrainingData<'a>, settings: Settings, device: &Device) -> Result<Self> {
        let (image, text) = (data.train.image, data.train.text);
        let of = |side, rows| -> Result<[Standardisation; 2]> {
            Ok([Standardisation::unit_range(side, rows)?, Standardisation::fit(side, rows)?])
        };
        let scales = [of("image", image)?, of("text", text)?];
        let features = |at: usize| -> Result<Inputs> {
            Ok(Inputs {
                image: standardised(&scales[0][at], image, device)?,
                text: standardised(&scales[1][at], text, device)?,
            })
        };
        let (hidden, seed, on) = (settings.hidden, settings.seed, (device, DType::F32));
        let shape = Shape {
            image: [2 * hidden, hidden],
            text: [hidden, hidden],
            steps: settings.rbm,
            batch: settings.batch,
            units: settings.units,
        };
        let intra = |name, columns| Intra::new(name, (columns, hidden), settings.intra, seed, on);
        let code = (hidden / 2).max(1);
        let combination = |name| Unit::new(settings.units, name, (code + 2 * hidden, hidden), OVER_OTHERS, seed, on);
        let tuning = |name| FineTuning::new(name, [hidden, hidden, data.classes], TUNING_BATCH, seed, device);
        let width = |number: usize| (hidden >> number).max(1);
        let level = |number: usize| {
            let sizes = [width(number), width(number + 1), data.classes];
            Level::new(number + 1, sizes, settings.labelled, seed, on)
        };
        let mut rows = [const { None }; READINGS];
        rows[Reading::UnitRange.place()] = Some(features(0)?);
        rows[Reading::Standardised.place()] = Some(features(1)?);
        Ok(Self {
            labels: data.train.labels,
            intra: [intra("image", image.dims())?, intra("text", text.dims())?],
            stacks: RbmStacks::new("", shape, [image.dims(), text.dims()], seed, on)?,
            joint: Joint::new(settings.units, (hidden, 2 * hidden), seed, on)?,
            combination: [combination("image.combination")?, combination("text.combination")?],
            tuning: [tuning("image")?, tuning("text")?],
            levels: (0..LEVELS).map(level).collect::<Result<_>>()?,
            settings,
            scales,
            rows,
            device: device.clone(),
            done: 0,
        })
    }

    /// Steps of each part, in order: step 1, the RBMs and the joint layer of step 2, steps 3 and 4, the levels.
    fn lengths(&self) -> [u64; READINGS] {
        let Settings { joint, combination, tuning, level, .. } = self.settings;
        [self.intra[0].steps(), self.stacks.steps(), joint, combination, tuning, level, level, level, level]
    }

    /// The part that a step belongs to, and its number within.
    fn part(&self, step: u64) -> (usize, u64) {
        let mut within = step;
        for (part, length) in self.lengths().into_iter().enumerate() {
            if within <= length {
                return (part, within);
            }
            within -= length;
        }
        unreachable!("step {step} is beyond the last one")
    }

    /// The training rows of a reading: what the parts before it say of them.
    fn read(&mut self, reading: Reading) -> Result<Inputs> {
        if let Some(rows) = &self.rows[reading.place()] {
            return Ok(rows.clone());
        }
        let made = match reading {
            Reading::UnitRange | Reading::Standardised => unreachable!("these are there from the beginning"),
            Reading::Lifted => on_both(&self.read(Reading::Standardised)?, &self.stacks.stacks()?)?,
            Reading::Combined => {
                let (features, lifted) = (self.read(Reading::UnitRange)?, self.read(Reading::Lifted)?);
                let joint = self.joint.trained()?;
                let side = |at: usize, x: &Tensor, lifted: &Tensor| -> Result<Tensor> {
                    let code = self.intra[at].stack()?.apply(x)?;
                    let code = Scaling::unit_range(&code)?.apply(&code)?;
                    Ok(Tensor::cat(&[code, joint.of_one(at, lifted)?], 1)?)
                };
                Inputs { image: side(0, &features.image, &lifted.image)?, text: side(1, &features.text, &lifted.text)? }
            }
            Reading::Combination => {
                let combined = self.read(Reading::Combined)?;
                let side = |at: usize, x: &Tensor| -> Result<Tensor> {
                    let out = self.combination[at].hidden(x)?;
                    Scaling::zscore(&out)?.apply(&out)
                };
                Inputs { image: side(0, &combined.image)?, text: side(1, &combined.text)? }
            }
            Reading::Level(0) => {
                let rows = self.read(Reading::Combination)?;
                let rows = on_both(&rows, &[self.tuning[0].hidden()?, self.tuning[1].hidden()?])?;
                let scaled = |x: &Tensor| -> Result<Tensor> { Scaling::unit_range(x)?.apply(x) };
                Inputs { image: scaled(&rows.image)?, text: scaled(&rows.text)? }
            }
            Reading::Level(number) => {
                let [image, text] = self.levels[number - 1].one_sided()?;
                on_both(&self.read(Reading::Level(number - 1))?, &[Stack(vec![image]), Stack(vec![text])])?
            }
        };
        self.rows[reading.place()] = Some(made.clone());
        Ok(made)
    }

    fn pathway(&self, side: usize) -> Result<Pathway> {
        let features = |reading: Reading| -> &Tensor {
            let rows = self.rows[reading.place()].as_ref().expect("features are there from the beginning");
            if side == 0 { &rows.image } else { &rows.text }
        };
        let intra = self.intra[side].stack()?;
        let code = intra.apply(features(Reading::UnitRange))?;
        let intra_scale = Scaling::unit_range(&code)?;
        let inter = self.stacks.stacks()?[side].clone();
        let joint = self.joint.trained()?;
        let means = joint.of_one(side, &inter.apply(features(Reading::Standardised))?)?;
        let combined = Tensor::cat(&[intra_scale.apply(&code)?, means], 1)?;
        let combination = self.combination[side].upward()?;
        let out = Stack(vec![combination.clone()]).apply(&combined)?;
        let combination_scale = Scaling::zscore(&out)?;
        let tuned = self.tuning[side].hidden()?;
        let tuned_scale = Scaling::unit_range(&tuned.apply(&combination_scale.apply(&out)?)?)?;
        let used = self.levels[..self.settings.levels].iter();
        let levels = used.map(|level| Ok(level.one_sided()?[side].clone())).collect::<Result<_>>()?;
        Ok(Pathway {
            side,
            scales: self.scales[side].clone(),
            intra: (intra, intra_scale),
            inter,
            joint,
            combination: (combination, combination_scale),
            tuned: (tuned, tuned_scale),
            levels,
        })
    }
}

/// Rows of both sides through a stack each.
fn on_both(rows: &Inputs, stacks: &[Stack; 2]) -> Result<Inputs> {
    Ok(Inputs { image: stacks[0].apply(&rows.image)?, text: stacks[1].apply(&rows.text)? })
}

impl Training for Stages<'_> {
    fn steps(&self) -> u64 {
        self.lengths().iter().sum()
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        self.done = step;
        let (part, within) = self.part(step);
        let (seed, size, labels) = (self.settings.seed, self.settings.batch, self.labels);
        let (name, loss) = match part {
            0 => {
                let rows = self.read(Reading::UnitRange)?;
                let [image, text] = &mut self.intra;
                ("intra-loss", image.step(&rows.image, within)? + text.step(&rows.text, within)?)
            }
            1 => {
                let rows = self.read(Reading::Standardised)?;
                ("inter-error", self.stacks.step(&rows, within)?)
            }
            2 => {
                let rows = self.read(Reading::Lifted)?.rows(&batch(seed, "joint", labels.len(), size, within))?;
                ("joint-error", self.joint.step(&rows.image, &rows.text, within, seed)?)
            }
            3 => {
                let chosen = batch(seed, "combination", labels.len(), size, within);
                let rows = self.read(Reading::Combined)?.rows(&chosen)?;
                let [image, text] = &mut self.combination;
                ("combination-error", image.step(&rows.image, within, seed)? + text.step(&rows.text, within, seed)?)
            }
            4 => {
                let rows = self.read(Reading::Combination)?;
                let [image, text] = &mut self.tuning;
                ("tuning-loss", image.step(&rows.image, labels, within)? + text.step(&rows.text, labels, within)?)
            }
            level => {
                let rows = self.read(Reading::Level(level - 5))?;
                ("level-loss", self.levels[level - 5].step(&rows, labels, within)?)
            }
        };
        Ok(Step { loss, metrics: vec![(name.to_owned(), loss)], over: false })
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        // A part that has not begun is what the seed makes of it.
        let begun = if self.done == 0 { 0 } else { self.part(self.done).0 };
        let mut state = [self.intra[0].state()?, self.intra[1].state()?].concat();
        if begun >= 1 {
            state.extend(self.stacks.state()?);
        }
        if begun >= 2 {
            state.extend(self.joint.state()?);
        }
        if begun >= 3 {
            state.extend([self.combination[0].state()?, self.combination[1].state()?].concat());
        }
        if begun >= 4 {
            state.extend([self.tuning[0].state()?, self.tuning[1].state()?].concat());
        }
        for level in self.levels.iter().take((begun + 1).saturating_sub(5)) {
            state.extend(level.state()?);
        }
        Ok(state)
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let begun = if step == 0 { 0 } else { self.part(step).0 };
        let mut kept = Kept::new(tensors, &self.device);
        self.intra.iter_mut().try_for_each(|intra| intra.restore(&mut kept))?;
        if begun >= 1 {
            self.stacks.restore(&mut kept)?;
        }
        if begun >= 2 {
            self.joint.restore(&mut kept)?;
        }
        if begun >= 3 {
            self.combination.iter_mut().try_for_each(|unit| unit.restore(&mut kept))?;
        }
        if begun >= 4 {
            self.tuning.iter_mut().try_for_each(|tuning| tuning.restore(&mut kept))?;
        }
        for level in self.levels.iter_mut().take((begun + 1).saturating_sub(5)) {
            level.restore(&mut kept)?;
        }
        self.rows[Reading::Lifted.place()..].fill(None);
        self.done = step;
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        let (image, text) = (self.pathway(0)?, self.pathway(1)?);
        Ok(Box::new(Model { image, text, device: self.device.clone(), iteration: self.done }))
    }
}

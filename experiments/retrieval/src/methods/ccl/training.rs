//! CCL under training: one part after the other, both grains before what joins them.

use std::cell::OnceCell;

use candle_core::{DType, Device, Tensor};

use super::{
    fitted::{BothSides, Side},
    grain::{Grain, Sizes},
    multi_task::MultiTask,
};
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    method::{FitRecord, Fitted, TrainingData},
    methods::{
        column_scales::Scaling,
        fine_tuning::FineTuning,
        rbm_stacks::{Inputs, OVER_OTHERS},
    },
    nn::{batches::batch, kept::Kept, rbm::Machine, stack::Stack},
    parameters::Reader,
    tuning::iterative::{Step, Training},
};

/// Rows a step of the autoencoders and of fine-tuning.
const STAGE_ONE_BATCH: usize = 100;

/// What a step works on. Grain 0 is the coarse one, 1 the fine one; side 0 the images, 1 the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Machines { grain: usize },
    Corr { grain: usize },
    Joint { side: usize },
    Tuning,
    MultiTask,
}

/// Both stages under training.
#[derive(Debug)]
pub(super) struct Grained<'a> {
    labels: &'a [u32],
    /// Parts with their numbers of steps, in the order in which they are trained.
    parts: Vec<(Part, u64)>,
    /// The coarse grain, then the fine one where the features have patches.
    grains: Vec<Grain>,
    /// Of images and of texts, over the codes of both grains; none where there is one grain.
    joints: Option<[Machine; 2]>,
    tuning: [FineTuning; 2],
    multi: MultiTask,
    /// What the joint machines, fine-tuning and the second stage learn from, each made when first needed.
    coded: OnceCell<Inputs>,
    joined: OnceCell<Inputs>,
    tuned: OnceCell<Inputs>,
    record: FitRecord,
    joint_batch: usize,
    pairs: usize,
    seed: u64,
    device: Device,
    done: u64,
}

impl<'a> Grained<'a> {
    pub(super) fn new(data: &TrainingData<'a>, reader: Reader<'_>, seed: u64, device: &Device) -> Result<Self> {
        let (hidden, classes, on) = (reader.size("hidden"), data.classes, (device, DType::F32));
        let sizes = Sizes {
            hidden,
            rbm_steps: reader.count("rbm-steps"),
            rbm_batch: reader.size("rbm-batch-size"),
            corr_batch: STAGE_ONE_BATCH,
            alpha: reader.float("alpha"),
        };
        let mut grains = vec![Grain::coarse(&data.train, sizes, seed, device)?];
        let asked = reader.flag("fine-grain");
        if asked {
            grains.extend(Grain::fine(&data.train, sizes, seed, device)?);
        }
        let both = grains.len() == 2;
        let below = hidden * grains.len();
        let joint = |name| Machine::new(name, (below, below), OVER_OTHERS, seed, on);
        let joints = if both { Some([joint("image.joint")?, joint("text.joint")?]) } else { None };
        let tuning = |name| FineTuning::new(name, [below, hidden, classes], STAGE_ONE_BATCH, seed, device);
        let (corr, join) = (reader.count("corr-steps"), reader.count("joint-steps"));
        let mut parts: Vec<(Part, u64)> =
            (0..grains.len()).map(|grain| (Part::Machines { grain }, grains[grain].machine_steps())).collect();
        parts.extend((0..grains.len()).map(|grain| (Part::Corr { grain }, corr)));
        parts.extend((0..2).filter(|_| both).map(|side| (Part::Joint { side }, join)));
        parts.extend([(Part::Tuning, reader.count("tuning-steps")), (Part::MultiTask, reader.count("iterations"))]);
        Ok(Self {
            labels: data.train.labels,
            record: record(&grains, asked),
            parts,
            grains,
            joints,
            tuning: [tuning("image")?, tuning("text")?],
            multi: MultiTask::new([hidden, hidden, classes], reader.float("learning-rate"), seed, on)?,
            coded: OnceCell::new(),
            joined: OnceCell::new(),
            tuned: OnceCell::new(),
            joint_batch: sizes.rbm_batch,
            pairs: reader.size("batch-size"),
            seed,
            device: device.clone(),
            done: 0,
        })
    }

    /// The part that a step belongs to, and its number within the part.
    fn part(&self, step: u64) -> (Part, u64) {
        let mut within = step;
        for (part, steps) in &self.parts {
            if within <= *steps {
                return (*part, within);
            }
            within -= steps;
        }
        unreachable!("step {step} is after the last")
    }

    /// Codes of all grains of each pair, side by side.
    fn coded(&self) -> Result<&Inputs> {
        if let Some(coded) = self.coded.get() {
            return Ok(coded);
        }
        let codes: Vec<Inputs> = self.grains.iter().map(Grain::codes).collect::<Result<_>>()?;
        let beside = |of: fn(&Inputs) -> &Tensor| -> Result<Tensor> {
            Ok(Tensor::cat(&codes.iter().map(of).collect::<Vec<_>>(), 1)?)
        };
        let made = Inputs { image: beside(|codes| &codes.image)?, text: beside(|codes| &codes.text)? };
        Ok(self.coded.get_or_init(|| made))
    }

    /// What fine-tuning learns from: what the joint machines say of the codes, or the codes of the one grain.
    fn joined(&self) -> Result<&Inputs> {
        let shown = self.coded()?;
        let Some([image, text]) = &self.joints else { return Ok(shown) };
        if let Some(joined) = self.joined.get() {
            return Ok(joined);
        }
        let made = Inputs { image: image.hidden(&shown.image)?, text: text.hidden(&shown.text)? };
        Ok(self.joined.get_or_init(|| made))
    }

    /// What the second stage learns from: the last hidden layer of fine-tuning, standardised.
    fn tuned(&self) -> Result<&Inputs> {
        if let Some(tuned) = self.tuned.get() {
            return Ok(tuned);
        }
        let scaled = |side: usize| -> Result<Tensor> {
            let hidden = self.hidden(side)?;
            Scaling::zscore(&hidden)?.apply(&hidden)
        };
        let made = Inputs { image: scaled(0)?, text: scaled(1)? };
        Ok(self.tuned.get_or_init(|| made))
    }

    /// The last hidden layer of fine-tuning of one side, of all training pairs.
    fn hidden(&self, side: usize) -> Result<Tensor> {
        let joined = self.joined()?;
        self.tuning[side].hidden()?.apply(if side == 0 { &joined.image } else { &joined.text })
    }

    /// The layers of one side over the codes of its grains, with the standardisation of what fine-tuning says folded in.
    fn above(&self, side: usize) -> Result<Stack> {
        let mut layers = Vec::new();
        if let Some(joints) = &self.joints {
            layers.push(joints[side].upward()?);
        }
        layers.extend(self.tuning[side].hidden()?.0);
        let [last, rest @ ..] = &self.multi.layers()?[side][..] else {
            unreachable!("the second stage has two layers")
        };
        layers.push(Scaling::zscore(&self.hidden(side)?)?.folded(last)?);
        layers.extend_from_slice(rest);
        Ok(Stack(layers))
    }

    fn step_joint(&mut self, side: usize, step: u64) -> Result<f64> {
        let shown = self.coded()?;
        let shown = if side == 0 { &shown.image } else { &shown.text };
        let name = ["image.joint", "text.joint"][side];
        let rows = batch(self.seed, name, self.labels.len(), self.joint_batch, step);
        let visible = shown.index_select(&Tensor::new(rows, &self.device)?, 0)?;
        let joints = self.joints.as_mut().expect("a joint part is planned where there are joint machines");
        joints[side].step(&visible, step, self.seed)
    }

    fn step_tuning(&mut self, step: u64) -> Result<f64> {
        let inputs = self.joined()?.clone();
        let image = self.tuning[0].step(&inputs.image, self.labels, step)?;
        Ok(image + self.tuning[1].step(&inputs.text, self.labels, step)?)
    }

    fn step_multi(&mut self, step: u64) -> Result<f64> {
        let rows = batch(self.seed, "ccl pairs", self.labels.len(), self.pairs, step);
        let labels: Vec<u32> = rows.iter().map(|&row| self.labels[row as usize]).collect();
        let inputs = self.tuned()?.rows(&rows)?;
        self.multi.step(&inputs, &labels, step)
    }
}

/// What a reader of the scores has to know: which grains there are.
fn record(grains: &[Grain], asked: bool) -> FitRecord {
    let mut record = FitRecord::default();
    if let Some([image, text]) = grains.get(1).and_then(Grain::patches_each) {
        record.notes.push(format!("both grains: {image:.1} patches an image and {text:.1} segments a text (means)"));
        record.facts.insert("patches-per-image".into(), image);
        record.facts.insert("segments-per-text".into(), text);
    } else {
        let why = if asked { "the features have no patches" } else { "`fine-grain` is off" };
        record.notes.push(format!("coarse grain only: {why}"));
    }
    record
}

impl Training for Grained<'_> {
    fn steps(&self) -> u64 {
        self.parts.iter().map(|(_, steps)| steps).sum()
    }

    fn step(&mut self, step: u64) -> Result<Step> {
        self.done = step;
        let (part, within) = self.part(step);
        let (name, loss) = match part {
            Part::Machines { grain } => ("rbm-error", self.grains[grain].step_machines(within)?),
            Part::Corr { grain } => ("corr-ae-loss", self.grains[grain].step_corr(within, self.seed)?),
            Part::Joint { side } => ("joint-error", self.step_joint(side, within)?),
            Part::Tuning => ("tuning-loss", self.step_tuning(within)?),
            Part::MultiTask => ("multi-task-loss", self.step_multi(within)?),
        };
        Ok(Step { loss, metrics: vec![(name.to_owned(), loss)], over: false })
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let mut state = Vec::new();
        for grain in &self.grains {
            state.extend(grain.state()?);
        }
        for joint in self.joints.iter().flatten() {
            state.extend(joint.state()?);
        }
        for tuning in &self.tuning {
            state.extend(tuning.state()?);
        }
        state.extend(self.multi.state()?);
        Ok(state)
    }

    fn restore(&mut self, step: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let mut kept = Kept::new(tensors, &self.device);
        self.grains.iter_mut().try_for_each(|grain| grain.restore(&mut kept))?;
        self.joints.iter_mut().flatten().try_for_each(|joint| joint.restore(&mut kept))?;
        self.tuning.iter_mut().try_for_each(|tuning| tuning.restore(&mut kept))?;
        self.multi.restore(&mut kept)?;
        (self.coded, self.joined, self.tuned) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        self.done = step;
        kept.finish()
    }

    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        let mut ways: Vec<_> = self.grains.iter().map(Grain::ways).collect::<Result<_>>()?;
        let fine = if ways.len() == 2 { ways.pop() } else { None };
        let [image, text] = ways.pop().expect("the coarse grain is always there");
        let (fine_image, fine_text) = fine.map_or((None, None), |[image, text]| (Some(image), Some(text)));
        Ok(Box::new(BothSides {
            image: Side { coarse: image, fine: fine_image, above: self.above(0)? },
            text: Side { coarse: text, fine: fine_text, above: self.above(1)? },
            device: self.device.clone(),
            iteration: self.done,
            record: self.record.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use experiment_spec::catalog::{ParameterValue, Parameters};

    use super::*;
    use crate::{
        datasets::synthetic::Synthetic, feature_file::FeatureFile, method::EmbeddingValues, methods::ccl::Ccl,
        tuning::iterative::Iterative,
    };

    const SMALL: [(&str, i64); 8] = [
        ("hidden", 6),
        ("rbm-steps", 4),
        ("rbm-batch-size", 8),
        ("corr-steps", 4),
        ("joint-steps", 4),
        ("tuning-steps", 20),
        ("iterations", 4),
        ("batch-size", 8),
    ];

    /// Features pass the same layers when they are embedded as they did in training, joint machines and scales included.
    #[test]
    fn training_pairs_are_embedded_as_the_second_stage_saw_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.safetensors");
        let set = Synthetic { classes: 3, dims: (9, 7), pairs: [30, 0, 3], ..Synthetic::default() };
        for patches in [0, 3] {
            Synthetic { patches, ..set }.write(&path).unwrap();
            let file = FeatureFile::open(&path).unwrap();
            let data = file.training_data();
            let entry = Ccl.entry();
            let parameters: Parameters =
                SMALL.map(|(key, value)| (key.to_owned(), ParameterValue::Integer(value))).into();
            let reader = Reader::new(&entry, &parameters).unwrap();
            let mut training = Grained::new(&data, reader, 5, &Device::Cpu).unwrap();
            let grains = if patches > 0 { 2 } else { 1 };
            assert_eq!(training.steps(), grains * (4 * 4 + 4) + (grains - 1) * 2 * 4 + 20 + 4);
            for step in 1..=training.steps() {
                training.step(step).unwrap();
            }
            let (seen, layers) = (training.tuned().unwrap(), training.multi.layers().unwrap().map(Stack));
            let fitted = training.fitted().unwrap();
            let sides =
                [(&seen.image, fitted.embed_image(data.train.image)), (&seen.text, fitted.embed_text(data.train.text))];
            for ((seen, embedded), layers) in sides.into_iter().zip(layers) {
                let wanted: Vec<f32> = layers.apply(seen).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let EmbeddingValues::F32(found) = embedded.unwrap().values else { panic!("trained in f32") };
                assert_eq!(found.len(), wanted.len());
                let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-4, "{patches} patches: {worst}");
            }
        }
    }
}

//! The plain form of the training step: spec A.6 to A.8 and B.2 on candle's autograd, one operation
//! after the other, on any device. It is the reference that the fast form is tested against, and what
//! a GPU runs.

use std::{collections::BTreeMap, marker::PhantomData};

use candle_core::{DType, Device, Tensor, Var};

use super::{
    form::{Batch, Form, Group, Modality, Update, Watcher, discriminator_phase_passes},
    layout,
    networks::{Codes, Networks},
    settings::{MismatchConcat, ReconstructionNorm, Settings, Sizes},
    state::{Adam, Array, Player, State, Tensors},
};
use crate::{
    error::Result,
    nn::{
        adam::Optimiser,
        layers::Moments,
        losses::{cross_entropy, judged_fake, judged_real, mean_absolute, mean_squared},
        real::Real,
    },
};

/// Part of the batch in a running statistic (spec A.4).
const MOMENTUM: f64 = 0.1;

/// Training state on a device.
#[derive(Debug)]
pub struct PlainForm<T> {
    settings: Settings,
    sizes: Sizes,
    device: Device,
    weights: BTreeMap<String, Var>,
    running: BTreeMap<String, Tensor>,
    owned: BTreeMap<Player, Vec<String>>,
    optimisers: BTreeMap<Player, Optimiser>,
    element: PhantomData<T>,
}

/// One batch on the device.
struct Inputs {
    matched: BTreeMap<Modality, Tensor>,
    mismatched: BTreeMap<Modality, Tensor>,
    labels: Tensor,
}

/// What one update minimises, and the logits it saw.
#[derive(Default)]
struct Objective {
    terms: Vec<(&'static str, Tensor)>,
    logits: Vec<(&'static str, Tensor)>,
}

impl Objective {
    fn term(&mut self, name: &'static str, value: Tensor) {
        self.terms.push((name, value));
    }
}

fn upload<T: Real>(array: &Array<T>, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(&array.data, array.shape.as_slice(), device)?)
}

fn upload_all<T: Real>(tensors: &Tensors<T>, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    tensors.iter().map(|(name, array)| Ok((name.clone(), upload(array, device)?))).collect()
}

fn download<'a, T: Real>(tensors: impl Iterator<Item = (&'a String, &'a Tensor)>) -> Result<Tensors<T>> {
    tensors
        .map(|(name, tensor)| {
            let data = tensor.flatten_all()?.to_vec1()?;
            Ok((name.clone(), Array { shape: tensor.dims().to_vec(), data }))
        })
        .collect()
}

impl<T: Real> PlainForm<T> {
    /// Takes up training from `state` on `device`.
    ///
    /// # Errors
    /// [`crate::error::Error::Data`] when `state` lacks a tensor of these settings and sizes, or the
    /// device is out of memory.
    pub fn new(settings: &Settings, sizes: Sizes, state: &State<T>, device: &Device) -> Result<Self> {
        layout::check(state, settings, sizes)?;
        let weights = upload_all(&state.weights, device)?
            .into_iter()
            .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?)))
            .collect::<Result<_>>()?;
        let optimiser = |adam: &Adam<T>| -> Result<Optimiser> {
            Ok(Optimiser { step: adam.step, m: upload_all(&adam.m, device)?, v: upload_all(&adam.v, device)? })
        };
        Ok(Self {
            settings: settings.clone(),
            sizes,
            device: device.clone(),
            weights,
            running: upload_all(&state.running, device)?,
            owned: layout::ownership(settings),
            optimisers: state.adam.iter().map(|(p, adam)| Ok((*p, optimiser(adam)?))).collect::<Result<_>>()?,
            element: PhantomData,
        })
    }

    fn inputs(&self, batch: &Batch<T>) -> Result<Inputs> {
        let rows = batch.labels.len();
        let side = |image: &[T], text: &[T]| -> Result<BTreeMap<Modality, Tensor>> {
            Ok(BTreeMap::from([
                (Modality::Image, Tensor::from_slice(image, (rows, self.sizes.image), &self.device)?),
                (Modality::Text, Tensor::from_slice(text, (rows, self.sizes.text), &self.device)?),
            ]))
        };
        Ok(Inputs {
            matched: side(&batch.h_i, &batch.h_t)?,
            mismatched: side(&batch.mismatched_h_i, &batch.mismatched_h_t)?,
            labels: Tensor::from_slice(&batch.labels, rows, &self.device)?,
        })
    }

    fn networks<'a>(&'a self, learner: &'a [String]) -> Networks<'a> {
        Networks { settings: &self.settings, weights: &self.weights, learner }
    }

    /// Moves the running statistics of a modality's encoder `times` times by the same batch, which is
    /// once by `1 - 0.9^times`.
    fn move_running(&mut self, modality: Modality, moments: &[Moments; 2], rows: usize, times: i32) -> Result<()> {
        let kept = (1.0 - MOMENTUM).powi(times);
        #[allow(clippy::cast_precision_loss)] // rows of a batch
        let unbiased = rows as f64 / (rows as f64 - 1.0);
        for (layer, moments) in ["enc1", "enc2"].iter().zip(moments) {
            for (kind, batch) in [("mean", moments.mean.clone()), ("var", (&moments.variance * unbiased)?)] {
                let name = format!("{}.{layer}.{kind}", modality.name());
                let moved = ((&self.running[&name] * kept)? + (batch * (1.0 - kept))?)?;
                self.running.insert(name, moved);
            }
        }
        Ok(())
    }

    /// Spec A.6: one step of D_T, D_I, D_CT, D_CI on one batch.
    ///
    /// The generators do not change in this phase, so their outputs are computed once, and not before
    /// each of the four steps as the released code does: the same numbers, and the running statistics
    /// are moved as often, and in the order, that the four passes would move them.
    fn discriminator_phase(&mut self, inputs: &Inputs, rate: f64, watcher: &mut dyn Watcher<T>) -> Result<()> {
        let judged = self.settings.judges_reconstructions();
        let generators = self.networks(&[]);
        let mut matched = BTreeMap::new();
        let mut mismatched = BTreeMap::new();
        let mut reconstructed = BTreeMap::new();
        for modality in [Modality::Image, Modality::Text] {
            let codes = generators.encode(modality, &inputs.matched[&modality])?;
            if judged {
                reconstructed.insert(modality, generators.decode(modality, &codes.s)?);
            }
            matched.insert(modality, codes);
            mismatched.insert(modality, generators.encode(modality, &inputs.mismatched[&modality])?);
        }
        let rows = inputs.labels.elem_count();
        for modality in [Modality::Image, Modality::Text] {
            for (group, times) in discriminator_phase_passes(&self.settings, modality) {
                let codes = match group {
                    Group::Matched => &matched[&modality],
                    Group::Mismatched => &mismatched[&modality],
                };
                self.move_running(modality, &codes.moments, rows, times)?;
            }
        }
        if judged {
            for modality in [Modality::Text, Modality::Image] {
                let objective = self.intra_objective(modality, inputs, &reconstructed[&modality])?;
                self.step(modality.intra_judge(), &objective, rate, watcher)?;
            }
        }
        for pathway in [Modality::Text, Modality::Image] {
            let objective = self.inter_objective(pathway, inputs, &matched, &mismatched)?;
            self.step(pathway.inter_judge(), &objective, rate, watcher)?;
        }
        Ok(())
    }

    /// L(D_I) or L(D_T): mean sp(D(r)) + mean sp(-D(h)).
    fn intra_objective(&self, modality: Modality, inputs: &Inputs, r: &Tensor) -> Result<Objective> {
        let judge = self.networks(&self.owned[&modality.intra_judge()]);
        let fake = judge.intra(modality, r)?;
        let real = judge.intra(modality, &inputs.matched[&modality])?;
        Ok(Objective {
            terms: vec![("reconstruction", judged_fake(&fake)?), ("original", judged_real(&real)?)],
            logits: vec![("reconstruction", fake), ("real", real)],
        })
    }

    /// L(D_CI) or L(D_CT): real = own modality, fakes = its pair's common and a mismatched common. Three
    /// passes, because each group is normalised by its own batch moments (spec A.6).
    fn inter_objective(
        &self,
        pathway: Modality,
        inputs: &Inputs,
        matched: &BTreeMap<Modality, Codes>,
        mismatched: &BTreeMap<Modality, Codes>,
    ) -> Result<Objective> {
        let judge = self.networks(&self.owned[&pathway.inter_judge()]);
        let h = &inputs.matched[&pathway];
        let partner = match self.settings.mismatch_concat {
            MismatchConcat::Own => &inputs.mismatched[&pathway],
            MismatchConcat::Anchor => h,
        };
        let paired = judge.inter(pathway, &matched[&pathway.other()].s, h)?;
        let real = judge.inter(pathway, &matched[&pathway].s, h)?;
        let other_class = judge.inter(pathway, &mismatched[&pathway].s, partner)?;
        Ok(Objective {
            terms: vec![
                ("other", (judged_fake(&paired)? * 0.5)?),
                ("real", judged_real(&real)?),
                ("mismatched", (judged_fake(&other_class)? * 0.5)?),
            ],
            logits: vec![("paired", paired), ("real", real), ("mismatched", other_class)],
        })
    }

    /// One step of G_I or G_T (spec A.7; B.2 without discriminators): the other pathway's inter
    /// discriminator judges s, the own intra discriminator r, the head classifies s.
    fn generator_update(
        &mut self,
        modality: Modality,
        inputs: &Inputs,
        rate: f64,
        watcher: &mut dyn Watcher<T>,
    ) -> Result<()> {
        let settings = &self.settings;
        let networks = self.networks(&self.owned[&modality.generator()]);
        let h = &inputs.matched[&modality];
        let codes = networks.encode(modality, h)?;
        let mut objective = Objective::default();
        if settings.adversarial {
            let pathway = modality.other();
            let logits = networks.inter(pathway, &codes.s, &inputs.matched[&pathway])?;
            objective.term("inter", judged_real(&logits)?);
        }
        if settings.decodes() {
            let r = networks.decode(modality, &codes.s)?;
            if settings.judges_reconstructions() {
                objective.term("intra", judged_real(&networks.intra(modality, &r)?)?);
            }
            let weight = settings.reconstruction_weight();
            if weight > 0.0 {
                let error = match settings.reconstruction_norm {
                    ReconstructionNorm::L2 => mean_squared(&r, h)?,
                    ReconstructionNorm::L1 => mean_absolute(&r, h)?,
                };
                objective.term("reconstruction", (error * weight)?);
            }
        }
        if settings.semantic_constraint {
            let logits = networks.classify(modality, &codes.s)?;
            objective.term("class", cross_entropy(&logits, &inputs.labels)?);
        }
        self.move_running(modality, &codes.moments, inputs.labels.elem_count(), 1)?;
        self.step(modality.generator(), &objective, rate, watcher)
    }

    /// Descends the sum of the terms by one Adam step of the player's own tensors, and reports it.
    fn step(&mut self, player: Player, objective: &Objective, rate: f64, watcher: &mut dyn Watcher<T>) -> Result<()> {
        let terms = Tensor::stack(&objective.terms.iter().map(|(_, value)| value).collect::<Vec<_>>(), 0)?;
        let store = terms.sum_all()?.backward()?;
        let gradients: BTreeMap<String, Tensor> = self.owned[&player]
            .iter()
            .map(|name| {
                let weight = self.weights[name].as_tensor();
                let gradient = store.get(weight).map_or_else(|| weight.zeros_like(), |g| Ok(g.clone()))?;
                Ok((name.clone(), gradient))
            })
            .collect::<Result<_>>()?;
        let optimiser = self.optimisers.get_mut(&player).expect("the state was checked to have every player's moments");
        optimiser.update(&self.weights, &gradients, rate)?;

        let mut scalars: Vec<Tensor> = objective.terms.iter().map(|(_, value)| value.clone()).collect();
        for (_, logits) in &objective.logits {
            scalars.push(logits.mean_all()?);
        }
        // Read at once: every read waits for the device.
        let read: Vec<f64> = Tensor::stack(&scalars, 0)?.to_dtype(DType::F64)?.to_vec1()?;
        let (values, means) = read.split_at(objective.terms.len());
        for ((group, _), mean) in objective.logits.iter().zip(means) {
            watcher.mean_logit(player, group, *mean);
        }
        let terms: Vec<(&'static str, f64)> =
            objective.terms.iter().map(|(name, _)| *name).zip(values.iter().copied()).collect();
        let gradients = if watcher.wants_gradients() { Some(download(gradients.iter())?) } else { None };
        watcher.update(Update { player, loss: values.iter().sum(), terms: &terms, gradients });
        Ok(())
    }
}

impl<T: Real> Form<T> for PlainForm<T> {
    fn iteration(&mut self, batch: &Batch<T>, learning_rate: f64, watcher: &mut dyn Watcher<T>) -> Result<()> {
        let inputs = self.inputs(batch)?;
        if self.settings.adversarial {
            self.discriminator_phase(&inputs, learning_rate, watcher)?;
        }
        for _ in 0..self.settings.generator_steps {
            self.generator_update(Modality::Image, &inputs, learning_rate, watcher)?;
            self.generator_update(Modality::Text, &inputs, learning_rate, watcher)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State<T>> {
        let adam = |optimiser: &Optimiser| -> Result<Adam<T>> {
            Ok(Adam { step: optimiser.step, m: download(optimiser.m.iter())?, v: download(optimiser.v.iter())? })
        };
        Ok(State {
            weights: download(self.weights.iter().map(|(name, variable)| (name, variable.as_tensor())))?,
            running: download(self.running.iter())?,
            adam: self.optimisers.iter().map(|(player, o)| Ok((*player, adam(o)?))).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests;

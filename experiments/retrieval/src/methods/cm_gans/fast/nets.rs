//! The networks' parameters, loaded from and stored to a [`State`].

use super::{buffers::Gradient, parameter::Parameter, step::Stepping};
use crate::{
    error::{Error, Result},
    methods::cm_gans::{
        form::Modality,
        layout,
        settings::{Activation, Settings, Sizes, SoftmaxHead, WeightSharing},
        state::{Array, Player, State, Tensors},
    },
    nn::{gemm::SimdLevel, real::Real},
};

/// Both modalities, in the order of every pair in this form.
pub(super) const BOTH: [Modality; 2] = [Modality::Image, Modality::Text];

/// A linear layer.
#[derive(Debug)]
pub(super) struct Dense<T> {
    pub(super) weight: Parameter<T>,
    pub(super) bias: Parameter<T>,
}

/// A linear layer with batch norm and activation behind it. The norm takes the mean away, so the bias
/// only shows in the running mean and has gradient zero (identity 7): it is neither added nor stepped.
#[derive(Debug)]
pub(super) struct Normed<T> {
    pub(super) weight: Parameter<T>,
    pub(super) bias: Parameter<T>,
    pub(super) gamma: Parameter<T>,
    pub(super) beta: Parameter<T>,
}

/// What one modality's generator has for itself.
#[derive(Debug)]
pub(super) struct Side<T> {
    pub(super) enc1: Normed<T>,
    pub(super) dec1: Normed<T>,
    pub(super) dec2: Dense<T>,
    /// Running mean and variance of both encoder layers.
    pub(super) running: [Running<T>; 2],
}

/// Running statistics of one encoder layer of one modality.
#[derive(Debug)]
pub(super) struct Running<T> {
    pub(super) mean: Vec<T>,
    pub(super) variance: Vec<T>,
}

/// An inter-modality discriminator.
#[derive(Debug)]
pub(super) struct Inter<T> {
    pub(super) hidden: Normed<T>,
    pub(super) out: Dense<T>,
}

/// All players. Pairs are image, text.
#[derive(Debug)]
pub(super) struct Nets<T> {
    pub(super) sides: [Side<T>; 2],
    /// One second encoder layer when tied, else two.
    pub(super) enc2: Vec<Normed<T>>,
    /// One softmax head when shared, else two.
    pub(super) heads: Vec<Dense<T>>,
    /// D_I and D_T, or none.
    pub(super) intra: Vec<Dense<T>>,
    /// D_CI and D_CT, or none.
    pub(super) inter: Vec<Inter<T>>,
    /// Adam steps taken, in the order of [`Player::ALL`].
    steps: [u64; 6],
    pub(super) settings: Settings,
    pub(super) sizes: Sizes,
}

fn dense<T: Real>(state: &State<T>, prefix: &str) -> Result<Dense<T>> {
    let load = |part: &str| Parameter::load(state, &format!("{prefix}.{part}"));
    Ok(Dense { weight: load("weight")?, bias: load("bias")? })
}

fn normed<T: Real>(state: &State<T>, prefix: &str) -> Result<Normed<T>> {
    let load = |part: &str| Parameter::load(state, &format!("{prefix}.{part}"));
    Ok(Normed { weight: load("weight")?, bias: load("bias")?, gamma: load("gamma")?, beta: load("beta")? })
}

fn running<T: Real>(state: &State<T>, prefix: &str) -> Result<Running<T>> {
    let load = |part: &str| {
        let name = format!("{prefix}.{part}");
        let found = state.running.get(&name).map(|array| array.data.clone());
        found.ok_or_else(|| Error::Data(format!("the training state has no running statistics {name}")))
    };
    Ok(Running { mean: load("mean")?, variance: load("var")? })
}

fn side<T: Real>(state: &State<T>, modality: Modality) -> Result<Side<T>> {
    let name = modality.name();
    Ok(Side {
        enc1: normed(state, &format!("{name}.enc1"))?,
        dec1: normed(state, &format!("{name}.dec1"))?,
        dec2: dense(state, &format!("{name}.dec2"))?,
        running: [running(state, &format!("{name}.enc1"))?, running(state, &format!("{name}.enc2"))?],
    })
}

impl<T: Real> Normed<T> {
    /// Steps gamma and beta.
    pub(super) fn step_norm(&mut self, level: SimdLevel, stepping: Stepping<T>, gradient: &Gradient<T>) {
        let Stepping { player, adam, watched } = stepping;
        self.gamma.step(player, watched).apply(level, adam, &gradient.gamma);
        self.beta.step(player, watched).apply(level, adam, &gradient.beta);
    }
}

impl<T: Real> Nets<T> {
    /// Takes over a state.
    ///
    /// # Errors
    /// Names the tensor that the state lacks or holds in another shape.
    pub(super) fn load(settings: &Settings, sizes: Sizes, state: &State<T>) -> Result<Self> {
        layout::check(state, settings, sizes)?;
        let single = |shared: bool| if shared { &BOTH[..1] } else { &BOTH[..] };
        let enc2 = single(settings.weight_sharing == WeightSharing::Tied).iter();
        let heads = single(settings.softmax_head == SoftmaxHead::Shared).iter();
        let intra = if settings.judges_reconstructions() { &["d_i", "d_t"][..] } else { &[] };
        let inter = if settings.adversarial { &["d_ci", "d_ct"][..] } else { &[] };
        Ok(Self {
            sides: [side(state, Modality::Image)?, side(state, Modality::Text)?],
            enc2: enc2.map(|&m| normed(state, layout::enc2(settings, m))).collect::<Result<_>>()?,
            heads: heads.map(|&m| dense(state, layout::head(settings, m))).collect::<Result<_>>()?,
            intra: intra.iter().map(|name| dense(state, name)).collect::<Result<_>>()?,
            inter: inter
                .iter()
                .map(|name| {
                    let hidden = normed(state, &format!("{name}.hidden"))?;
                    Ok(Inter { hidden, out: dense(state, &format!("{name}.out"))? })
                })
                .collect::<Result<_>>()?,
            steps: Player::ALL.map(|player| state.adam.get(&player).map_or(0, |adam| adam.step)),
            settings: settings.clone(),
            sizes,
        })
    }

    /// Everything as plain numbers.
    pub(super) fn state(&self) -> State<T> {
        let mut state =
            State { weights: Tensors::new(), running: Tensors::new(), adam: std::collections::BTreeMap::new() };
        self.each_parameter(|parameter| parameter.store(&mut state));
        for (player, step) in Player::ALL.into_iter().zip(self.steps) {
            if let Some(adam) = state.adam.get_mut(&player) {
                adam.step = step;
            }
        }
        for (modality, side) in BOTH.into_iter().zip(&self.sides) {
            for (layer, running) in ["enc1", "enc2"].into_iter().zip(&side.running) {
                for (part, data) in [("mean", &running.mean), ("var", &running.variance)] {
                    let array = Array { shape: vec![data.len()], data: data.clone() };
                    state.running.insert(format!("{}.{layer}.{part}", modality.name()), array);
                }
            }
        }
        state
    }

    /// The gradients of `player`'s last step.
    pub(super) fn gradients(&self, player: Player) -> Tensors<T> {
        let mut gradients = Tensors::new();
        self.each_parameter(|parameter| parameter.store_gradient(player, &mut gradients));
        gradients
    }

    fn each_parameter(&self, mut visit: impl FnMut(&Parameter<T>)) {
        let of_sides = self.sides.iter();
        let normed = of_sides.clone().flat_map(|side| [&side.enc1, &side.dec1]);
        let normed = normed.chain(&self.enc2).chain(self.inter.iter().map(|inter| &inter.hidden));
        normed
            .for_each(|layer| [&layer.weight, &layer.bias, &layer.gamma, &layer.beta].into_iter().for_each(&mut visit));
        let dense = of_sides.map(|side| &side.dec2).chain(&self.heads).chain(&self.intra);
        let dense = dense.chain(self.inter.iter().map(|inter| &inter.out));
        dense.for_each(|layer| [&layer.weight, &layer.bias].into_iter().for_each(&mut visit));
    }

    /// Counts one more Adam step of `player`, and gives its number.
    pub(super) fn next_step(&mut self, player: Player) -> u64 {
        let step = &mut self.steps[player as usize];
        *step += 1;
        *step
    }

    /// Slope of the activation below zero (spec A.10).
    pub(super) fn slope(&self) -> T {
        T::of(match self.settings.activation {
            Activation::Relu => 0.0,
            Activation::LeakyRelu => 0.2,
        })
    }

    /// Where a modality's second encoder layer stands in `enc2`.
    pub(super) fn enc2_of(&self, side: usize) -> usize {
        side.min(self.enc2.len() - 1)
    }

    /// Where a modality's head stands in `heads`.
    pub(super) fn head_of(&self, side: usize) -> usize {
        side.min(self.heads.len() - 1)
    }
}

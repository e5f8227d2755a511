//! Trained tensors by name, and the two rules by which a loss moves them: gradient descent with momentum and Adam.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    adam::correction,
    exact::affine,
    fused::Update,
    kept::{Kept, named},
    stack::{Activation, Layer},
    stream::Stream,
};
use crate::{checkpoint::NamedTensor, error::Result};

/// Adam's usual constants (Kingma and Ba 2015).
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Names of what a rule remembers of a tensor.
const VELOCITY: &str = "velocity";
const FIRST: &str = "m";
const SECOND: &str = "v";

/// How one step is made from the gradient `g` of a tensor `w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Descent {
    /// `u = momentum u + rate (g + decay w)`, `w -= u`. Biases move at `bias_rate` times the rate and do not decay.
    Momentum {
        /// Learning rate.
        rate: f64,
        /// Share of the last step that is made again.
        momentum: f64,
        /// L2 penalty of weights.
        decay: f64,
        /// Factor of the rate of biases.
        bias_rate: f64,
    },
    /// Adam with betas 0.9 and 0.999 on `g + decay w`; biases do not decay.
    Adam {
        /// Learning rate.
        rate: f64,
        /// L2 penalty of weights.
        decay: f64,
    },
}

/// How the weights of a layer start; biases start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Normal with standard deviation `1 / sqrt(inputs)` (spec C.6).
    Normal,
    /// Normal with variance `2 / inputs`, for rectified layers (He et al. 2015).
    He,
    /// Uniform in `±sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010).
    Xavier,
    /// All 0, for a convex problem.
    Zero,
}

impl Start {
    #[allow(clippy::cast_precision_loss)] // sizes of layers
    fn draw(self, inputs: usize, outputs: usize, stream: &mut Stream) -> f64 {
        let (fan_in, both) = (inputs as f64, (inputs + outputs) as f64);
        match self {
            Self::Normal => stream.normal() / fan_in.sqrt(),
            Self::He => stream.normal() * (2.0 / fan_in).sqrt(),
            Self::Xavier => {
                let edge = (6.0 / both).sqrt();
                stream.uniform_in(-edge, edge)
            }
            Self::Zero => 0.0,
        }
    }
}

/// Layers that learn, on one device: `NAME.weight` (inputs x outputs) and `NAME.bias` (outputs).
#[derive(Debug)]
pub struct Learner {
    device: Device,
    dtype: DType,
    weights: BTreeMap<String, Var>,
    /// What the rule remembers, by tensor and name; made when first needed.
    memory: BTreeMap<String, Tensor>,
}

impl Learner {
    /// Nothing yet, on a device, in f32 (training) or f64 (exact checks).
    #[must_use]
    pub fn new(device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtype, weights: BTreeMap::new(), memory: BTreeMap::new() }
    }

    /// A layer of that name, its weights from the stream `init NAME` of the run's seed.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_layer(&mut self, name: &str, (inputs, outputs): (usize, usize), start: Start, seed: u64) -> Result<()> {
        let mut stream = Stream::new(seed, &format!("init {name}"), 0);
        let values: Vec<f64> = (0..inputs * outputs).map(|_| start.draw(inputs, outputs, &mut stream)).collect();
        let weight = Tensor::from_vec(values, (inputs, outputs), &Device::Cpu)?.to_dtype(self.dtype)?;
        self.add(format!("{name}.weight"), &weight)?;
        self.add(format!("{name}.bias"), &Tensor::zeros(outputs, self.dtype, &Device::Cpu)?)
    }

    fn add(&mut self, name: String, value: &Tensor) -> Result<()> {
        // A copy: two names never share what a step changes.
        let value = value.to_device(&self.device)?.to_dtype(self.dtype)?.copy()?;
        self.weights.insert(name, Var::from_tensor(&value)?);
        Ok(())
    }

    /// A trained tensor.
    ///
    /// # Panics
    /// If there is none of that name: a broken invariant of the method. So does [`Learner::affine`].
    #[must_use]
    pub fn weight(&self, name: &str) -> &Tensor {
        self.weights.get(name).unwrap_or_else(|| panic!("no layer has a tensor {name}")).as_tensor()
    }

    /// `x W + b` of a layer: `[n, inputs]` to `[n, outputs]`, with gradients.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn affine(&self, layer: &str, x: &Tensor) -> Result<Tensor> {
        affine(x, self.weight(&format!("{layer}.weight")), self.weight(&format!("{layer}.bias")))
    }

    /// A layer as it is now, to be kept and used without gradients.
    ///
    /// # Errors
    /// When the device has no room for the copy.
    pub fn layer(&self, name: &str, activation: Activation) -> Result<Layer> {
        let copy = |part: &str| -> Result<Tensor> { Ok(self.weight(&format!("{name}.{part}")).copy()?.detach()) };
        Ok(Layer { weight: copy("weight")?, bias: copy("bias")?, activation })
    }

    /// One step down the gradient of `loss`, of every tensor that the loss depends on; gives the loss. `update` counts
    /// the steps of these tensors from 1.
    ///
    /// # Errors
    /// When candle refuses.
    pub fn descend(&mut self, loss: &Tensor, descent: Descent, update: u64) -> Result<f64> {
        let gradients = loss.backward()?;
        let names: Vec<String> = self.weights.keys().cloned().collect();
        for name in names {
            if let Some(gradient) = gradients.get(&self.weights[&name]) {
                self.step(&name, gradient, descent, update)?;
            }
        }
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }

    fn step(&mut self, name: &str, gradient: &Tensor, descent: Descent, update: u64) -> Result<()> {
        if self.device.is_cpu() {
            self.fused_step(name, gradient, descent, update)
        } else {
            self.plain_step(name, gradient, descent, update)
        }
    }

    /// [`Learner::plain_step`] in one pass a tensor.
    fn fused_step(&mut self, name: &str, gradient: &Tensor, descent: Descent, update: u64) -> Result<()> {
        let is_bias = name.rsplit('.').next() == Some("bias");
        let weight = self.weights[name].as_tensor().detach();
        match descent {
            Descent::Momentum { rate, momentum, decay, bias_rate } => {
                let (rate, decay) = if is_bias { (rate * bias_rate, 0.0) } else { (rate, decay) };
                let velocity = self.remembered(name, VELOCITY)?;
                Update::Velocity { momentum, rate, decay }.apply(&velocity, gradient, &weight)?;
                Update::Add { sign: -1.0 }.apply(&weight, &velocity, &velocity)?;
                self.remember(name, VELOCITY, &velocity);
            }
            Descent::Adam { rate, decay } => {
                let decay = if is_bias { 0.0 } else { decay };
                let (first, second) = (self.remembered(name, FIRST)?, self.remembered(name, SECOND)?);
                Update::First { keep: BETA_1, decay }.apply(&first, gradient, &weight)?;
                Update::Second { keep: BETA_2, decay }.apply(&second, gradient, &weight)?;
                let (of_first, of_second) = (correction(BETA_1, update), correction(BETA_2, update));
                let step = Update::Adam { rate, first: of_first, second: of_second, epsilon: EPSILON };
                step.apply(&weight, &first, &second)?;
                self.remember(name, FIRST, &first);
                self.remember(name, SECOND, &second);
            }
        }
        Ok(())
    }

    /// The rules as they are written, on any device: the reference of the fused one.
    fn plain_step(&mut self, name: &str, gradient: &Tensor, descent: Descent, update: u64) -> Result<()> {
        let weight = self.weights[name].as_tensor().detach();
        let is_bias = name.rsplit('.').next() == Some("bias");
        let decayed = |decay: f64| -> Result<Tensor> {
            Ok(if is_bias || decay == 0.0 { gradient.clone() } else { (gradient + (&weight * decay)?)? })
        };
        let step = match descent {
            Descent::Momentum { rate, momentum, decay, bias_rate } => {
                let rate = if is_bias { rate * bias_rate } else { rate };
                let last = (self.remembered(name, VELOCITY)? * momentum)?;
                let velocity = (last + (decayed(decay)? * rate)?)?;
                self.remember(name, VELOCITY, &velocity);
                velocity
            }
            Descent::Adam { rate, decay } => {
                let gradient = decayed(decay)?;
                let first = ((self.remembered(name, FIRST)? * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
                let second = ((self.remembered(name, SECOND)? * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
                let root = ((&second / correction(BETA_2, update))?.sqrt()? + EPSILON)?;
                let step = (((&first / correction(BETA_1, update))? / root)? * rate)?;
                self.remember(name, FIRST, &first);
                self.remember(name, SECOND, &second);
                step
            }
        };
        self.weights[name].set(&(weight - step)?)?;
        Ok(())
    }

    fn remembered(&self, name: &str, what: &str) -> Result<Tensor> {
        match self.memory.get(&format!("{name}.{what}")) {
            Some(tensor) => Ok(tensor.clone()),
            None => Ok(self.weight(name).zeros_like()?),
        }
    }

    fn remember(&mut self, name: &str, what: &str, value: &Tensor) {
        self.memory.insert(format!("{name}.{what}"), value.detach());
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        let weights = self.weights.iter().map(|(name, weight)| named(name, weight.as_tensor()));
        weights.chain(self.memory.iter().map(|(name, tensor)| named(name, tensor))).collect()
    }

    /// Puts every tensor where [`Learner::state`] was taken.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.memory.clear();
        for (name, weight) in &self.weights {
            weight.set(&kept.take(name, weight)?)?;
            for what in [VELOCITY, FIRST, SECOND].map(|what| format!("{name}.{what}")) {
                if kept.has(&what) {
                    self.memory.insert(what.clone(), kept.take(&what, weight)?);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Device = Device::Cpu;

    fn toy() -> Learner {
        let mut learner = Learner::new(&CPU, DType::F64);
        learner.add_layer("one", (1, 1), Start::Zero, 1).unwrap();
        learner.add_layer("idle", (2, 3), Start::Normal, 1).unwrap();
        learner.weights["one.weight"].set(&Tensor::new(&[[2.0f64]], &CPU).unwrap()).unwrap();
        learner
    }

    fn values(learner: &Learner) -> [f64; 2] {
        ["one.weight", "one.bias"].map(|name| learner.weight(name).flatten_all().unwrap().to_vec1().unwrap()[0])
    }

    /// `3 w + b`, so the gradient of the weight is 3 and that of the bias 1.
    fn loss(learner: &Learner) -> Tensor {
        learner.affine("one", &Tensor::new(&[[3.0f64]], &CPU).unwrap()).unwrap().sum_all().unwrap()
    }

    #[test]
    fn momentum_by_hand() {
        let mut learner = toy();
        let descent = Descent::Momentum { rate: 0.1, momentum: 0.5, decay: 0.2, bias_rate: 2.0 };
        let told = learner.descend(&loss(&learner), descent, 1).unwrap();
        assert!((told - 6.0).abs() < 1e-15);
        // Weight: u = 0.1 (3 + 0.2 * 2) = 0.34; bias: u = 0.2.
        let [weight, bias] = values(&learner);
        assert!((weight - 1.66).abs() < 1e-15 && (bias + 0.2).abs() < 1e-15, "{weight} {bias}");
        learner.descend(&loss(&learner), descent, 2).unwrap();
        // u = 0.17 + 0.1 (3 + 0.2 * 1.66); bias: u = 0.1 + 0.2.
        let [weight, bias] = values(&learner);
        assert!((weight - (1.66 - 0.5032)).abs() < 1e-14 && (bias + 0.5).abs() < 1e-14, "{weight} {bias}");
    }

    #[test]
    fn adam_by_hand() {
        let mut learner = toy();
        let descent = Descent::Adam { rate: 0.1, decay: 0.5 };
        // The first step of Adam is the rate times the sign, whatever the gradient.
        learner.descend(&loss(&learner), descent, 1).unwrap();
        let [weight, bias] = values(&learner);
        assert!((weight - 1.9).abs() < 1e-8 && (bias + 0.1).abs() < 1e-8, "{weight} {bias}");
        let (g1, g2) = (3.0 + 0.5 * 2.0, 3.0 + 0.5 * weight);
        let first = (0.9 * 0.1 * g1 + 0.1 * g2) / (1.0 - 0.81);
        let second: f64 = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999 * 0.999);
        learner.descend(&loss(&learner), descent, 2).unwrap();
        let wanted = weight - 0.1 * first / (second.sqrt() + 1e-8);
        assert!((values(&learner)[0] - wanted).abs() < 1e-13);
    }

    #[test]
    fn the_fused_step_is_the_plain_one() {
        for descent in [
            Descent::Momentum { rate: 0.1, momentum: 0.5, decay: 0.2, bias_rate: 2.0 },
            Descent::Adam { rate: 0.1, decay: 0.5 },
        ] {
            let (mut fused, mut plain) = (toy(), toy());
            for update in 1..=4 {
                let slope = Tensor::new(&[[0.3f64 - 0.2 * f64::from(u8::try_from(update).unwrap())]], &CPU).unwrap();
                for (name, slope) in [("one.weight", slope.clone()), ("one.bias", slope.squeeze(0).unwrap())] {
                    fused.fused_step(name, &slope, descent, update).unwrap();
                    plain.plain_step(name, &slope, descent, update).unwrap();
                }
                let apart = values(&fused).iter().zip(values(&plain)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(apart < 1e-15, "{descent:?} {update}: {apart}");
            }
        }
    }

    #[test]
    fn what_the_loss_does_not_depend_on_does_not_move_and_a_state_comes_back() {
        let idle = |learner: &Learner| learner.weight("idle.weight").to_vec2::<f64>().unwrap();
        let descent = Descent::Momentum { rate: 0.1, momentum: 0.5, decay: 0.2, bias_rate: 1.0 };
        let (mut learner, before) = (toy(), idle(&toy()));
        learner.descend(&loss(&learner), descent, 1).unwrap();
        assert_eq!(idle(&learner), before);
        let state = learner.state().unwrap();
        learner.descend(&loss(&learner), descent, 2).unwrap();
        let mut again = toy();
        let mut kept = Kept::new(state, &CPU);
        again.restore(&mut kept).unwrap();
        kept.finish().unwrap();
        again.descend(&loss(&again), descent, 2).unwrap();
        assert_eq!(values(&again).map(f64::to_bits), values(&learner).map(f64::to_bits));
    }

    #[test]
    fn layers_start_with_their_spread() {
        for (start, variance) in [(Start::Normal, 1.0 / 60.0), (Start::He, 2.0 / 60.0), (Start::Xavier, 2.0 / 160.0)] {
            let mut learner = Learner::new(&CPU, DType::F32);
            learner.add_layer("x", (60, 100), start, 5).unwrap();
            let values: Vec<f32> = learner.weight("x.weight").flatten_all().unwrap().to_vec1().unwrap();
            let spread = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 6000.0;
            assert!((spread / variance - 1.0).abs() < 0.06, "{start:?}: {spread} {variance}");
        }
    }
}

//! Restricted Boltzmann machines trained by one step of contrastive divergence (Hinton 2002; settings of spec C.6).
//!
//! Hidden units are logistic. Visible units are logistic, or Gaussian of unit variance for standardised features.

use candle_core::{DType, Device, Tensor};

use super::{
    exact::{affine, logistic, product},
    fused::Update,
    kept::{Kept, named},
    schedule::{decayed, rising_momentum},
    stack::{Activation, Layer},
    stream::Stream,
};
use crate::{checkpoint::NamedTensor, error::Result};

/// Distribution of the visible units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Unit variance around a linear mean.
    Gaussian,
    /// 0 or 1.
    Logistic,
}

/// Settings of the training of one machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Distribution of the visible units.
    pub visible: Visible,
    /// Rate of the first step; that of a step is `rate / (1 + step / 10,000)`.
    pub rate: f64,
    /// L2 penalty of the weights.
    pub decay: f64,
    /// Steps over which the momentum rises from 0.5 to 0.9.
    pub momentum_steps: u64,
    /// Mean activation that hidden units are drawn to, and how strongly; none for no such pull.
    pub sparsity: Option<Sparsity>,
}

/// A pull of each hidden unit's mean activation over the batch towards a target, on its bias alone (Lee et al. 2008).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparsity {
    /// Mean activation wanted.
    pub target: f64,
    /// Factor of the difference.
    pub cost: f64,
}

/// A machine: `p(h = 1 | v) = logistic(v W + c)`, mean of v given h = `h W' + b`, through a logistic unless Gaussian.
#[derive(Debug)]
pub struct Machine {
    name: String,
    settings: Settings,
    /// Visible x hidden.
    weight: Tensor,
    /// Visible.
    visible_bias: Tensor,
    /// Hidden.
    hidden_bias: Tensor,
    /// Last step of each of the three.
    velocities: [Tensor; 3],
}

impl Machine {
    /// A machine of that name: weights normal with standard deviation `1 / sqrt(visible units)`, biases 0.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        name: &str,
        (visible, hidden): (usize, usize),
        settings: Settings,
        seed: u64,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let mut stream = Stream::new(seed, &format!("init {name}"), 0);
        #[allow(clippy::cast_precision_loss)] // sizes of layers
        let deviation = 1.0 / (visible as f64).sqrt();
        let values: Vec<f64> = (0..visible * hidden).map(|_| deviation * stream.normal()).collect();
        let weight = Tensor::from_vec(values, (visible, hidden), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
        let visible_bias = Tensor::zeros(visible, dtype, device)?;
        let hidden_bias = Tensor::zeros(hidden, dtype, device)?;
        let velocities = [weight.zeros_like()?, visible_bias.zeros_like()?, hidden_bias.zeros_like()?];
        Ok(Self { name: name.into(), settings, weight, visible_bias, hidden_bias, velocities })
    }

    /// Probabilities of the hidden units: `[n, visible]` to `[n, hidden]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn hidden(&self, visible: &Tensor) -> Result<Tensor> {
        logistic(&affine(visible, &self.weight, &self.hidden_bias)?)
    }

    /// Means of the visible units: `[n, hidden]` to `[n, visible]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn visible(&self, hidden: &Tensor) -> Result<Tensor> {
        let sums = affine(hidden, &self.weight.t()?, &self.visible_bias)?;
        match self.settings.visible {
            Visible::Gaussian => Ok(sums),
            Visible::Logistic => logistic(&sums),
        }
    }

    /// One step of contrastive divergence on the rows of a batch, counted from 1; gives the mean squared difference
    /// between the rows and their reconstruction. The hidden units are sampled once, by the stream `NAME hidden` of
    /// the run's seed at this step; means stand for v1 and h1.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn step(&mut self, v0: &Tensor, step: u64, seed: u64) -> Result<f64> {
        let h0 = self.hidden(v0)?;
        let mut stream = Stream::new(seed, &format!("{} hidden", self.name), step);
        let draws: Vec<f64> = (0..h0.elem_count()).map(|_| stream.uniform()).collect();
        let draws = Tensor::from_vec(draws, h0.shape(), &Device::Cpu)?.to_dtype(h0.dtype())?.to_device(h0.device())?;
        let sampled = h0.gt(&draws)?.to_dtype(h0.dtype())?;
        let v1 = self.visible(&sampled)?;
        self.follow(v0, &h0, &v1, &self.hidden(&v1)?, step)?;
        Ok((v0 - v1)?.sqr()?.mean_all()?.to_dtype(DType::F64)?.to_scalar()?)
    }

    /// `velocity = momentum velocity + rate (gradient - decay W)`, then the step (spec C.6).
    fn follow(&mut self, v0: &Tensor, h0: &Tensor, v1: &Tensor, h1: &Tensor, step: u64) -> Result<()> {
        #[allow(clippy::cast_precision_loss)] // rows of a batch
        let share = 1.0 / v0.dim(0)? as f64;
        let settings = self.settings;
        let rate = decayed(settings.rate, step);
        let momentum = rising_momentum(step, settings.momentum_steps);
        let weight = ((product(&v0.t()?, h0)? - product(&v1.t()?, h1)?)? * share)?;
        let weight = (weight - (&self.weight * settings.decay)?)?;
        let visible = (v0.mean(0)? - v1.mean(0)?)?;
        let active = h0.mean(0)?;
        let mut hidden = (&active - h1.mean(0)?)?;
        if let Some(Sparsity { target, cost }) = settings.sparsity {
            hidden = (hidden - ((active - target)? * cost)?)?;
        }
        let values = [&mut self.weight, &mut self.visible_bias, &mut self.hidden_bias];
        for ((value, velocity), gradient) in values.into_iter().zip(&mut self.velocities).zip([weight, visible, hidden])
        {
            if value.device().is_cpu() {
                Update::Velocity { momentum, rate, decay: 0.0 }.apply(velocity, &gradient, &gradient)?;
                Update::Add { sign: 1.0 }.apply(value, velocity, velocity)?;
            } else {
                *velocity = ((&*velocity * momentum)? + (gradient * rate)?)?;
                *value = (&*value + &*velocity)?;
            }
        }
        Ok(())
    }

    /// The way up, as a layer of its own: further steps do not change it.
    ///
    /// # Errors
    /// When the device has no room for the copy.
    pub fn upward(&self) -> Result<Layer> {
        Ok(Layer { weight: self.weight.copy()?, bias: self.hidden_bias.copy()?, activation: Activation::Logistic })
    }

    /// The weights (visible x hidden), the visible and the hidden biases, as they are and go on changing.
    #[must_use]
    pub fn parts(&self) -> [&Tensor; 3] {
        [&self.weight, &self.visible_bias, &self.hidden_bias]
    }

    fn names(&self) -> [String; 6] {
        let all = ["weight", "visible", "hidden", "weight.velocity", "visible.velocity", "hidden.velocity"];
        all.map(|part| format!("{}.{part}", self.name))
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        let tensors = self.parts().into_iter().chain(&self.velocities);
        self.names().into_iter().zip(tensors).map(|(name, tensor)| named(name, tensor)).collect()
    }

    /// Puts the machine where [`Machine::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        let names = self.names();
        let values = [&mut self.weight, &mut self.visible_bias, &mut self.hidden_bias];
        for (tensor, name) in values.into_iter().chain(&mut self.velocities).zip(&names) {
            *tensor = kept.take(name, tensor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Device = Device::Cpu;
    const PLAIN: Settings =
        Settings { visible: Visible::Logistic, rate: 0.1, decay: 0.0, momentum_steps: 0, sparsity: None };

    fn machine(settings: Settings) -> Machine {
        Machine::new("toy", (3, 2), settings, 9, (&CPU, DType::F64)).unwrap()
    }

    fn rows() -> Tensor {
        Tensor::new(&[[1.0f64, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]], &CPU).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn logistic_of(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// One step written out in loops, from the machine's own weights and the draws of its stream.
    #[test]
    fn a_step_is_the_formula_of_the_spec() {
        for visible in [Visible::Logistic, Visible::Gaussian] {
            let sparsity = Some(Sparsity { target: 0.2, cost: 0.3 });
            let settings = Settings { visible, decay: 0.05, momentum_steps: 10, sparsity, ..PLAIN };
            let mut machine = machine(settings);
            let (w, x) = (values(&machine.weight), values(&rows()));
            let mut stream = Stream::new(4, "toy hidden", 1);
            let (mut dw, mut db, mut dc, mut error) = ([0.0; 6], [0.0; 3], [0.0; 2], 0.0);
            for n in 0..4 {
                let up = |v: &[f64], j: usize| logistic_of((0..3).map(|i| v[i] * w[i * 2 + j]).sum());
                let v0 = &x[n * 3..n * 3 + 3];
                let h0 = [up(v0, 0), up(v0, 1)];
                let h: Vec<f64> = h0.iter().map(|&p| if p > stream.uniform() { 1.0 } else { 0.0 }).collect();
                let down = |i: usize| h[0] * w[i * 2] + h[1] * w[i * 2 + 1];
                let mean = |i: usize| if visible == Visible::Gaussian { down(i) } else { logistic_of(down(i)) };
                let v1 = [mean(0), mean(1), mean(2)];
                let h1 = [up(&v1, 0), up(&v1, 1)];
                for i in 0..3 {
                    error += (v0[i] - v1[i]).powi(2) / 12.0;
                    db[i] += (v0[i] - v1[i]) / 4.0;
                    (0..2).for_each(|j| dw[i * 2 + j] += (v0[i] * h0[j] - v1[i] * h1[j]) / 4.0);
                }
                (0..2).for_each(|j| dc[j] += (h0[j] - h1[j]) / 4.0 - 0.3 * (h0[j] - 0.2) / 4.0);
            }
            assert!((machine.step(&rows(), 1, 4).unwrap() - error).abs() < 1e-14);
            for (k, got) in values(&machine.weight).iter().enumerate() {
                assert!((got - (w[k] + 0.1 * (dw[k] - 0.05 * w[k]))).abs() < 1e-14, "{visible:?} {k}");
            }
            assert!(values(&machine.visible_bias).iter().zip(db).all(|(got, d)| (got - 0.1 * d).abs() < 1e-14));
            assert!(values(&machine.hidden_bias).iter().zip(dc).all(|(got, d)| (got - 0.1 * d).abs() < 1e-14));
        }
    }

    #[test]
    fn it_learns_to_reconstruct_and_a_state_goes_on_to_the_same_bits() {
        let mut trained = Machine::new("toy", (3, 8), PLAIN, 9, (&CPU, DType::F64)).unwrap();
        let first = trained.step(&rows(), 1, 4).unwrap();
        let mut states = Vec::new();
        for step in 2..=600 {
            trained.step(&rows(), step, 4).unwrap();
            if step == 300 {
                states = trained.state().unwrap();
            }
        }
        let last = values(&(rows() - trained.visible(&trained.hidden(&rows()).unwrap()).unwrap()).unwrap());
        let last = last.iter().map(|d| d * d).sum::<f64>() / 12.0;
        assert!(last < 0.25 * first, "{first} {last}");
        let mut again = Machine::new("toy", (3, 8), PLAIN, 1, (&CPU, DType::F64)).unwrap();
        let mut kept = Kept::new(states, &CPU);
        again.restore(&mut kept).unwrap();
        kept.finish().unwrap();
        for step in 301..=600 {
            again.step(&rows(), step, 4).unwrap();
        }
        let bits =
            |it: &Machine| it.parts().map(|tensor| values(tensor).into_iter().map(f64::to_bits).collect::<Vec<_>>());
        assert_eq!(bits(&again), bits(&trained));
    }
}

//! Two coders whose codes of a pair are drawn together while decoders rebuild both sides (spec C.6).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    methods::rbm_stacks::Inputs,
    nn::{
        kept::Kept,
        learner::{Descent, Learner, Start},
        losses::half_squares,
        schedule::{decayed, rising_momentum},
        stack::{Activation, Layer},
    },
};

/// Steps over which the momentum rises from 0.5 to 0.9.
const MOMENTUM_STEPS: u64 = 10_000;

/// Which side is rebuilt from which code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Each side from its own code.
    CorrAe,
    /// Each side from the other's code.
    Cross,
    /// Both sides from either code.
    Full,
}

impl Variant {
    /// (code, side) of every decoder; 0 is the image, 1 the text.
    fn decoders(self) -> &'static [(usize, usize)] {
        match self {
            Self::CorrAe => &[(0, 0), (1, 1)],
            Self::Cross => &[(1, 0), (0, 1)],
            Self::Full => &[(0, 0), (0, 1), (1, 0), (1, 1)],
        }
    }
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Which side is rebuilt from which code.
    pub variant: Variant,
    /// Weight of the distance of the codes; the errors of rebuilding have `1 - alpha`.
    pub alpha: f64,
    /// Columns of the inputs of image and text.
    pub inputs: [usize; 2],
    /// Units of the codes, and of the layer before them where there is one.
    pub hidden: usize,
    /// Inputs come from pretrained logistic layers: one coding layer, logistic decoders. Otherwise they are the
    /// standardised features: two coding layers, linear decoders.
    pub pretrained: bool,
    /// Rate of the first step.
    pub rate: f64,
    /// L2 penalty of the weights.
    pub decay: f64,
}

const SIDES: [&str; 2] = ["image", "text"];

/// The network under training.
#[derive(Debug)]
pub struct CorrNet {
    /// Of image and text, with what tells this network's draws and tensors from others' of its method.
    names: [String; 2],
    plan: Plan,
    learner: Learner,
}

impl CorrNet {
    /// A network that has learnt nothing yet. Its names begin with `prefix`: it tells apart the networks of one method.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(prefix: &str, plan: Plan, seed: u64, (device, dtype): (&Device, DType)) -> Result<Self> {
        let mut learner = Learner::new(device, dtype);
        let names = SIDES.map(|side| format!("{prefix}{side}"));
        for (name, inputs) in names.iter().zip(plan.inputs) {
            let mut below = inputs;
            if !plan.pretrained {
                learner.add_layer(&format!("{name}.first"), (below, plan.hidden), Start::Normal, seed)?;
                below = plan.hidden;
            }
            learner.add_layer(&format!("{name}.code"), (below, plan.hidden), Start::Normal, seed)?;
        }
        for &(code, side) in plan.variant.decoders() {
            let name = decoder(&names[side], code);
            learner.add_layer(&name, (plan.hidden, plan.inputs[side]), Start::Normal, seed)?;
        }
        Ok(Self { names, plan, learner })
    }

    fn codes(&self, inputs: &Inputs) -> Result<[Tensor; 2]> {
        let code = |name: &str, x: &Tensor| -> Result<Tensor> {
            let mut x = x.clone();
            if !self.plan.pretrained {
                x = Activation::Logistic.of(&self.learner.affine(&format!("{name}.first"), &x)?)?;
            }
            Activation::Logistic.of(&self.learner.affine(&format!("{name}.code"), &x)?)
        };
        Ok([code(&self.names[0], &inputs.image)?, code(&self.names[1], &inputs.text)?])
    }

    /// `(1 - alpha)` times the errors of rebuilding plus `alpha` times the distance of the codes, each half the sum of
    /// squares over the dimensions, mean over the rows.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn loss(&self, inputs: &Inputs) -> Result<Tensor> {
        let (codes, sides) = (self.codes(inputs)?, [&inputs.image, &inputs.text]);
        let activation = if self.plan.pretrained { Activation::Logistic } else { Activation::Identity };
        let mut loss = (half_squares(&codes[0], &codes[1])? * self.plan.alpha)?;
        for &(code, side) in self.plan.variant.decoders() {
            let rebuilt = activation.of(&self.learner.affine(&decoder(&self.names[side], code), &codes[code])?)?;
            loss = (loss + (half_squares(&rebuilt, sides[side])? * (1.0 - self.plan.alpha))?)?;
        }
        Ok(loss)
    }

    /// One step, counted from 1, on the rows of a batch; gives the loss before it.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn step(&mut self, inputs: &Inputs, step: u64) -> Result<f64> {
        let descent = Descent::Momentum {
            rate: decayed(self.plan.rate, step),
            momentum: rising_momentum(step, MOMENTUM_STEPS),
            decay: self.plan.decay,
            bias_rate: 1.0,
        };
        self.learner.descend(&self.loss(inputs)?, descent, step)
    }

    /// The coding layers of image and text as they are now.
    ///
    /// # Errors
    /// When the device has no room for the copies.
    pub fn coders(&self) -> Result<[Vec<Layer>; 2]> {
        let layers = |name: &str| -> Result<Vec<Layer>> {
            let parts: &[&str] = if self.plan.pretrained { &["code"] } else { &["first", "code"] };
            parts.iter().map(|part| self.learner.layer(&format!("{name}.{part}"), Activation::Logistic)).collect()
        };
        Ok([layers(&self.names[0])?, layers(&self.names[1])?])
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        self.learner.state()
    }

    /// Puts the network where [`CorrNet::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)
    }
}

fn decoder(side: &str, code: usize) -> String {
    format!("{side}.from-{}", SIDES[code])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Device = Device::Cpu;

    fn tensor(rows: usize, columns: usize, salt: f64) -> Tensor {
        let values: Vec<f64> = (0..rows * columns)
            .map(|i| 0.5 + 0.4 * (f64::from(u32::try_from(i).unwrap()) * 1.7 + salt).sin())
            .collect();
        Tensor::from_vec(values, (rows, columns), &CPU).unwrap()
    }

    fn plan(variant: Variant, alpha: f64, pretrained: bool) -> Plan {
        Plan { variant, alpha, inputs: [4, 3], hidden: 2, pretrained, rate: 0.5, decay: 0.0 }
    }

    fn network(plan: Plan) -> CorrNet {
        CorrNet::new("", plan, 5, (&CPU, DType::F64)).unwrap()
    }

    fn inputs() -> Inputs {
        Inputs { image: tensor(5, 4, 0.3), text: tensor(5, 3, 1.1) }
    }

    fn value(tensor: &Tensor) -> f64 {
        tensor.to_scalar().unwrap()
    }

    /// A step of plain descent with rate r changes each weight by -r times its slope.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        for variant in [Variant::CorrAe, Variant::Cross, Variant::Full] {
            for pretrained in [true, false] {
                let mut network = network(plan(variant, 0.3, pretrained));
                let names: Vec<String> = network.state().unwrap().into_iter().map(|tensor| tensor.name).collect();
                let read = |network: &CorrNet, name: &str| -> Vec<f64> {
                    network.learner.weight(name).flatten_all().unwrap().to_vec1().unwrap()
                };
                let before: Vec<Vec<f64>> = names.iter().map(|name| read(&network, name)).collect();
                let moved = |name: &str, at: usize, by: f64| {
                    let mut other = self::network(plan(variant, 0.3, pretrained));
                    let mut state = other.state().unwrap();
                    let tensor = state.iter_mut().find(|tensor| tensor.name == name).unwrap();
                    let crate::checkpoint::Values::F64(values) = &mut tensor.values else { panic!("f64") };
                    values[at] += by;
                    other.restore(&mut Kept::new(state, &CPU)).unwrap();
                    value(&other.loss(&inputs()).unwrap())
                };
                let slopes: Vec<f64> =
                    names.iter().map(|name| (moved(name, 1, 1e-5) - moved(name, 1, -1e-5)) / 2e-5).collect();
                network.step(&inputs(), 1).unwrap();
                for ((name, before), slope) in names.iter().zip(before).zip(slopes) {
                    let step = (before[1] - read(&network, name)[1]) / 0.5;
                    assert!((step - slope).abs() < 1e-8, "{variant:?} {name}: {step} {slope}");
                }
            }
        }
    }

    #[test]
    fn the_loss_by_hand() {
        let network = network(plan(Variant::Cross, 0.25, true));
        let codes = network.codes(&inputs()).unwrap();
        let weight = |name: &str| network.learner.affine(name, &codes[usize::from(name.ends_with("text"))]).unwrap();
        let rebuilt = |name: &str| Activation::Logistic.of(&weight(name)).unwrap();
        let error = |a: &Tensor, b: &Tensor| {
            let squares: Vec<f64> = (a - b).unwrap().sqr().unwrap().flatten_all().unwrap().to_vec1().unwrap();
            squares.iter().sum::<f64>() / 2.0 / 5.0
        };
        let wanted = 0.25 * error(&codes[0], &codes[1])
            + 0.75 * error(&rebuilt("image.from-text"), &inputs().image)
            + 0.75 * error(&rebuilt("text.from-image"), &inputs().text);
        assert!((value(&network.loss(&inputs()).unwrap()) - wanted).abs() < 1e-14);
    }

    #[test]
    fn with_alpha_one_the_codes_of_pairs_meet_and_with_alpha_zero_the_sides_are_rebuilt() {
        for (alpha, variant) in [(1.0, Variant::CorrAe), (0.0, Variant::CorrAe), (0.0, Variant::Cross)] {
            let mut network = network(plan(variant, alpha, true));
            let first = value(&network.loss(&inputs()).unwrap());
            for step in 1..=300 {
                network.step(&inputs(), step).unwrap();
            }
            let last = value(&network.loss(&inputs()).unwrap());
            assert!(last < if alpha > 0.5 { 0.02 * first } else { 0.9 * first }, "{variant:?} {alpha}: {first} {last}");
        }
    }
}

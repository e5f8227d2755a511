//! The second stage of CCL: pairs of a class are drawn together, others pushed apart, and each modality keeps its
//! classes, over a shared layer of each modality (spec C.10, stage 2).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    methods::rbm_stacks::Inputs,
    nn::{
        exact::product,
        kept::Kept,
        layers::rectify,
        learner::{Descent, Learner, Start},
        losses::cross_entropy,
        stack::{Activation, Layer},
    },
};

const SIDES: [&str; 2] = ["image", "text"];
const MOMENTUM: f64 = 0.9;
const DECAY: f64 = 0.004;
/// Biases learn at double the rate.
const BIAS_RATE: f64 = 2.0;
/// Steps after which the rate is a tenth.
const TENTH_AFTER: u64 = 25_000;
/// The released backward pass is twice the gradient of the contrastive loss.
const CONTRASTIVE_WEIGHT: f64 = 2.0;
/// Added to squared distances before their root.
const LEAST_SQUARE: f64 = 1e-12;

/// The network under training.
#[derive(Debug)]
pub struct MultiTask {
    learner: Learner,
    rate: f64,
}

impl MultiTask {
    /// A network that has learnt nothing yet, over `inputs` columns of each side.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        [inputs, hidden, classes]: [usize; 3],
        rate: f64,
        seed: u64,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let mut learner = Learner::new(device, dtype);
        for name in SIDES {
            learner.add_layer(&format!("{name}.own"), (inputs, hidden), Start::Xavier, seed)?;
            learner.add_layer(&format!("{name}.fuse"), (hidden, hidden), Start::Xavier, seed)?;
            learner.add_layer(&format!("{name}.class"), (hidden, classes), Start::Xavier, seed)?;
        }
        Ok(Self { learner, rate })
    }

    /// The contrastive loss at its weight in the released code, and both class losses.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn loss(&self, inputs: &Inputs, labels: &[u32]) -> Result<Tensor> {
        let fused = |name: &str, x: &Tensor| -> Result<Tensor> {
            let own = Activation::Logistic.of(&self.learner.affine(&format!("{name}.own"), x)?)?;
            self.learner.affine(&format!("{name}.fuse"), &own)
        };
        let fused = [fused(SIDES[0], &inputs.image)?, fused(SIDES[1], &inputs.text)?];
        let codes = [Activation::Logistic.of(&fused[0])?, Activation::Logistic.of(&fused[1])?];
        let classes = Tensor::new(labels, inputs.image.device())?;
        let mut loss = (contrastive(&codes[0], &codes[1], labels)? * CONTRASTIVE_WEIGHT)?;
        for (name, fused) in SIDES.iter().zip(&fused) {
            let scores = self.learner.affine(&format!("{name}.class"), fused)?;
            loss = (loss + cross_entropy(&scores, &classes)?)?;
        }
        Ok(loss)
    }

    /// One step, counted from 1, on a batch; gives the loss before it.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn step(&mut self, inputs: &Inputs, labels: &[u32], step: u64) -> Result<f64> {
        let tenths = i32::try_from((step - 1) / TENTH_AFTER).unwrap_or(i32::MAX);
        let rate = self.rate * 0.1f64.powi(tenths);
        let descent = Descent::Momentum { rate, momentum: MOMENTUM, decay: DECAY, bias_rate: BIAS_RATE };
        self.learner.descend(&self.loss(inputs, labels)?, descent, step)
    }

    /// The two layers of each side that make its codes.
    ///
    /// # Errors
    /// When the device has no room for the copies.
    pub fn layers(&self) -> Result<[Vec<Layer>; 2]> {
        let of = |name: &str| -> Result<Vec<Layer>> {
            let layers = ["own", "fuse"].map(|part| format!("{name}.{part}"));
            layers.iter().map(|layer| self.learner.layer(layer, Activation::Logistic)).collect()
        };
        Ok([of(SIDES[0])?, of(SIDES[1])?])
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        self.learner.state()
    }

    /// Puts the network where [`MultiTask::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)
    }
}

/// Over all N x N combinations of an image and a text of the batch: the squared distance where the classes are the
/// same, else `max(0, 1 - distance)` squared; summed, over 2N.
///
/// # Errors
/// When the shapes do not fit.
#[allow(clippy::cast_precision_loss)] // rows of a batch
pub fn contrastive(image: &Tensor, text: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let rows = labels.len();
    let norms = |x: &Tensor| x.sqr()?.sum_keepdim(1);
    let crossed = (product(image, &text.t()?)? * -2.0)?;
    let squares = crossed.broadcast_add(&norms(image)?)?.broadcast_add(&norms(text)?.t()?)?;
    // Rounding may leave a square a little below 0.
    let squares = rectify(&squares, 0.0)?;
    let same: Vec<f32> = labels.iter().flat_map(|a| labels.iter().map(move |b| f32::from(u8::from(a == b)))).collect();
    let same = Tensor::from_vec(same, (rows, rows), image.device())?.to_dtype(image.dtype())?;
    let gaps = rectify(&(&squares + LEAST_SQUARE)?.sqrt()?.affine(-1.0, 1.0)?, 0.0)?;
    let apart = (gaps.sqr()? * same.affine(-1.0, 1.0)?)?;
    Ok((((squares * same)? + apart)?.sum_all()? * (0.5 / rows as f64))?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    const CPU: Device = Device::Cpu;

    fn value(tensor: &Tensor) -> f64 {
        tensor.to_scalar().unwrap()
    }

    #[test]
    fn the_contrastive_loss_of_two_pairs_by_hand() {
        let image = Tensor::new(&[[0.0f64, 0.0], [1.0, 0.0]], &CPU).unwrap();
        let text = Tensor::new(&[[0.6, 0.0], [1.0, 2.0]], &CPU).unwrap();
        // Distances: 0.6 and sqrt(5) of the first image, 0.4 and 2 of the second.
        let other = 0.36 + 4.0 + (1.0f64 - 0.4).powi(2);
        assert!((value(&contrastive(&image, &text, &[0, 1]).unwrap()) - other / 4.0).abs() < 1e-6);
        let same = 0.36 + 5.0 + 0.16 + 4.0;
        assert!((value(&contrastive(&image, &text, &[3, 3]).unwrap()) - same / 4.0).abs() < 1e-12);
    }

    #[test]
    fn its_slope_is_that_of_finite_differences_also_where_codes_meet() {
        let start = [0.2f64, 0.4, 0.6, 0.1, 0.3, 0.9];
        let text = Tensor::new(&[[0.2f64, 0.4], [0.5, 0.5], [0.9, 0.2]], &CPU).unwrap();
        let loss = |values: &[f64; 6]| {
            let image = Tensor::from_slice(values, (3, 2), &CPU).unwrap();
            value(&contrastive(&image, &text, &[0, 1, 0]).unwrap())
        };
        let image = Var::from_slice(&start, (3, 2), &CPU).unwrap();
        let gradients = contrastive(&image, &text, &[0, 1, 0]).unwrap().backward().unwrap();
        let slopes: Vec<f64> = gradients.get(&image).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (at, slope) in slopes.iter().enumerate() {
            let moved = |by: f64| {
                let mut values = start;
                values[at] += by;
                loss(&values)
            };
            let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((numeric - slope).abs() < 1e-6, "{at}: {numeric} {slope}");
        }
    }

    #[test]
    fn training_draws_a_class_together_and_leaves_a_margin() {
        let rows = |salt: f64| -> Tensor {
            let value =
                |n: u32, j: u32| f64::from(u8::from(n % 2 == j % 2)) + 0.05 * (f64::from(n * 5 + j) * salt).sin();
            let values: Vec<f64> = (0..12).flat_map(|n| (0..4).map(move |j| value(n, j))).collect();
            Tensor::from_vec(values, (12, 4), &CPU).unwrap()
        };
        let inputs = Inputs { image: rows(1.3), text: rows(2.9) };
        let labels: Vec<u32> = (0..12).map(|n| n % 2).collect();
        let mut network = MultiTask::new([4, 6, 2], 0.05, 3, (&CPU, DType::F64)).unwrap();
        let first = network.step(&inputs, &labels, 1).unwrap();
        for step in 2..=400 {
            network.step(&inputs, &labels, step).unwrap();
        }
        let last = value(&network.loss(&inputs, &labels).unwrap());
        assert!(last < 0.5 * first, "{first} {last}");
    }
}

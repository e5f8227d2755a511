//! Fully connected layers one after the other, as they are used once trained: no gradients, rows in, rows out.

use candle_core::{D, Tensor};

use super::{
    exact::{affine, exp, logistic},
    kept::{Kept, named},
    layers::rectify,
};
use crate::{checkpoint::NamedTensor, error::Result};

/// What a layer does to each of its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `1 / (1 + e^-x)`.
    Logistic,
    /// `max(x, 0)`.
    Rectified,
    /// Exponentials over their sum in each row.
    Softmax,
}

impl Activation {
    /// Of `[n, columns]`, with gradients where `x` has them.
    ///
    /// # Errors
    /// When candle refuses.
    pub fn of(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Logistic => logistic(x),
            Self::Rectified => rectify(x, 0.0),
            Self::Softmax => {
                let raised = exp(&x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?)?;
                Ok(raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)?)
            }
        }
    }
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Inputs x outputs.
    pub weight: Tensor,
    /// Outputs.
    pub bias: Tensor,
    /// What follows.
    pub activation: Activation,
}

/// Layers in order.
#[derive(Clone, Debug, Default)]
pub struct Stack(pub Vec<Layer>);

impl Stack {
    /// `[n, inputs of the first]` to `[n, outputs of the last]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, layer| layer.activation.of(&affine(&x, &layer.weight, &layer.bias)?))
    }

    /// Weights and biases, named `PREFIX.NUMBER.weight` and `PREFIX.NUMBER.bias`.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<NamedTensor>> {
        let each = |(number, layer): (usize, &Layer)| {
            [("weight", &layer.weight), ("bias", &layer.bias)]
                .map(|(part, tensor)| named(format!("{prefix}.{number}.{part}"), tensor))
        };
        self.0.iter().enumerate().flat_map(each).collect()
    }

    /// Puts every layer where [`Stack::tensors`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, prefix: &str, kept: &mut Kept) -> Result<()> {
        for (number, layer) in self.0.iter_mut().enumerate() {
            layer.weight = kept.take(&format!("{prefix}.{number}.weight"), &layer.weight)?;
            layer.bias = kept.take(&format!("{prefix}.{number}.bias"), &layer.bias)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn two_layers_by_hand() {
        let tensor = |rows: &[[f64; 2]; 2]| Tensor::new(rows, &Device::Cpu).unwrap();
        let bias = |row: [f64; 2]| Tensor::new(&row, &Device::Cpu).unwrap();
        let layer = |weight, bias, activation| Layer { weight, bias, activation };
        let stack = Stack(vec![
            layer(tensor(&[[1.0, -1.0], [2.0, 0.0]]), bias([0.0, 0.5]), Activation::Rectified),
            layer(tensor(&[[1.0, 0.0], [0.0, 1.0]]), bias([0.0, 0.0]), Activation::Softmax),
        ]);
        // First layer of (1, 1): (3, -0.5) -> (3, 0); of (-2, 0): (-2, 2.5) -> (0, 2.5).
        let out = stack.apply(&tensor(&[[1.0, 1.0], [-2.0, 0.0]])).unwrap().to_vec2::<f64>().unwrap();
        let share = |gap: f64| 1.0 / (1.0 + (-gap).exp());
        for (got, want) in out.concat().iter().zip([share(3.0), share(-3.0), share(-2.5), share(2.5)]) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
        let names: Vec<String> = stack.tensors("image").unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["image.0.weight", "image.0.bias", "image.1.weight", "image.1.bias"]);
        let mut other = stack.clone();
        other.0[0].weight = other.0[0].weight.zeros_like().unwrap();
        let mut kept = Kept::new(stack.tensors("x").unwrap(), &Device::Cpu);
        other.restore("x", &mut kept).unwrap();
        kept.finish().unwrap();
        assert_eq!(other.tensors("x").unwrap(), stack.tensors("x").unwrap());
    }

    #[test]
    fn a_softmax_is_finite_and_has_the_right_slope() {
        let x = Var::new(&[[900.0f64, 899.0, -900.0]], &Device::Cpu).unwrap();
        let y = Activation::Softmax.of(&x).unwrap();
        let first = y.narrow(1, 0, 1).unwrap().sum_all().unwrap();
        let p: Vec<f64> = y.flatten_all().unwrap().to_vec1().unwrap();
        let slopes: Vec<f64> = first.backward().unwrap().get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (slope, want) in slopes.iter().zip([p[0] * (1.0 - p[0]), -p[0] * p[1], 0.0]) {
            assert!((slope - want).abs() < 1e-15, "{slopes:?}");
        }
    }
}

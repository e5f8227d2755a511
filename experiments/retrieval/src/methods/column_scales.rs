//! Scales of columns by the training rows: to mean 0 and deviation 1, or to 0..1. On tensors, for layers in the middle
//! of a method.

use candle_core::Tensor;

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    nn::{exact::product, kept::named, stack::Layer},
};

/// A shift and a scale for each column.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// What is taken off.
    shift: Tensor,
    /// What the rest is divided by; 1 for a constant column.
    scale: Tensor,
}

impl Scaling {
    /// To the mean 0 and the standard deviation 1 (n - 1) of the rows of `x`.
    ///
    /// # Errors
    /// When candle refuses.
    #[allow(clippy::cast_precision_loss)] // rows
    pub fn zscore(x: &Tensor) -> Result<Self> {
        let degrees = (x.dim(0)? as f64 - 1.0).max(1.0);
        let mean = x.mean(0)?;
        let deviation = (x.broadcast_sub(&mean)?.sqr()?.sum(0)? / degrees)?.sqrt()?;
        Ok(Self { scale: or_one(&deviation)?, shift: mean })
    }

    /// To 0 for the least and 1 for the largest of the rows of `x`; other rows may lie outside.
    ///
    /// # Errors
    /// When candle refuses.
    pub fn unit_range(x: &Tensor) -> Result<Self> {
        let (least, largest) = (x.min(0)?, x.max(0)?);
        Ok(Self { scale: or_one(&(largest - &least)?)?, shift: least })
    }

    /// The rows, scaled.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_sub(&self.shift)?.broadcast_div(&self.scale)?)
    }

    /// The layer that does to unscaled rows what `layer` does to scaled ones.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn folded(&self, layer: &Layer) -> Result<Layer> {
        let weight = layer.weight.broadcast_div(&self.scale.unsqueeze(1)?)?;
        let shift = product(&self.shift.unsqueeze(0)?, &weight)?.squeeze(0)?;
        Ok(Layer { weight, bias: (&layer.bias - shift)?, activation: layer.activation })
    }

    /// As tensors `NAME.shift` and `NAME.scale`.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn tensors(&self, name: &str) -> Result<Vec<NamedTensor>> {
        Ok(vec![named(format!("{name}.shift"), &self.shift)?, named(format!("{name}.scale"), &self.scale)?])
    }
}

/// A column that is the same in every row is left as wide as it is.
fn or_one(scale: &Tensor) -> Result<Tensor> {
    let varies = scale.gt(&scale.zeros_like()?)?;
    Ok(varies.where_cond(scale, &scale.ones_like()?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::stack::{Activation, Stack};

    #[test]
    fn scales_by_hand_and_folded_into_a_layer() {
        let cpu = Device::Cpu;
        let x = Tensor::new(&[[1.0f64, 5.0, 7.0], [3.0, 5.0, 0.0], [2.0, 5.0, -1.0]], &cpu).unwrap();
        let unit = Scaling::unit_range(&x).unwrap();
        let wanted = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.125], [0.5, 0.0, 0.0]];
        assert_eq!(unit.apply(&x).unwrap().to_vec2::<f64>().unwrap(), wanted);
        let outside = Tensor::new(&[[5.0f64, 6.0, -9.0]], &cpu).unwrap();
        assert_eq!(unit.apply(&outside).unwrap().to_vec2::<f64>().unwrap(), [[2.0, 1.0, -1.0]], "nothing is clipped");
        let zscore = Scaling::zscore(&x).unwrap();
        assert_eq!(zscore.scale.to_vec1::<f64>().unwrap()[..2], [1.0, 1.0], "and 1 for a constant column");
        let layer = Layer {
            weight: Tensor::new(&[[0.3f64, -1.0], [0.7, 0.2], [-0.5, 0.9]], &cpu).unwrap(),
            bias: Tensor::new(&[0.1f64, -0.4], &cpu).unwrap(),
            activation: Activation::Logistic,
        };
        for scaling in [unit, zscore] {
            let folded = Stack(vec![scaling.folded(&layer).unwrap()]).apply(&x).unwrap();
            let plain = Stack(vec![layer.clone()]).apply(&scaling.apply(&x).unwrap()).unwrap();
            let worst: f64 = (folded - plain).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
            assert!(worst < 1e-14, "{worst}");
        }
    }
}

//! Steps of the optimisers on candle tensors in one pass each, in place, on the CPU: what the tensor operations would
//! do in six or eight passes, to the same bits.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result as CandleResult, Tensor, bail};

use super::real::Real;
use crate::error::Result;

/// What happens to each element `x` of a tensor, given those of two others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// `x = momentum x + rate (a + decay b)`: a velocity from gradient and weight.
    Velocity {
        /// Share of the last step.
        momentum: f64,
        /// Learning rate.
        rate: f64,
        /// L2 penalty.
        decay: f64,
    },
    /// `x = x + sign a`: a weight from its velocity.
    Add {
        /// 1 or -1.
        sign: f64,
    },
    /// `x = keep x + (1 - keep) (a + decay b)`: Adam's first moment from gradient and weight.
    First {
        /// Share of the last moment.
        keep: f64,
        /// L2 penalty.
        decay: f64,
    },
    /// `x = keep x + (1 - keep) (a + decay b)^2`: Adam's second moment.
    Second {
        /// Share of the last moment.
        keep: f64,
        /// L2 penalty.
        decay: f64,
    },
    /// `x = x - rate (a / first) / (sqrt(b / second) + epsilon)`: a weight from both moments.
    Adam {
        /// Learning rate.
        rate: f64,
        /// What the moments of the first steps lack.
        first: f64,
        /// Likewise of the second moment.
        second: f64,
        /// Added to the root.
        epsilon: f64,
    },
}

impl Update {
    /// Changes `x` in place; `a` and `b` have its shape and type.
    ///
    /// # Errors
    /// When they have not, or `x` is not contiguous.
    pub fn apply(self, x: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
        Ok(x.inplace_op3(&a.contiguous()?, &b.contiguous()?, &self)?)
    }

    #[allow(clippy::many_single_char_names)] // x, a and b of the formulas above
    fn pass<T: Real>(self, x: &mut [T], a: &[T], b: &[T]) {
        let each = x.iter_mut().zip(a).zip(b);
        match self {
            Self::Velocity { momentum, rate, decay } => {
                let (m, r, d) = (T::of(momentum), T::of(rate), T::of(decay));
                each.for_each(|((x, &a), &b)| *x = *x * m + (a + b * d) * r);
            }
            Self::Add { sign } => {
                let sign = T::of(sign);
                each.for_each(|((x, &a), _)| *x += sign * a);
            }
            Self::First { keep, decay } => {
                let (k, rest, d) = (T::of(keep), T::of(1.0 - keep), T::of(decay));
                each.for_each(|((x, &a), &b)| *x = *x * k + (a + b * d) * rest);
            }
            Self::Second { keep, decay } => {
                let (k, rest, d) = (T::of(keep), T::of(1.0 - keep), T::of(decay));
                each.for_each(|((x, &a), &b)| {
                    let gradient = a + b * d;
                    *x = *x * k + (gradient * gradient) * rest;
                });
            }
            Self::Adam { rate, first, second, epsilon } => {
                let (r, f, s, e) = (T::of(rate), T::of(1.0 / first), T::of(1.0 / second), T::of(epsilon));
                each.for_each(|((x, &a), &b)| *x -= (a * f) / ((b * s).sqrt() + e) * r);
            }
        }
    }
}

fn range(layout: &Layout) -> CandleResult<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("an update of a tensor that is not contiguous"),
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> CandleResult<()> {
        let (of_x, of_a, of_b) = (range(x_layout)?, range(a_layout)?, range(b_layout)?);
        if of_x.len() != of_a.len() || of_x.len() != of_b.len() {
            bail!("an update of {} elements by {} and {}", of_x.len(), of_a.len(), of_b.len());
        }
        match (x, a, b) {
            (CpuStorage::F32(x), CpuStorage::F32(a), CpuStorage::F32(b)) => self.pass(&mut x[of_x], &a[of_a], &b[of_b]),
            (CpuStorage::F64(x), CpuStorage::F64(a), CpuStorage::F64(b)) => self.pass(&mut x[of_x], &a[of_a], &b[of_b]),
            _ => bail!("an update takes three tensors of f32 or three of f64"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn updates_by_hand() {
        let tensor = |value: f64| Tensor::new(&[value, 1.0], &Device::Cpu).unwrap();
        let of = |update: Update| {
            let x = tensor(2.0);
            update.apply(&x, &tensor(3.0), &tensor(4.0)).unwrap();
            x.to_vec1::<f64>().unwrap()[0]
        };
        let near = |update, wanted: f64| assert!((of(update) - wanted).abs() < 1e-14, "{update:?} {}", of(update));
        near(Update::Velocity { momentum: 0.5, rate: 0.1, decay: 0.25 }, 1.4);
        near(Update::Add { sign: -1.0 }, -1.0);
        near(Update::First { keep: 0.9, decay: 0.25 }, 2.2);
        near(Update::Second { keep: 0.9, decay: 0.25 }, 3.4);
        let (first, second) = (0.5, 0.25);
        near(Update::Adam { rate: 0.1, first, second, epsilon: 1.0 }, 2.0 - 0.1 * 6.0 / 5.0);
        let short = Tensor::new(&[1.0f64], &Device::Cpu).unwrap();
        assert!(Update::Add { sign: 1.0 }.apply(&tensor(1.0), &short, &short).is_err());
    }
}

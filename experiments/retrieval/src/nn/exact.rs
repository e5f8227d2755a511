//! Operations on candle tensors whose bits on the CPU are this crate's own: products by the kernels of
//! [`super::gemm`], at the forced SIMD level and on any number of threads, exp and ln from `libm`. On a GPU
//! they are candle's.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor, bail};

use super::{
    gemm::{Mat, gemm},
    real::Real,
};
use crate::error::Result;

/// `a b`: `[n, k]` and `[k, m]` to `[n, m]`. Transposed views are read as they lie.
///
/// # Errors
/// When the shapes do not fit.
pub fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(multiply(a, b)?)
}

/// `x W + b`: `[n, in]`, `[in, out]` and `[out]` to `[n, out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn affine(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(multiply(x, weight)?.broadcast_add(bias)?)
}

/// e to the power of each element.
///
/// # Errors
/// When candle refuses.
pub fn exp(x: &Tensor) -> Result<Tensor> {
    Ok(Function::Exp.of(x)?)
}

/// Natural logarithm of each element.
///
/// # Errors
/// When candle refuses.
pub fn ln(x: &Tensor) -> Result<Tensor> {
    Ok(Function::Ln.of(x)?)
}

/// `1 / (1 + e^-x)` of each element; nothing in it overflows.
///
/// # Errors
/// When candle refuses.
pub fn logistic(x: &Tensor) -> Result<Tensor> {
    Ok(Function::Logistic.of(x)?)
}

fn multiply(a: &Tensor, b: &Tensor) -> CandleResult<Tensor> {
    if a.device().is_cpu() { readable(a)?.apply_op2(&readable(b)?, Product) } else { a.matmul(b) }
}

/// The tensor, copied where its elements lie in neither order that a product can read.
fn readable(tensor: &Tensor) -> CandleResult<Tensor> {
    let layout = tensor.layout();
    if layout.is_contiguous() || layout.shape().is_fortran_contiguous(layout.stride()) {
        Ok(tensor.clone())
    } else {
        tensor.contiguous()
    }
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let ((rows, inner), (other, columns)) = (a_layout.shape().dims2()?, b_layout.shape().dims2()?);
        if inner != other {
            bail!("a product of {rows} x {inner} and {other} x {columns}: the inner sizes differ");
        }
        let storage = match (a, b) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => {
                CpuStorage::F32(multiplied(view(a, a_layout)?, view(b, b_layout)?))
            }
            (CpuStorage::F64(a), CpuStorage::F64(b)) => {
                CpuStorage::F64(multiplied(view(a, a_layout)?, view(b, b_layout)?))
            }
            _ => bail!("a product takes two tensors of f32 or two of f64"),
        };
        Ok((storage, Shape::from((rows, columns))))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        // Data is no function of any weight: half of a first layer's work is not done.
        let of_a = if a.track_op() { Some(multiply(gradient, &b.t()?)?) } else { None };
        let of_b = if b.track_op() { Some(multiply(&a.t()?, gradient)?) } else { None };
        Ok((of_a, of_b))
    }
}

fn multiplied<T: Real>(a: Mat<'_, T>, b: Mat<'_, T>) -> Vec<T> {
    let mut out = vec![T::zero(); a.rows() * b.cols()];
    gemm(&mut out, false, T::one(), a, b);
    out
}

fn view<'a, T>(data: &'a [T], layout: &Layout) -> CandleResult<Mat<'a, T>> {
    let (rows, cols) = layout.shape().dims2()?;
    let data = &data[layout.start_offset()..layout.start_offset() + rows * cols];
    Ok(if layout.is_contiguous() { Mat::new(data, rows, cols) } else { Mat::new(data, cols, rows).t() })
}

/// Functions of one element.
#[derive(Clone, Copy)]
enum Function {
    Exp,
    Ln,
    Logistic,
}

impl Function {
    fn of(self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            _ if x.device().is_cpu() => x.contiguous()?.apply_op1(self),
            Self::Exp => x.exp(),
            Self::Ln => x.log(),
            Self::Logistic => candle_nn::ops::sigmoid(x),
        }
    }

    fn at<T: Real>(self, x: T) -> T {
        match self {
            Self::Exp => x.exp_exact(),
            Self::Ln => x.ln_exact(),
            Self::Logistic if x >= T::zero() => T::one() / (T::one() + (-x).exp_exact()),
            Self::Logistic => {
                let small = x.exp_exact();
                small / (T::one() + small)
            }
        }
    }

    fn each<T: Real>(self, data: &[T], layout: &Layout) -> CandleResult<Vec<T>> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{} of a tensor that is not contiguous", self.name())
        };
        Ok(data[start..end].iter().map(|&x| self.at(x)).collect())
    }
}

impl CustomOp1 for Function {
    fn name(&self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Ln => "ln",
            Self::Logistic => "logistic",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let storage = match storage {
            CpuStorage::F32(data) => CpuStorage::F32(self.each(data, layout)?),
            CpuStorage::F64(data) => CpuStorage::F64(self.each(data, layout)?),
            _ => bail!("{} takes a tensor of f32 or f64", self.name()),
        };
        Ok((storage, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        Ok(Some(match self {
            Self::Exp => (gradient * y)?,
            Self::Ln => (gradient / x)?,
            Self::Logistic => ((gradient * y)? * y.affine(-1.0, 1.0)?)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn matrix(rows: usize, cols: usize, salt: f64) -> Tensor {
        let values: Vec<f64> =
            (0..rows * cols).map(|i| f64::from(u32::try_from(i).unwrap()).mul_add(0.37, salt).sin()).collect();
        Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        assert!(values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-13), "{a} {b}");
    }

    #[test]
    fn products_and_their_gradients_are_candles_whatever_the_layout() {
        let weights = matrix(4, 4, 5.0);
        for (a, b) in [
            (matrix(3, 5, 0.1), matrix(5, 4, 0.7)),
            (matrix(5, 3, 0.1).t().unwrap(), matrix(4, 5, 0.7).t().unwrap()),
            (matrix(6, 9, 0.2).narrow(1, 2, 5).unwrap().narrow(0, 1, 3).unwrap(), matrix(5, 4, 0.7)),
            (matrix(9, 5, 0.2).narrow(0, 4, 3).unwrap(), matrix(5, 9, 0.4).narrow(1, 1, 4).unwrap()),
            (matrix(3, 1, 0.3), matrix(1, 4, 0.9)),
        ] {
            assert_close(&product(&a, &b).unwrap(), &a.matmul(&b).unwrap());
            let (a, b) = (Var::from_tensor(&a).unwrap(), Var::from_tensor(&b).unwrap());
            let loss = |y: Tensor| (y * weights.narrow(0, 0, 3).unwrap()).unwrap().sum_all().unwrap();
            let ours = loss(product(&a, &b).unwrap()).backward().unwrap();
            let theirs = loss(a.matmul(&b).unwrap()).backward().unwrap();
            for variable in [&a, &b] {
                assert_close(ours.get(variable).unwrap(), theirs.get(variable).unwrap());
            }
        }
        assert!(product(&matrix(3, 5, 0.0), &matrix(4, 5, 0.0)).is_err());
    }

    #[test]
    fn data_gets_no_gradient() {
        let (x, w) = (matrix(3, 5, 0.1), Var::from_tensor(&matrix(5, 4, 0.7)).unwrap());
        let gradients = product(&x, &w).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).is_none() && gradients.get(&w).is_some());
    }

    #[test]
    fn functions_have_their_values_and_slopes() {
        let at = [-700.0f64, -30.0, -1.5, 0.0, 0.25, 3.0, 30.0, 700.0];
        let x = Var::from_slice(&at, at.len(), &Device::Cpu).unwrap();
        let y = logistic(&x).unwrap();
        for (x, y) in at.iter().zip(values(&y)) {
            assert!((y - 1.0 / (1.0 + (-x).exp())).abs() < 1e-15 && (0.0..=1.0).contains(&y), "{x} {y}");
        }
        let slopes = y.sum_all().unwrap().backward().unwrap();
        for (x, slope) in at.iter().zip(values(slopes.get(&x).unwrap())) {
            let y = 1.0 / (1.0 + (-x).exp());
            assert!((slope - y * (1.0 - y)).abs() < 1e-15, "{x} {slope}");
        }
        let x = Var::from_slice(&[0.5f64, 2.0], 2, &Device::Cpu).unwrap();
        let slope = |y: &Tensor| values(y.sum_all().unwrap().backward().unwrap().get(&x).unwrap());
        let (e, l) = (exp(&x).unwrap(), ln(&x).unwrap());
        assert!(values(&e).iter().zip([0.5f64, 2.0]).all(|(got, x)| (got - x.exp()).abs() < 1e-14));
        assert!(values(&l).iter().zip([0.5f64, 2.0]).all(|(got, x)| (got - x.ln()).abs() < 1e-15));
        assert!(slope(&e).iter().zip([0.5f64, 2.0]).all(|(got, x)| (got - x.exp()).abs() < 1e-14));
        assert!(slope(&l).iter().zip([2.0f64, 0.5]).all(|(got, want)| (got - want).abs() < 1e-15));
    }
}

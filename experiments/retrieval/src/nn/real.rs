//! The two element types of the arithmetic: f32 for training, f64 for exact checks.

use super::gemm::{Mat, SimdLevel, product_f32, product_f64};

/// An element type. Functions that are not exact in IEEE 754 come from `libm`, so that their bits
/// depend neither on the C library nor on what it chooses for the processor.
pub trait Real:
    num_traits::Float
    + num_traits::NumAssign
    + std::iter::Sum
    + std::fmt::Debug
    + Default
    + Send
    + Sync
    + candle_core::WithDType
{
    /// Rounds an f64.
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn wide(self) -> f64;
    /// e to the power of `self`, from `libm`.
    #[must_use]
    fn exp_exact(self) -> Self;
    /// log(1 + self), from `libm`.
    #[must_use]
    fn ln_1p_exact(self) -> Self;
    /// Natural logarithm, from `libm`.
    #[must_use]
    fn ln_exact(self) -> Self;
    /// One checked product; see [`super::gemm::gemm_with`].
    #[doc(hidden)]
    fn product(
        level: SimdLevel,
        threads: usize,
        out: &mut [Self],
        accumulate: bool,
        alpha: Self,
        a: Mat<'_, Self>,
        b: Mat<'_, Self>,
    );
}

macro_rules! real {
    ($ty:ty, $product:ident, $exp:ident, $ln_1p:ident, $ln:ident) => {
        impl Real for $ty {
            #[allow(clippy::cast_possible_truncation)]
            fn of(value: f64) -> Self {
                value as Self
            }
            fn wide(self) -> f64 {
                f64::from(self)
            }
            fn exp_exact(self) -> Self {
                libm::$exp(self)
            }
            fn ln_1p_exact(self) -> Self {
                libm::$ln_1p(self)
            }
            fn ln_exact(self) -> Self {
                libm::$ln(self)
            }
            fn product(
                level: SimdLevel,
                threads: usize,
                out: &mut [Self],
                accumulate: bool,
                alpha: Self,
                a: Mat<'_, Self>,
                b: Mat<'_, Self>,
            ) {
                $product(level, threads, out, accumulate, alpha, a, b);
            }
        }
    };
}

real!(f32, product_f32, expf, log1pf, logf);
real!(f64, product_f64, exp, log1p, log);

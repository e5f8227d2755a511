//! Matrix product over plain slices: the one door to the GEMM kernels, and the one place that
//! decides which instruction set they use.
//!
//! The kernels come from the `gemm` family of crates (the ones candle itself uses); calling them
//! directly instead of through candle gives three things: results land in buffers that already
//! exist, any operand may be a transposed or strided view, and the SIMD level can be forced, so
//! that a score can be repeated on a machine of another kind.
//!
//! Results are the same bits for any number of threads: the kernels split the output, never the
//! sum over the inner dimension.

use std::{
    ops::Range,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};

use gemm_common::{Parallelism, gemm::gemm_basic_generic, simd::MixedSimd};

use super::real::Real;

/// Instruction set of the arithmetic. Part of the kind of a score: two levels differ in the last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// No vector instructions beyond the compiler's baseline.
    Scalar = 1,
    /// 256-bit vectors with fused multiply-add.
    Avx2 = 2,
    /// 512-bit vectors.
    Avx512 = 3,
}

impl SimdLevel {
    /// The highest level this processor offers.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if gemm_common::simd::V4::try_new().is_some() {
                return Self::Avx512;
            }
            if gemm_common::simd::V3::try_new().is_some() {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }

    /// Name used in settings and in the kind of a score.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512].into_iter().find(|level| level.name() == name)
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(0);
static THREADS: AtomicUsize = AtomicUsize::new(1);

/// Level in force: the forced one, else the highest the processor offers.
#[must_use]
pub fn simd_level() -> SimdLevel {
    match LEVEL.load(Ordering::Relaxed) {
        1 => SimdLevel::Scalar,
        2 => SimdLevel::Avx2,
        3 => SimdLevel::Avx512,
        _ => SimdLevel::detect(),
    }
}

/// Forces the level of the whole process. To be called before the first product.
///
/// # Errors
/// Names the level and the best one there is, when the processor does not offer it.
pub fn force_simd_level(level: SimdLevel) -> Result<(), String> {
    let best = SimdLevel::detect();
    if level > best {
        return Err(format!(
            "SIMD level {} is not offered by this processor (its best is {})",
            level.name(),
            best.name()
        ));
    }
    LEVEL.store(level as u8, Ordering::Relaxed);
    Ok(())
}

/// Threads that products and other kernels of this crate may use (at least 1). Never changes results.
pub fn set_threads(threads: usize) {
    THREADS.store(threads.max(1), Ordering::Relaxed);
}

/// Threads that kernels of this crate may use.
#[must_use]
pub fn threads() -> usize {
    THREADS.load(Ordering::Relaxed)
}

/// A read-only matrix view over a slice, with strides in elements.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major view of `rows * cols` elements.
    ///
    /// # Panics
    /// If `data` does not hold exactly that many elements: a broken invariant of the caller.
    #[must_use]
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} view over {} elements", data.len());
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transposed view; nothing is copied.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The view of some of its rows.
    ///
    /// # Panics
    /// If the view has no such rows: a broken invariant of the caller.
    #[must_use]
    pub fn row_range(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let skipped = (range.start * self.row_stride).min(self.data.len());
        Self { data: &self.data[skipped..], rows: range.len(), ..self }
    }

    /// The view of some of its columns.
    ///
    /// # Panics
    /// If the view has no such columns: a broken invariant of the caller.
    #[must_use]
    pub fn column_range(self, range: Range<usize>) -> Self {
        self.t().row_range(range).t()
    }

    /// Rows of the view.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the view.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One past the largest offset that the view reaches (0 when it is empty).
    fn reach(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride + 1
    }
}

/// `out = alpha * a b`, or `out += alpha * a b` when `accumulate`; `out` is row-major, `a.rows x b.cols`.
///
/// # Panics
/// If the shapes do not fit: a broken invariant of the caller.
pub fn gemm<T: Real>(out: &mut [T], accumulate: bool, alpha: T, a: Mat<'_, T>, b: Mat<'_, T>) {
    gemm_with(simd_level(), threads(), out, accumulate, alpha, a, b);
}

/// [`gemm`] at a stated SIMD level and thread count.
///
/// # Panics
/// If the shapes do not fit or the processor lacks the level.
pub fn gemm_with<T: Real>(
    level: SimdLevel,
    threads: usize,
    out: &mut [T],
    accumulate: bool,
    alpha: T,
    a: Mat<'_, T>,
    b: Mat<'_, T>,
) {
    assert_eq!(a.cols, b.rows, "inner dimensions differ: {} x {} by {} x {}", a.rows, a.cols, b.rows, b.cols);
    assert_eq!(out.len(), a.rows * b.cols, "output holds {} elements, {} x {} wanted", out.len(), a.rows, b.cols);
    assert!(a.reach() <= a.data.len() && b.reach() <= b.data.len(), "a view reaches past its data");
    assert!(level <= SimdLevel::detect(), "SIMD level {} is not offered by this processor", level.name());
    T::product(level, threads, out, accumulate, alpha, a, b);
}

macro_rules! product {
    ($name:ident, $ty:ty, $kernels:ident, $module:ident, $multiplier:expr) => {
        /// Dispatches one product to the kernel of the level. Shapes were checked by [`gemm_with`].
        pub(super) fn $name(
            level: SimdLevel,
            threads: usize,
            out: &mut [$ty],
            accumulate: bool,
            alpha: $ty,
            a: Mat<'_, $ty>,
            b: Mat<'_, $ty>,
        ) {
            let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
            let stride = |s: usize| isize::try_from(s).expect("a stride of a slice in memory fits isize");
            let beta = alpha;
            let dst_scale: $ty = if accumulate { 1.0 } else { 0.0 };
            // The kernels want a column-major output; ours is row-major, so the transposed product is made:
            // out' (n x m) = b' (n x k) a' (k x m).
            macro_rules! call {
                ($isa:ident, $simd:expr, $n:expr) => {{
                    use $kernels::microkernel::$isa::$module::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
                    #[allow(unsafe_code)]
                    // SAFETY: `gemm_with` has checked that every element of `a` and `b` that the strides reach
                    // lies inside their slices, that `out` holds exactly m * n elements reached by strides
                    // (n, 1), and that the processor offers the level; `out` is borrowed mutably, so it does
                    // not overlap `a` or `b`.
                    unsafe {
                        gemm_basic_generic::<_, $ty, { $n }, { MR_DIV_N * $n }, NR, MR_DIV_N, H_M, H_N>(
                            $simd,
                            b.cols,
                            a.rows,
                            a.cols,
                            out.as_mut_ptr(),
                            stride(b.cols),
                            1,
                            accumulate,
                            b.data.as_ptr(),
                            stride(b.row_stride),
                            stride(b.col_stride),
                            a.data.as_ptr(),
                            stride(a.row_stride),
                            stride(a.col_stride),
                            dst_scale,
                            beta,
                            false,
                            false,
                            false,
                            |x, y, z| x * y + z,
                            &UKR,
                            &H_UKR,
                            false,
                            parallelism,
                        );
                    }
                }};
            }
            match level {
                #[cfg(target_arch = "x86_64")]
                SimdLevel::Avx512 => {
                    let simd = gemm_common::simd::V4::try_new().expect("gemm_with has checked that AVX-512 is there");
                    call!(avx512f, simd, 8 * $multiplier);
                }
                #[cfg(target_arch = "x86_64")]
                SimdLevel::Avx2 => {
                    let simd = <gemm_common::simd::V3 as MixedSimd<$ty, $ty, $ty, $ty>>::try_new()
                        .expect("gemm_with has checked that AVX2 is there");
                    call!(fma, simd, 4 * $multiplier);
                }
                _ => {
                    let simd = <gemm_common::simd::Scalar as MixedSimd<$ty, $ty, $ty, $ty>>::try_new()
                        .expect("scalar arithmetic is always there");
                    call!(scalar, simd, 1);
                }
            }
        }
    };
}

product!(product_f32, f32, gemm_f32, f32, 2);
product!(product_f64, f64, gemm_f64, f64, 1);

#[cfg(test)]
#[allow(clippy::many_single_char_names, clippy::cast_precision_loss)] // matrices and their sizes, in small numbers
mod tests {
    use super::*;

    fn ramp(n: usize, step: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * step) % 17) as f64 - 8.0).collect()
    }

    fn naive(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
            }
        }
        out
    }

    #[test]
    fn products_agree_with_the_definition_at_every_level_layout_and_size() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (64, 33, 70), (17, 128, 9)] {
            let (a, b) = (ramp(m * k, 5), ramp(k * n, 7));
            let want = naive(&a, &b, m, k, n);
            let mut at = vec![0.0; m * k];
            let mut bt = vec![0.0; k * n];
            (0..m).for_each(|i| (0..k).for_each(|p| at[p * m + i] = a[i * k + p]));
            (0..k).for_each(|p| (0..n).for_each(|j| bt[j * k + p] = b[p * n + j]));
            for level in [SimdLevel::Scalar, SimdLevel::Avx2, SimdLevel::Avx512] {
                if level > SimdLevel::detect() {
                    continue;
                }
                for left in [Mat::new(&a, m, k), Mat::new(&at, k, m).t()] {
                    for right in [Mat::new(&b, k, n), Mat::new(&bt, n, k).t()] {
                        let mut out = vec![f64::NAN; m * n];
                        gemm_with(level, 1, &mut out, false, 1.0, left, right);
                        assert_eq!(out, want, "{level:?} {m} {k} {n}");
                        gemm_with(level, 2, &mut out, true, 2.0, left, right);
                        let tripled: Vec<f64> = want.iter().map(|v| 3.0 * v).collect();
                        assert_eq!(out, tripled, "accumulating, {level:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let (m, k, n) = (64, 700, 300);
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 7919) % 1009) as f32 / 997.0 - 0.5).collect();
        let b: Vec<f32> = (0..k * n).map(|i| ((i * 104_729) % 2003) as f32 / 1999.0 - 0.5).collect();
        let run = |threads| {
            let mut out = vec![0.0f32; m * n];
            gemm_with(simd_level(), threads, &mut out, false, 1.0, Mat::new(&a, m, k), Mat::new(&b, k, n));
            out
        };
        let one = run(1);
        for threads in [2, 3, 4, 8] {
            assert_eq!(one, run(threads), "{threads} threads");
        }
    }

    #[test]
    fn a_part_of_a_view_is_that_part_of_the_product() {
        let (a, b) = (ramp(6 * 5, 5), ramp(5 * 8, 7));
        let whole = naive(&a, &b, 6, 5, 8);
        let mut out = vec![0.0; 2 * 3];
        gemm(&mut out, false, 1.0, Mat::new(&a, 6, 5).row_range(4..6), Mat::new(&b, 5, 8).column_range(3..6));
        let want: Vec<f64> = [4, 5].iter().flat_map(|r| whole[r * 8 + 3..r * 8 + 6].to_vec()).collect();
        assert_eq!(out, want);
        assert_eq!(Mat::new(&a, 6, 5).row_range(6..6).rows(), 0);
    }

    #[test]
    #[should_panic(expected = "inner dimensions differ")]
    fn shapes_that_do_not_fit_are_refused() {
        gemm(&mut [0.0f32; 4], false, 1.0, Mat::new(&[0.0; 4], 2, 2), Mat::new(&[0.0; 6], 3, 2));
    }
}

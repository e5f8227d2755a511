//! Elementwise passes and sums over slices, compiled once for each SIMD level.
//!
//! Products and sums are rounded one by one (no fused multiply-add), and sums run over a fixed number
//! of lanes, so these passes give the same bits at every level and for any number of threads.

#![allow(clippy::inline_always)] // what is not inlined is not compiled for the level of the pass

use super::{
    adam::{BETA_1, BETA_2, EPSILON, correction},
    gemm::SimdLevel,
    real::Real,
};

/// Partial sums of a reduction: two vectors of the widest level in f64, one in f32.
const LANES: usize = 16;

/// Runs an expression with the instructions of a level. Whatever it calls must be inlined into it.
///
/// # Panics
/// If the processor lacks the level.
macro_rules! at_level {
    ($level:expr, $pass:expr) => {
        $crate::nn::vector::run_at_level(
            $level,
            #[inline(always)]
            || $pass,
        )
    };
}
pub(crate) use at_level;

/// What [`at_level`] expands to; a closure that is not `inline(always)` may miss the level.
#[inline]
pub(crate) fn run_at_level<R>(level: SimdLevel, pass: impl FnOnce() -> R) -> R {
    match level {
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => {
            pulp::Simd::vectorize(pulp::x86::V4::try_new().expect("the level was checked when it was set"), pass)
        }
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => {
            pulp::Simd::vectorize(pulp::x86::V3::try_new().expect("the level was checked when it was set"), pass)
        }
        _ => pass(),
    }
}

#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f(x)` over the elements.
#[inline(always)]
pub fn sum_of<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += f(value);
    }
    fold(lanes)
}

/// Inner product of two slices of one length.
#[inline(always)]
pub fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (x, y) in xs.zip(ys) {
        for l in 0..LANES {
            lanes[l] += x[l] * y[l];
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(rest) {
        *lane += x * y;
    }
    fold(lanes)
}

/// `y += a x`.
#[inline(always)]
pub fn add_scaled<T: Real>(y: &mut [T], a: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `y = a x`.
#[inline(always)]
pub fn set_scaled<T: Real>(y: &mut [T], a: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = a * x;
    }
}

/// Writes rows `first..` of the transpose of `from` (rows x cols, row-major) to `to`, as many as it holds.
///
/// # Panics
/// If `from` is no whole number of rows: a broken invariant of the caller.
#[inline(always)]
pub fn transpose_part<T: Real>(from: &[T], cols: usize, first: usize, to: &mut [T]) {
    assert_eq!(from.len() % cols, 0, "{} elements in rows of {cols}", from.len());
    let rows = from.len() / cols;
    for (index, lines) in to.chunks_mut(LANES * rows).enumerate() {
        let start = first + index * LANES;
        let width = lines.len() / rows;
        // Square tiles: lines lie a power of two apart, and one element at a time would make them chase
        // each other out of the cache.
        for (above, rows_of_tile) in from.chunks(LANES * cols).enumerate() {
            let mut tile = [[T::zero(); LANES]; LANES];
            let height = rows_of_tile.len() / cols;
            for (r, row) in rows_of_tile.chunks_exact(cols).enumerate() {
                for (line, &value) in tile.iter_mut().zip(&row[start..start + width]) {
                    line[r] = value;
                }
            }
            for (line, tile) in lines.chunks_exact_mut(rows).zip(&tile) {
                line[above * LANES..above * LANES + height].copy_from_slice(&tile[..height]);
            }
        }
    }
}

/// The constants of one Adam step: p -= rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), with
/// the two corrections drawn out of the loop.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    rate: T,
    root: T,
}

impl<T: Real> AdamStep<T> {
    /// Step number `step`, counted from 1, at `learning_rate`.
    #[must_use]
    pub fn new(learning_rate: f64, step: u64) -> Self {
        Self {
            rate: T::of(learning_rate / correction(BETA_1, step)),
            root: T::of(1.0 / correction(BETA_2, step).sqrt()),
        }
    }

    /// Updates values and moments in place, in one pass.
    #[inline(always)]
    pub fn apply(self, p: &mut [T], m: &mut [T], v: &mut [T], g: &[T]) {
        let (b1, c1) = (T::of(BETA_1), T::of(1.0 - BETA_1));
        let (b2, c2) = (T::of(BETA_2), T::of(1.0 - BETA_2));
        let eps = T::of(EPSILON);
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let first = b1 * *m + c1 * g;
            let second = b2 * *v + c2 * (g * g);
            *m = first;
            *v = second;
            *p -= self.rate * first / (second.sqrt() * self.root + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> impl Iterator<Item = SimdLevel> {
        [SimdLevel::Scalar, SimdLevel::Avx2, SimdLevel::Avx512].into_iter().filter(|&l| l <= SimdLevel::detect())
    }

    #[test]
    fn sums_are_right_and_the_same_bits_at_every_level() {
        let x: Vec<f32> = (0..77u16).map(|i| f32::from(i) * 0.37 - 9.1).collect();
        let y: Vec<f32> = (0..77u16).map(|i| 3.3 - f32::from(i) * 0.11).collect();
        let exact: f64 = x.iter().zip(&y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        let dots: Vec<f32> = levels().map(|level| at_level!(level, dot(&x, &y))).collect();
        assert!((f64::from(dots[0]) - exact).abs() < 1e-3 * exact.abs(), "{} {exact}", dots[0]);
        let sums: Vec<f32> = levels().map(|level| at_level!(level, sum_of(&x, |v| v * v))).collect();
        assert!(dots.iter().all(|d| d.to_bits() == dots[0].to_bits()));
        assert!(sums.iter().all(|s| s.to_bits() == sums[0].to_bits()));
        assert!((sums[0] - x.iter().map(|v| v * v).sum::<f32>()).abs() < 0.01);
    }

    #[test]
    fn parts_of_a_transpose_make_the_whole() {
        let (rows, cols) = (21, 37);
        let from: Vec<f64> = (0..777u16).map(f64::from).collect();
        let mut to = vec![0.0; 777];
        for (part, lines) in to.chunks_mut(20 * rows).enumerate() {
            transpose_part(&from, cols, part * 20, lines);
        }
        for r in 0..rows {
            for c in 0..cols {
                assert_eq!(to[c * rows + r].to_bits(), from[r * cols + c].to_bits());
            }
        }
    }

    #[test]
    fn adam_is_the_formula_of_the_traces() {
        let (mut p, mut m, mut v) = ([0.3f64], [0.02], [0.004]);
        let g = 0.7;
        let (m1, v1) = (0.5 * 0.02 + 0.5 * g, 0.999 * 0.004 + 0.001 * g * g);
        let want = 0.3 - 1e-3 * (m1 / (1.0 - 0.5f64.powi(3))) / ((v1 / (1.0 - 0.999f64.powi(3))).sqrt() + 1e-8);
        AdamStep::new(1e-3, 3).apply(&mut p, &mut m, &mut v, &[g]);
        assert!((p[0] - want).abs() < 1e-15 && (m[0] - m1).abs() < 1e-15 && (v[0] - v1).abs() < 1e-15);
        AdamStep::new(1e-3, 1).apply(&mut p, &mut [0.0], &mut [0.0], &[0.0]);
        assert!((p[0] - want).abs() < 1e-15, "a zero gradient moves nothing");
    }
}

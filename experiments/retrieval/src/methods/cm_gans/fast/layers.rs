//! Pieces of the passes through one layer. A piece makes some features of the layer's output for the
//! whole batch: product, norm and activation in one go, while they are in cache.

use std::ops::Range;

use super::{
    buffers::{Crew, Gradient, Output},
    nets::Normed,
};
use crate::nn::{
    gemm::{Mat, SimdLevel, gemm_with},
    norm,
    real::Real,
    vector::{add_scaled, at_level, set_scaled, transpose_part},
};

/// Features a piece makes: few enough to go round, many enough that a piece reads its input once for
/// long runs of weights (48 cost 3 % of the whole iteration, 256 gained nothing).
const PIECE: usize = 128;
/// Rows of a transpose that a piece makes.
const TRANSPOSED: usize = 16;

/// Products that add up; what is absent is nothing.
pub(super) type Products<'a, T> = &'a [Option<(Mat<'a, T>, Mat<'a, T>)>];

/// One piece of work on the way through the networks.
#[derive(Debug)]
pub(super) enum Piece<'a, T> {
    Normed(NormedPiece<'a, T>),
    Linear(LinearPiece<'a, T>),
    Backward(BackwardPiece<'a, T>),
    Transpose(TransposePiece<'a, T>),
}

/// Features of act(norm(W'x + base)).
#[derive(Debug)]
pub(super) struct NormedPiece<'a, T> {
    weight: Mat<'a, T>,
    input: Mat<'a, T>,
    base: Option<&'a [T]>,
    gamma: &'a [T],
    beta: &'a [T],
    normalised: &'a mut [T],
    out: &'a mut [T],
    statistics: &'a mut [norm::Statistics<T>],
}

/// Features of W'x, or of W'x + bias.
#[derive(Debug)]
pub(super) struct LinearPiece<'a, T> {
    weight: Mat<'a, T>,
    input: Mat<'a, T>,
    bias: Option<&'a [T]>,
    out: &'a mut [T],
}

/// Where the gradient of a normed layer's output comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upstream<'a, T> {
    /// Of logit_n = sum_j column_j out_jn: the outer product of `column` and dL/dlogit.
    Outer(&'a [T], &'a [T]),
    /// Of the layers that read it: W g, summed.
    Products(Products<'a, T>),
}

/// Features of the gradient of a normed layer's linear output.
#[derive(Debug)]
pub(super) struct BackwardPiece<'a, T> {
    upstream: Upstream<'a, T>,
    first: usize,
    normalised: &'a [T],
    out: &'a [T],
    statistics: &'a [norm::Statistics<T>],
    gamma: &'a [T],
    gradient: &'a mut [T],
    of_gamma: &'a mut [T],
    of_beta: &'a mut [T],
}

/// Rows `first..` of a transpose.
#[derive(Debug)]
pub(super) struct TransposePiece<'a, T> {
    from: &'a [T],
    columns: usize,
    first: usize,
    to: &'a mut [T],
}

fn part(index: usize, features: usize) -> Range<usize> {
    index * PIECE..((index + 1) * PIECE).min(features)
}

/// The pieces of a forward pass through a normed layer; `input` is in x batch, `base` (features x batch)
/// is added to the product.
pub(super) fn normed<'a, T: Real>(
    layer: &'a Normed<T>,
    weight: Mat<'a, T>,
    input: Mat<'a, T>,
    base: Option<&'a [T]>,
    output: &'a mut Output<T>,
) -> impl Iterator<Item = Piece<'a, T>> + Send {
    let n = input.cols();
    let features = weight.cols();
    let Output { normalised, out, statistics } = output;
    let buffers = normalised.chunks_mut(PIECE * n).zip(out.chunks_mut(PIECE * n)).zip(statistics.chunks_mut(PIECE));
    buffers.enumerate().map(move |(index, ((normalised, out), statistics))| {
        let range = part(index, features);
        Piece::Normed(NormedPiece {
            weight: weight.column_range(range.clone()),
            input,
            base: base.map(|base| &base[range.start * n..range.end * n]),
            gamma: &layer.gamma.value[range.clone()],
            beta: &layer.beta.value[range],
            normalised,
            out,
            statistics,
        })
    })
}

/// The pieces of a product W'x, plus `bias` where there is one.
pub(super) fn linear<'a, T: Real>(
    weight: Mat<'a, T>,
    input: Mat<'a, T>,
    bias: Option<&'a [T]>,
    out: &'a mut [T],
) -> impl Iterator<Item = Piece<'a, T>> + Send {
    let features = weight.cols();
    out.chunks_mut(PIECE * input.cols()).enumerate().map(move |(index, out)| {
        let range = part(index, features);
        let bias = bias.map(|bias| &bias[range.clone()]);
        Piece::Linear(LinearPiece { weight: weight.column_range(range), input, bias, out })
    })
}

/// The pieces of the way back through a normed layer's activation and norm, to the gradient of its
/// linear output.
pub(super) fn backward<'a, T: Real>(
    layer: &'a Normed<T>,
    upstream: Upstream<'a, T>,
    output: &'a Output<T>,
    gradient: &'a mut Gradient<T>,
) -> impl Iterator<Item = Piece<'a, T>> + Send {
    let features = output.statistics.len();
    let n = output.out.len() / features;
    let Gradient { linear, gamma, beta, .. } = gradient;
    let buffers = linear.chunks_mut(PIECE * n).zip(gamma.chunks_mut(PIECE)).zip(beta.chunks_mut(PIECE));
    buffers.enumerate().map(move |(index, ((gradient, of_gamma), of_beta))| {
        let range = part(index, features);
        let upstream = match upstream {
            Upstream::Outer(column, row) => Upstream::Outer(&column[range.clone()], row),
            Upstream::Products(products) => Upstream::Products(products),
        };
        Piece::Backward(BackwardPiece {
            upstream,
            first: range.start,
            normalised: &output.normalised[range.start * n..range.end * n],
            out: &output.out[range.start * n..range.end * n],
            statistics: &output.statistics[range.clone()],
            gamma: &layer.gamma.value[range],
            gradient,
            of_gamma,
            of_beta,
        })
    })
}

/// The pieces of the transpose of `from` (any number of rows, `columns` wide).
pub(super) fn transpose<'a, T: Real>(
    from: &'a [T],
    columns: usize,
    to: &'a mut [T],
) -> impl Iterator<Item = Piece<'a, T>> + Send {
    let lines = to.chunks_mut(TRANSPOSED * (from.len() / columns));
    lines
        .enumerate()
        .map(move |(index, to)| Piece::Transpose(TransposePiece { from, columns, first: index * TRANSPOSED, to }))
}

/// One logit an item: the sum over features of weight times feature (features x batch), plus `shift`.
#[inline(always)]
pub(super) fn logits<T: Real>(weight: &[T], features: &[T], shift: T, logits: &mut [T]) {
    logits.fill(shift);
    for (&w, row) in weight.iter().zip(features.chunks_exact(logits.len())) {
        add_scaled(logits, w, row);
    }
}

/// Does all pieces.
pub(super) fn run<'a, T: Real + 'a>(crew: &mut Crew<T>, pieces: impl Iterator<Item = Piece<'a, T>> + Send) {
    let (level, slope) = (crew.level, crew.slope);
    crew.workers.for_each(pieces, |piece, _| match piece {
        Piece::Normed(piece) => piece.run(level, slope),
        Piece::Linear(piece) => piece.run(level),
        Piece::Backward(piece) => piece.run(level, slope),
        Piece::Transpose(piece) => {
            at_level!(level, transpose_part(piece.from, piece.columns, piece.first, piece.to));
        }
    });
}

impl<T: Real> NormedPiece<'_, T> {
    fn run(self, level: SimdLevel, slope: T) {
        let n = self.input.cols();
        if let Some(base) = self.base {
            self.normalised.copy_from_slice(base);
        }
        gemm_with(level, 1, self.normalised, self.base.is_some(), T::one(), self.weight.t(), self.input);
        at_level!(level, {
            let rows = self.normalised.chunks_exact_mut(n).zip(self.out.chunks_exact_mut(n));
            let layer = self.gamma.iter().zip(self.beta).zip(self.statistics);
            for ((z, out), ((&gamma, &beta), statistics)) in rows.zip(layer) {
                *statistics = norm::forward(z, out, gamma, beta, slope);
            }
        });
    }
}

impl<T: Real> LinearPiece<'_, T> {
    fn run(self, level: SimdLevel) {
        let n = self.input.cols();
        if let Some(bias) = self.bias {
            self.out.chunks_exact_mut(n).zip(bias).for_each(|(row, &bias)| row.fill(bias));
        }
        gemm_with(level, 1, self.out, self.bias.is_some(), T::one(), self.weight.t(), self.input);
    }
}

impl<T: Real> BackwardPiece<'_, T> {
    fn run(self, level: SimdLevel, slope: T) {
        let features = self.statistics.len();
        let n = self.out.len() / features;
        if let Upstream::Products(products) = self.upstream {
            let range = self.first..self.first + features;
            for (index, (weight, g)) in products.iter().flatten().enumerate() {
                gemm_with(level, 1, self.gradient, index > 0, T::one(), weight.row_range(range.clone()), *g);
            }
        }
        at_level!(level, {
            let rows = self.gradient.chunks_exact_mut(n);
            let inputs = self.normalised.chunks_exact(n).zip(self.out.chunks_exact(n));
            let layer = self.gamma.iter().zip(self.statistics);
            let gradients = self.of_gamma.iter_mut().zip(self.of_beta);
            let all = rows.zip(inputs).zip(layer).zip(gradients).enumerate();
            for (feature, (((g, (normalised, out)), (&gamma, statistics)), (of_gamma, of_beta))) in all {
                if let Upstream::Outer(column, row) = self.upstream {
                    set_scaled(g, column[feature], row);
                }
                (*of_gamma, *of_beta) = norm::backward(g, normalised, out, gamma, statistics.scale, slope);
            }
        });
    }
}

//! The fast form of the training step for the CPU: forward and backward by hand, on the identities of
//! the spec's `fast.md`, which change no result beyond rounding.
//!
//! Everything between two layers stands feature by feature (features x batch): then both products with
//! a weight matrix, W'x and W g, read the weight as it lies in memory, a feature's batch statistics are
//! sums over one row, and a layer's output, norm and activation can be made piece by piece while the
//! piece is in cache. Weight gradients are made a few rows at a time and consumed by Adam on the spot.
//!
//! Numbers in the comments are the identities of `fast.md`.

#![allow(clippy::doc_markdown)] // the names of the spec's formulas
#![allow(clippy::inline_always)] // what is not inlined is not compiled for the level of its pass

mod buffers;
mod discriminators;
mod generators;
mod layers;
mod losses;
mod nets;
mod parameter;
mod step;
mod updates;

pub use step::FastForm;

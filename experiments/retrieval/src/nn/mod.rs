//! Building blocks of every method: products, layers, losses, element types, seeded randomness.

pub mod adam;
pub mod autoencoder;
pub mod batches;
pub mod device;
pub mod exact;
pub mod fused;
pub mod gemm;
pub mod kept;
pub mod layers;
pub mod learner;
pub mod losses;
pub mod norm;
pub mod pieces;
pub mod rbm;
pub mod real;
pub mod schedule;
pub mod stack;
pub mod stream;
pub mod unit;
pub mod vector;

//! Building blocks of every method: products, layers, losses, element types, seeded randomness.

pub mod adam;
pub mod device;
pub mod gemm;
pub mod layers;
pub mod losses;
pub mod norm;
pub mod pieces;
pub mod real;
pub mod stream;
pub mod vector;

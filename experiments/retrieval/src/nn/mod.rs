//! Building blocks of every method: products, element types, seeded randomness.

pub mod gemm;
pub mod real;
pub mod stream;

//! Linear algebra of the methods with a solution in closed form, in f64: plain functions on `faer` matrices.
//!
//! Same bits at any number of threads: products go through [`crate::nn::gemm`], which splits outputs and never sums,
//! and every decomposition runs on one thread, because faer's cut their sums by the number of threads.

pub mod cholesky;
pub mod components;
pub mod decompose;
pub mod graph;
pub mod product;
pub mod standardise;

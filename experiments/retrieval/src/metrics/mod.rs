//! Scoring (spec part D): mean average precision and precision-recall by cosine similarity.

mod average_precision;
pub mod cosine;
pub mod map;
mod pr_curve;
mod ranks;
mod share;
mod sweep;

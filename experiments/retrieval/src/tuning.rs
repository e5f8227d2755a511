//! Parameters that are left to the run (`auto`): every candidate is fitted on the training pairs and scored on
//! validation pairs by the bi-modal average, and the best is taken. Two drivers make a [`crate::method::Method`]
//! of what is written once for each method:
//!
//! - [`closed_form::Solved`] for methods with a solution in closed form, fitted again on all training pairs once
//!   everything is chosen;
//! - [`iterative::Trained`] for methods that are trained step by step, which keep the candidate that was chosen.
//!
//! Both keep checkpoints and go on from them to the same bits.

pub mod closed_form;
pub mod iterative;
mod recorded;
mod search;
mod trials;

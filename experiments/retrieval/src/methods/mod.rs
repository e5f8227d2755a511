//! The methods of the paper, one file or folder each.

pub mod cca;
pub mod ccl;
pub mod cfa;
pub mod cm_gans;
pub mod cmdn;
pub mod column_scales;
pub mod corr_ae;
pub mod dcca;
pub mod deep_sm;
pub mod fine_tuning;
pub mod jrl;
pub mod kcca;
pub mod lgcfl;
mod nearest_labels;
pub mod projection;
pub mod rbm_stacks;
pub mod stacked;

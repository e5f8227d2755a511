//! The methods of the paper, one file or folder each.

pub mod cm_gans;
pub mod projection;

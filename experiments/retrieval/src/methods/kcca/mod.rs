//! KCCA: kernel canonical correlation analysis (spec C.3).

pub mod entry;
pub mod kernel;
mod landmarks;
mod model;
pub mod solve;

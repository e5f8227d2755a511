//! CM-GANs and its ablations (spec parts A and B).
#![allow(clippy::doc_markdown)] // the paper's symbols, such as D_CI, stand as it prints them

pub mod configuration;
pub mod embed;
pub mod entry;
pub mod fast;
pub mod fit;
pub mod form;
pub mod init;
pub mod layout;
pub mod model;
mod networks;
pub mod plain;
pub mod progress;
pub mod sampler;
pub mod settings;
pub mod state;
pub mod watch;

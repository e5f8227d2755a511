//! CM-GANs and its ablations (spec parts A and B).

pub mod embed;
pub mod fast;
pub mod form;
pub mod init;
pub mod layout;
mod networks;
pub mod plain;
pub mod settings;
pub mod state;

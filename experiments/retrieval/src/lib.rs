//! Everything that touches a tensor: data sets, encoders, features, methods, and the one protocol that
//! scores them all. No network, no processes, no database.

mod carving;
pub mod catalog;
pub mod checkpoint;
pub mod datasets;
pub mod encoders;
pub mod error;
pub mod extraction;
pub mod feature_file;
pub mod features;
pub mod kind;
pub mod linalg;
pub mod method;
pub mod methods;
pub mod metrics;
pub mod nn;
pub mod normalise;
pub mod npy;
pub mod outcome;
pub mod parameters;
pub mod patches;
pub mod protocol;
pub mod registry;
pub mod step;
pub mod tensor_file;
pub mod tuning;

//! What can go wrong in the numeric crate, by whose fault it is.

use std::path::PathBuf;

use experiment_spec::run::FailureKind;

/// An error of this crate. Its failure kind decides whether another attempt is made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data or features are missing, damaged or unusable; the sentence names the place and the cure.
    #[error("{0}")]
    Data(String),
    /// A loss, gradient or embedding is not a number.
    #[error("{what} is not a number at iteration {iteration}")]
    Nan { what: String, iteration: u64 },
    /// What was asked for cannot be done.
    #[error("{0}")]
    User(String),
    /// The attempt was told to stop; its last checkpoint stands.
    #[error("stopped at iteration {0}")]
    Stopped(u64),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// candle refused an operation.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Attaches the path to an input/output error.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// How the failure is named in the run's record.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Data(_) => FailureKind::Data,
            Self::Nan { .. } => FailureKind::Nan,
            Self::User(_) => FailureKind::UserError,
            Self::Stopped(_) | Self::File { .. } => FailureKind::Killed,
            Self::Tensor(error) => {
                let text = error.to_string();
                if text.contains("OUT_OF_MEMORY") || text.contains("out of memory") {
                    FailureKind::CudaOom
                } else {
                    FailureKind::UserError
                }
            }
        }
    }
}

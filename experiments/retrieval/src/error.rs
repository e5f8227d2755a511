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
    /// A program of the user's own failed, in this way.
    #[error("{message}")]
    Program { kind: FailureKind, message: String },
    /// The attempt was told to stop; its last checkpoint stands.
    #[error("stopped at iteration {0}")]
    Stopped(u64),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The GPU that this process was given cannot be used; the sentence says why.
    #[error("{0}")]
    Gpu(String),
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
            Self::Program { kind, .. } => *kind,
            Self::Stopped(_) | Self::File { .. } | Self::Gpu(_) => FailureKind::Killed,
            Self::Tensor(error) if is_out_of_memory(error) => FailureKind::CudaOom,
            // A fault of the device or its driver, not of what was asked for.
            Self::Tensor(error) if is_of_cuda(error) => FailureKind::Killed,
            Self::User(_) | Self::Tensor(_) => FailureKind::UserError,
        }
    }
}

/// Whether the memory of the device ran out, as the driver or cuBLAS says it.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string();
    ["OUT_OF_MEMORY", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|said| text.contains(said))
}

fn is_of_cuda(error: &candle_core::Error) -> bool {
    use candle_core::Error::{Context, Cuda, WithBacktrace, WithPath};
    match error {
        Cuda(_) => true,
        Context { inner, .. } | WithBacktrace { inner, .. } | WithPath { inner, .. } => is_of_cuda(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_lacks_is_told_from_what_it_breaks_and_from_what_cannot_be_done() {
        let cuda = |text: &str| Error::from(candle_core::Error::Cuda(text.into()).bt());
        let kind = |text: &str| cuda(text).failure_kind();
        assert_eq!(kind(r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#), FailureKind::CudaOom);
        assert_eq!(kind("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"), FailureKind::CudaOom);
        assert_eq!(kind("DriverError(CUDA_ERROR_ECC_UNCORRECTABLE)"), FailureKind::Killed);
        let Error::Tensor(lost) = cuda("DriverError(CUDA_ERROR_LAUNCH_FAILED)") else { unreachable!() };
        assert_eq!(Error::from(lost.context("in a step")).failure_kind(), FailureKind::Killed);
        let shape = candle_core::Error::Msg("shapes do not fit".into());
        assert_eq!(Error::from(shape).failure_kind(), FailureKind::UserError);
    }
}

//! The kind of a score: what arithmetic it was computed with. Scores of one kind repeat to the bit;
//! between kinds the last bits differ, and training carries them further.

use crate::nn::gemm::simd_level;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend<'a> {
    /// The processor, at the SIMD level in force.
    Cpu,
    /// A program of the user's own, which nobody here answers for; the processor scores what it leaves.
    Program,
    /// A CUDA device of this model (`NVIDIA H200`).
    Cuda(&'a str),
}

/// Backend, SIMD level or device model, and program version, as in `cpu/avx512/0.1.0` or
/// `cuda/NVIDIA H200/0.1.0`.
#[must_use]
pub fn kind(backend: Backend<'_>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match backend {
        Backend::Cpu => format!("cpu/{}/{version}", simd_level().name()),
        Backend::Program => format!("program/{}/{version}", simd_level().name()),
        // A slash separates the parts, so none may stand within one.
        Backend::Cuda(model) => format!("cuda/{}/{version}", model.trim().replace('/', "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gemm::SimdLevel;

    #[test]
    fn kinds_have_three_parts() {
        let parts = |text: String| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let cpu = parts(kind(Backend::Cpu));
        assert_eq!((cpu.len(), cpu[0].as_str(), cpu[2].as_str()), (3, "cpu", env!("CARGO_PKG_VERSION")));
        assert!(SimdLevel::from_name(&cpu[1]).is_some());
        let gpu = parts(kind(Backend::Cuda("Some GPU 1/2 ")));
        assert_eq!(gpu[..2], ["cuda", "Some GPU 1-2"]);
    }
}

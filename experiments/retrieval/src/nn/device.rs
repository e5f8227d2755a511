//! The device this process computes on: the CPU, unless it was told to take its GPU. A process has one
//! device (which GPU is its first is decided outside, by what the process is shown).
//!
//! What is computed on a GPU repeats to the bit on GPUs of the same model, with the same CUDA libraries:
//! candle works in the order of one stream, its reductions are trees of fixed shape, the gradient of a gather
//! is added up by one thread a row, and cuBLAS repeats itself on the same number of multiprocessors
//! (cuBLAS manual, "Results Reproducibility"); f32 products are left in f32 (no TF32). What the kind of a
//! score does not say: the versions of cuBLAS and of the compiler of the kernels, a GPU cut into
//! instances (MIG), and the SIMD level of the processor, which embeds and ranks in every case.

use std::sync::OnceLock;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result, is_out_of_memory};

static GPU: OnceLock<Device> = OnceLock::new();

/// Takes the first GPU that this process sees, for the rest of its life. To be called before any fit.
///
/// # Errors
/// [`Error::Gpu`] when this program was built without CUDA, no GPU answers, or it cannot run this
/// program's kernels; [`Error::Tensor`] when its memory is full.
pub fn choose_gpu() -> Result<()> {
    if !candle_core::utils::cuda_is_available() {
        return Err(Error::Gpu(
            "there is a GPU to compute on, but this program was built without CUDA; build it with `--features cuda`"
                .into(),
        ));
    }
    let device = answering().map_err(|error| {
        if is_out_of_memory(&error) {
            return Error::Tensor(error);
        }
        Error::Gpu(format!(
            "the GPU does not answer: {error}; look at it with `nvidia-smi`, and build this program on the machine \
             it runs on"
        ))
    })?;
    GPU.get_or_init(|| device);
    Ok(())
}

/// The first GPU, after it has added two numbers: kernels are loaded at their first use, and fail then
/// when they were compiled for another model.
fn answering() -> candle_core::Result<Device> {
    let device = Device::new_cuda(0)?;
    let two = (Tensor::new(1.0f32, &device)? + 1.0)?.to_scalar::<f32>()?;
    if two.to_bits() == 2.0f32.to_bits() { Ok(device) } else { candle_core::bail!("it says that 1 + 1 is {two}") }
}

/// The device of this process.
#[must_use]
pub fn device() -> Device {
    GPU.get().cloned().unwrap_or(Device::Cpu)
}

#[cfg(test)]
mod tests {
    use experiment_spec::run::FailureKind;

    use super::*;

    #[test]
    fn the_cpu_unless_a_gpu_was_chosen() {
        assert!(device().is_cpu());
        if cfg!(not(feature = "cuda")) {
            let refused = choose_gpu().unwrap_err();
            assert!(refused.to_string().contains("--features cuda"), "{refused}");
            assert_eq!(refused.failure_kind(), FailureKind::Killed, "another worker may have a GPU that answers");
            assert!(device().is_cpu());
        }
    }
}

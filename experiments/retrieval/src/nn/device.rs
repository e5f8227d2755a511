//! The device this process computes on: the CPU, unless it was told to take its GPU. A process has one
//! device (which GPU is its first is decided outside, by what the process is shown).

use std::sync::OnceLock;

use candle_core::Device;

static GPU: OnceLock<Device> = OnceLock::new();

/// Takes the first GPU that this process sees, for the rest of its life. To be called before any fit.
///
/// # Errors
/// A sentence, when this program was built without CUDA or no GPU answers.
pub fn choose_gpu() -> Result<(), String> {
    if !candle_core::utils::cuda_is_available() {
        return Err("this program was built without CUDA; build it with `--features cuda`".into());
    }
    let device = Device::new_cuda(0).map_err(|error| format!("no GPU answers: {error}"))?;
    GPU.get_or_init(|| device);
    Ok(())
}

/// The device of this process.
#[must_use]
pub fn device() -> Device {
    GPU.get().cloned().unwrap_or(Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_unless_a_gpu_was_chosen() {
        assert!(device().is_cpu());
        if cfg!(not(feature = "cuda")) {
            assert!(choose_gpu().unwrap_err().contains("--features cuda"));
        }
    }
}

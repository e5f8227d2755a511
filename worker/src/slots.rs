//! What attempts take of this machine while they are at work: cores, and shares of devices.

use std::collections::BTreeMap;

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::v1::{Assignment, Gpu, GpuFree};

use crate::command::GivenGpu;

/// Tolerance for shares that add up to a whole device only up to rounding.
const ROUNDING: f64 = 1e-9;

#[derive(Clone, Copy, Debug)]
struct Taken {
    cpus: u32,
    gpu: Option<(u32, f64)>,
}

/// The machine's capacity and who holds which part of it.
#[derive(Debug)]
pub(crate) struct Slots {
    cpus: u32,
    gpus: Vec<Gpu>,
    taken: BTreeMap<AttemptKey, Taken>,
}

impl Slots {
    pub(crate) fn new(cpus: u32, gpus: Vec<Gpu>) -> Self {
        Self { cpus, gpus, taken: BTreeMap::new() }
    }

    /// Takes what an assignment asks for, and says which GPU that is; on a refusal says what there is too
    /// little of. A step that asks for no core at all takes one.
    pub(crate) fn take(&mut self, assignment: &Assignment) -> Result<Option<GivenGpu>, String> {
        let cpus = assignment.cpus.max(1);
        let free = self.cpus_free();
        if cpus > free {
            return Err(format!("{cpus} cores asked for, {free} of {} are free", self.cpus));
        }
        let gpu = match u32::try_from(assignment.gpu_index) {
            Err(_) => None,
            Ok(index) => {
                let share = assignment.gpu_share;
                let Some(gpu) = self.gpus.iter().find(|gpu| gpu.index == index) else {
                    return Err(format!("GPU {index} asked for, there is none"));
                };
                let free = self.share_free(index);
                if !(0.0..=free + ROUNDING).contains(&share) {
                    return Err(format!("a share of {share} of GPU {index} asked for, {free} is free"));
                }
                Some((GivenGpu { index, model: gpu.model.clone() }, share))
            }
        };
        let taken = Taken { cpus, gpu: gpu.as_ref().map(|(gpu, share)| (gpu.index, *share)) };
        self.taken.insert(assignment.into(), taken);
        Ok(gpu.map(|(gpu, _)| gpu))
    }

    /// Gives back what an attempt had.
    pub(crate) fn give_back(&mut self, key: AttemptKey) {
        self.taken.remove(&key);
    }

    /// Cores that nobody holds.
    pub(crate) fn cpus_free(&self) -> u32 {
        self.cpus.saturating_sub(self.taken.values().map(|taken| taken.cpus).sum())
    }

    /// What is left of each device.
    pub(crate) fn gpus_free(&self) -> Vec<GpuFree> {
        self.gpus.iter().map(|gpu| GpuFree { index: gpu.index, share: self.share_free(gpu.index) }).collect()
    }

    fn share_free(&self, index: u32) -> f64 {
        let taken = self.taken.values().filter_map(|taken| taken.gpu).filter(|(gpu, _)| *gpu == index);
        let used: f64 = taken.map(|(_, share)| share).sum();
        (1.0 - used).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(step_id: i64, cpus: u32, gpu_index: i32, gpu_share: f64) -> Assignment {
        Assignment { step_id, attempt: 1, cpus, gpu_index, gpu_share, ..Assignment::default() }
    }

    #[test]
    fn nothing_is_given_twice_and_everything_comes_back() {
        let gpu = Gpu { index: 3, model: "test".into(), memory_bytes: 1 };
        let mut slots = Slots::new(4, vec![gpu]);
        let given = slots.take(&assignment(1, 2, 3, 0.3)).unwrap();
        assert_eq!(given, Some(GivenGpu { index: 3, model: "test".into() }));
        slots.take(&assignment(2, 0, 3, 0.7)).unwrap();
        assert_eq!(slots.cpus_free(), 1);
        assert!(slots.gpus_free()[0].share < ROUNDING);
        assert_eq!(slots.take(&assignment(3, 2, -1, 0.0)).unwrap_err(), "2 cores asked for, 1 of 4 are free");
        assert!(slots.take(&assignment(3, 1, 3, 0.1)).unwrap_err().contains("GPU 3"));
        assert!(slots.take(&assignment(3, 1, 0, 0.1)).unwrap_err().contains("there is none"));
        assert!(slots.take(&assignment(3, 1, 3, f64::NAN)).is_err());
        slots.give_back(AttemptKey::from(&assignment(1, 2, 3, 0.3)));
        assert_eq!(slots.cpus_free(), 3);
        slots.take(&assignment(3, 2, 3, 0.3)).unwrap();
        assert_eq!(slots.take(&assignment(4, 1, -1, 0.0)).unwrap(), None);
    }
}

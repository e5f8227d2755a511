//! What attempts take of this machine while they are at work: cores, and shares of devices.

use std::collections::BTreeMap;

use orchestrator_proto::v1::{Assignment, Gpu, GpuFree};

use crate::events::AttemptKey;

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

    /// Takes what an assignment asks for; on a refusal says what there is too little of. A step that
    /// asks for no core at all takes one.
    pub(crate) fn take(&mut self, assignment: &Assignment) -> Result<(), String> {
        let cpus = assignment.cpus.max(1);
        let free = self.cpus_free();
        if cpus > free {
            return Err(format!("{cpus} cores asked for, {free} of {} are free", self.cpus));
        }
        let gpu = match u32::try_from(assignment.gpu_index) {
            Err(_) => None,
            Ok(index) => {
                let share = assignment.gpu_share;
                let free = self.gpus_free().into_iter().find(|gpu| gpu.index == index).map(|gpu| gpu.share);
                let Some(free) = free else { return Err(format!("GPU {index} asked for, there is none")) };
                if !(0.0..=free + ROUNDING).contains(&share) {
                    return Err(format!("a share of {share} of GPU {index} asked for, {free} is free"));
                }
                Some((index, share))
            }
        };
        self.taken.insert(assignment.into(), Taken { cpus, gpu });
        Ok(())
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
        let taken = |index| self.taken.values().filter_map(|taken| taken.gpu).filter(move |(gpu, _)| *gpu == index);
        self.gpus
            .iter()
            .map(|gpu| {
                let used: f64 = taken(gpu.index).map(|(_, share)| share).sum();
                GpuFree { index: gpu.index, share: (1.0 - used).max(0.0) }
            })
            .collect()
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
        slots.take(&assignment(1, 2, 3, 0.3)).unwrap();
        slots.take(&assignment(2, 0, 3, 0.7)).unwrap();
        assert_eq!(slots.cpus_free(), 1);
        assert!(slots.gpus_free()[0].share < ROUNDING);
        assert_eq!(slots.take(&assignment(3, 2, -1, 0.0)).unwrap_err(), "2 cores asked for, 1 of 4 are free");
        assert!(slots.take(&assignment(3, 1, 3, 0.1)).unwrap_err().contains("GPU 3"));
        assert!(slots.take(&assignment(3, 1, 0, 0.1)).unwrap_err().contains("there is none"));
        assert!(slots.take(&assignment(3, 1, 3, f64::NAN)).is_err());
        slots.give_back(AttemptKey::new(1, 1));
        assert_eq!(slots.cpus_free(), 3);
        slots.take(&assignment(3, 3, 3, 0.3)).unwrap();
    }
}

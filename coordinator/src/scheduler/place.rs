//! Which steps a polling worker is given. Strictly in the order of the queue: a step that this worker
//! could hold when empty is never overtaken on it, so a large step cannot starve.

use experiment_spec::{
    ids::{StepId, WorkerId},
    run::{Device, Resources},
};

use super::{
    setbacks::still_pauses,
    state::{Capacity, Grant, Phase, Scheduler, Step, Worker},
};

/// Most assignments in one answer: keeps answers small and workers busy for many poll intervals.
pub(crate) const MAX_ASSIGNMENTS: usize = 64;
/// Most queued steps looked at for one answer that the worker could hold when empty; further ones are of the same
/// submissions as a rule.
const MAX_LOOKED_AT: usize = 1_000;
/// Most that it could never hold: a large submission for GPUs in front must not keep other workers idle.
const MAX_PASSED_OVER: usize = 20_000;
/// A whole GPU in thousandths.
const WHOLE_GPU: u32 = 1_000;

/// What the worker itself says is free. Its word can only lower what the scheduler reckons.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Free {
    pub(crate) cpus: u32,
    /// Index and thousandths free.
    pub(crate) gpus: Vec<(u32, u32)>,
}

impl Free {
    /// Everything.
    pub(crate) fn all_of(capacity: &Capacity) -> Self {
        Self { cpus: capacity.cpus, gpus: capacity.gpus.iter().map(|index| (*index, WHOLE_GPU)).collect() }
    }
}

/// Steps to assign to this worker now, with what each is granted.
pub(crate) fn place(scheduler: &Scheduler, id: WorkerId, free: &Free, now_ms: i64) -> Vec<(StepId, Grant)> {
    let Some(worker) = scheduler.workers.get(&id) else { return Vec::new() };
    if !worker.takes_work(now_ms) || scheduler.halted.is_some() {
        return Vec::new();
    }
    let mut left = Left::of(worker, free);
    let whole = Left::whole(&worker.capacity);
    let mut placed = Vec::new();
    let mut looked_at = 0;
    for step in scheduler.ready().take(MAX_LOOKED_AT + MAX_PASSED_OVER) {
        if placed.len() == MAX_ASSIGNMENTS || left.cpus == 0 || looked_at == MAX_LOOKED_AT {
            break;
        }
        if whole.grant(&step.resources, &worker.capacity).is_none() {
            continue;
        }
        looked_at += 1;
        if matches!(step.phase, Phase::Ready { not_before_ms } if still_pauses(not_before_ms, now_ms)) {
            continue;
        }
        if step.shuns == Some(id) && others_could_hold(scheduler, step, id, now_ms) {
            continue;
        }
        let Some(grant) = left.grant(&step.resources, &worker.capacity) else { break };
        left.take(&grant);
        placed.push((step.id, grant));
    }
    placed
}

/// Whether a worker other than this one is there that could hold a step, if not at once.
pub(super) fn others_could_hold(scheduler: &Scheduler, step: &Step, id: WorkerId, now_ms: i64) -> bool {
    let could = |worker: &Worker| worker.takes_work(now_ms) && !matches!(room(&step.resources, worker), Room::Never(_));
    scheduler.workers.iter().any(|(other, worker)| *other != id && could(worker))
}

/// Whether a worker could hold a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Not even when it is empty: what it lacks.
    Never(String),
    /// Not beside what it has: what is taken.
    NotNow(String),
    /// As it is now.
    Now,
}

/// Whether this worker could hold a step that asks for so much, by what the scheduler reckons.
pub(crate) fn room(asked: &Resources, worker: &Worker) -> Room {
    let (capacity, whole) = (&worker.capacity, Left::whole(&worker.capacity));
    if whole.grant(asked, capacity).is_none() {
        let lacking: Vec<&str> = asked.labels.difference(&capacity.labels).map(String::as_str).collect();
        return Room::Never(if !lacking.is_empty() {
            format!("it is not labelled {}", lacking.join(", "))
        } else if asked.memory_bytes > whole.memory_bytes {
            format!("it has {} of memory", gibibytes(whole.memory_bytes))
        } else {
            "it has no GPU".to_owned()
        });
    }
    let left = Left::of(worker, &Free::all_of(capacity));
    if left.grant(asked, capacity).is_some() {
        return Room::Now;
    }
    Room::NotNow(if asked.memory_bytes > left.memory_bytes {
        format!("{} of its {} of memory are free", gibibytes(left.memory_bytes), gibibytes(whole.memory_bytes))
    } else if left.cpus < asked.cpus.min(capacity.cpus) {
        format!("{} of its {} cpus are free", left.cpus, capacity.cpus)
    } else {
        "no such share of one of its GPUs is free".to_owned()
    })
}

/// How many such steps a worker holds at a time.
pub(super) fn holds(capacity: &Capacity, asked: &Resources) -> u32 {
    let mut left = Left::whole(capacity);
    let mut count = 0;
    while let Some(grant) = left.grant(asked, capacity) {
        left.take(&grant);
        count += 1;
    }
    count
}

/// Whether a step would be given a GPU of such a worker.
pub(super) fn takes_gpu(asked: &Resources, capacity: &Capacity) -> bool {
    gpu_share(asked, capacity).is_some_and(|share| share > 0)
}

/// What is left of a worker while steps are placed on it.
#[derive(Clone, Debug)]
struct Left {
    cpus: u32,
    gpus: Vec<(u32, u32)>,
    memory_bytes: u64,
}

impl Left {
    fn whole(capacity: &Capacity) -> Self {
        Self {
            cpus: capacity.cpus,
            gpus: capacity.gpus.iter().map(|index| (*index, WHOLE_GPU)).collect(),
            memory_bytes: capacity.memory_bytes,
        }
    }

    fn of(worker: &Worker, free: &Free) -> Self {
        let mut left = Self::whole(&worker.capacity);
        for grant in worker.taken.values() {
            left.take(grant);
        }
        left.cpus = left.cpus.min(free.cpus);
        for (index, share) in &mut left.gpus {
            let said = free.gpus.iter().find(|gpu| gpu.0 == *index).map_or(0, |gpu| gpu.1);
            *share = (*share).min(said);
        }
        left
    }

    fn take(&mut self, grant: &Grant) {
        self.cpus = self.cpus.saturating_sub(grant.cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(grant.memory_bytes);
        if let Some((index, share)) = grant.gpu
            && let Some(gpu) = self.gpus.iter_mut().find(|gpu| gpu.0 == index)
        {
            gpu.1 = gpu.1.saturating_sub(share);
        }
    }

    /// What the step would be granted of what is left; `None` when it does not fit. A step that asks
    /// for more processors than the worker has gets all of them: cpus are a share of the machine, and
    /// a smaller machine is only slower. Memory is not: too little of it ends in a failure.
    fn grant(&self, asked: &Resources, capacity: &Capacity) -> Option<Grant> {
        if !asked.labels.is_subset(&capacity.labels) {
            return None;
        }
        let cpus = asked.cpus.clamp(1, capacity.cpus.max(1));
        let share = gpu_share(asked, capacity)?;
        let gpu = match share {
            0 => None,
            // The fullest GPU that still holds it, so that whole ones stay whole.
            share => Some((self.gpus.iter().filter(|gpu| gpu.1 >= share).min_by_key(|gpu| gpu.1)?.0, share)),
        };
        (cpus <= self.cpus && asked.memory_bytes <= self.memory_bytes).then_some(Grant {
            cpus,
            gpu,
            memory_bytes: asked.memory_bytes,
        })
    }
}

/// Thousandths of a GPU to take on such a worker, 0 for none; `None` when it insists on one and there
/// is none. One attempt uses one device, so a share is at most a whole GPU.
fn gpu_share(asked: &Resources, capacity: &Capacity) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=1000 first")]
    let milli = |share: f64| (share * 1e3).round().clamp(1.0, 1e3) as u32;
    match asked.device {
        Device::Cpu => Some(0),
        Device::Auto if capacity.gpus.is_empty() || asked.gpus <= 0.0 => Some(0),
        Device::Cuda if capacity.gpus.is_empty() => None,
        Device::Cuda if asked.gpus <= 0.0 => Some(WHOLE_GPU),
        Device::Auto | Device::Cuda => Some(milli(asked.gpus)),
    }
}

/// A size for people.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

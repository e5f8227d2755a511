//! Why a step that is not final stands where it stands, in sentences for people.

use std::collections::BTreeSet;

use experiment_spec::{
    ids::{StepId, WorkerId},
    run::Resources,
};

use super::{
    place::{Room, gibibytes, others_could_hold, room},
    setbacks::{still_aside, still_pauses},
    state::{Phase, Scheduler, Step, Worker},
};

/// Most workers that are named one by one.
const MAX_WORKERS_NAMED: usize = 10;

/// Sentences about a step (`it waits for …`) and about the extraction that it waits for; none for one that is final.
pub(crate) fn why(scheduler: &Scheduler, id: StepId, draining: &BTreeSet<WorkerId>, now_ms: i64) -> Vec<String> {
    let own = standing(scheduler, id, draining, now_ms).into_iter().map(|told| format!("it {told}"));
    let waits_for = scheduler.step(id).filter(|step| step.phase == Phase::Waiting).and_then(|step| step.needs);
    let of_features = waits_for.into_iter().flat_map(|needs| {
        standing(scheduler, needs, draining, now_ms).into_iter().map(move |told| format!("extraction {needs} {told}"))
    });
    own.chain(of_features).collect()
}

/// Sentences without their subject.
fn standing(scheduler: &Scheduler, id: StepId, draining: &BTreeSet<WorkerId>, now_ms: i64) -> Vec<String> {
    let Some(step) = scheduler.step(id) else { return Vec::new() };
    let name = |worker: WorkerId| scheduler.workers.get(&worker).map_or("unknown", |worker| worker.name.as_str());
    match step.phase {
        Phase::Waiting => {
            let needs = step.needs.expect("only a step that needs another waits");
            vec![format!("waits for its features, which extraction {needs} makes")]
        }
        Phase::Ready { .. } => queued(scheduler, step, draining, now_ms),
        Phase::Assigned(worker) => {
            vec![format!("was given to worker {} as attempt {}, which has yet to start", name(worker), step.attempt)]
        }
        Phase::Running(worker) => vec![format!("runs on worker {} as attempt {}", name(worker), step.attempt)],
    }
}

/// Of a step that may be assigned.
fn queued(scheduler: &Scheduler, step: &Step, draining: &BTreeSet<WorkerId>, now_ms: i64) -> Vec<String> {
    let mut told = Vec::new();
    if let Phase::Ready { not_before_ms } = step.phase
        && still_pauses(not_before_ms, now_ms)
    {
        let seconds = (not_before_ms - now_ms).div_euclid(1_000) + 1;
        told.push(format!("is not given out for another {seconds} s: attempt {} ended without a result", step.attempt));
    }
    if !scheduler.is_queued(step) {
        told.push(paused(scheduler, step));
        return told;
    }
    if let Some(halted) = &scheduler.halted {
        told.push(format!("is not given out, nor is anything else: {halted}"));
    }
    let before = scheduler.ready().take_while(|other| other.id != step.id).count();
    told.push(match before {
        0 => "stands first in the queue".to_owned(),
        1 => "stands behind 1 step in the queue".to_owned(),
        steps => format!("stands behind {steps} steps in the queue"),
    });
    if scheduler.workers.is_empty() {
        told.push("has no worker to go to: none is online; start one with `orchestrator worker`".to_owned());
        return told;
    }
    let rooms: Vec<(&WorkerId, &Worker, Room)> =
        scheduler.workers.iter().map(|(id, worker)| (id, worker, room(&step.resources, worker))).collect();
    if rooms.iter().all(|(.., room)| matches!(room, Room::Never(_))) {
        told.push(format!("fits on no worker that is online; it asks for {}", asked(&step.resources)));
    }
    told.extend(rooms.iter().take(MAX_WORKERS_NAMED).map(|(id, Worker { name, aside, drained, halted, .. }, room)| {
        match room {
            Room::Never(lack) => format!("can never go to worker {name}: {lack}"),
            _ if *drained => {
                format!("cannot go to worker {name} now: it is drained; `orchestrator drain {name} --undo`")
            }
            _ if let Some((until_ms, reason)) =
                aside.as_ref().filter(|(until_ms, _)| still_aside(*until_ms, now_ms)) =>
            {
                let minutes = (until_ms - now_ms + 59_999).div_euclid(60_000);
                format!("cannot go to worker {name} now: it is put aside for another {minutes} min: {reason}")
            }
            _ if let Some(reason) = halted => format!("cannot go to worker {name} now: {reason}"),
            _ if step.shuns == Some(**id) && others_could_hold(scheduler, step, **id, now_ms) => {
                format!("waits for a worker other than {name}, on which attempt {} failed", step.attempt)
            }
            _ if draining.contains(id) => format!("cannot go to worker {name} now: it is being shut down"),
            Room::NotNow(lack) => format!("cannot go to worker {name} now: {lack}"),
            Room::Now if before > 0 => format!("could go to worker {name}, once those before it are given out"),
            Room::Now => format!("goes to worker {name} when it asks for work next"),
        }
    }));
    if rooms.len() > MAX_WORKERS_NAMED {
        told.push(format!("has {} more workers to choose from", rooms.len() - MAX_WORKERS_NAMED));
    }
    told
}

/// Of a step that is paused, by itself or with all submissions that ask for it.
fn paused(scheduler: &Scheduler, step: &Step) -> String {
    if step.paused {
        return format!("is paused; `orchestrator resume --run {}`", step.id);
    }
    let paused = step.asks.iter().map(|ask| ask.submission).filter(|id| scheduler.standing(*id).paused);
    let names: Vec<_> = paused.map(|id| id.to_string()).collect();
    let Some(first) = names.first() else { return "is asked for by no submission".to_owned() };
    format!("is paused with submission {}; `orchestrator resume {first}`", names.join(" and "))
}

/// What a step asks for, in words.
pub(super) fn asked(resources: &Resources) -> String {
    let asked_labels = resources.labels.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut parts = vec![format!("{} cpus", resources.cpus)];
    if resources.device == experiment_spec::run::Device::Cuda {
        parts.push("a CUDA GPU (`device: cuda`)".to_owned());
    }
    if resources.memory_bytes > 0 {
        parts.push(format!("{} of memory", gibibytes(resources.memory_bytes)));
    }
    if !asked_labels.is_empty() {
        parts.push(format!("a worker labelled {asked_labels}"));
    }
    parts.join(", ")
}

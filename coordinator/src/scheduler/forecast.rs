//! What steps that are about to be queued will take of the fleet as it is now.

use experiment_spec::run::Resources;

use super::{
    place::{Room, holds, room, takes_gpu},
    state::Scheduler,
    why::asked,
};

/// Steps that ask for the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    resources: Resources,
    steps: u32,
    all: Work,
    /// What is not in the queue already, for another submission.
    new: Work,
}

/// How long steps take by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Work {
    /// Of those of which like ones have ended.
    seconds: f64,
    /// The number of the others.
    unknown: u32,
}

/// What comes of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Forecast {
    pub(crate) core_hours: f64,
    pub(crate) gpu_hours: f64,
    pub(crate) unknown: u32,
    /// Until all of it is done, after everything that is live now; `None` while too little is known.
    pub(crate) seconds_left: Option<f64>,
    pub(crate) never_fits: Vec<String>,
}

impl Work {
    fn add(&mut self, seconds: Option<f64>) {
        self.seconds += seconds.unwrap_or(0.0);
        self.unknown += u32::from(seconds.is_none());
    }
}

impl Group {
    /// Adds a step, which takes so many seconds if that is known, to its group.
    pub(crate) fn add(groups: &mut Vec<Self>, resources: &Resources, seconds: Option<f64>, is_live: bool) {
        let place = groups.iter().position(|group| group.resources == *resources).unwrap_or_else(|| {
            let (all, new) = (Work::default(), Work::default());
            groups.push(Self { resources: resources.clone(), steps: 0, all, new });
            groups.len() - 1
        });
        let group = &mut groups[place];
        group.steps += 1;
        group.all.add(seconds);
        if !is_live {
            group.new.add(seconds);
        }
    }
}

/// What these steps will take.
pub(crate) fn forecast(scheduler: &Scheduler, groups: &[Group]) -> Forecast {
    let mut forecast = Forecast::default();
    if groups.is_empty() {
        // Nothing to do is done, whatever others have queued.
        return Forecast { seconds_left: Some(0.0), ..forecast };
    }
    for Group { resources, steps, all, .. } in groups {
        let hours = all.seconds / 3_600.0;
        forecast.core_hours += hours * f64::from(resources.cpus.max(1));
        if scheduler.workers.values().any(|worker| takes_gpu(resources, &worker.capacity)) {
            forecast.gpu_hours += hours * if resources.gpus > 0.0 { resources.gpus.min(1.0) } else { 1.0 };
        }
        forecast.unknown += all.unknown;
        forecast.never_fits.extend(never_fits(scheduler, resources, *steps));
    }
    let mut live = Vec::new();
    for step in scheduler.live() {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of years are exact enough")]
        let seconds = step.expected_ms.map(|ms| ms as f64 / 1e3);
        Group::add(&mut live, &step.resources, seconds, false);
    }
    let left: f64 =
        groups.iter().chain(&live).map(|group| group.new.seconds / at_once(scheduler, &group.resources)).sum();
    let is_known = groups.iter().chain(&live).all(|group| group.new.unknown == 0);
    let can_end = !scheduler.workers.is_empty() && forecast.never_fits.is_empty();
    forecast.seconds_left = (is_known && can_end).then_some(left);
    forecast
}

/// How many of such steps the whole fleet holds at a time, at least one.
fn at_once(scheduler: &Scheduler, resources: &Resources) -> f64 {
    let all: u32 = scheduler.workers.values().map(|worker| holds(&worker.capacity, resources)).sum();
    f64::from(all.max(1))
}

/// Why no worker that is online could ever hold such steps; nothing where one could, or none is online.
fn never_fits(scheduler: &Scheduler, resources: &Resources, steps: u32) -> Option<String> {
    let lacks: Option<Vec<_>> = scheduler
        .workers
        .values()
        .map(|worker| match room(resources, worker) {
            Room::Never(lack) => Some(format!("{}: {lack}", worker.name)),
            Room::Now | Room::NotNow(_) => None,
        })
        .collect();
    let lacks = lacks.filter(|lacks| !lacks.is_empty())?;
    let shown = lacks.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = lacks.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let asked = asked(resources);
    let (fit, ask) =
        if steps == 1 { ("1 step fits".to_owned(), "it asks") } else { (format!("{steps} steps fit"), "they ask") };
    Some(format!("{fit} on no worker that is online: {ask} for {asked} ({shown}{more})"))
}

/// Most workers named in a sentence.
const MAX_NAMED: usize = 5;

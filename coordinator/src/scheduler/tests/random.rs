//! Random orders of events, with lost answers, lost workers, late and doubled reports: the invariants
//! hold after each event, nothing succeeds twice, and in the end everything comes to rest.

use std::collections::BTreeSet;

use experiment_spec::{
    ids::{AttemptKey, StepId},
    run::{FailureKind, State},
};
use proptest::prelude::*;

use super::model::{World, assignments, cpu_worker, cpus, failed};
use crate::scheduler::reactor::Reported;

const WORKERS: i64 = 3;

#[derive(Clone, Copy, Debug)]
enum Action {
    Submit { runs: u32, cpus: u32 },
    Register { worker: i64, forgets: bool },
    Poll { worker: i64, answer_lost: bool },
    Report { worker: i64, which: usize, what: u8 },
    Lose { worker: i64 },
    Cancel { which: usize },
    Retry { which: usize },
    Wait { ms: i64 },
}

fn action() -> impl Strategy<Value = Action> {
    let worker = 1..=WORKERS;
    prop_oneof![
        1 => (0_u32..4, 1_u32..6).prop_map(|(runs, cpus)| Action::Submit { runs, cpus }),
        2 => (worker.clone(), any::<bool>()).prop_map(|(worker, forgets)| Action::Register { worker, forgets }),
        6 => (worker.clone(), prop::bool::weighted(0.2))
            .prop_map(|(worker, answer_lost)| Action::Poll { worker, answer_lost }),
        8 => (worker.clone(), any::<usize>(), any::<u8>())
            .prop_map(|(worker, which, what)| Action::Report { worker, which, what }),
        1 => worker.prop_map(|worker| Action::Lose { worker }),
        1 => any::<usize>().prop_map(|which| Action::Cancel { which }),
        1 => any::<usize>().prop_map(|which| Action::Retry { which }),
        2 => (0_i64..5_000).prop_map(|ms| Action::Wait { ms }),
    ]
}

/// What a worker really has, and everything it ever had.
#[derive(Default)]
struct Site {
    held: BTreeSet<AttemptKey>,
    ever: Vec<AttemptKey>,
}

struct Simulation {
    world: World,
    sites: Vec<Site>,
    assigned: BTreeSet<AttemptKey>,
}

impl Simulation {
    fn new() -> Self {
        Self {
            world: World::new(2),
            sites: (0..=WORKERS).map(|_| Site::default()).collect(),
            assigned: BTreeSet::new(),
        }
    }

    fn site(&mut self, worker: i64) -> &mut Site {
        &mut self.sites[usize::try_from(worker).unwrap()]
    }

    fn held(&mut self, worker: i64) -> Vec<AttemptKey> {
        self.site(worker).held.iter().copied().collect()
    }

    fn register(&mut self, worker: i64, forgets: bool) {
        if forgets {
            self.site(worker).held.clear();
        }
        let held = self.held(worker);
        for key in self.world.register(worker, cpu_worker(4), &held) {
            self.site(worker).held.remove(&key);
        }
    }

    fn poll(&mut self, worker: i64, answer_lost: bool) {
        let held = self.held(worker);
        let (answer, effects) = self.world.poll(worker, &held);
        let given = assignments(&effects);
        for key in &given {
            assert!(self.assigned.insert(*key), "{key:?} is assigned twice");
        }
        if answer_lost {
            return;
        }
        let site = self.site(worker);
        for key in given.into_iter().chain(answer.again.into_iter().map(|again| again.0)) {
            site.held.insert(key);
            site.ever.push(key);
        }
        for key in answer.stop {
            site.held.remove(&key);
        }
    }

    fn report(&mut self, worker: i64, which: usize, what: u8) {
        let site = self.site(worker);
        if site.ever.is_empty() {
            return;
        }
        let key = site.ever[which % site.ever.len()];
        let (reported, ends) = match what % 8 {
            0..3 => (Reported::Started, false),
            3 => (Reported::Detail, false),
            4 | 5 => (Reported::Succeeded, true),
            6 => (failed(FailureKind::Killed), true),
            _ => (failed(FailureKind::Nan), true),
        };
        if ends {
            site.held.remove(&key);
        }
        self.world.report(worker, key, reported);
    }

    fn step(&self, which: usize) -> Option<StepId> {
        let ids: Vec<_> = self.world.stored.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Submit { runs, cpus: asked } => {
                self.world.submit(runs, &cpus(asked));
            }
            Action::Register { worker, forgets } => self.register(worker, forgets),
            Action::Poll { worker, answer_lost } => self.poll(worker, answer_lost),
            Action::Report { worker, which, what } => self.report(worker, which, what),
            Action::Lose { worker } => {
                self.world.lose(worker);
            }
            Action::Cancel { which } => {
                let chosen: Vec<_> = self.step(which).into_iter().collect();
                self.world.cancel(&chosen);
            }
            Action::Retry { which } => {
                if let Some(id) = self.step(which) {
                    self.world.retry(id);
                }
            }
            Action::Wait { ms } => self.world.now_ms += ms,
        }
    }

    /// From here on every worker is honest: everything must come to rest.
    fn settle(&mut self) {
        for worker in 1..=WORKERS {
            self.register(worker, false);
        }
        let steps = self.world.stored.len();
        for _ in 0..=3 * steps {
            self.world.now_ms += 60_000;
            for worker in 1..=WORKERS {
                self.poll(worker, false);
                for key in self.held(worker) {
                    self.world.report(worker, key, Reported::Started);
                    self.world.report(worker, key, Reported::Succeeded);
                    self.site(worker).held.remove(&key);
                }
            }
        }
        for (id, stored) in &self.world.stored {
            assert!(stored.state.is_final(), "{id} is still {:?}", stored.state);
            assert_eq!(stored.state == State::Succeeded, self.world.succeeded.contains(id));
        }
        assert!(self.world.scheduler.workers.values().all(|worker| worker.taken.is_empty()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_invariants_and_comes_to_rest(actions in prop::collection::vec(action(), 1..120)) {
        let mut simulation = Simulation::new();
        for action in actions {
            simulation.act(action);
        }
        simulation.settle();
    }
}

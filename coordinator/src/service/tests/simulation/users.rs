//! People who submit, take back, try again, and change the order of work. A submission whose answer was lost is sent again.

use experiment_spec::{
    ids::StepId,
    run::{Device, Resources, StepSpec},
};

use super::{
    seat::{Reply, Request},
    world::{Asked, Caller, Due, World},
};
use crate::service::{
    handle::{Change, Chosen, Retry, Submit},
    tests::{support, time::SECOND},
};

/// Most submissions of one simulation.
const MAX_SUBMISSIONS: u64 = 5;

impl World {
    /// Somebody does something, and will do something else later.
    pub(super) fn user(&mut self) {
        if self.is_quiet {
            return;
        }
        let next_us = self.chance.within(SECOND..=12 * SECOND);
        self.after(next_us, Due::User);
        // Whoever can submit does: without work there is nothing to go wrong.
        let request = match self.chance.below(10) {
            _ if self.submitted.is_empty() => self.submission(),
            0..3 => self.submission(),
            3 => Some(Request::Cancel(self.chosen())),
            4 | 5 => Some(Request::Retry(self.retry())),
            6 => Some(Request::Steer(self.chosen(), Change::Paused(self.chance.percent(50)))),
            7 => {
                let priority = i32::try_from(self.chance.below(7)).expect("a small number") - 3;
                Some(Request::Steer(self.chosen(), Change::Priority(priority)))
            }
            _ => {
                let worker = self.chance.index(self.sites.len());
                let worker = self.sites[worker].registration.name.clone();
                Some(Request::Drain { worker, undo: self.chance.percent(60) })
            }
        };
        if let Some(request) = request {
            self.send(Asked { caller: Caller::User, request });
        }
    }

    /// What was asked of the coordinator was answered, or was not.
    pub(super) fn user_answered(&mut self, request: Request, reply: Option<&Reply>) -> Result<(), String> {
        let Request::Submit(submit) = &request else { return Ok(()) };
        let id = submit.new.request_id.clone().expect("users name their requests");
        match reply {
            Some(Reply::Submitted(submitted)) => {
                let before = self.submitted.insert(id.clone(), Some(submitted.id.0)).flatten();
                if before.is_some_and(|before| before != submitted.id.0) {
                    return Err(format!("request {id} is submission {before:?} and {submitted:?}"));
                }
                if !self.is_quiet && self.chance.percent(10) {
                    self.after(2 * SECOND, Due::Again(Box::new(request)));
                }
            }
            _ => self.after(2 * SECOND, Due::Again(Box::new(request))),
        }
        Ok(())
    }

    /// In the end everything may go on: nothing is paused, nobody drained.
    pub(super) fn let_everything_go_on(&mut self) {
        let submissions: Vec<_> = self.submitted.values().flatten().copied().collect();
        let mut requests = Vec::new();
        for id in submissions {
            let chosen = Chosen { submission: Some(id.to_string()), steps: Vec::new() };
            requests.push(Request::Steer(chosen, Change::Paused(false)));
        }
        let steps: Vec<_> = self.ledger.needs.keys().copied().collect();
        let chosen = Chosen { submission: None, steps };
        requests.push(Request::Steer(chosen, Change::Paused(false)));
        for site in &self.sites {
            requests.push(Request::Drain { worker: site.registration.name.clone(), undo: true });
        }
        for request in requests {
            self.send(Asked { caller: Caller::User, request });
        }
    }

    pub(super) fn submission(&mut self) -> Option<Request> {
        let count = self.requests;
        if count == MAX_SUBMISSIONS {
            return None;
        }
        self.requests += 1;
        let has_gpus = self.sites.iter().any(|site| !site.gpus.is_empty());
        let chance = &mut self.chance;
        let from = chance.below(6);
        let mut submit: Submit = support::submission(from..from + chance.within(1..=6));
        let features_seed = chance.within(1..=2);
        let retries = u32::try_from(chance.below(4)).expect("a small number");
        let resources = Resources {
            cpus: u32::try_from(chance.within(1..=3)).expect("a small number"),
            gpus: chance.one_of(&[0.0, 0.0, 0.3, 0.5, 1.0]),
            memory_bytes: chance.one_of(&[0, 1 << 30, 3 << 30]),
            // What fits nowhere never comes to rest.
            device: chance.one_of(&[Device::Auto, Device::Cpu, if has_gpus { Device::Cuda } else { Device::Auto }]),
            ..Resources::default()
        };
        for step in &mut submit.planned.steps {
            match &mut step.spec {
                StepSpec::Extraction(spec) => spec.seed = features_seed,
                StepSpec::Run(spec) => {
                    spec.features.seed = features_seed;
                    step.round = u32::try_from(spec.seed % 2).expect("0 or 1");
                    step.resources = resources.clone();
                }
            }
            step.fingerprint = step.spec.fingerprint();
            step.retries = retries;
        }
        let id = format!("request {count}");
        submit.new.name = format!("toy {}", chance.below(3));
        submit.new.priority = i32::try_from(chance.below(3)).expect("a small number") - 1;
        submit.new.request_id = Some(id.clone());
        submit.force = chance.percent(20);
        self.submitted.insert(id, None);
        Some(Request::Submit(submit))
    }

    /// A submission, or steps, which may not be there.
    fn chosen(&mut self) -> Chosen {
        let submission = 1 + self.chance.below(self.submitted.len() as u64);
        if self.chance.percent(40) {
            return Chosen { submission: Some(submission.to_string()), steps: Vec::new() };
        }
        let step = 1 + self.chance.below(self.ledger.needs.len() as u64 + 1);
        Chosen { submission: None, steps: vec![StepId(step.cast_signed())] }
    }

    fn retry(&mut self) -> Retry {
        let chosen = self.chosen();
        let failure_kind = self.chance.percent(20).then(|| "killed".to_owned());
        Retry { chosen, failure_kind, cancelled_too: self.chance.percent(50) }
    }
}

//! A worker that computes nothing: it takes what it is given, says that it started, how it gets on and what came of it, and
//! keeps every report until it is acknowledged.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use experiment_spec::{
    ids::ContentHash,
    scores::{Normalisation, Score, Scores, Task},
};
use orchestrator_proto::{
    PROTOCOL_VERSION,
    v1::{
        self, AttemptEvent, Held, MetricPoint, PollRequest, PollResponse, RegisterRequest, Report,
        attempt_event::Event, fleet_client::FleetClient,
    },
};
use tonic::transport::Channel;

use crate::{coordinator::FEATURES, ledger::Ledger};

/// Between two polls: several in the life of a coordinator that is killed soon.
const PAUSE: Duration = Duration::from_millis(60);
/// For an answer; more than a slow disk takes, less than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(20);
/// Cores of a worker.
const CPUS: u32 = 2;

struct Worker {
    client: FleetClient<Channel>,
    name: String,
    number: usize,
    id: i64,
    sequence: u64,
    outbox: Vec<Report>,
    /// What it has, and what it says next about each.
    held: BTreeMap<(i64, u32, u64), Stage>,
    ledger: Arc<Ledger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Given { is_run: bool },
    Started { is_run: bool },
    GettingOn { is_run: bool },
}

/// Works until everything is done.
pub(crate) async fn work(channel: Channel, number: usize, ledger: Arc<Ledger>) {
    let client = FleetClient::new(channel);
    let (name, held, outbox) = (format!("simulated-{number}"), BTreeMap::new(), Vec::new());
    let mut worker = Worker { client, name, number, id: 0, sequence: 0, outbox, held, ledger };
    while !worker.ledger.is_over() {
        if worker.id == 0 {
            worker.register().await;
        } else {
            worker.poll().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Worker {
    fn held(&self) -> Vec<Held> {
        self.held
            .keys()
            .map(|(step_id, attempt, lease)| Held { step_id: *step_id, attempt: *attempt, lease: *lease })
            .collect()
    }

    async fn register(&mut self) {
        let request = RegisterRequest {
            protocol_version: PROTOCOL_VERSION,
            program_version: "0.1.0".to_owned(),
            name: self.name.clone(),
            host: "here".to_owned(),
            cpus: CPUS,
            memory_bytes: 64 << 30,
            kind: "cpu".to_owned(),
            held: self.held(),
            ..Default::default()
        };
        // One that was not answered is made again: the name is the same.
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, self.client.register(request)).await else { return };
        let answer = answer.into_inner();
        assert_eq!((answer.refused.as_str(), answer.drop.as_slice()), ("", [].as_slice()));
        self.id = answer.worker_id;
        self.sequence = self.sequence.max(answer.acknowledged);
        self.ledger.registered(self.number, self.id);
    }

    async fn poll(&mut self) {
        self.go_on();
        let request = PollRequest {
            worker_id: self.id,
            reports: self.outbox.clone(),
            cpus_free: CPUS.saturating_sub(u32::try_from(self.held.len()).unwrap()),
            held: self.held(),
            ..Default::default()
        };
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, self.client.poll(request)).await else { return };
        self.take(answer.into_inner());
    }

    /// Says one thing more about everything that it has.
    fn go_on(&mut self) {
        for (key, stage) in std::mem::take(&mut self.held) {
            let iteration = self.sequence + 1;
            match stage {
                Stage::Given { is_run } => {
                    let started = v1::Started { kind: "cpu".to_owned(), process_id: 1, ..Default::default() };
                    self.say(key, Event::Started(started));
                    self.held.insert(key, Stage::Started { is_run });
                }
                Stage::Started { is_run } => {
                    let value = 1.0 / f64::from(u32::try_from(iteration).unwrap());
                    let point = MetricPoint { name: "loss".to_owned(), iteration, value };
                    self.say(key, Event::Metrics(v1::Metrics { points: vec![point] }));
                    let text = format!("{} says {iteration}", self.name);
                    self.say(key, Event::Log(v1::LogLine { text, stream: "stderr".to_owned(), ..Default::default() }));
                    self.held.insert(key, Stage::GettingOn { is_run });
                }
                Stage::GettingOn { is_run } => self.say(key, self.result(is_run)),
            }
        }
    }

    fn say(&mut self, (step_id, attempt, lease): (i64, u32, u64), event: Event) {
        self.sequence += 1;
        let event = Some(AttemptEvent { event: Some(event) });
        self.outbox.push(Report { sequence: self.sequence, step_id, attempt, at_ms: 1, event, lease });
    }

    /// Scores that no other attempt has.
    fn result(&self, is_run: bool) -> Event {
        if !is_run {
            let hash = ContentHash::of(FEATURES).to_string();
            let artifacts =
                vec![v1::Artifact { name: "features".to_owned(), hash, bytes: 8, ..v1::Artifact::default() }];
            return Event::Succeeded(v1::Succeeded { artifacts, seconds: 1.0, ..Default::default() });
        }
        let own = f64::from(u32::try_from(self.sequence * 100 + self.number as u64).unwrap()) / f64::from(u32::MAX);
        Event::Succeeded(v1::Succeeded { scores_json: scores_json(own), seconds: 1.0, ..Default::default() })
    }

    fn take(&mut self, answer: PollResponse) {
        if answer.register_again {
            self.id = 0;
        }
        let (acknowledged, left) =
            std::mem::take(&mut self.outbox).into_iter().partition(|report| report.sequence <= answer.acknowledged);
        self.outbox = left;
        self.ledger.acknowledged(acknowledged);
        for stop in answer.stop {
            self.held.remove(&(stop.step_id, stop.attempt, stop.lease));
        }
        for given in answer.assignments {
            let key = (given.step_id, given.attempt, given.lease);
            self.ledger.given(self.number, key);
            let is_run = given.spec_json.starts_with("{\"run\"");
            self.held.entry(key).or_insert(Stage::Given { is_run });
        }
    }
}

/// Scores with this MAP in every cell.
fn scores_json(map: f64) -> String {
    let cells = Normalisation::ALL.into_iter().flat_map(|normalisation| Task::ALL.map(|task| (task, normalisation)));
    let score = |(task, normalisation)| Score {
        task,
        normalisation,
        map,
        per_category: vec![Some(map)],
        precision_recall: vec![map; 3],
        tied_share: 0.0,
    };
    let scores = Scores {
        scores: cells.map(score).collect(),
        kind: "cpu".to_owned(),
        selected_iteration: 3,
        facts: BTreeMap::new(),
        tuning: None,
        notes: Vec::new(),
    };
    serde_json::to_string(&scores).unwrap()
}

//! An owner on a store of its own, what is submitted to it, and a worker that only speaks.

use std::{collections::BTreeMap, time::Duration};

use experiment_spec::{
    ids::{AttemptKey, ContentHash, WorkerId},
    run::{Device, ExtractionSpec, Resources, RunSpec, StepSpec},
};
use orchestrator_proto::room::Floor;
use tempfile::TempDir;

use crate::{
    lock::FolderLock,
    scheduler::place::Free,
    service::{
        handle::{Answer, Poll, Polled, Register, Submit, Submitted},
        owner::{Owner, Settings},
        planning::Planned,
        reports::{Event, Report},
    },
    store::{
        database,
        scores::{Artifact, Outcome},
        snapshot,
        steps::NewStep,
        submissions::NewSubmission,
        workers::Registration,
    },
    telemetry::Telemetry,
};

pub(super) const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn open(home: &TempDir) -> Owner {
    let lock = FolderLock::take(home.path()).unwrap();
    let (writer, readers) = database::open(&home.path().join("orchestrator.db")).await.unwrap();
    let floor = Floor { folder: home.path().to_owned(), min_free_bytes: 0, option: "" };
    Owner::open(writer, readers, Settings::new(TIMEOUT, floor, Telemetry::new("0.1.0-test")), lock).await.unwrap().0
}

/// A submission of one extraction and runs of these seeds.
pub(super) fn submission(seeds: std::ops::Range<u64>) -> Submit {
    let features = ExtractionSpec {
        data_set: "points".to_owned(),
        split: experiment_spec::run::SplitName::Official,
        data_set_version: "1".to_owned(),
        encoder: "identity".to_owned(),
        encoder_revision: 1,
        epochs: 1,
        seed: 1,
        patches: false,
    };
    let step = |spec: StepSpec, needs| NewStep {
        fingerprint: spec.fingerprint(),
        spec,
        label: "label".to_owned(),
        round: 0,
        expected_ms: None,
        needs,
        resources: Resources { cpus: 1, device: Device::Cpu, ..Resources::default() },
        retries: 1,
    };
    let run = |seed| RunSpec {
        method: "linear".to_owned(),
        method_revision: 1,
        program: None,
        parameters: BTreeMap::default(),
        features: features.clone(),
        seed,
        protocol: 1,
    };
    let mut steps = vec![step(StepSpec::Extraction(features.clone()), None)];
    steps.extend(seeds.map(|seed| step(StepSpec::Run(run(seed)), Some(0))));
    let new = NewSubmission {
        name: "toy".to_owned(),
        file_name: "toy.yaml".to_owned(),
        yaml: String::new(),
        request_id: None,
        client_version: "test".to_owned(),
        tables_json: "[]".to_owned(),
        priority: 0,
    };
    Submit {
        new,
        planned: Planned { name: "toy".to_owned(), left_out: Vec::new(), tables: Vec::new(), steps },
        force: false,
        resume: false,
    }
}

/// A worker that always has everything it was given, until it says otherwise.
#[derive(Debug, Default)]
pub(super) struct Site {
    pub(super) id: Option<WorkerId>,
    pub(super) sequence: u64,
    pub(super) held: Vec<AttemptKey>,
    pub(super) outbox: Vec<Report>,
}

impl Site {
    pub(super) fn report(&mut self, key: AttemptKey, event: Event) {
        self.sequence += 1;
        self.outbox.push(Report { sequence: self.sequence, key, at_ms: 0, event });
    }
}

pub(super) async fn submit(owner: &mut Owner, seeds: std::ops::Range<u64>) -> Answer<Submitted> {
    let submit = submission(seeds);
    owner.guarded(async |owner| owner.submit(submit).await).await
}

pub(super) async fn register(owner: &mut Owner, site: &mut Site, name: &str) {
    let worker = Registration { name: name.to_owned(), cpus: 2, gpus_json: "[]".to_owned(), ..Registration::default() };
    let register = Register { worker, held: site.held.iter().copied().collect() };
    let registered = owner.guarded(async |owner| owner.register(register).await).await.unwrap();
    site.held.retain(|key| !registered.drop.contains(key));
    site.sequence = site.sequence.max(registered.last_sequence);
    site.id = Some(registered.id);
}

pub(super) async fn poll(owner: &mut Owner, site: &mut Site) -> Answer<Polled> {
    let poll = Poll {
        worker: site.id.unwrap_or(WorkerId(0)),
        reports: site.outbox.clone(),
        free: Free { cpus: 2, gpus: Vec::new() },
        draining: false,
        held: site.held.iter().copied().collect(),
        halted: String::new(),
    };
    let polled = owner.guarded(async |owner| owner.poll(poll).await).await?;
    site.outbox.retain(|report| report.sequence > polled.acknowledged);
    site.held.retain(|key| !polled.stop.contains(key));
    site.held.extend(polled.assignments.iter().map(|assignment| assignment.key));
    Ok(polled)
}

pub(super) fn succeeded() -> Event {
    let artifact = Artifact { name: "features".to_owned(), hash: ContentHash::of(b""), bytes: 0, removed_at_ms: None };
    let json = r#"{"scores":[{"task":"image-to-text","normalisation":"none","map":0.5,"per_category":[],
        "precision_recall":[],"tied_share":0.0}],"kind":"cpu","selected_iteration":0,"facts":{}}"#;
    Event::Succeeded(Box::new(Outcome {
        scores_json: json.to_owned(),
        scores: serde_json::from_str(json).map_err(|error| error.to_string()),
        artifacts: vec![artifact],
        seconds: 1.0,
    }))
}

/// Memory is what a restart would read. Only what is told to stop occupies a worker in memory alone.
pub(super) async fn agree(owner: &Owner) {
    owner.scheduler.check();
    let mut stored = snapshot::load(&owner.readers, owner.lease_salt).await.unwrap();
    stored.check();
    let mut memory = owner.scheduler.clone();
    for scheduler in [&mut stored, &mut memory] {
        let workers: Vec<_> = scheduler.workers.keys().copied().collect();
        for id in workers {
            let at_work = scheduler.at_work(id);
            let worker = scheduler.workers.get_mut(&id).unwrap();
            worker.taken.retain(|key, _| at_work.contains(key));
            // What is counted towards putting it aside begins anew with a restart.
            worker.quick_failures.clear();
        }
    }
    assert_eq!(memory, stored);
}

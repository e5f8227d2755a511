//! The owner on a real store: memory and store agree after every command, also after one that failed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, ContentHash, StepId, WorkerId},
    run::{Device, ExtractionSpec, FailureKind, Resources, RunSpec, StepSpec},
};
use proptest::prelude::*;
use sqlx::Connection;
use tempfile::TempDir;

use super::{
    handle::{Answer, Chosen, Poll, Polled, Register, Retry, Submit, Submitted},
    owner::Owner,
    planning::Planned,
    refusal::Refusal,
    reports::{Event, Report},
};
use crate::{
    clock::now_ms,
    lock::FolderLock,
    scheduler::place::Free,
    store::{
        attempts::Start,
        database,
        error::StoreError,
        scores::{Artifact, Outcome},
        snapshot,
        steps::NewStep,
        submissions::NewSubmission,
        workers::Registration,
    },
};

const TIMEOUT: Duration = Duration::from_secs(15);

async fn open(home: &TempDir) -> Owner {
    let lock = FolderLock::take(home.path()).unwrap();
    let (writer, readers) = database::open(&home.path().join("orchestrator.db")).await.unwrap();
    Owner::open(writer, readers, TIMEOUT, lock).await.unwrap().0
}

/// A submission of one extraction and runs of these seeds.
fn submission(seeds: std::ops::Range<u64>) -> Submit {
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
struct Site {
    id: Option<WorkerId>,
    sequence: u64,
    held: Vec<AttemptKey>,
    outbox: Vec<Report>,
}

impl Site {
    fn report(&mut self, key: AttemptKey, event: Event) {
        self.sequence += 1;
        self.outbox.push(Report { sequence: self.sequence, key, at_ms: 0, event });
    }
}

async fn submit(owner: &mut Owner, seeds: std::ops::Range<u64>) -> Answer<Submitted> {
    let submit = submission(seeds);
    owner.guarded(async |owner| owner.submit(submit).await).await
}

async fn register(owner: &mut Owner, site: &mut Site, name: &str) {
    let worker = Registration { name: name.to_owned(), cpus: 2, gpus_json: "[]".to_owned(), ..Registration::default() };
    let register = Register { worker, held: site.held.iter().copied().collect() };
    let registered = owner.guarded(async |owner| owner.register(register).await).await.unwrap();
    site.held.retain(|key| !registered.drop.contains(key));
    site.sequence = site.sequence.max(registered.last_sequence);
    site.id = Some(registered.id);
}

async fn poll(owner: &mut Owner, site: &mut Site) -> Answer<Polled> {
    let poll = Poll {
        worker: site.id.unwrap_or(WorkerId(0)),
        reports: site.outbox.clone(),
        free: Free { cpus: 2, gpus: Vec::new() },
        draining: false,
        held: site.held.iter().copied().collect(),
    };
    let polled = owner.guarded(async |owner| owner.poll(poll).await).await?;
    site.outbox.retain(|report| report.sequence > polled.acknowledged);
    site.held.retain(|key| !polled.stop.contains(key));
    site.held.extend(polled.assignments.iter().map(|assignment| assignment.key));
    Ok(polled)
}

fn succeeded() -> Event {
    let artifact = Artifact { name: "features".to_owned(), hash: ContentHash::of(b""), bytes: 0 };
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
async fn agree(owner: &Owner) {
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

#[tokio::test]
async fn a_full_disk_refuses_and_nothing_diverges() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..2).await.unwrap();
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    // SQLite then answers as it does on a full disk.
    sqlx::query("PRAGMA max_page_count = 1").execute(&mut owner.writer).await.unwrap();
    let refused = submit(&mut owner, 0..500).await.unwrap_err();
    assert!(matches!(refused, Refusal::Store(StoreError::Full)), "{refused}");
    assert_eq!(refused.to_string(), "nothing was changed: the disk that holds orchestrator.db is full");
    assert_eq!(tonic::Status::from(refused).code(), tonic::Code::ResourceExhausted);
    assert!(owner.stale);

    sqlx::query("PRAGMA max_page_count = 1000000").execute(&mut owner.writer).await.unwrap();
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments.len(), 1);
    agree(&owner).await;
    assert_eq!(submit(&mut owner, 0..500).await.unwrap().id.0, 2, "the refused one left nothing");
    agree(&owner).await;
}

#[tokio::test]
async fn a_poll_that_cannot_be_written_gives_nothing_away_and_is_taken_later() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..2).await.unwrap();
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    poll(&mut owner, &mut site).await.unwrap();
    let key = site.held.pop().unwrap();
    site.report(key, succeeded());
    sqlx::query("PRAGMA query_only = ON").execute(&mut owner.writer).await.unwrap();
    assert!(matches!(poll(&mut owner, &mut site).await, Err(Refusal::Store(StoreError::ReadOnly))));
    assert_eq!(site.outbox.len(), 1, "not acknowledged");
    sqlx::query("PRAGMA query_only = OFF").execute(&mut owner.writer).await.unwrap();
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments.len(), 2);
    assert_eq!(site.outbox.len(), 0);
    agree(&owner).await;
}

#[tokio::test]
async fn a_guard_that_does_not_hold_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..1).await.unwrap();
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    // Somebody else changes the step under the owner: its attempt is no longer the one in memory.
    sqlx::query("UPDATE steps SET attempt = 7 WHERE id = 1").execute(&mut owner.writer).await.unwrap();
    let refused = poll(&mut owner, &mut site).await.unwrap_err();
    assert!(matches!(refused, Refusal::Store(StoreError::Guard { step: StepId(1), attempt: AttemptNumber(0), .. })));
    let history: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM history WHERE step_id = 1").fetch_one(&owner.readers).await.unwrap();
    assert_eq!(history, 1, "only that it was queued");
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments[0].key.attempt, AttemptNumber(8));
    agree(&owner).await;
}

#[tokio::test]
async fn silence_is_measured_while_the_coordinator_itself_is_awake() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    let start = Instant::now();
    let sweep = async |owner: &mut Owner, after: Duration| owner.sweep(start + after).await.unwrap();
    // It was stopped for a minute: polls that came meanwhile are still in the queue.
    assert_eq!(sweep(&mut owner, Duration::from_mins(1)).await, 0);
    let mut lost = Vec::new();
    for seconds in (63..=84).step_by(3) {
        if sweep(&mut owner, Duration::from_secs(seconds)).await == 1 {
            lost.push(seconds);
        }
    }
    assert_eq!(lost, [78], "the first look more than the timeout after it woke up");
    agree(&owner).await;
}

#[tokio::test]
async fn a_restart_reads_back_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..4).await.unwrap();
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    poll(&mut owner, &mut site).await.unwrap();
    let key = site.held.pop().unwrap();
    site.report(key, succeeded());
    poll(&mut owner, &mut site).await.unwrap();
    let (before, salt) = (owner.scheduler.clone(), owner.lease_salt);
    owner.writer.close().await.unwrap();
    owner.readers.close().await;
    drop(owner.lock);
    let mut owner = open(&home).await;
    assert_ne!(owner.lease_salt, salt, "leases given from now on have tokens of their own");
    owner.lease_salt = salt;
    owner.rebuild().await.unwrap();
    assert_eq!(owner.scheduler, before);
    assert_eq!(owner.scheduler.workers.values().next().unwrap().taken.len(), 2);
}

#[tokio::test]
async fn what_was_decided_about_failures_is_stored() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..4).await.unwrap();
    let (mut site, mut other) = (Site::default(), Site::default());
    register(&mut owner, &mut site, "one").await;
    register(&mut owner, &mut other, "two").await;
    poll(&mut owner, &mut site).await.unwrap();
    let extraction = site.held.pop().unwrap();
    site.report(extraction, succeeded());
    for failures in 1..=3 {
        poll(&mut owner, &mut site).await.unwrap();
        let run = site.held.pop().unwrap();
        site.report(run, Event::Failed { kind: FailureKind::Killed, message: "killed".to_owned() });
        poll(&mut owner, &mut site).await.unwrap();
        agree(&owner).await;
        let stored = snapshot::load(&owner.readers, 0).await.unwrap();
        assert_eq!(stored.step(run.step).unwrap().shuns, site.id, "after {failures}");
        assert_eq!(stored.workers[&site.id.unwrap()].aside.is_some(), failures == 3);
    }
    let shown = owner.live.workers();
    let (until_ms, reason) = shown[&site.id.unwrap()].aside.clone().unwrap();
    assert!(until_ms > now_ms() && reason.starts_with("3 steps failed"), "{reason}");
    register(&mut owner, &mut site, "one").await;
    agree(&owner).await;
    assert_eq!(snapshot::load(&owner.readers, 0).await.unwrap().workers[&site.id.unwrap()].aside, None);
}

#[derive(Clone, Debug)]
enum Action {
    Submit(u64, u64),
    Register { worker: usize, forgets: bool },
    Poll { worker: usize },
    Report { worker: usize, which: usize, what: u8 },
    Lose { worker: usize },
    Cancel { step: i64 },
    Retry { step: i64 },
    FailedWrite { worker: usize },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => (0_u64..4, 1_u64..4).prop_map(|(from, count)| Action::Submit(from, count)),
        2 => (0..2_usize, any::<bool>()).prop_map(|(worker, forgets)| Action::Register { worker, forgets }),
        6 => (0..2_usize).prop_map(|worker| Action::Poll { worker }),
        8 => (0..2_usize, any::<usize>(), any::<u8>())
            .prop_map(|(worker, which, what)| Action::Report { worker, which, what }),
        1 => (0..2_usize).prop_map(|worker| Action::Lose { worker }),
        1 => (1_i64..9).prop_map(|step| Action::Cancel { step }),
        1 => (1_i64..9).prop_map(|step| Action::Retry { step }),
        1 => (0..2_usize).prop_map(|worker| Action::FailedWrite { worker }),
    ]
}

async fn act(owner: &mut Owner, sites: &mut [Site; 2], action: Action) {
    match action {
        Action::Submit(from, count) => drop(submit(owner, from..from + count).await.unwrap()),
        Action::Register { worker, forgets } => {
            if forgets {
                sites[worker].held.clear();
            }
            register(owner, &mut sites[worker], &format!("w{worker}")).await;
        }
        Action::Poll { worker } => drop(poll(owner, &mut sites[worker]).await.unwrap()),
        Action::Report { worker, which, what } => {
            let site = &mut sites[worker];
            if site.held.is_empty() {
                return;
            }
            let key = site.held[which % site.held.len()];
            let event = match what % 6 {
                0 | 1 => Event::Started(Start { from_iteration: u64::from(what), kind: "cpu".to_owned(), code: None }),
                2 => Event::Metrics(vec![("loss".to_owned(), u64::from(what), 0.5)]),
                3 | 4 => succeeded(),
                _ => Event::Failed { kind: FailureKind::Killed, message: "killed".to_owned() },
            };
            if what % 6 > 2 {
                site.held.retain(|held| *held != key);
            }
            site.report(key, event);
        }
        Action::Lose { worker } => {
            if let Some(id) = sites[worker].id.filter(|id| owner.members.contains_key(id)) {
                owner.lose(id).await.unwrap();
            }
        }
        Action::Cancel { step } => {
            let chosen = Chosen { submission: None, steps: vec![StepId(step)] };
            drop(owner.guarded(async |owner| owner.cancel(chosen).await).await);
        }
        Action::Retry { step } => {
            let chosen = Chosen { submission: None, steps: vec![StepId(step)] };
            let retry = Retry { chosen, ..Retry::default() };
            drop(owner.guarded(async |owner| owner.retry(retry).await).await);
        }
        Action::FailedWrite { worker } => {
            sqlx::query("PRAGMA query_only = ON").execute(&mut owner.writer).await.unwrap();
            drop(poll(owner, &mut sites[worker]).await);
            sqlx::query("PRAGMA query_only = OFF").execute(&mut owner.writer).await.unwrap();
            // The next command reads the state again before it does anything.
            drop(poll(owner, &mut sites[worker]).await);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_store_agree_whatever_happens(actions in prop::collection::vec(action(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let mut owner = open(&home).await;
            let mut sites = [Site::default(), Site::default()];
            for action in actions {
                act(&mut owner, &mut sites, action).await;
                agree(&owner).await;
            }
        });
    }
}

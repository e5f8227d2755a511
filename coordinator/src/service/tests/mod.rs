//! The owner on a real store: memory and store agree after every command, also after one that failed.

mod clock;
mod random;
mod simulation;
mod support;
mod time;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use experiment_spec::{
    ids::{AttemptNumber, StepId},
    run::FailureKind,
};
use sqlx::Connection;

use self::{
    support::{Site, agree, open, poll, register, submit, succeeded},
    time::{Clocks, SECOND},
};
use super::{
    handle::{Change, Chosen, Poll},
    owner::Owner,
    refusal::Refusal,
    reports::Event,
};
use crate::{
    clock::{Clock, SystemClock},
    scheduler::place::Free,
    store::{error::StoreError, snapshot},
};

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
async fn a_loss_that_cannot_be_written_is_written_at_the_next_look() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    let clocks = Arc::new(Clocks::new());
    owner.clock = Arc::clone(&clocks) as _;
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    let sweep = async |owner: &mut Owner, seconds| {
        clocks.turn_to(seconds * SECOND);
        let now = clocks.now();
        owner.guarded(async |owner| owner.sweep(now).await).await
    };
    for seconds in (3..=12).step_by(3) {
        assert_eq!(sweep(&mut owner, seconds).await.unwrap(), 0);
    }
    sqlx::query("PRAGMA query_only = ON").execute(&mut owner.writer).await.unwrap();
    assert!(matches!(sweep(&mut owner, 18).await, Err(Refusal::Store(StoreError::ReadOnly))));
    sqlx::query("PRAGMA query_only = OFF").execute(&mut owner.writer).await.unwrap();
    assert_eq!(sweep(&mut owner, 21).await.unwrap(), 1, "it was silent all the time");
    agree(&owner).await;
}

#[tokio::test]
async fn workers_that_fall_silent_together_are_lost_together() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..1).await.unwrap();
    let start = Instant::now();
    for name in ["one", "two", "three"] {
        register(&mut owner, &mut Site::default(), name).await;
    }
    let first = *owner.members.keys().next().unwrap();
    let mut site = Site { id: Some(first), ..Site::default() };
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments.len(), 1);
    let before = *owner.changes.borrow();
    let mut lost = Vec::new();
    for seconds in (5..=20).step_by(5) {
        lost.push(owner.sweep(start + Duration::from_secs(seconds)).await.unwrap());
    }
    assert_eq!(lost, [0, 0, 0, 3]);
    assert_eq!(*owner.changes.borrow(), before + 1, "one transaction for all of them");
    agree(&owner).await;
    let said: Vec<String> = sqlx::query_scalar("SELECT failure FROM attempts").fetch_all(&owner.readers).await.unwrap();
    assert_eq!(said, ["worker one was not heard of any more"]);
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
    assert!(until_ms > SystemClock.now_ms() && reason.starts_with("3 steps failed"), "{reason}");
    register(&mut owner, &mut site, "one").await;
    agree(&owner).await;
    assert_eq!(snapshot::load(&owner.readers, 0).await.unwrap().workers[&site.id.unwrap()].aside, None);
}

#[tokio::test]
async fn polls_of_several_workers_are_written_together_and_one_bad_one_spoils_only_itself() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    submit(&mut owner, 0..3).await.unwrap();
    let (mut one, mut two) = (Site::default(), Site::default());
    register(&mut owner, &mut one, "one").await;
    register(&mut owner, &mut two, "two").await;
    poll(&mut owner, &mut one).await.unwrap();
    let extraction = one.held.pop().unwrap();
    one.report(extraction, succeeded());
    let of = |site: &Site| Poll {
        worker: site.id.unwrap(),
        reports: site.outbox.clone(),
        free: Free { cpus: 1, gpus: Vec::new() },
        draining: false,
        held: site.held.iter().copied().collect(),
        halted: String::new(),
    };
    let before = *owner.changes.borrow();
    let answers = owner.guarded(async |owner| owner.polls(&mut [of(&one), of(&two)]).await).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.assignments.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((answers[0].acknowledged, answers[1].acknowledged), (1, 0));
    assert_eq!(*owner.changes.borrow(), before + 1, "one transaction for both");
    agree(&owner).await;
    one.outbox.clear();
    one.held = answers[0].assignments.iter().map(|given| given.key).collect();
    two.held = answers[1].assignments.iter().map(|given| given.key).collect();

    // Somebody else has written a result for what the first one is at work on: what it reports cannot be written.
    sqlx::query("INSERT INTO results (step_id, attempt, scores_json, seconds) VALUES (?1, 1, '', 0)")
        .bind(one.held[0].step.0)
        .execute(&mut owner.writer)
        .await
        .unwrap();
    one.report(one.held[0], succeeded());
    two.report(two.held[0], succeeded());
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let handle = super::handle::Handle(sender);
    let ask = |poll| handle.ask(move |reply| super::handle::Command::Poll(Box::new(poll), reply));
    let readers = owner.readers.clone();
    let running = tokio::spawn(owner.run(receiver));
    let (first, second) = tokio::join!(ask(of(&one)), ask(of(&two)));
    assert!(matches!(first, Err(Refusal::Store(_))), "{first:?}");
    assert_eq!(second.unwrap().acknowledged, 1);
    let scored: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM results").fetch_one(&readers).await.unwrap();
    assert_eq!(scored, 3, "the extraction, what stood there, and the run of the second worker");
    drop(handle);
    running.await.unwrap();
}

#[tokio::test]
async fn what_users_say_about_the_order_is_stored() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = open(&home).await;
    let id = submit(&mut owner, 0..2).await.unwrap().id;
    let whole = || Chosen { submission: Some(id.to_string()), steps: Vec::new() };
    assert_eq!(owner.steer(whole(), Change::Paused(true)).await.unwrap(), 3);
    assert_eq!(owner.steer(whole(), Change::Priority(5)).await.unwrap(), 3);
    let single = Chosen { submission: None, steps: vec![StepId(2)] };
    assert_eq!(owner.steer(single.clone(), Change::Priority(9)).await.unwrap(), 2, "and the features it waits for");
    assert_eq!(owner.scheduler.step(StepId(1)).unwrap().priority, Some(9));
    assert_eq!(owner.steer(single.clone(), Change::Priority(-7)).await.unwrap(), 1, "others may wait for them too");
    assert_eq!(owner.steer(single, Change::Paused(true)).await.unwrap(), 1);
    agree(&owner).await;
    let stored = snapshot::load(&owner.readers, 0).await.unwrap();
    assert_eq!((stored.standing(id).priority, stored.standing(id).paused), (5, true));
    let step = stored.step(StepId(2)).unwrap();
    assert_eq!((step.priority, step.paused), (Some(-7), true));
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments, []);
    owner.steer(whole(), Change::Paused(false)).await.unwrap();
    assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments.len(), 1);
    let unknown = Chosen { submission: None, steps: vec![StepId(2), StepId(9)] };
    let refused = owner.steer(unknown, Change::Paused(true)).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no run or extraction 9; `orchestrator runs` lists them");
    agree(&owner).await;
}

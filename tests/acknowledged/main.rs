//! A real coordinator's process, killed again and again while simulated workers finish runs: whatever it acknowledged is
//! there in the end, and nothing is there twice.
//!
//! The workers speak the real protocol and compute nothing, so that sixteen of them keep the coordinator busy.

#[path = "../common/mod.rs"]
mod common;
mod coordinator;
mod ledger;
mod user;
mod worker;

use std::{sync::Arc, time::Duration};

use coordinator::Coordinator;
use ledger::Ledger;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use user::User;

const WORKERS: usize = 16;

/// Everybody but the coordinator.
struct Crowd {
    ledger: Arc<Ledger>,
    workers: JoinSet<()>,
    user: JoinHandle<()>,
}

impl Crowd {
    /// A user who keeps `enough` runs in the queue, and workers who end them.
    fn gather(coordinator: &Coordinator, number_of_workers: usize, enough: u32) -> Self {
        let ledger = Arc::new(Ledger::default());
        let mut workers = JoinSet::new();
        for number in 0..number_of_workers {
            workers.spawn(worker::work(coordinator.channel(), number, Arc::clone(&ledger)));
        }
        let user = tokio::spawn(User::new(coordinator.channel(), Arc::clone(&ledger)).keep_busy(enough));
        Self { ledger, workers, user }
    }

    /// The user stops; everything comes to rest; then the record is held to what was acknowledged.
    async fn hold_to_account(mut self, coordinator: &Coordinator) -> ledger::Found {
        self.ledger.no_more();
        self.user.await.expect("no user panics");
        let mut user = User::new(coordinator.channel(), Arc::clone(&self.ledger));
        user.wait_for_rest().await;
        self.ledger.go_home();
        while let Some(ended) = self.workers.join_next().await {
            ended.expect("no worker panics");
        }
        self.ledger.compare(&mut user).await
    }
}

/// A seed of this run, told so that it can be had again with `ORCHESTRATOR_TEST_SEED`.
fn draws() -> impl FnMut(u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let given = std::env::var("ORCHESTRATOR_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("ORCHESTRATOR_TEST_SEED={state}");
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_two_hundred_times_a_coordinator_loses_nothing_that_it_acknowledged() {
    let mut draw = draws();
    let mut coordinator = Coordinator::new("30s");
    coordinator.start(None);
    let crowd = Crowd::gather(&coordinator, WORKERS, 64);
    for _ in 0..200 {
        // From before it listens to when it has been at work for a while.
        sleep(Duration::from_millis(20 + draw(600))).await;
        coordinator.kill();
        coordinator.start(None);
    }
    let found = crowd.hold_to_account(&coordinator).await;
    println!("{found:?}");
    assert!(found.scores > 500 && found.submissions > 50 && found.cancelled > 0, "{found:?}: too little was at stake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_writing_and_answering_a_coordinator_says_and_does_everything_once() {
    for place in [
        "polls-before-commit",
        "polls-before-answer",
        "submission-before-commit",
        "submission-before-answer",
        "cancel-before-answer",
        "register-before-answer",
    ] {
        let mut coordinator = Coordinator::new("30s");
        coordinator.start(Some(&format!("{place}:1")));
        let crowd = Crowd::gather(&coordinator, 4, 16);
        for passage in 2..=4 {
            coordinator.ends_at(place).await;
            // A worker that is known does not register again.
            let next = (place != "register-before-answer").then(|| format!("{place}:{passage}"));
            coordinator.start(next.as_deref());
            if next.is_none() {
                break;
            }
        }
        if place != "register-before-answer" {
            coordinator.ends_at(place).await;
            coordinator.start(None);
        }
        sleep(Duration::from_secs(1)).await;
        let found = crowd.hold_to_account(&coordinator).await;
        println!("{place}: {found:?}");
        assert!(found.scores > 0, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_half_a_second_for_each_commit_costs_no_lease() {
    let mut coordinator = Coordinator::new("3s");
    coordinator.start(Some("polls-before-commit:1:500ms"));
    let crowd = Crowd::gather(&coordinator, WORKERS, 64);
    sleep(Duration::from_secs(12)).await;
    let found = crowd.hold_to_account(&coordinator).await;
    println!("{found:?}");
    assert!(found.scores > WORKERS, "{found:?}: there was not enough at work");
}

//! Wall clocks that jump, and coordinators that were away for long: neither costs a lease or holds a run back.

use std::sync::Arc;

use experiment_spec::{
    ids::AttemptNumber,
    run::{FailureKind, State},
};
use sqlx::Connection;
use tempfile::TempDir;

use super::{
    support::{Site, agree, open, poll, register, submit, succeeded},
    time::{Clocks, SECOND},
};
use crate::{
    clock::Clock,
    service::{owner::Owner, reports::Event},
};

const HOUR_MS: i64 = 3_600_000;

fn with(owner: Owner, clocks: &Arc<Clocks>) -> Owner {
    Owner { clock: Arc::clone(clocks) as _, ..owner }
}

/// A coordinator whose worker has done the extraction and has both runs.
async fn at_work(home: &TempDir, clocks: &Arc<Clocks>) -> (Owner, Site) {
    let mut owner = with(open(home).await, clocks);
    submit(&mut owner, 0..2).await.unwrap();
    let mut site = Site::default();
    register(&mut owner, &mut site, "one").await;
    poll(&mut owner, &mut site).await.unwrap();
    let extraction = site.held.pop().unwrap();
    site.report(extraction, succeeded());
    poll(&mut owner, &mut site).await.unwrap();
    assert_eq!(site.held.len(), 2);
    (owner, site)
}

async fn restarted(owner: Owner, home: &TempDir) -> Owner {
    owner.writer.close().await.unwrap();
    owner.readers.close().await;
    drop(owner.lock);
    open(home).await
}

async fn states(owner: &Owner) -> Vec<String> {
    sqlx::query_scalar("SELECT state FROM steps ORDER BY id").fetch_all(&owner.readers).await.unwrap()
}

#[tokio::test]
async fn a_clock_that_jumps_by_an_hour_loses_no_worker_and_holds_no_run_back() {
    for jump_ms in [HOUR_MS, -HOUR_MS] {
        let clocks = Arc::new(Clocks::new());
        let home = tempfile::tempdir().unwrap();
        let (mut owner, mut site) = at_work(&home, &clocks).await;
        let (done, fails) = (site.held[0], site.held[1]);
        site.held.pop();
        site.report(fails, Event::Failed { kind: FailureKind::Killed, message: "killed".to_owned() });
        assert_eq!(poll(&mut owner, &mut site).await.unwrap().assignments, [], "it waits for a while");
        clocks.set_wall_clock_by(jump_ms);
        assert_eq!(owner.sweep(clocks.now()).await.unwrap(), 0, "{jump_ms}");
        let again = poll(&mut owner, &mut site).await.unwrap();
        assert_eq!((again.register_again, again.stop.len()), (false, 0), "{jump_ms}");
        // A pause that is over on the new clock, or longer than any that is ever set.
        assert_eq!(again.assignments[0].key.step, fails.step, "{jump_ms}");
        assert_eq!(again.assignments[0].key.attempt, AttemptNumber(2));
        agree(&owner).await;
        site.report(done, succeeded());
        site.report(again.assignments[0].key, succeeded());
        site.held.clear();
        clocks.set_wall_clock_by(0);
        poll(&mut owner, &mut site).await.unwrap();
        assert_eq!(states(&owner).await, [State::Succeeded.name(); 3], "{jump_ms}, and back");
        agree(&owner).await;
    }
}

#[tokio::test]
async fn a_coordinator_that_was_away_for_ten_minutes_gives_nothing_away_again() {
    let home = tempfile::tempdir().unwrap();
    let clocks = Arc::new(Clocks::new());
    let (owner, mut site) = at_work(&home, &clocks).await;
    clocks.set_wall_clock_by(10 * 60_000);
    let mut owner = with(restarted(owner, &home).await, &clocks);
    clocks.turn_to(5 * SECOND);
    // Forty leases: but nobody could have been heard meanwhile.
    assert_eq!(owner.sweep(clocks.now()).await.unwrap(), 0);
    for key in std::mem::take(&mut site.held) {
        site.report(key, succeeded());
    }
    let polled = poll(&mut owner, &mut site).await.unwrap();
    assert_eq!((polled.register_again, polled.stop.len(), site.outbox.len()), (false, 0, 0));
    assert_eq!(states(&owner).await, [State::Succeeded.name(); 3]);
    let attempts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM attempts").fetch_one(&owner.readers).await.unwrap();
    assert_eq!(attempts, 3, "one each");
    agree(&owner).await;
}

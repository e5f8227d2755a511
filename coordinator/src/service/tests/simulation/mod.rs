//! The whole over time, many times over: the real owner, scheduler and store; workers with clocks, leases and outboxes of
//! their own; users; a network that loses, delays, doubles and reorders; processes that die, stand still and come back; disks
//! that refuse; clocks that jump. All of it in virtual time, and drawn from one seed.
//!
//! `ORCHESTRATOR_SEEDS=17..18 cargo test -p orchestrator-coordinator --lib simulation` runs one seed again, `0..10000` many.
//!
//! Not built on `turmoil`: that runs hosts over a network of its own inside tokio's clock. Our owner reads
//! [`std::time::Instant`], its store works in threads outside of any async clock, and what is to be seen lies below sockets:
//! the death at one commit, a process that stands still, a clock set wrong, a backup brought back. The owner takes commands
//! and a clock, so a queue of what is due is all that it needs.

mod accepted;
mod attempts;
mod chance;
mod checks;
mod desk;
mod faults;
mod ledger;
mod outbox;
mod seat;
mod site;
mod stored;
mod users;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use self::{
    ledger::Verdict,
    site::Site,
    world::{Due, Trace, World},
};
use crate::service::tests::time::{MS, SECOND};

/// Seeds that are run when nothing is said.
const SEEDS: std::ops::Range<u64> = 0..500;
/// For so long at most everything must have come to rest after the last fault, well within the hour by which clocks jump:
/// whoever was put aside is tried again within
/// five minutes, and what fails is tried again after a minute at most.
const REST_US: u64 = 1_800 * SECOND;

fn seeds() -> std::ops::Range<u64> {
    let Ok(said) = std::env::var("ORCHESTRATOR_SEEDS") else { return SEEDS };
    let range = said.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or_else(|| panic!("ORCHESTRATOR_SEEDS is `{said}`; say FROM..TO, as in 0..10000"))
}

#[test]
fn whatever_happens_nothing_is_lost_or_done_twice_and_everything_comes_to_rest() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<(u64, String, Trace)>> = Mutex::new(None);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        return;
                    }
                    let trace = Trace::default();
                    let verdict = simulate(seed, &trace);
                    if verdict.is_ok() && seeds.end - seeds.start == 1 {
                        print(&trace);
                    }
                    if let Err(why) = verdict {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((seed, why, trace));
                    }
                }
            });
        }
    });
    if let Some((seed, why, trace)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        print(&trace);
        panic!(
            "seed {seed}: {why}\nalone: ORCHESTRATOR_SEEDS={seed}..{} \
             cargo test -p orchestrator-coordinator --lib simulation",
            seed + 1
        );
    }
}

fn print(trace: &Trace) {
    println!("{}", trace.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
}

#[test]
fn the_same_seed_is_the_same_simulation() {
    // With two deaths at a commit, and a write that is refused.
    const SEED: u64 = 134;
    let traces = [Trace::default(), Trace::default()];
    for trace in &traces {
        assert_eq!(simulate(SEED, trace), Ok(()));
    }
    let [first, second] = traces.map(|trace| trace.lock().unwrap_or_else(PoisonError::into_inner).clone());
    assert!(first.iter().any(|line| line.ends_with("the coordinator has died")), "{first:#?}");
    assert_eq!(first, second);
}

/// One seed, from the first submission to rest.
fn simulate(seed: u64, trace: &Trace) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let run = || runtime.block_on(run(World::new(seed, Trace::clone(trace))));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

async fn run(mut world: World) -> Verdict {
    let faulty_us = world.chance.within(20 * SECOND..=100 * SECOND);
    for index in 0..world.chance.within(2..=4) {
        let site = Site::drawn(&mut world.chance, index);
        world.sites.push(site);
        let index = world.sites.len() - 1;
        world.after(index as u64 * 300 * MS, Due::StartWorker { site: index, life: 0 });
    }
    world.start_coordinator().await?;
    world.plan_faults(faulty_us);
    world.after(0, Due::User);
    world.run_until(faulty_us).await?;
    calm(&mut world);
    // Everybody who stands still or is away has come back by then.
    world.run_until(faulty_us + 60 * SECOND).await?;
    world.let_everything_go_on();
    let until_us = world.now_us + REST_US;
    while !world.is_at_rest() {
        if world.now_us > until_us {
            return Err(format!("no rest: {:?}", world.seat.owner().scheduler));
        }
        world.run_until(world.now_us + 5 * SECOND).await?;
    }
    checks::compare_all(&world.ledger, &world.seat, &world.submitted).await
}

/// From here on nothing goes wrong any more; who stands still goes on in time.
fn calm(world: &mut World) {
    world.say("QUIET from here on".to_owned());
    world.is_quiet = true;
    world.seat.forgive();
    world.batch_costs_us = MS;
    for site in &mut world.sites {
        (site.deaf_until_us, site.mute_until_us) = (0, 0);
    }
}

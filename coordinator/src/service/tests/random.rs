//! Random commands: memory and store agree after each of them, also after writes that fail.

use experiment_spec::{ids::StepId, run::FailureKind};
use proptest::prelude::*;

use super::support::{Site, agree, open, poll, register, submit, succeeded};
use crate::{
    service::{
        handle::{Change, Chosen, Retry},
        owner::Owner,
        reports::Event,
    },
    store::attempts::Start,
};

#[derive(Clone, Debug)]
enum Action {
    Submit(u64, u64),
    Register { worker: usize, forgets: bool },
    Poll { worker: usize },
    Report { worker: usize, which: usize, what: u8 },
    Lose { worker: usize },
    Cancel { step: i64 },
    Retry { step: i64 },
    Steer { step: i64, submission: bool, change: Change },
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
        2 => (1_i64..9, any::<bool>(), change())
            .prop_map(|(step, submission, change)| Action::Steer { step, submission, change }),
        1 => (0..2_usize).prop_map(|worker| Action::FailedWrite { worker }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![any::<bool>().prop_map(Change::Paused), (-3..3).prop_map(Change::Priority)]
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
                0 | 1 => {
                    let (kind, of_attempt) = ("cpu".to_owned(), None);
                    Event::Started(Start { from_iteration: u64::from(what), kind, of_attempt, code: None })
                }
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
                owner.lose(&[id]).await.unwrap();
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
        Action::Steer { step, submission, change } => {
            let chosen = if submission {
                Chosen { submission: Some(step.to_string()), steps: Vec::new() }
            } else {
                Chosen { submission: None, steps: vec![StepId(step)] }
            };
            drop(owner.guarded(async |owner| owner.steer(chosen, change).await).await);
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

//! What the coordinator keeps, on disk and in memory, against the ledger.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::ids::{AttemptKey, WorkerId};

use super::{
    ledger::{Ledger, Verdict, must},
    seat::Seat,
    stored::{Stored, Told},
};
use crate::{
    scheduler::state::{Capacity, Grant},
    service::{owner::Owner, tests::support::agree},
};

/// The store has what the ledger says, no more and no less.
pub(super) fn compare(ledger: &Ledger, stored: &Stored) -> Verdict {
    for attempt in stored.attempts.values() {
        let key = attempt.key;
        let (open, ended) = (ledger.open.get(&key), ledger.ended.get(&(key.step, key.attempt)));
        match (open, ended, &attempt.outcome) {
            (Some(open), _, None) => {
                let found = (attempt.worker, attempt.is_started);
                must!((open.worker, open.is_started) == found, "{key:?} must be {open:?}, stored is {found:?}");
            }
            (None, Some(ended), Some(outcome)) if ended == outcome => {}
            (_, _, outcome) => return Err(format!("{key:?} is {open:?}, ended {ended:?}; stored is {outcome:?}")),
        }
    }
    let known = ledger.open.len() + ledger.ended.len();
    must!(known == stored.attempts.len(), "there were {known} attempts, stored are {}", stored.attempts.len());
    must!(ledger.results == stored.results, "results are {:?}, stored are {:?}", ledger.results, stored.results);
    for (id, step) in &stored.steps {
        let open = ledger.open.iter().find(|(key, _)| key.step == *id);
        let expected = match open {
            Some((_, open)) if open.is_started => &["running"][..],
            Some(_) => &["assigned"],
            None if ledger.results.contains_key(id) => &["succeeded"],
            None => &["queued", "failed", "cancelled"],
        };
        must!(expected.contains(&step.state.as_str()), "step {id} must be {expected:?}, stored is {}", step.state);
        let attempts = stored.attempts.keys().filter(|(of, _)| of == id).count();
        must!(step.attempt as usize == attempts, "step {id} has {attempts} attempts, stored are {}", step.attempt);
    }
    for (id, worker) in &stored.workers {
        let member = ledger.members.get(id).cloned().unwrap_or_default();
        let found = (worker.is_online, worker.is_drained);
        let expected = (member.is_online, member.is_drained);
        must!(found == expected, "worker {id} must be {expected:?}, stored is {found:?}");
        let reported = member.durable..=member.acknowledged.max(member.durable);
        let last = worker.last_sequence;
        must!(reported.contains(&last), "reports of worker {id} must be stored up to {reported:?}, are up to {last}");
    }
    Ok(())
}

/// Nothing that attempts told is missing, doubled, or from an attempt that did not count.
pub(super) fn compare_told(ledger: &Ledger, told: &Told) -> Verdict {
    let expected = &ledger.told;
    must!(expected.lines == told.lines, "lines are {:?}, stored are {:?}", expected.lines, told.lines);
    must!(expected.points == told.points, "points are {:?}, stored are {:?}", expected.points, told.points);
    must!(expected.starts == told.starts, "starts are {:?}, stored are {:?}", expected.starts, told.starts);
    must!(expected.late == told.late, "late reports are {:?}, stored are {:?}", expected.late, told.late);
    must!(
        expected.checkpoints == told.checkpoints,
        "checkpoints are {:?}, stored are {:?}",
        expected.checkpoints,
        told.checkpoints
    );
    Ok(())
}

/// What the owner has in memory: every slot is taken by what counts or is still there, and by nothing else, and none twice.
pub(super) fn compare_memory(ledger: &Ledger, owner: &Owner) -> Verdict {
    owner.scheduler.check();
    for (id, worker) in &owner.scheduler.workers {
        let Some(member) = ledger.members.get(id) else { return Err(format!("worker {id} never came")) };
        must!(member.is_online, "worker {id} was lost and has slots");
        let open: BTreeSet<AttemptKey> = ledger.open_on(*id).into_iter().collect();
        let taken: BTreeSet<AttemptKey> = worker.taken.keys().copied().collect();
        must!(open.is_subset(&taken), "{open:?} occupy worker {id}, taken are {taken:?}");
        let gone: Vec<_> = taken.difference(&member.occupied).collect();
        must!(gone.is_empty(), "{gone:?} occupy worker {id}, and neither count nor are there");
    }
    for (id, member) in &ledger.members {
        let grants = ledger.open_on(*id).into_iter().map(|key| ledger.open[&key].grant);
        fits(*id, &member.capacity, &grants.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn fits(id: WorkerId, capacity: &Capacity, grants: &[Grant]) -> Verdict {
    let cpus: u32 = grants.iter().map(|grant| grant.cpus).sum();
    let memory_bytes: u64 = grants.iter().map(|grant| grant.memory_bytes).sum();
    must!(cpus <= capacity.cpus && memory_bytes <= capacity.memory_bytes, "worker {id} is over-committed: {grants:?}");
    let mut shares: BTreeMap<u32, u32> = BTreeMap::new();
    for (index, share) in grants.iter().filter_map(|grant| grant.gpu) {
        must!(capacity.gpus.contains(&index), "worker {id} has no GPU {index}");
        *shares.entry(index).or_default() += share;
    }
    must!(shares.values().all(|share| *share <= 1_000), "GPUs of worker {id} are over-committed: {shares:?}");
    Ok(())
}

/// At the end, when everything is at rest.
pub(super) async fn compare_all(ledger: &Ledger, seat: &Seat, submitted: &BTreeMap<String, Option<i64>>) -> Verdict {
    let owner = seat.owner();
    let stored = Stored::read(&owner.readers).await;
    compare(ledger, &stored)?;
    compare_told(ledger, &Told::read(&owner.readers).await)?;
    compare_memory(ledger, owner)?;
    for id in stored.steps.keys() {
        let accepted = stored.attempts.values().filter(|attempt| attempt.key.step == *id);
        let accepted = accepted.filter(|attempt| attempt.outcome.as_deref() == Some("succeeded"));
        let accepted: Vec<_> = accepted.map(|attempt| attempt.key.attempt).collect();
        let recorded: Vec<_> = stored.results.get(id).map(|result| result.0).into_iter().collect();
        must!(accepted == recorded, "attempts {accepted:?} of step {id} succeeded, recorded is {recorded:?}");
    }
    let found: BTreeMap<String, Option<i64>> =
        stored.submissions.iter().map(|(id, request)| (request.clone(), Some(*id))).collect();
    must!(found == *submitted, "submissions are {submitted:?}, stored are {found:?}");
    let busy: Vec<_> = owner.scheduler.workers.values().filter(|worker| !worker.taken.is_empty()).collect();
    must!(busy.is_empty(), "slots are taken for nothing: {busy:?}");
    for check in ["PRAGMA foreign_key_check", "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'"] {
        let wrong = sqlx::query(check).fetch_all(&owner.readers).await.map_err(|error| error.to_string())?;
        must!(wrong.is_empty(), "{check} finds {} rows", wrong.len());
    }
    agree(owner).await;
    Ok(())
}

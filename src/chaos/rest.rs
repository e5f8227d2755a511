//! After the last fault: everything is undone, and everything must come to rest.

use std::time::{Duration, Instant};

use super::trial::{TICK, Trial};
use crate::exit::{Failure, Outcome};

/// For what was done to be undone: the coordinator answers again, workers are taken back.
const UNDOING: Duration = Duration::from_mins(2);
/// When no step has ended for so long nothing will: the longest pause after a failure is a minute.
const STALL: Duration = Duration::from_mins(2);
/// How often what failed is tried again once the faults have ceased.
const ROUNDS: u32 = 2;

impl Trial {
    /// Everybody is at work again, nothing is paused or drained, and every submission is acknowledged.
    pub(super) async fn undo_everything(&mut self) -> Outcome {
        let patience = Instant::now() + UNDOING;
        loop {
            self.watch();
            let undone = self.disturbance.recover(&mut self.fleet, &mut self.users, true).await?;
            // Nobody stays put aside for the failures that were our doing.
            if undone && self.users.submit_pending().await && self.take_all_back().await {
                return Ok(());
            }
            if Instant::now() > patience {
                return Err(Failure::request(format!("what was done could not be undone within {UNDOING:?}")));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn take_all_back(&mut self) -> bool {
        let Some(workers) = self.users.workers().await else { return false };
        for worker in workers {
            if !self.users.drain(&worker.name, true).await {
                return false;
            }
        }
        true
    }

    /// Waits until no step is left to do; what failed because of the faults is tried again.
    pub(super) async fn rest(&mut self) -> Outcome {
        let (mut left, mut since, mut rounds) = (usize::MAX, Instant::now(), 0);
        loop {
            self.watch();
            // Daemons that ended for want of room just before.
            self.disturbance.recover(&mut self.fleet, &mut self.users, true).await?;
            if let Some(steps) = self.users.steps().await {
                let live = |state: &str| !["succeeded", "failed", "cancelled"].contains(&state);
                let now = steps.iter().filter(|step| live(&step.state)).count();
                let failed = steps.iter().filter(|step| step.state == "failed").count();
                if now == 0 && (failed == 0 || rounds == ROUNDS) {
                    return Ok(());
                }
                if now == 0 {
                    rounds += 1;
                    self.tell(&format!("{failed} steps had failed and are tried again"));
                    self.try_all_again().await;
                }
                if now != left {
                    (left, since) = (now, Instant::now());
                }
            }
            if since.elapsed() > STALL {
                self.evidence.restless.push(format!("{left} steps were left when none had ended for {STALL:?}"));
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn try_all_again(&mut self) {
        let submissions = self.users.submissions().await.unwrap_or_default();
        for submission in submissions.iter().filter(|it| it.failed > 0 || it.extractions_pending > 0) {
            self.users.retry(submission.id, false).await;
        }
    }
}

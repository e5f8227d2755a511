//! What goes wrong: the network, processes, disks and clocks. How often is drawn for each simulation.

use super::{
    attempts::Stop,
    ledger::Verdict,
    seat::Fate,
    world::{Due, World},
};
use crate::service::tests::time::{MS, SECOND};

const HOUR_MS: i64 = 3_600_000;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What this worker sends, or what is sent to it, or both is lost for a while.
    Cut {
        site: usize,
        outward: bool,
        inward: bool,
        for_us: u64,
    },
    KillWorker {
        site: usize,
        power_loss: bool,
    },
    /// The first SIGTERM.
    ShutWorkerDown {
        site: usize,
    },
    /// As `SIGSTOP` does.
    FreezeWorker {
        site: usize,
        for_us: u64,
    },
    KillCoordinator,
    /// It dies at one of the next commits, or the disk refuses that.
    Commit {
        after: u64,
        fate: Fate,
    },
    FreezeCoordinator {
        for_us: u64,
    },
    /// Each group of requests takes so long from now on.
    SlowDisk {
        costs_us: u64,
    },
    SetClock {
        by_ms: i64,
    },
    BackUp,
    Restore,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost_percent: u64,
    pub(super) doubled_percent: u64,
    /// Of messages that take up to twenty seconds.
    pub(super) late_percent: u64,
    pub(super) delay_us: u64,
}

impl World {
    /// Draws what goes wrong up to that time.
    pub(super) fn plan_faults(&mut self, until_us: u64) {
        let bad = |chance: &mut super::chance::Chance, most| if chance.percent(60) { chance.below(most) } else { 0 };
        self.weather = Weather {
            lost_percent: bad(&mut self.chance, 10),
            doubled_percent: bad(&mut self.chance, 15),
            late_percent: bad(&mut self.chance, 6),
            delay_us: self.chance.within(200..=20 * MS),
        };
        for _ in 0..self.chance.below(14) {
            let fault = self.fault();
            let at_us = self.chance.below(until_us);
            self.at(at_us, Due::Fault(fault));
        }
        if self.chance.percent(10) {
            let at_us = self.chance.below(until_us / 2);
            self.at(at_us, Due::Fault(Fault::BackUp));
            let restored_us = at_us + self.chance.within(SECOND..=until_us / 2);
            self.at(restored_us, Due::Fault(Fault::Restore));
        }
    }

    fn fault(&mut self) -> Fault {
        let site = self.chance.index(self.sites.len());
        let for_us = self.chance.within(SECOND..=40 * SECOND);
        match self.chance.below(16) {
            0..3 => {
                let (outward, inward) = self.chance.one_of(&[(true, true), (true, false), (false, true)]);
                Fault::Cut { site, outward, inward, for_us }
            }
            3 | 4 => Fault::KillWorker { site, power_loss: self.chance.percent(50) },
            5 => Fault::ShutWorkerDown { site },
            6 | 7 => Fault::FreezeWorker { site, for_us },
            8 | 9 => Fault::KillCoordinator,
            10 | 11 => {
                let fate = self.chance.one_of(&[Fate::DiesBefore, Fate::DiesAfter, Fate::Refused]);
                Fault::Commit { after: self.chance.below(8), fate }
            }
            12 => Fault::FreezeCoordinator { for_us },
            13 => Fault::SlowDisk { costs_us: self.chance.one_of(&[MS, 300 * MS, 3 * SECOND, 9 * SECOND]) },
            _ => Fault::SetClock { by_ms: self.chance.one_of(&[-HOUR_MS, HOUR_MS, 0]) },
        }
    }

    pub(super) async fn goes_wrong(&mut self, fault: Fault) -> Verdict {
        if self.is_quiet {
            return Ok(());
        }
        self.say(format!("FAULT {fault:?}"));
        let now_us = self.now_us;
        match fault {
            Fault::Cut { site, outward, inward, for_us } => {
                let site = &mut self.sites[site];
                if outward {
                    site.mute_until_us = now_us + for_us;
                }
                if inward {
                    site.deaf_until_us = now_us + for_us;
                }
            }
            Fault::KillWorker { site, power_loss } => {
                if self.sites[site].is_up {
                    self.gone(site, power_loss);
                }
            }
            Fault::ShutWorkerDown { site } => {
                let keys: Vec<_> = self.sites[site].attempts.keys().copied().collect();
                self.sites[site].is_draining = true;
                for key in keys {
                    self.stop_attempt(site, key, Stop::Release);
                }
            }
            // What stands still already stands still until the later of both ends.
            Fault::FreezeWorker { site, for_us } => {
                let site = &mut self.sites[site];
                site.frozen_until_us = site.frozen_until_us.max(now_us + for_us);
            }
            Fault::KillCoordinator => self.kill_coordinator().await,
            Fault::Commit { after, fate } => self.seat.doom(after, fate),
            Fault::FreezeCoordinator { for_us } => {
                self.frozen_until_us = self.frozen_until_us.max(now_us + for_us);
            }
            Fault::SlowDisk { costs_us } => self.batch_costs_us = costs_us,
            Fault::SetClock { by_ms } => self.seat.clocks.set_wall_clock_by(by_ms),
            Fault::BackUp if self.seat.is_up() => {
                self.kill_coordinator().await;
                self.seat.back_up();
                self.backup = Some((self.ledger.clone(), self.submitted.clone()));
            }
            Fault::Restore if self.backup.is_some() => {
                if self.seat.is_up() {
                    self.kill_coordinator().await;
                }
                self.restore();
            }
            Fault::BackUp | Fault::Restore => {}
        }
        Ok(())
    }

    /// A worker's daemon is gone, and its attempts with it; it is started again later.
    pub(super) fn gone(&mut self, index: usize, power_loss: bool) {
        let (site, chance) = (&mut self.sites[index], &mut self.chance);
        site.is_up = false;
        site.attempts.clear();
        site.outbox.restarted(power_loss, chance);
        if chance.percent(30) {
            site.checkpoints.clear();
        }
        let life = site.life;
        let pause_us = if self.is_quiet { SECOND } else { self.chance.within(100 * MS..=40 * SECOND) };
        self.after(pause_us, Due::StartWorker { site: index, life });
    }
}

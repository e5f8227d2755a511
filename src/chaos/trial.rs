//! One trial from its folder to its sheet: undisturbed runs, a fleet at work, faults, rest, checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use orchestrator_proto::v1;

use super::{
    checks, daemon, damage,
    disturbance::Disturbance,
    evidence::Evidence,
    fleet::{CPUS, Fleet},
    sheet::Sheet,
    undisturbed,
    users::Users,
};
use crate::{
    cli::{ChaosArgs, Global},
    exit::{Failure, Outcome},
    progress,
};

/// Between two looks at the fleet.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// For the fleet to come up and end a first run.
const START: Duration = Duration::from_mins(3);
/// For a daemon to end in good order.
const GOOD_ORDER: Duration = Duration::from_secs(30);
/// An attempt ends at once with its daemon; the machine may be busy.
const FORSAKEN: Duration = Duration::from_secs(2);
/// For the attempts of a daemon that is gone.
const ORPHANS_END: Duration = Duration::from_secs(5);

/// Carries out a trial and prints its sheet. A trial that fails leaves its folder to be looked at.
pub(crate) async fn carry_out(global: &Global, args: ChaosArgs) -> Outcome {
    let folder = tempfile::Builder::new()
        .prefix("orchestrator-chaos-")
        .tempdir()
        .map_err(|error| Failure::request(format!("no temporary folder can be made: {error}")))?;
    let mut trial = Trial::new(folder.path(), global, &args)?;
    let outcome = tokio::select! {
        outcome = trial.run() => outcome,
        signal = progress::interrupted() => signal.and(Err(Failure::Interrupted("interrupted; nothing is left of it".to_owned()))),
    };
    // Also after a failure half-way no process stays.
    trial.fleet.kill().await;
    let orphans = trial.orphans().await;
    let (verdicts, outcome) = match outcome {
        Ok(mut evidence) => {
            evidence.orphans.extend(orphans);
            (checks::verdicts(&evidence), Ok(()))
        }
        Err(failure) => (Vec::new(), Err(failure)),
    };
    let mut sheet = trial.sheet(verdicts);
    let interrupted = matches!(outcome, Err(Failure::Interrupted(_)));
    if args.keep || !(interrupted || outcome.is_ok() && sheet.passed()) {
        trial.fleet.keep();
        sheet.kept = Some(folder.keep());
    }
    if let (Err(_), Some(kept)) = (&outcome, &sheet.kept) {
        eprintln!("everything lies in {}", kept.display());
    }
    outcome?;
    sheet.print(global)?;
    if sheet.passed() {
        Ok(())
    } else {
        Err(Failure::RunFailed(format!("what is promised did not hold; seed {}", sheet.seed)))
    }
}

/// A fleet, who uses it, what is done to it, and what is found.
pub(super) struct Trial {
    pub(super) fleet: Fleet,
    pub(super) users: Users,
    pub(super) disturbance: Disturbance,
    pub(super) evidence: Evidence,
    seed: u64,
    limit: Duration,
    /// How long there were faults.
    disturbed: Duration,
    /// Attempts' processes that were seen at the last look, by worker.
    seen: BTreeMap<usize, BTreeSet<i32>>,
    /// Attempts' processes without the daemon that started them, and since when.
    forsaken: BTreeMap<i32, Instant>,
    tells: bool,
    begun: Instant,
}

impl Trial {
    fn new(folder: &Path, global: &Global, args: &ChaosArgs) -> Outcome<Self> {
        let fleet = Fleet::lay_out(folder, args.workers)?;
        let users = Users::new(&fleet.url)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = args.seed.unwrap_or(now.as_secs());
        Ok(Self {
            fleet,
            users,
            disturbance: Disturbance::new(seed),
            evidence: Evidence::default(),
            seed,
            limit: args.minutes,
            disturbed: Duration::ZERO,
            seen: BTreeMap::new(),
            forsaken: BTreeMap::new(),
            tells: !global.quiet && !global.json,
            begun: Instant::now(),
        })
    }

    pub(super) fn tell(&self, sentence: &str) {
        if self.tells {
            eprintln!("{:>4} s  {sentence}", self.begun.elapsed().as_secs());
        }
    }

    async fn run(&mut self) -> Outcome<Evidence> {
        let (workers, seed) = (self.fleet.workers.len(), self.seed);
        self.tell(&format!("folder {}; {workers} workers of {CPUS} cores, seed {seed}", self.fleet.folder.display()));
        self.tell("first without any fault: the scores to compare with");
        self.evidence.undisturbed = undisturbed::scores(&self.fleet.folder).await?;
        self.start().await?;
        self.disturb().await?;
        self.tell("the faults cease");
        let ceased = Instant::now();
        self.undo_everything().await?;
        self.rest().await?;
        self.evidence.rest = ceased.elapsed();
        self.tell("looking at what is there");
        let mut evidence = std::mem::take(&mut self.evidence);
        evidence.read(&mut self.users).await?;
        self.end(&mut evidence).await?;
        Ok(evidence)
    }

    async fn start(&mut self) -> Outcome {
        for who in self.fleet.everybody() {
            self.fleet.member(who).start()?;
        }
        let patience = Instant::now() + START;
        while self.users.workers().await.is_none_or(|workers| workers.len() < self.fleet.workers.len()) {
            self.watch();
            if let Some(why) = self.evidence.misbehaved.first() {
                return Err(Failure::request(format!("the fleet does not come up: {why}")));
            }
            if Instant::now() > patience {
                return Err(Failure::request(format!("the fleet was not up within {START:?}")));
            }
            tokio::time::sleep(TICK).await;
        }
        // There must be something to lose: features, a score.
        let has_begun =
            |steps: Vec<v1::StepSummary>| steps.iter().any(|step| step.kind == "run" && step.state == "succeeded");
        while !self.users.steps().await.is_some_and(has_begun) {
            self.users.keep_busy(1).await;
            self.watch();
            if Instant::now() > patience {
                return Err(Failure::request(format!(
                    "no run succeeded within {START:?} though nothing was disturbed"
                )));
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Faults, one after the other and over one another, until the time is over.
    async fn disturb(&mut self) -> Outcome {
        let begun = Instant::now();
        let enough = 2 * CPUS * u32::try_from(self.fleet.workers.len()).unwrap_or(u32::MAX);
        let mut next = begun + self.disturbance.pause();
        while begun.elapsed() < self.limit {
            self.watch();
            self.disturbance.recover(&mut self.fleet, &mut self.users, false).await?;
            if self.fleet.coordinator.daemon.is_at_work() {
                self.users.keep_busy(enough).await;
            }
            if Instant::now() >= next {
                if let Some(told) = self.disturbance.next(&mut self.fleet, &mut self.users).await? {
                    self.tell(&told);
                }
                next = Instant::now() + self.disturbance.pause();
            }
            tokio::time::sleep(TICK).await;
        }
        self.disturbed = begun.elapsed();
        Ok(())
    }

    /// Notes daemons that ended by themselves, and workers with more at work than they have cores.
    pub(super) fn watch(&mut self) {
        for who in self.fleet.everybody() {
            let member = self.fleet.member(who);
            let Some(told) = member.daemon.ended_by_itself() else { continue };
            let is_excused = member.is_excused();
            self.tell(&told);
            if is_excused {
                self.disturbance.restart(who);
            } else {
                self.evidence.misbehaved.push(told);
            }
        }
        self.watch_forsaken();
        for (index, worker) in self.fleet.workers.iter().enumerate() {
            let now: BTreeSet<_> = daemon::attempts_of(&worker.daemon.home).into_iter().collect();
            let before = self.seen.insert(index, now.clone()).unwrap_or_default();
            // One that is being killed may still be seen once.
            let both = now.intersection(&before).count();
            if both > CPUS as usize {
                self.evidence.crowded.push(format!("{} had {both} attempts' processes", worker.daemon.name));
            }
        }
    }

    /// Notes attempts that outlive their daemons.
    fn watch_forsaken(&mut self) {
        let now: BTreeSet<_> = self.fleet.workers.iter().flat_map(|worker| worker.daemon.forsaken()).collect();
        self.forsaken.retain(|process, _| now.contains(process));
        for process in now {
            let since = *self.forsaken.entry(process).or_insert_with(Instant::now);
            // That a killed one goes on for so long is told once.
            if since.elapsed() > FORSAKEN && self.evidence.orphans.insert(process) {
                self.tell(&format!("process {process} of an attempt outlives its daemon"));
            }
        }
    }

    /// Ends everybody in good order, then looks at what they have left.
    async fn end(&mut self, evidence: &mut Evidence) -> Outcome {
        for worker in &mut self.fleet.workers {
            evidence.misbehaved.extend(worker.daemon.end(GOOD_ORDER).await.err());
        }
        evidence.misbehaved.extend(self.fleet.coordinator.daemon.end(GOOD_ORDER).await.err());
        for who in self.fleet.everybody() {
            let daemon = &self.fleet.member(who).daemon;
            let log = daemon.log_text();
            let panics = log.lines().filter(|line| line.contains("panicked at"));
            evidence.misbehaved.extend(panics.map(|line| format!("{}: {line}", daemon.name)));
            evidence
                .unfinished
                .extend(damage::unfinished(&daemon.home).map_err(|error| unreadable(&daemon.home, &error))?);
        }
        let home = &self.fleet.coordinator.daemon.home;
        let wrong = |error: orchestrator_coordinator::CopyError| error.to_string();
        match orchestrator_coordinator::verify(home).await {
            Ok(found) => evidence.damage.extend(found),
            Err(error) => evidence.damage.push(wrong(error)),
        }
        Ok(())
    }

    /// Processes of attempts that are left when no daemon is.
    async fn orphans(&self) -> Vec<i32> {
        let patience = Instant::now() + ORPHANS_END;
        loop {
            let homes = self.fleet.workers.iter().map(|worker| worker.daemon.home.clone());
            let homes = homes.chain([self.fleet.folder.join("undisturbed")]);
            let left: Vec<_> = homes.flat_map(|home| daemon::attempts_of(&home)).collect();
            if left.is_empty() || Instant::now() > patience {
                return left;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn sheet(&self, verdicts: Vec<checks::Verdict>) -> Sheet {
        Sheet {
            seed: self.seed,
            workers: u32::try_from(self.fleet.workers.len()).unwrap_or(u32::MAX),
            disturbed: self.disturbed,
            has_disks: self.fleet.has_disks(),
            counts: self.disturbance.counts.clone(),
            hindered: self.fleet.hindered(),
            verdicts,
            kept: None,
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::request(format!("{}: {error}", path.display()))
}

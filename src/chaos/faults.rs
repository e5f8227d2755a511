//! What goes wrong: one line a kind of fault. A further kind is a variant, a line in [`Fault::ALL`], and an arm where faults
//! are carried out (`disturbance.rs`).

use super::random::Draws;

/// A kind of fault, or something that a user does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    CoordinatorKilled,
    CoordinatorAway,
    CoordinatorStopped,
    CoordinatorDiskFull,
    CoordinatorContentDamaged,
    WorkerKilled,
    WorkerStopped,
    WorkerDiskFull,
    WorkerFolderDamaged,
    WorkerContentDamaged,
    AttemptKilled,
    NetworkCut,
    NetworkCutOneWay,
    NetworkRefused,
    NetworkSlow,
    Cancelled,
    TriedAgain,
    Paused,
    Drained,
}

impl Fault {
    /// Each with its name on the sheet and how often it is in a deck.
    pub(super) const ALL: [(Self, &'static str, usize); 19] = [
        (Self::CoordinatorKilled, "coordinator killed (kill -9), started again at once", 3),
        (Self::CoordinatorAway, "coordinator killed, away for longer than a lease", 1),
        (Self::CoordinatorStopped, "coordinator stands still (SIGSTOP) for longer than a lease", 1),
        (Self::CoordinatorDiskFull, "coordinator's disk full", 1),
        (Self::CoordinatorContentDamaged, "content at the coordinator damaged for a while", 1),
        (Self::WorkerKilled, "worker killed (kill -9)", 2),
        (Self::WorkerStopped, "worker stands still (SIGSTOP) for two leases", 1),
        (Self::WorkerDiskFull, "worker's disk full", 1),
        (Self::WorkerFolderDamaged, "worker killed, bytes of its outbox and checkpoints flipped", 1),
        (Self::WorkerContentDamaged, "content at a worker damaged", 1),
        (Self::AttemptKilled, "attempt killed (kill -9)", 2),
        (Self::NetworkCut, "worker's network cut: nothing comes through, nobody is told", 2),
        (Self::NetworkCutOneWay, "worker's network cut one way", 2),
        (Self::NetworkRefused, "worker's connections broken, new ones refused", 1),
        (Self::NetworkSlow, "worker's network slow: half a second a part", 1),
        (Self::Cancelled, "user cancels a submission", 1),
        (Self::TriedAgain, "user has a submission tried again", 1),
        (Self::Paused, "user pauses a submission, resumes it later", 1),
        (Self::Drained, "user drains a worker, takes it back later", 1),
    ];

    /// Every kind as often as [`Fault::ALL`] says, in an order of chance.
    pub(super) fn deck(draws: &mut Draws) -> Vec<Self> {
        let mut deck: Vec<_> =
            Self::ALL.iter().flat_map(|(fault, _, count)| std::iter::repeat_n(*fault, *count)).collect();
        draws.shuffle(&mut deck);
        deck
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(fault, ..)| *fault == self).map_or("", |(_, name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deck_has_every_kind() {
        let deck = Fault::deck(&mut Draws::new(1));
        for (fault, name, count) in Fault::ALL {
            assert_eq!(deck.iter().filter(|drawn| **drawn == fault).count(), count, "{name}");
            assert_eq!(fault.name(), name);
        }
    }
}

//! How many connections there may be: in all, of those that have shown nothing yet, and of these from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most connections: two for each of 10,000 workers.
const MOST: usize = 20_000;
/// Most that have not made a request yet which may be made.
const MOST_UNPROVEN: usize = 1_024;
/// Most of those from one address: a few hundred workers behind one router may all come back at once.
const MOST_UNPROVEN_OF_ONE: usize = 256;
/// Open files that are not connections: the database, contents that are sent.
const OTHER_FILES: usize = 512;

/// Limits on connections, and who is there.
#[derive(Debug)]
pub(super) struct Admission {
    most: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    unproven: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// A place for one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    /// Where it comes from; none once it has made a request that may be made.
    unproven: Mutex<Option<IpAddr>>,
}

impl Admission {
    /// With as many connections as this process may have open files, after asking for as many as it can get.
    pub(super) fn new() -> Arc<Self> {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
        let files = if raised { maximum } else { current };
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        Self::with_most(files.saturating_sub(OTHER_FILES).clamp(64, MOST))
    }

    fn with_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    /// A place for a connection from this address, or why there is none.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, &'static str> {
        let address = network(address);
        let mut counts = self.counts();
        if counts.all >= self.most {
            return Err("there are too many connections");
        }
        if counts.unproven >= MOST_UNPROVEN {
            return Err("there are too many connections that have shown nothing yet");
        }
        // Everybody on this machine has one address.
        if !address.is_loopback() && counts.of_address.get(&address).is_some_and(|of| *of >= MOST_UNPROVEN_OF_ONE) {
            return Err("there are too many connections from this address that have shown nothing yet");
        }
        counts.all += 1;
        counts.unproven += 1;
        *counts.of_address.entry(address).or_default() += 1;
        Ok(Place { admission: Arc::clone(self), unproven: Mutex::new(Some(address)) })
    }

    /// Numbers are whole after every change: a thread that panicked has left nothing half done.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It has made a request that may be made.
    pub(super) fn prove(&self) {
        let Some(address) = self.unproven.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut counts = self.admission.counts();
        counts.unproven -= 1;
        if let Some(of) = counts.of_address.get_mut(&address) {
            *of -= 1;
            if *of == 0 {
                counts.of_address.remove(&address);
            }
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
        self.admission.counts().all -= 1;
    }
}

/// Who has one address of this kind has all that begin like it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() && !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other.to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_takes_no_places_from_others_and_what_has_proven_itself_gives_its_place_free() {
        let admission = Admission::with_most(MOST);
        let hostile: Vec<Place> =
            (0..MOST_UNPROVEN_OF_ONE).map(|_| admission.enter(address("10.0.0.9")).unwrap()).collect();
        assert!(admission.enter(address("10.0.0.9")).unwrap_err().contains("from this address"));
        let worker = admission.enter(address("10.0.0.2")).unwrap();
        hostile[0].prove();
        hostile[0].prove();
        assert!(hostile[0].is_proven() && !worker.is_proven());
        let again = admission.enter(address("10.0.0.9")).unwrap();
        assert!(admission.enter(address("10.0.0.9")).is_err());
        drop(again);
        assert!(admission.enter(address("10.0.0.9")).is_ok());
    }

    #[test]
    fn addresses_of_one_network_of_version_6_count_as_one() {
        assert_eq!(network(address("2001:db8:1:2:3::1")), network(address("2001:db8:1:2:ffff::9")));
        assert_ne!(network(address("2001:db8:1:2::1")), network(address("2001:db8:1:3::1")));
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_eq!(network(address("::1")), address("::1"));
    }

    #[test]
    fn there_is_a_limit_over_all_addresses() {
        let admission = Admission::with_most(2);
        let places = [admission.enter(address("10.0.0.1")).unwrap(), admission.enter(address("10.0.0.2")).unwrap()];
        places.iter().for_each(Place::prove);
        assert_eq!(admission.enter(address("10.0.0.3")).unwrap_err(), "there are too many connections");
        let admission = Admission::with_most(MOST);
        let unproven: Vec<Place> = (0..MOST_UNPROVEN).map(|_| admission.enter(address("127.0.0.1")).unwrap()).collect();
        assert!(admission.enter(address("127.0.0.1")).unwrap_err().contains("shown nothing"));
        drop(unproven);
        assert!(admission.enter(address("127.0.0.1")).is_ok());
    }

    proptest! {
        #[test]
        fn counts_are_what_is_there(steps in prop::collection::vec((0_u8..4, 0_usize..20), 0..200)) {
            let admission = Admission::with_most(30);
            let mut there: Vec<Place> = Vec::new();
            for (what, which) in steps {
                match what {
                    0 | 1 => there.extend(admission.enter(IpAddr::from([10, 0, 0, u8::try_from(which).unwrap()]))),
                    2 => drop((!there.is_empty()).then(|| there.swap_remove(which % there.len()))),
                    _ => if let Some(place) = there.get(which) { place.prove() },
                }
                let unproven = there.iter().filter(|place| !place.is_proven()).count();
                let counts = admission.counts();
                prop_assert_eq!((counts.all, counts.unproven), (there.len(), unproven));
                prop_assert_eq!(counts.of_address.values().sum::<usize>(), unproven);
            }
        }
    }
}

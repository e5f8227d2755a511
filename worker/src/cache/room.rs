//! How much room contents may take on this node: what was used least recently goes first, never what an attempt works
//! with or what the coordinator does not have yet.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::content::ContentStore;

/// The room of a store, and what must stay in it.
#[derive(Debug)]
pub(crate) struct Room {
    blobs: ContentStore,
    /// None: nothing is ever removed.
    limit_bytes: Option<u64>,
    /// How many hold on to each content.
    held: Mutex<BTreeMap<ContentHash, usize>>,
}

/// Contents that stay until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    room: &'a Room,
    contents: Vec<ContentHash>,
}

impl Room {
    pub(super) fn new(blobs: ContentStore, limit_bytes: Option<u64>) -> Self {
        Self { blobs, limit_bytes, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ContentHash, usize>> {
        // Every change is one call: a thread that panicked has left nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hold on nothing yet.
    pub(crate) fn hold(&self) -> Hold<'_> {
        Hold { room: self, contents: Vec::new() }
    }

    /// From now on the content stays, until as many have let go of it.
    pub(crate) fn keep(&self, hash: ContentHash) {
        *self.held().entry(hash).or_default() += 1;
    }

    /// The other end of [`Room::keep`].
    pub(crate) fn let_go(&self, hash: &ContentHash) {
        let mut held = self.held();
        if let Some(count) = held.get_mut(hash) {
            *count -= 1;
            if *count == 0 {
                held.remove(hash);
            }
        }
    }

    /// Puts a file into the store, to stay there until it is let go of.
    pub(crate) fn put_file(&self, path: &Path) -> io::Result<(ContentHash, u64)> {
        // Nothing is removed meanwhile: the content is not known to be held before it is there.
        let mut held = self.held();
        let put = self.blobs.put_file(path)?;
        *held.entry(put.0).or_default() += 1;
        Ok(put)
    }

    /// Removes fetches that broke off a day ago, and contents until no more than the limit are left, with so many bytes that
    /// are still to come. Reads the folder: not to be called from an async task.
    pub(crate) fn tidy(&self, coming_bytes: u64) {
        if let Err(error) = self.blobs.tidy() {
            tracing::warn!(%error, "what broke off long ago stays in the cache");
        }
        let Some(limit) = self.limit_bytes else { return };
        let mut here = match self.blobs.list() {
            Ok(here) => here,
            Err(error) => return tracing::warn!(%error, "the cache cannot be looked at"),
        };
        let mut bytes = here.iter().map(|(_, bytes, _)| bytes).sum::<u64>().saturating_add(coming_bytes);
        here.sort_unstable_by_key(|(hash, _, used_at)| (*used_at, *hash));
        for (hash, size, _) in here {
            if bytes <= limit {
                return;
            }
            let held = self.held();
            if held.contains_key(&hash) {
                continue;
            }
            match self.blobs.remove(&hash) {
                Ok(()) => bytes -= size,
                Err(error) => tracing::warn!(%error, "content cannot be removed from the cache"),
            }
            drop(held);
        }
    }
}

impl Hold<'_> {
    /// Holds on to one more content, which need not be here yet.
    pub(crate) fn add(&mut self, hash: ContentHash) {
        self.room.keep(hash);
        self.contents.push(hash);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        for hash in &self.contents {
            self.room.let_go(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

    use super::*;

    /// A room for 100 bytes, with contents of 40 bytes, the first one used least recently.
    fn room(limit_bytes: Option<u64>) -> (tempfile::TempDir, Room, Vec<ContentHash>) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = ContentStore::open(folder.path()).unwrap();
        let put = |age: u64| {
            let hash = blobs.put_bytes(&[u8::try_from(age).unwrap(); 40]).unwrap();
            let used_at = SystemTime::now() - Duration::from_mins(age);
            File::open(blobs.path(&hash)).unwrap().set_modified(used_at).unwrap();
            hash
        };
        let hashes = [4, 3, 2, 1].map(put).to_vec();
        (folder, Room::new(blobs, limit_bytes), hashes)
    }

    fn here(room: &Room, hashes: &[ContentHash]) -> Vec<bool> {
        hashes.iter().map(|hash| room.blobs.has(hash)).collect()
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_no_more_than_must() {
        let (_folder, room, hashes) = room(Some(100));
        room.tidy(0);
        assert_eq!(here(&room, &hashes), [false, false, true, true]);
        room.tidy(20);
        assert_eq!(here(&room, &hashes), [false, false, true, true], "it fits");
        room.tidy(21);
        assert_eq!(here(&room, &hashes), [false, false, false, true]);
    }

    #[test]
    fn what_is_held_stays_and_goes_when_everybody_has_let_go() {
        let (_folder, room, hashes) = room(Some(50));
        let mut one = room.hold();
        one.add(hashes[0]);
        room.keep(hashes[0]);
        room.keep(hashes[1]);
        room.tidy(1_000);
        assert_eq!(here(&room, &hashes), [true, true, false, false], "more than the limit, since they are needed");
        drop(one);
        room.tidy(0);
        assert_eq!(here(&room, &hashes), [true, true, false, false]);
        room.let_go(&hashes[0]);
        room.tidy(0);
        assert_eq!(here(&room, &hashes), [false, true, false, false]);
    }

    #[test]
    fn a_file_that_is_put_stays_until_it_is_let_go_of() {
        let (folder, room, _) = room(Some(0));
        let source = folder.path().join("model");
        std::fs::write(&source, "weights").unwrap();
        let (hash, bytes) = room.put_file(&source).unwrap();
        room.tidy(0);
        assert_eq!((bytes, room.blobs.list().unwrap().len()), (7, 1));
        room.let_go(&hash);
        room.tidy(0);
        assert_eq!(room.blobs.list().unwrap().len(), 0);
    }

    #[test]
    fn without_a_limit_nothing_goes() {
        let (_folder, room, hashes) = room(None);
        room.tidy(u64::MAX);
        assert_eq!(here(&room, &hashes), [true; 4]);
    }
}

//! Content on its way into a store, piece by piece; what breaks off can be gone on with.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use experiment_spec::ids::ContentHash;
use tempfile::{NamedTempFile, TempPath};

use super::{BUFFER_BYTES, ContentStore, absent_is_fine, at, sync_folder};

/// How the names begin of files that a later writer may go on with.
const RESUMABLE: &str = "fetch-";

/// Content on its way into a store. Dropped without [`BlobWriter::finish`], it leaves nothing behind, unless it was made
/// to be gone on with.
#[derive(Debug)]
pub struct BlobWriter {
    store: ContentStore,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ContentStore {
    /// Starts to write content piece by piece.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn writer(&self) -> io::Result<BlobWriter> {
        let partial = self.partial_folder();
        loop {
            let file = NamedTempFile::with_prefix_in("blob-", &partial).map_err(at(&partial))?;
            file.as_file().lock().map_err(at(file.path()))?;
            // An opening store may have taken the new file for an abandoned one before it was locked.
            if file.path().exists() {
                return Ok(BlobWriter { store: self.clone(), file, hasher: blake3::Hasher::new(), bytes: 0 });
            }
        }
    }

    /// Goes on with content of that hash where an earlier writer of it broke off, or starts. Dropped unfinished, it keeps
    /// what was written for the next one; what turns out to be something else is removed. Reads what is there already.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn resume(&self, hash: &ContentHash) -> io::Result<BlobWriter> {
        let path = self.resumable(hash);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        // Another writer is at work on it, has just finished it, or a store that tidied up has removed it: this one begins
        // by itself.
        if file.try_lock().is_err() || !is_still(&path, &file) {
            return self.writer();
        }
        if !self.may_go_on(&path, &file) {
            file.set_len(0).map_err(at(&path))?;
        }
        let mut hasher = blake3::Hasher::new();
        let bytes = copy_into(&mut hasher, &file).map_err(at(&path))?;
        let mut file = NamedTempFile::from_parts(file, TempPath::try_from_path(&path)?);
        file.disable_cleanup(true);
        Ok(BlobWriter { store: self.clone(), file, hasher, bytes })
    }

    /// Bytes of content of that hash that [`ContentStore::resume`] would go on from: 0 when nothing has come, or while
    /// another writer is at work on it.
    #[must_use]
    pub fn partial_bytes(&self, hash: &ContentHash) -> u64 {
        let path = self.resumable(hash);
        let file = File::open(&path).ok().filter(|file| file.try_lock().is_ok() && self.may_go_on(&path, file));
        file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len())
    }

    /// Removes what writers that are gone have left half done: at once what nobody can go on with, the rest when nothing
    /// of it has come for long. Writers at work, in whatever process, are left alone. Returns how many files went.
    ///
    /// # Errors
    /// When the folder cannot be read, or the operating system refuses.
    pub fn tidy(&self) -> io::Result<usize> {
        let (partial, mut removed) = (self.partial_folder(), 0);
        for entry in fs::read_dir(&partial).map_err(at(&partial))? {
            let path = entry.map_err(at(&partial))?.path();
            // A writer holds the lock of its file as long as it lives, whatever ends it.
            let abandoned =
                File::open(&path).is_ok_and(|file| file.try_lock().is_ok() && !self.may_go_on(&path, &file));
            if abandoned {
                fs::remove_file(&path).or_else(absent_is_fine).map_err(at(&path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether a later writer may go on with this file, which nobody is at work on.
    fn may_go_on(&self, path: &Path, file: &File) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let written = file.metadata().and_then(|metadata| metadata.modified());
        let age = |at| SystemTime::now().duration_since(at).unwrap_or_default();
        name.is_some_and(|name| name.starts_with(RESUMABLE)) && written.is_ok_and(|at| age(at) < self.keep_partial)
    }

    fn resumable(&self, hash: &ContentHash) -> PathBuf {
        self.partial_folder().join(format!("{RESUMABLE}{hash}"))
    }
}

/// Whether the open file is the one that has the name: between opening and locking it another may have got it.
fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(open)) = (fs::metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

/// Reads a file to its end; returns how many bytes it has.
fn copy_into(hasher: &mut blake3::Hasher, mut file: &File) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(bytes);
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

impl BlobWriter {
    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Starts anew: what was written is not what it should be, or its sender does not go on with it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin_again(&mut self) -> io::Result<()> {
        let file = self.file.as_file_mut();
        file.set_len(0).and_then(|()| file.rewind()).map_err(at(self.file.path()))?;
        self.hasher.reset();
        self.bytes = 0;
        Ok(())
    }

    /// Throws away what was written: it is not what it should be.
    pub fn discard(mut self) {
        self.file.disable_cleanup(false);
    }

    /// Makes the content durable under its hash; returns the hash and the size in bytes.
    ///
    /// # Errors
    /// `InvalidData` when it does not have the `expected` hash, and whatever the disk refuses. The store
    /// is then as before.
    pub fn finish(mut self, expected: Option<ContentHash>) -> io::Result<(ContentHash, u64)> {
        let hash = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        if let Some(expected) = expected.filter(|expected| *expected != hash) {
            self.discard();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("content has the hash {hash}, expected {expected}"),
            ));
        }
        // From here on there is nothing to go on with.
        self.file.disable_cleanup(false);
        self.file.as_file().sync_all().map_err(at(self.file.path()))?;
        let target = self.store.path(&hash);
        let folder = self.store.folder_of(&target)?;
        self.file.persist(&target).map_err(|refused| at(&target)(refused.error))?;
        sync_folder(folder)?;
        Ok((hash, self.bytes))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(bytes).map_err(|error| {
            // A full disk gets its room back.
            self.file.disable_cleanup(false);
            at(self.file.path())(error)
        })?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            KEEP_PARTIAL,
            tests::{partial_files, store},
        },
        *,
    };

    /// Half of the content, and a writer that went away over it.
    fn broken_off(store: &ContentStore, hash: &ContentHash, half: &[u8]) {
        let mut writer = store.resume(hash).unwrap();
        assert_eq!(writer.bytes(), 0);
        writer.write_all(half).unwrap();
        drop(writer);
        assert_eq!(partial_files(store), 1);
    }

    #[test]
    fn what_broke_off_is_gone_on_with_also_by_a_later_process() {
        let (folder, store) = store();
        let hash = ContentHash::of(b"features");
        broken_off(&store, &hash, b"feat");
        let store = ContentStore::open(folder.path().join("blobs")).unwrap();
        let mut writer = store.resume(&hash).unwrap();
        assert_eq!(writer.bytes(), 4);
        // Whoever comes while it is at work begins by itself.
        assert_eq!(store.resume(&hash).unwrap().bytes(), 0);
        writer.write_all(b"ures").unwrap();
        assert_eq!(writer.finish(Some(hash)).unwrap(), (hash, 8));
        assert!(store.verify(&hash).unwrap());
        assert_eq!(partial_files(&store), 0);
    }

    #[test]
    fn what_turns_out_to_be_something_else_is_thrown_away() {
        let (_folder, store) = store();
        let hash = ContentHash::of(b"features");
        broken_off(&store, &hash, b"fEat");
        let mut writer = store.resume(&hash).unwrap();
        writer.write_all(b"ures").unwrap();
        assert_eq!(writer.finish(Some(hash)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!((partial_files(&store), store.has(&hash)), (0, false));
        broken_off(&store, &hash, b"feat");
        store.resume(&hash).unwrap().discard();
        assert_eq!(partial_files(&store), 0);
    }

    #[test]
    fn what_broke_off_long_ago_is_begun_again() {
        let (folder, store) = store();
        let hash = ContentHash::of(b"features");
        let age = || {
            let long_ago = SystemTime::now() - KEEP_PARTIAL * 2;
            File::open(store.resumable(&hash)).unwrap().set_modified(long_ago).unwrap();
        };
        broken_off(&store, &hash, b"feat");
        assert_eq!((store.partial_bytes(&hash), store.tidy().unwrap()), (4, 0));
        age();
        assert_eq!(store.partial_bytes(&hash), 0);
        assert_eq!(store.resume(&hash).unwrap().bytes(), 0);
        broken_off(&store, &hash, b"feat");
        age();
        ContentStore::open(folder.path().join("blobs")).unwrap();
        assert_eq!(partial_files(&store), 0);
        broken_off(&store, &hash, b"feat");
        age();
        assert_eq!((store.tidy().unwrap(), partial_files(&store)), (1, 0), "also while the store is in use");
        let short = store.clone().keeping_partial_for(KEEP_PARTIAL / 10);
        broken_off(&store, &hash, b"feat");
        File::open(store.resumable(&hash)).unwrap().set_modified(SystemTime::now() - KEEP_PARTIAL / 5).unwrap();
        assert_eq!((store.tidy().unwrap(), short.tidy().unwrap()), (0, 1));
    }

    #[test]
    fn it_is_told_how_much_there_is_to_go_on_with() {
        let (_folder, store) = store();
        let hash = ContentHash::of(b"features");
        assert_eq!(store.partial_bytes(&hash), 0);
        broken_off(&store, &hash, b"feat");
        assert_eq!(store.partial_bytes(&hash), 4);
        let mut writer = store.resume(&hash).unwrap();
        assert_eq!(store.partial_bytes(&hash), 0, "somebody is at work on it");
        writer.begin_again().unwrap();
        writer.write_all(b"featur").unwrap();
        drop(writer);
        assert_eq!(store.partial_bytes(&hash), 6);
        let mut writer = store.resume(&hash).unwrap();
        writer.write_all(b"es").unwrap();
        assert_eq!(writer.finish(Some(hash)).unwrap(), (hash, 8));
        assert_eq!(store.partial_bytes(&hash), 0);
    }

    #[test]
    fn a_file_that_lost_its_name_is_not_taken_for_the_one_that_has_it_now() {
        let (_folder, store) = store();
        let hash = ContentHash::of(b"features");
        broken_off(&store, &hash, b"feat");
        let path = store.resumable(&hash);
        let opened = File::open(&path).unwrap();
        assert!(is_still(&path, &opened));
        fs::remove_file(&path).unwrap();
        assert!(!is_still(&path, &opened));
        broken_off(&store, &hash, b"fe");
        assert!(!is_still(&path, &opened));
    }
}

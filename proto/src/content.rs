//! Content by hash in a folder: the same store on both ends of `blobs.proto`.
//!
//! `root/ab/<hash>` holds the content whose BLAKE3 hash is `<hash>` (`ab` are its first two digits).
//! Content appears whole or not at all: it is written to `root/partial`, synced, then renamed. Several
//! processes may use one folder at a time; putting the same content twice is the same as once, and
//! putting it again mends a damaged copy.

mod writer;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;

pub use self::writer::BlobWriter;

/// What came of content on its way is kept for so long after the last byte of it, unless said otherwise.
const KEEP_PARTIAL: Duration = Duration::from_hours(24);

/// Bytes read or hashed at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A folder of content, each file named by its hash. Cheap to clone: it is little more than the path.
#[derive(Clone, Debug)]
pub struct ContentStore {
    root: PathBuf,
    keep_partial: Duration,
}

/// Puts the path in front of what the operating system says.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Reads to the end; returns the hash and the number of bytes.
pub(crate) fn hash_of(reader: &mut impl Read) -> io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((ContentHash::from_bytes(*hasher.finalize().as_bytes()), bytes)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

impl ContentStore {
    /// Opens the store in `root`, which is made when it is missing, and removes what writers that are
    /// gone have left half done, as [`ContentStore::tidy`] does.
    ///
    /// # Errors
    /// When the folder cannot be made or read: the error names the path.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let store = Self { root: root.into(), keep_partial: KEEP_PARTIAL };
        let partial = store.partial_folder();
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        store.tidy()?;
        Ok(store)
    }

    /// The same store, which keeps what broke off for so long.
    #[must_use]
    pub fn keeping_partial_for(self, keep_partial: Duration) -> Self {
        Self { keep_partial, ..self }
    }

    fn partial_folder(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// Where the content of that hash is, or would be.
    #[must_use]
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Whether there is content under that hash. Says nothing about damage: see [`ContentStore::verify`].
    #[must_use]
    pub fn has(&self, hash: &ContentHash) -> bool {
        self.path(hash).is_file()
    }

    /// Size of the content in bytes; `None` when it is absent.
    #[must_use]
    pub fn bytes(&self, hash: &ContentHash) -> Option<u64> {
        fs::metadata(self.path(hash)).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Whether the content is there and whole: reads all of it.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn verify(&self, hash: &ContentHash) -> io::Result<bool> {
        let path = self.path(hash);
        match File::open(&path) {
            Ok(mut file) => Ok(hash_of(&mut file).map_err(at(&path))?.0 == *hash),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Whether there is content under that hash; from now on it counts as just wanted, see [`ContentStore::wanted_at`].
    #[must_use]
    pub fn want(&self, hash: &ContentHash) -> bool {
        let Ok(file) = File::open(self.path(hash)) else { return false };
        // Where the time cannot be set the content is as good.
        let _ = file.set_modified(SystemTime::now());
        true
    }

    /// When the content came, was mended, or was last wanted by somebody who would else have sent it; `None` when it is
    /// absent.
    #[must_use]
    pub fn wanted_at(&self, hash: &ContentHash) -> Option<SystemTime> {
        fs::metadata(self.path(hash)).and_then(|metadata| metadata.modified()).ok()
    }

    /// Everything that is here: hash, size in bytes, and [`ContentStore::wanted_at`]. What another process removes
    /// meanwhile is left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<(ContentHash, u64, SystemTime)>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.root).map_err(at(&self.root))? {
            let folder = folder.map_err(at(&self.root))?.path();
            if folder == self.partial_folder() || !folder.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                let entry = entry.map_err(at(&folder))?;
                let hash = entry.file_name().to_str().and_then(|name| name.parse().ok());
                let (Some(hash), Ok(metadata)) = (hash, entry.metadata()) else { continue };
                found.push((hash, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
            }
        }
        Ok(found)
    }

    /// Removes the content of that hash, if it is there. Who has it mapped or open keeps it.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn remove(&self, hash: &ContentHash) -> io::Result<()> {
        let path = self.path(hash);
        fs::remove_file(&path).or_else(absent_is_fine).map_err(at(&path))
    }

    /// Keeps these bytes, durably, and returns their hash.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left behind.
    pub fn put_bytes(&self, bytes: &[u8]) -> io::Result<ContentHash> {
        let mut writer = self.writer()?;
        writer.write_all(bytes)?;
        Ok(writer.finish(None)?.0)
    }

    /// Keeps a file's content, durably, and returns its hash and size in bytes. On the same file system
    /// nothing is copied: the content becomes a second name of the file, which must not change any more
    /// (it may be removed or replaced).
    ///
    /// # Errors
    /// When `source` is no regular file or cannot be read, or the disk refuses.
    pub fn put_file(&self, source: &Path) -> io::Result<(ContentHash, u64)> {
        if !fs::symlink_metadata(source).map_err(at(source))?.is_file() {
            return Err(at(source)(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")));
        }
        let mut file = File::open(source).map_err(at(source))?;
        let (hash, bytes) = hash_of(&mut file).map_err(at(source))?;
        if self.verify(&hash)? && self.want(&hash) {
            return Ok((hash, bytes));
        }
        file.sync_all().map_err(at(source))?;
        // The lock tells an opening store that the new name in `partial` is not abandoned.
        file.lock_shared().map_err(at(source))?;
        if let Ok(link) =
            tempfile::Builder::new().prefix("link-").make_in(self.partial_folder(), |name| fs::hard_link(source, name))
        {
            let target = self.path(&hash);
            let folder = self.folder_of(&target)?;
            fs::rename(link.path(), &target).map_err(at(&target))?;
            // Dropping `link` removes what a rename onto another name of the same file leaves.
            sync_folder(folder)?;
        } else {
            // Another file system, or one without links.
            let mut writer = self.writer()?;
            let mut reader = File::open(source).map_err(at(source))?;
            io::copy(&mut reader, &mut writer).map_err(at(source))?;
            writer.finish(Some(hash))?;
        }
        Ok((hash, bytes))
    }

    /// Makes the folder of a content file, durably; returns it.
    fn folder_of<'a>(&self, target: &'a Path) -> io::Result<&'a Path> {
        let folder = target.parent().expect("a content file lies in a folder of the store");
        match fs::create_dir(folder) {
            Ok(()) => sync_folder(&self.root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(folder)(error)),
        }
        Ok(folder)
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn store() -> (tempfile::TempDir, ContentStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path().join("blobs")).unwrap();
        (folder, store)
    }

    pub(super) fn partial_files(store: &ContentStore) -> usize {
        fs::read_dir(store.partial_folder()).unwrap().count()
    }

    #[test]
    fn bytes_and_files_are_kept_under_their_hash() {
        let (folder, store) = store();
        let hash = store.put_bytes(b"features").unwrap();
        assert_eq!(hash, ContentHash::of(b"features"));
        assert_eq!(fs::read(store.path(&hash)).unwrap(), b"features");
        assert!(store.has(&hash) && store.verify(&hash).unwrap());
        assert_eq!(store.bytes(&hash), Some(8));

        let large = vec![7; BUFFER_BYTES * 2 + 3];
        let source = folder.path().join("model");
        fs::write(&source, &large).unwrap();
        let (hash, bytes) = store.put_file(&source).unwrap();
        assert_eq!((hash, bytes), (ContentHash::of(&large), large.len() as u64));
        fs::remove_file(&source).unwrap();
        assert!(store.verify(&hash).unwrap());
        assert_eq!(partial_files(&store), 0);
    }

    #[test]
    fn what_is_absent_is_said_to_be_absent_and_what_is_no_file_is_refused() {
        let (folder, store) = store();
        let hash = ContentHash::of(b"never put");
        assert!(!store.has(&hash) && !store.verify(&hash).unwrap());
        assert_eq!(store.bytes(&hash), None);
        store.remove(&hash).unwrap();
        let error = store.put_file(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn damage_is_found_and_mended_by_putting_again() {
        let (folder, store) = store();
        let hash = store.put_bytes(b"weights").unwrap();
        for damaged in [&b"weightz"[..], b"weight", b""] {
            fs::write(store.path(&hash), damaged).unwrap();
            assert!(!store.verify(&hash).unwrap());
            store.put_bytes(b"weights").unwrap();
            assert!(store.verify(&hash).unwrap());

            fs::write(store.path(&hash), damaged).unwrap();
            let source = folder.path().join("again");
            fs::write(&source, b"weights").unwrap();
            store.put_file(&source).unwrap();
            assert!(store.verify(&hash).unwrap());
            fs::remove_file(source).unwrap();
        }
    }

    #[test]
    fn a_writer_refuses_other_content_than_expected_and_leaves_nothing() {
        let (_folder, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half of").unwrap();
        drop(writer);
        let mut writer = store.writer().unwrap();
        writer.write_all(b"something else").unwrap();
        let expected = ContentHash::of(b"what was asked for");
        let error = writer.finish(Some(expected)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
        assert!(!store.has(&expected) && !store.has(&ContentHash::of(b"something else")));
        assert_eq!(partial_files(&store), 0);
    }

    #[test]
    fn opening_removes_what_is_abandoned_and_leaves_writers_at_work() {
        let (folder, store) = store();
        fs::write(store.partial_folder().join("blob-of-a-killed-process"), b"half").unwrap();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"at work").unwrap();
        ContentStore::open(folder.path().join("blobs")).unwrap();
        assert_eq!(partial_files(&store), 1);
        let (hash, _) = writer.finish(None).unwrap();
        assert!(store.verify(&hash).unwrap());
    }

    #[test]
    fn many_may_put_the_same_content_while_others_open_the_store() {
        let (folder, store) = store();
        let content = vec![3; 100_000];
        let source = folder.path().join("shared");
        fs::write(&source, &content).unwrap();
        std::thread::scope(|scope| {
            for n in 0..6 {
                let (store, content, source) = (&store, &content, &source);
                scope.spawn(move || {
                    for _ in 0..5 {
                        match n % 3 {
                            0 => assert_eq!(store.put_bytes(content).unwrap(), ContentHash::of(content)),
                            1 => assert_eq!(store.put_file(source).unwrap().1, 100_000),
                            _ => drop(ContentStore::open(store.root.clone()).unwrap()),
                        }
                    }
                });
            }
        });
        assert!(store.verify(&ContentHash::of(&content)).unwrap());
        assert_eq!(partial_files(&store), 0);
    }
}

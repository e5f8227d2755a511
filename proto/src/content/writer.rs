//! Content on its way into a store, piece by piece; what breaks off can be gone on with.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
};

use experiment_spec::ids::ContentHash;
use tempfile::{NamedTempFile, TempPath};

use super::{BUFFER_BYTES, ContentStore, RESUMABLE, at, may_go_on, sync_folder};

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
        let path = self.partial_folder().join(format!("{RESUMABLE}{hash}"));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        // Another process is at work on it, or an opening store has just removed it: this one begins by itself.
        if file.try_lock().is_err() || !path.exists() {
            return self.writer();
        }
        if !may_go_on(&path, &file) {
            file.set_len(0).map_err(at(&path))?;
        }
        let mut hasher = blake3::Hasher::new();
        let bytes = copy_into(&mut hasher, &file).map_err(at(&path))?;
        let mut file = NamedTempFile::from_parts(file, TempPath::try_from_path(&path)?);
        file.disable_cleanup(true);
        Ok(BlobWriter { store: self.clone(), file, hasher, bytes })
    }
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
    use std::time::SystemTime;

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
            let path = store.partial_folder().join(format!("{RESUMABLE}{hash}"));
            File::open(path).unwrap().set_modified(SystemTime::now() - KEEP_PARTIAL * 2).unwrap();
        };
        broken_off(&store, &hash, b"feat");
        age();
        assert_eq!(store.resume(&hash).unwrap().bytes(), 0);
        broken_off(&store, &hash, b"feat");
        age();
        ContentStore::open(folder.path().join("blobs")).unwrap();
        assert_eq!(partial_files(&store), 0);
    }
}

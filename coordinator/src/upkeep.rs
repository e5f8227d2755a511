//! Looking after a state folder, also one at work: copies of it (the database as it was at one moment, and every content that
//! it names), and removing what it does not name.

mod mirrored;

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::content::ContentStore;
use serde::Serialize;

use crate::{
    contents::{BLOBS_FOLDER, CHECKPOINTS_FOLDER},
    coordinator::DATABASE_FILE,
    lock::{FolderLock, LockError},
    store::copy,
};

pub use self::mirrored::gc_mirror;

/// What a copy holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Submissions in the database.
    pub submissions: u64,
    /// Runs and extractions in it.
    pub steps: u64,
    /// Contents that were copied, each checked against its hash.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Contents that the database names and that are not there, or not whole, each with the reason.
    pub missing: Vec<String>,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source or the destination is not as it should be.
    #[error("{0}")]
    Refused(String),
    /// The database cannot be read or written.
    #[error("{}: {reason}", .database.display())]
    Store {
        /// The file.
        database: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What the operating system says.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Io { path, source }
}

fn of_store<E: std::fmt::Display>(database: &Path) -> impl FnOnce(E) -> CopyError {
    let database = database.to_owned();
    move |error| CopyError::Store { database, reason: error.to_string() }
}

/// Copies the state folder `home` to the new folder `destination`; a coordinator may be at work in it meanwhile. The
/// destination appears whole or not at all.
///
/// # Errors
/// When there is nothing to copy, the destination is there already, or the disk refuses. Contents that are missing are no
/// error: they are listed.
pub async fn backup(home: &Path, destination: &Path) -> Result<Copied, CopyError> {
    let database = home.join(DATABASE_FILE);
    if !database.is_file() {
        return Err(CopyError::Refused(format!("{} is no state folder: it has no {DATABASE_FILE}", home.display())));
    }
    if destination.exists() {
        let sentence = format!("{} is there already; name a folder that is not", destination.display());
        return Err(CopyError::Refused(sentence));
    }
    let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at(parent))?;
    // Removed again unless it gets its name.
    let partial = tempfile::Builder::new().prefix(".orchestrator-backup-").tempdir_in(parent).map_err(at(parent))?;
    let copied = copy_into(&database, home, partial.path()).await?;
    fs::rename(partial.path(), destination).map_err(at(destination))?;
    // It bears another name now: nothing is left to be removed.
    let _ = partial.keep();
    sync_folder(parent)?;
    Ok(copied)
}

async fn copy_into(database: &Path, home: &Path, partial: &Path) -> Result<Copied, CopyError> {
    let snapshot = partial.join(DATABASE_FILE);
    copy::snapshot(database, &snapshot).await.map_err(of_store(database))?;
    sync_file(&snapshot)?;
    let named = copy::named(&snapshot).await.map_err(of_store(&snapshot))?;
    let copied = copy_contents(named, home, partial)?;
    sync_folder(partial)?;
    Ok(copied)
}

/// Makes the state folder `home` from a copy. It must hold no database yet.
///
/// # Errors
/// When the copy is damaged or of a newer program, when `home` is in use or has a database, or when the disk refuses. Then
/// `home` has no database.
pub async fn restore(source: &Path, home: &Path) -> Result<Copied, CopyError> {
    let (from, database) = (source.join(DATABASE_FILE), home.join(DATABASE_FILE));
    if !from.is_file() {
        return Err(CopyError::Refused(format!("{} is no backup: it has no {DATABASE_FILE}", source.display())));
    }
    fs::create_dir_all(home).map_err(at(home))?;
    let _lock = FolderLock::take(home).map_err(|error| match error {
        LockError::Held(holder) => {
            CopyError::Refused(format!("state folder {} is held by {holder}; stop it first", home.display()))
        }
        LockError::Io(error) => at(home)(error),
    })?;
    if database.exists() {
        let sentence = format!(
            "{} is there already; nothing is written over it: move it away, or restore to another folder with --home",
            database.display()
        );
        return Err(CopyError::Refused(sentence));
    }
    let named = copy::named(&from).await.map_err(of_store(&from))?;
    let copied = copy_contents(named, source, home)?;
    let partial = home.join(format!("{DATABASE_FILE}.partial"));
    fs::copy(&from, &partial).map_err(at(&partial))?;
    sync_file(&partial)?;
    fs::rename(&partial, &database).map_err(at(&database))?;
    sync_folder(home)?;
    Ok(copied)
}

/// What [`gc`] removed, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Contents.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Contents that stay.
    pub kept: u64,
}

/// Removes contents of the state folder `home` that its database does not name. A coordinator may be at work: what came
/// or was asked for less than `younger` ago stays, since the report that names it may be on its way.
///
/// # Errors
/// When there is no state folder, its database cannot be read, or the operating system refuses.
pub async fn gc(home: &Path, younger: Duration, dry_run: bool) -> Result<Removed, CopyError> {
    let database = home.join(DATABASE_FILE);
    if !database.is_file() {
        return Err(CopyError::Refused(format!("{} is no state folder: it has no {DATABASE_FILE}", home.display())));
    }
    // Listed before the database is asked: what comes in between is not looked at.
    let (blobs, checkpoints) = (Listed::open(home, BLOBS_FOLDER)?, Listed::open(home, CHECKPOINTS_FOLDER)?);
    let (named, resumable) = copy::named_now(&database).await.map_err(of_store(&database))?;
    let mut removed = Removed::default();
    blobs.remove_unnamed(&named.into_iter().collect(), younger, dry_run, &mut removed)?;
    checkpoints.remove_unnamed(&resumable.into_iter().collect(), younger, dry_run, &mut removed)?;
    Ok(removed)
}

/// A folder of contents, and what was in it.
struct Listed {
    content: ContentStore,
    here: Vec<(ContentHash, u64, SystemTime)>,
}

impl Listed {
    fn open(home: &Path, name: &str) -> Result<Self, CopyError> {
        let folder = home.join(name);
        let content = ContentStore::open(&folder).map_err(at(&folder))?;
        let here = content.list().map_err(at(&folder))?;
        Ok(Self { content, here })
    }

    fn remove_unnamed(
        self,
        named: &HashSet<ContentHash>,
        younger: Duration,
        dry_run: bool,
        removed: &mut Removed,
    ) -> Result<(), CopyError> {
        let Self { content, here } = self;
        let is_young = |came: SystemTime| SystemTime::now().duration_since(came).map_or(true, |age| age < younger);
        for (hash, bytes, came) in here {
            // Looked at again: it may have been wanted anew meanwhile.
            if named.contains(&hash) || is_young(came) || content.wanted_at(&hash).is_none_or(is_young) {
                removed.kept += 1;
                continue;
            }
            if !dry_run {
                content.remove(&hash).map_err(at(&content.path(&hash)))?;
            }
            removed.blobs += 1;
            removed.bytes += bytes;
        }
        Ok(())
    }
}

/// Everything that is wrong with the state folder `home`, which nobody works on: records that are damaged or refer to what is
/// not there, contents that are missing or not what their hash says.
///
/// # Errors
/// When there is no state folder, or it cannot be read.
pub async fn verify(home: &Path) -> Result<Vec<String>, CopyError> {
    let database = home.join(DATABASE_FILE);
    if !database.is_file() {
        return Err(CopyError::Refused(format!("{} is no state folder: it has no {DATABASE_FILE}", home.display())));
    }
    let (mut wrong, named) = copy::verified(&database).await.map_err(of_store(&database))?;
    let blobs = home.join(BLOBS_FOLDER);
    let content = ContentStore::open(&blobs).map_err(at(&blobs))?;
    for hash in named {
        let path = content.path(&hash);
        if !content.verify(&hash).map_err(at(&path))? {
            let what = if content.has(&hash) { "is damaged" } else { "is missing" };
            wrong.push(format!("{} {what}", path.display()));
        }
    }
    Ok(wrong)
}

/// Copies everything that is named from one state folder to another.
fn copy_contents(named: copy::Named, from: &Path, to: &Path) -> Result<Copied, CopyError> {
    let copy::Named { submissions, steps, blobs, checkpoints } = named;
    let mut copied = Copied { submissions, steps, ..Copied::default() };
    copy_blobs(blobs, &from.join(BLOBS_FOLDER), &to.join(BLOBS_FOLDER), &mut copied)?;
    let missing = std::mem::take(&mut copied.missing);
    copy_blobs(checkpoints, &from.join(CHECKPOINTS_FOLDER), &to.join(CHECKPOINTS_FOLDER), &mut copied)?;
    // A checkpoint that is not there was needed no more when its turn came, or its step begins a little earlier.
    Ok(Copied { missing, ..copied })
}

fn copy_blobs(blobs: Vec<ContentHash>, from: &Path, to: &Path, copied: &mut Copied) -> Result<(), CopyError> {
    let (source, target) = (ContentStore::open(from).map_err(at(from))?, ContentStore::open(to).map_err(at(to))?);
    for hash in blobs {
        match copy_blob(&source, &target, &hash) {
            Ok(bytes) => {
                copied.blobs += 1;
                copied.bytes += bytes;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                copied.missing.push(format!("{}: {error}", source.path(&hash).display()));
            }
            Err(error) => return Err(at(&target.path(&hash))(error)),
        }
    }
    Ok(())
}

/// Copies a content and checks it on the way; returns its size in bytes.
fn copy_blob(source: &ContentStore, target: &ContentStore, hash: &ContentHash) -> io::Result<u64> {
    let mut reader = File::open(source.path(hash))?;
    let mut writer = target.writer()?;
    io::copy(&mut reader, &mut writer)?;
    Ok(writer.finish(Some(*hash))?.1)
}

fn sync_file(path: &Path) -> Result<(), CopyError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}

fn sync_folder(path: &Path) -> Result<(), CopyError> {
    sync_file(path)
}

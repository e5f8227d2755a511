//! Removing from a mirror what a database does not name.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, SystemTime},
};

use orchestrator_proto::mirror::{Mirror, MirrorError};

use super::{CopyError, DATABASE_FILE, Removed, of_store};
use crate::store::copy;

/// Removes from the mirror what the database of the state folder `home` does not name: neither a content of its record nor a
/// checkpoint that a step may go on from. What came less than `younger` ago stays. The coordinator's own contents are not
/// touched; whatever turns out to be missing is fetched from it, and put there again.
///
/// # Errors
/// When there is no state folder, its database cannot be read, or the mirror is away or refuses.
pub async fn gc_mirror(home: &Path, mirror: &Mirror, younger: Duration, dry_run: bool) -> Result<Removed, CopyError> {
    let database = home.join(DATABASE_FILE);
    if !database.is_file() {
        return Err(CopyError::Refused(format!("{} is no state folder: it has no {DATABASE_FILE}", home.display())));
    }
    let of_mirror = |error: MirrorError| CopyError::Refused(format!("mirror {}: {error}", mirror.url()));
    // Listed before the database is asked: what comes in between is not looked at.
    let listed = mirror.list().await.map_err(of_mirror)?;
    let (named, resumable) = copy::named_now(&database).await.map_err(of_store(&database))?;
    let named: HashSet<_> = named.into_iter().chain(resumable).collect();
    let is_young = |came: SystemTime| SystemTime::now().duration_since(came).map_or(true, |age| age < younger);
    let mut removed = Removed::default();
    for object in listed {
        // Looked at again: somebody may have put it there anew.
        let stays = named.contains(&object.hash) || is_young(object.came_at) || {
            let now = mirror.object(&object.hash).await.map_err(of_mirror)?;
            now.is_none_or(|object| is_young(object.came_at))
        };
        if stays {
            removed.kept += 1;
            continue;
        }
        if !dry_run {
            mirror.remove(&object.hash).await.map_err(of_mirror)?;
        }
        removed.blobs += 1;
        removed.bytes += object.bytes;
    }
    Ok(removed)
}

//! Room on a disk: both ends take nothing more when theirs is nearly full, and say so in the same words.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Room that is to stay free on the disk of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The folder.
    pub folder: PathBuf,
    /// 0: it is not looked at.
    pub min_free_bytes: u64,
    /// The option that sets it, for people.
    pub option: &'static str,
}

impl Floor {
    /// What there is too little of, in a sentence; none while there is room, or nobody can tell.
    #[must_use]
    pub fn lack(&self) -> Option<String> {
        let Self { folder, min_free_bytes, option } = self;
        let free = free_bytes(folder).ok().filter(|free| free < min_free_bytes)?;
        let (folder, free, kept) = (folder.display(), size(free), size(*min_free_bytes));
        Some(format!("the disk of {folder} has {free} free, and {kept} are kept free (`{option}`)"))
    }
}

/// Bytes that may still be written to the disk of a folder.
///
/// # Errors
/// When there is no such folder.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A size for people.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub fn size(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_says_what_is_free_and_what_is_to_stay_so() {
        let folder = std::env::temp_dir();
        let floor = |min_free_bytes| Floor { folder: folder.clone(), min_free_bytes, option: "serve --min-free" };
        assert_eq!(floor(0).lack(), None);
        assert_eq!(floor(1).lack(), None);
        let lack = floor(u64::MAX).lack().unwrap();
        assert!(lack.starts_with(&format!("the disk of {} has ", folder.display())), "{lack}");
        assert!(lack.ends_with("GiB are kept free (`serve --min-free`)"), "{lack}");
        assert_eq!(Floor { folder: "/no/such/folder".into(), ..floor(u64::MAX) }.lack(), None);
        assert_eq!((size(3 << 19), size(3 << 29)), ("1 MiB".to_owned(), "1.5 GiB".to_owned()));
    }
}

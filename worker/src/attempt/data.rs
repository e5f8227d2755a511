//! The data set that an extraction reads: this machine's own if it is the same to the byte, else fetched, and laid out as
//! folders of data sets are.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use experiment_spec::{ids::ContentHash, program::file_name, run::FailureKind};
use orchestrator_proto::v1::{Artifact, attempt_event::Event};
use tokio_util::sync::CancellationToken;

use super::Watch;
use crate::{error::at, events};

/// Folder in a step's folder with links to the files that were fetched.
const FOLDER: &str = "data";
/// Most files of a data set.
const MAX_FILES: usize = 1_000;

impl Watch<'_> {
    /// Where the attempt is to look for data sets, the first place first.
    pub(super) fn data_folders(&mut self, step: &Path, fetching: &CancellationToken) -> Result<Vec<PathBuf>, Event> {
        let mut folders = self.shared.config.data_folders.clone();
        let files = self.assignment.data_files.clone();
        let wrong = |what: String| events::failed(FailureKind::UserError, format!("the assignment's data set: {what}"));
        if files.len() > MAX_FILES {
            return Err(wrong(format!("{} files, at most {MAX_FILES} are taken", files.len())));
        }
        let (mut laid_out, mut is_here) = (Vec::with_capacity(files.len()), true);
        for Artifact { name, hash, bytes, .. } in files {
            let place = place(&name).ok_or_else(|| wrong(format!("`{name}` is no name of a file in a folder")))?;
            let hash: ContentHash = hash.parse().map_err(|error| wrong(format!("{name}: {error}")))?;
            let own = self.own_file(&folders, place, (&hash, bytes));
            is_here &= own.is_some();
            let path = match own {
                Some(path) => path,
                None => self.fetch(&name, &hash, bytes, fetching)?,
            };
            laid_out.push((name, path));
        }
        if !is_here {
            let folder = step.join(FOLDER);
            lay_out(&folder, &laid_out).map_err(|error| events::failed(FailureKind::Killed, error.to_string()))?;
            folders.insert(0, folder);
        }
        Ok(folders)
    }

    /// The file of this machine's own that has this content: in the first folder with such a data set, as everywhere.
    fn own_file(
        &self,
        folders: &[PathBuf],
        (set, file): (&str, &str),
        (hash, bytes): (&ContentHash, u64),
    ) -> Option<PathBuf> {
        let path = folders.iter().map(|folder| folder.join(set)).find(|folder| folder.is_dir())?.join(file);
        let is_of_size = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes);
        let is_same = is_of_size && self.shared.own_files.of(&path).is_ok_and(|(found, _)| found == *hash);
        is_same.then_some(path)
    }
}

/// Folder and name of a file of a data set, where nothing leads anywhere else.
fn place(name: &str) -> Option<(&str, &str)> {
    let (folder, file) = file_name(name).filter(|plain| *plain == name)?.split_once('/')?;
    let is_hidden = |part: &str| part.starts_with('.') || part.starts_with('-');
    (!file.contains('/') && !is_hidden(folder) && !is_hidden(file)).then_some((folder, file))
}

/// Makes a folder of links anew.
fn lay_out(folder: &Path, files: &[(String, PathBuf)]) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(folder)(error)),
        _ => {}
    }
    for (name, target) in files {
        let link = folder.join(name);
        let parent = link.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(at(parent))?;
        symlink(std::path::absolute(target).map_err(at(target))?, &link).map_err(at(&link))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_data_files_lead_nowhere_else() {
        assert_eq!(place("wikipedia/raw_features.mat"), Some(("wikipedia", "raw_features.mat")));
        for bad in [
            "",
            "a",
            "/a/b",
            "../a",
            "a/..",
            "a/../b",
            "./a/b",
            "a/b/c",
            "a//b",
            "a/",
            "/etc/passwd",
            ".ssh/key",
            "a/.b",
            "-a/b",
            "a/b\0",
            "a\\b",
        ] {
            assert_eq!(place(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_layout_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, data) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("data"));
        fs::write(&one, "one").unwrap();
        fs::write(&two, "two").unwrap();
        lay_out(&data, &[("set/a.npy".to_owned(), one.clone()), ("set/b.npy".to_owned(), one.clone())]).unwrap();
        lay_out(&data, &[("set/a.npy".to_owned(), two), ("other/c.npy".to_owned(), one.clone())]).unwrap();
        let read = |name: &str| fs::read_to_string(data.join(name)).ok();
        let found = ["set/a.npy", "set/b.npy", "other/c.npy"].map(read);
        assert_eq!(found, [Some("two".to_owned()), None, Some("one".to_owned())]);
        assert!(one.is_file(), "what a link led to stays");
    }
}

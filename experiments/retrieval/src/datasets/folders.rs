//! Where data sets are found: folders with one folder a data set. They are handed in; nothing here reads the
//! environment.

use std::{fs::File, io::Read, path::PathBuf};

/// Largest file of a data set that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Folders with one folder a data set; the first that has one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataFolders(pub Vec<PathBuf>);

impl DataFolders {
    /// Folder of the data set of that key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<PathBuf> {
        self.0.iter().map(|folder| folder.join(key)).find(|folder| folder.is_dir())
    }

    /// Where it was looked for, in words.
    #[must_use]
    pub fn listed(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|folder| folder.display().to_string()).collect();
        if names.is_empty() { "no folder".to_owned() } else { names.join(", ") }
    }
}

/// Reads a whole file, up to [`MAX_FILE_BYTES`].
///
/// # Errors
/// A sentence that names the file.
pub(super) fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}; get the file again", path.display());
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "{}: longer than {MAX_FILE_BYTES} bytes; this is not the file of the data set",
            path.display()
        ));
    }
    Ok(bytes)
}

//! Programs of the user's own that stand for a method: their command, and the files that travel with a
//! submission so that what was submitted is what runs, on whatever node.

use serde::{Deserialize, Serialize};

use crate::ids::ContentHash;

/// Key under which runs of such programs are listed, as those of a method are under its key.
pub const EXTERNAL: &str = "external";

/// Longest name of a file, in bytes.
pub const MAX_FILE_NAME: usize = 200;
/// Most files of one program.
pub const MAX_FILES: usize = 64;
/// Largest file, in bytes: what is larger is data, and belongs on the node.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most bytes of all files of a submission.
pub const MAX_FILES_BYTES: u64 = 4 << 20;
/// Most words of a command.
pub const MAX_WORDS: usize = 100;
/// Most bytes of all words of a command.
pub const MAX_COMMAND_BYTES: usize = 8 << 10;

/// Folders and files that a run itself lays into the folder of a program.
pub const RESERVED: [&str; 3] = ["input", "output", "tmp"];

/// Endings of file names that nobody gives to anything but a script.
const SCRIPTS: [&str; 8] = ["py", "sh", "r", "jl", "m", "pl", "rb", "lua"];

/// A program and its files: all of it has a part in the identity of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The command with its arguments, as it is started in the program's folder.
    pub command: Vec<String>,
    /// Files laid into that folder, by name.
    pub files: Vec<ProgramFile>,
}

impl Program {
    /// The command on one line.
    #[must_use]
    pub fn line(&self) -> String {
        self.command.join(" ")
    }
}

/// A file that stood beside the submission when it was submitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProgramFile {
    /// Its name relative to the submission, `/` between folders.
    pub name: String,
    /// Its content.
    pub hash: ContentHash,
    /// Its size.
    pub bytes: u64,
}

/// The files that stand beside a submission: on the user's disk, or as they were sent.
pub trait Files {
    /// The file of that name; none where there is none.
    ///
    /// # Errors
    /// A sentence on why a file that is there cannot be taken.
    fn find(&mut self, name: &str) -> Result<Option<ProgramFile>, String>;
}

/// No file at all.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn find(&mut self, _: &str) -> Result<Option<ProgramFile>, String> {
        Ok(None)
    }
}

/// The name of a file below the submission's own folder that a word of a command may be: `./a.py` is `a.py`.
/// None where it can only be something else: an option, a path of the node, a way out of the folder.
#[must_use]
pub fn file_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("./").unwrap_or(word);
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    let usable = name.len() <= MAX_FILE_NAME && !name.starts_with('-') && name.split('/').all(plain);
    usable.then_some(name)
}

/// Whether such a name is taken by what a run itself lays into the folder.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.split('/').next().is_some_and(|first| RESERVED.contains(&first))
}

/// Whether a word can be meant for nothing but a script beside the submission.
#[must_use]
pub fn looks_like_script(word: &str) -> bool {
    let ending = file_name(word).and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| SCRIPTS.contains(&ending.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_lead_nowhere_else() {
        for (word, name) in [("a.py", "a.py"), ("./a.py", "a.py"), ("lib/b-c_d.R", "lib/b-c_d.R"), ("cca", "cca")] {
            assert_eq!(file_name(word), Some(name));
        }
        let long = "x".repeat(MAX_FILE_NAME + 1);
        for word in ["", "/bin/sh", "../a.py", "a/../b", "a//b", "a/", "-m", "./-m", "a b", "a\\b", "é.py", ".", &long]
        {
            assert_eq!(file_name(word), None, "{word:?}");
        }
        assert!(is_reserved("input/x.npy") && is_reserved("tmp") && !is_reserved("inputs.py"));
        assert!(looks_like_script("a.py") && looks_like_script("./lib/a.R"));
        assert!(!looks_like_script("0.5") && !looks_like_script("sklearn.cca") && !looks_like_script("/opt/a.py"));
    }
}

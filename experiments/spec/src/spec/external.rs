//! Entries of `methods` that name a program of the user's own instead of a method: `command` and `files`.

use super::{
    keys,
    limits::MAX_LABEL,
    problem::{Problems, clip},
    read::{Cursor, Fields},
};
use crate::{
    catalog::{Catalog, MethodEntry},
    program::{
        Files, MAX_COMMAND_BYTES, MAX_FILES, MAX_FILES_BYTES, MAX_WORDS, Program, ProgramFile, file_name, is_reserved,
        looks_like_script,
    },
};

/// What such an entry says.
#[derive(Debug)]
pub(super) struct External<'c> {
    pub(super) entry: &'c MethodEntry,
    pub(super) program: Program,
    pub(super) label: String,
}

/// Reads the mapping of an entry that has the key `command`.
pub(super) fn read<'c>(
    own: &Fields<'_>,
    command: &Cursor<'_>,
    catalog: &'c Catalog,
    files: &mut dyn Files,
    problems: &mut Problems,
) -> Option<External<'c>> {
    own.refuse_unknown(problems, keys::PROGRAM);
    let entry = catalog.external.as_ref();
    if entry.is_none() {
        command.report(
            problems,
            "this coordinator runs no programs of its users: start it with `serve --allow-commands`, or name a `method`",
        );
    }
    let label = own.require(problems, "label").and_then(|label| label.text(problems, "a label", MAX_LABEL));
    let words = words(command, problems);
    let mut taken = Taken { files, found: Vec::new() };
    for (cursor, word) in words.iter().flatten() {
        taken.word(cursor, word, problems);
    }
    if let Some(listed) = own.get("files") {
        let names = listed.list(problems, "a list of files beside the submission", MAX_FILES)?;
        for name in &names {
            taken.listed(name, problems);
        }
    }
    let mut found = taken.found;
    found.sort();
    found.dedup();
    if found.len() > MAX_FILES || found.iter().map(|file| file.bytes).sum::<u64>() > MAX_FILES_BYTES {
        command.report(
            problems,
            format!(
                "the files of a program may be {MAX_FILES} and have {MAX_FILES_BYTES} bytes together: install what \
                 is larger on the nodes"
            ),
        );
        return None;
    }
    let command = words?.into_iter().map(|(_, word)| word.to_owned()).collect();
    Some(External { entry: entry?, program: Program { command, files: found }, label: label?.to_owned() })
}

/// The words of a command, with the places where they stand.
fn words<'n>(command: &Cursor<'n>, problems: &mut Problems) -> Option<Vec<(Cursor<'n>, &'n str)>> {
    let items = command.list(problems, "a command: a list of a program and its arguments", MAX_WORDS)?;
    let mut words = Vec::with_capacity(items.len());
    for item in &items {
        words.extend(item.text(problems, "a word of a command", MAX_COMMAND_BYTES).map(|word| (item.clone(), word)));
    }
    if words.len() < items.len() {
        return None;
    }
    let bytes: usize = words.iter().map(|(_, word)| word.len()).sum();
    if bytes > MAX_COMMAND_BYTES {
        command.report(problems, format!("a command may have {MAX_COMMAND_BYTES} bytes, here {bytes}"));
        return None;
    }
    Some(words)
}

/// The files that a program takes along.
struct Taken<'f> {
    files: &'f mut dyn Files,
    found: Vec<ProgramFile>,
}

impl Taken<'_> {
    /// A word of the command: where a file of that name stands beside the submission, that file goes along.
    fn word(&mut self, cursor: &Cursor<'_>, word: &str, problems: &mut Problems) {
        let found = file_name(word).is_some_and(|name| self.take(cursor, name, problems));
        if !found && looks_like_script(word) {
            let name = clip(word);
            cursor.report(
                problems,
                format!("there is no file `{name}` beside the submission: a program travels with it"),
            );
        }
    }

    /// An entry of `files`.
    fn listed(&mut self, cursor: &Cursor<'_>, problems: &mut Problems) {
        let Some(word) = cursor.text(problems, "the name of a file", MAX_COMMAND_BYTES) else { return };
        let Some(name) = file_name(word) else {
            let what = "the name of a file beside the submission or below: letters, digits, `-`, `_`, `.`, `+`, with `/` \
                        between folders";
            return cursor.expected(problems, what);
        };
        if !self.take(cursor, name, problems) {
            cursor.report(problems, format!("there is no file `{}` beside the submission", clip(name)));
        }
    }

    /// Whether there is such a file, which then goes along; one that cannot is reported.
    fn take(&mut self, cursor: &Cursor<'_>, name: &str, problems: &mut Problems) -> bool {
        match self.files.find(name) {
            Ok(None) => false,
            Ok(Some(_)) if is_reserved(name) => {
                cursor.report(
                    problems,
                    format!("`{}`: a run keeps `input`, `output` and `tmp` itself: rename it", clip(name)),
                );
                true
            }
            Ok(Some(file)) => {
                self.found.push(file);
                true
            }
            Err(why) => {
                cursor.report(problems, why);
                true
            }
        }
    }
}

//! Runs by a program of the user's own: it is given features in a folder and leaves two embeddings, which are
//! scored like those of any method. `experiments/external/README.md` is the contract for its author.

mod confine;
mod folder;
mod output;
mod progress;
mod tree;
mod watch;

use std::{collections::BTreeMap, path::Path, time::Duration};

use experiment_spec::{
    catalog::{MethodEntry, Parameters},
    program::{EXTERNAL, Program},
    run::FailureKind,
};
use retrieval::{
    checkpoint::NamedTensor,
    error::{Error, Result},
    features::Rows,
    method::{Embedding, FitContext, FitRecord, Fitted, Method, TrainingData},
    nn::stream::Stream,
};

pub use self::confine::confined_main;
use self::{folder::Folder, watch::Limits};
use crate::command::Start;

/// Time limit where the submission states none: a program that hangs does not hold its slot for ever.
const DEFAULT_SECONDS: u64 = 24 * 3_600;
/// Share of this machine's memory that a program may take where the submission states none, in percent.
const DEFAULT_MEMORY_PERCENT: u64 = 80;

/// The line under which such programs are listed.
#[must_use]
pub fn external_entry() -> MethodEntry {
    MethodEntry {
        key: EXTERNAL.to_owned(),
        label: "External program".to_owned(),
        revision: 1,
        objective: "that of its author: the program of `command` is given features and leaves embeddings, which are \
                    scored like those of any method"
            .to_owned(),
        reference: "experiments/external/README.md".to_owned(),
        parameters: Vec::new(),
        presets: Vec::new(),
        departures: vec![
            "a program of the submitter's own: what it learns from, chooses by and repeats to the bit is its author's \
             word; it is given the test features shuffled, images and texts apart, and no test label"
                .to_owned(),
        ],
    }
}

/// A failure of the program, for this reason.
fn failed(kind: FailureKind, message: impl Into<String>) -> Error {
    Error::Program { kind, message: message.into() }
}

/// A program in place of a method.
#[derive(Debug)]
pub(super) struct External<'a> {
    pub(super) start: &'a Start,
    pub(super) program: &'a Program,
}

impl External<'_> {
    fn limits(&self) -> Limits {
        let Start { time_limit_s, memory_bytes, .. } = *self.start;
        let seconds = if time_limit_s == 0 { DEFAULT_SECONDS } else { time_limit_s };
        let memory_bytes = if memory_bytes == 0 {
            crate::identity::memory_bytes() / 100 * DEFAULT_MEMORY_PERCENT
        } else {
            memory_bytes
        };
        Limits { time: Duration::from_secs(seconds), memory_bytes }
    }
}

impl Method for External<'_> {
    fn entry(&self) -> MethodEntry {
        external_entry()
    }

    fn chooses(&self, _: &Parameters) -> bool {
        false
    }

    /// One program, started once: it embeds the test pairs, so it must be given their features.
    fn transductive(&self, _: &Parameters) -> bool {
        true
    }

    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        let FitContext { seed, observer, unlabelled, .. } = context;
        let given = unlabelled.ok_or_else(|| Error::Data("the program was not given the test features".to_owned()))?;
        // Row numbers of the test split tell classes and pairs in most data sets: they are not given away.
        let orders = [("image", given.image), ("text", given.text)]
            .map(|(side, rows)| Stream::new(seed, &format!("external/{side}"), 0).permutation(rows.rows()));
        let limits = self.limits();
        let folder = Folder::make(&self.start.folder, &self.start.program_files)?;
        let gpu = self.start.gpu.as_ref().map(|gpu| gpu.model.as_str());
        folder.lay_out(&data, (&given, &orders), &folder::Facts { seed, threads: self.start.threads, gpu, limits })?;
        let ran = watch::run(self.program, &folder, limits, self.start.threads, observer)?;
        let read = |side: &str, rows: Rows<'_>, order: &[usize]| {
            output::read(folder.path(), side, rows.rows()).map(|embedding| output::put_back(&embedding, order))
        };
        let (image, text) = (read("image", given.image, &orders[0])?, read("text", given.text, &orders[1])?);
        Ok(Box::new(Embedded { image, text, ran, line: self.program.line() }))
    }
}

/// What a program left.
#[derive(Debug)]
struct Embedded {
    image: Embedding,
    text: Embedding,
    ran: watch::Ran,
    line: String,
}

impl Fitted for Embedded {
    fn embed_image(&self, _: Rows<'_>) -> Result<Embedding> {
        Ok(self.image.clone())
    }

    fn embed_text(&self, _: Rows<'_>) -> Result<Embedding> {
        Ok(self.text.clone())
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        Ok(Vec::new())
    }

    fn selected_iteration(&self) -> u64 {
        self.ran.iteration
    }

    fn record(&self) -> FitRecord {
        let mut facts = BTreeMap::from([("program-seconds".to_owned(), self.ran.time.as_secs_f64())]);
        // A program that ended before it was first looked at has told nothing of its memory.
        if self.ran.peak_memory_bytes > 0 {
            #[allow(clippy::cast_precision_loss)] // bytes of memory, for people
            facts.insert("program-peak-memory-bytes".to_owned(), self.ran.peak_memory_bytes as f64);
        }
        FitRecord { tuning: None, notes: notes(&self.line, confine::can_confine()), facts }
    }
}

/// What a reader of the scores has to know of the program.
fn notes(line: &str, confined: bool) -> Vec<String> {
    let mut notes = vec![format!("computed by `{line}`")];
    if !confined {
        let why = "its machine has no Landlock, so what it wrote outside its folder was neither prevented nor noticed";
        notes.push(format!("a program that was not confined: {why}"));
    }
    notes
}

/// Bytes of the files below a folder; those that go away meanwhile do not count.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_not_confined_says_so_under_the_table() {
        assert_eq!(notes("sh own.sh", true), ["computed by `sh own.sh`"]);
        let open = notes("sh own.sh", false);
        assert!(open.len() == 2 && open[1].contains("neither prevented nor noticed"), "{open:?}");
    }
}

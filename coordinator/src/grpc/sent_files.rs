//! Files that come with a submission: what its programs take along to the workers.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::{
    ids::ContentHash,
    program::{Files, MAX_FILE_BYTES, MAX_FILES_BYTES, ProgramFile, file_name},
    run::StepSpec,
};
use orchestrator_proto::{content::ContentStore, v1};

use crate::service::{planning::Planned, refusal::Refusal};

/// Most files of a submission: its limit of bytes is the stricter one for all but empty files.
const MAX_SENT: usize = 1_000;

/// The files of one request, by name.
#[derive(Debug)]
pub(crate) struct SentFiles(BTreeMap<String, (ProgramFile, Vec<u8>)>);

impl SentFiles {
    /// Checks numbers, names and sizes.
    pub(crate) fn read(sent: Vec<v1::SentFile>) -> Result<Self, Refusal> {
        let invalid = |why: String| Err(Refusal::Invalid(format!("files: {why}")));
        if sent.len() > MAX_SENT {
            return invalid(format!("{}, at most {MAX_SENT} are taken", sent.len()));
        }
        let (mut files, mut all) = (BTreeMap::new(), 0);
        for v1::SentFile { name, content } in sent {
            if file_name(&name) != Some(name.as_str()) {
                let name: String = name.chars().take(100).collect();
                return invalid(format!("`{name}` is no name below the submission's folder"));
            }
            let bytes = content.len() as u64;
            all += bytes;
            if bytes > MAX_FILE_BYTES || all > MAX_FILES_BYTES {
                return invalid(format!(
                    "{name} has {bytes} bytes; at most {MAX_FILE_BYTES} are taken, and {MAX_FILES_BYTES} of all files"
                ));
            }
            let file = ProgramFile { name: name.clone(), hash: ContentHash::of(&content), bytes };
            files.insert(name, (file, content));
        }
        Ok(Self(files))
    }

    /// Keeps those that the plan names, durably: its runs may be assigned from now on.
    pub(crate) fn keep(&self, planned: &Planned, content: &ContentStore) -> Result<(), Refusal> {
        let programs = planned.steps.iter().filter_map(|step| match &step.spec {
            StepSpec::Run(spec) => spec.program.as_ref(),
            StepSpec::Extraction(_) => None,
        });
        let named: BTreeSet<&str> =
            programs.flat_map(|program| &program.files).map(|file| file.name.as_str()).collect();
        for (_, bytes) in named.iter().filter_map(|name| self.0.get(*name)) {
            content.put_bytes(bytes).map_err(Refusal::Blobs)?;
        }
        Ok(())
    }
}

impl Files for &SentFiles {
    fn find(&mut self, name: &str) -> Result<Option<ProgramFile>, String> {
        Ok(self.0.get(name).map(|(file, _)| file.clone()))
    }
}

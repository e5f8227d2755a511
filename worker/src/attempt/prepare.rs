//! What an attempt needs before its process is started: a specification that can be read, content that is whole, a folder.

use std::path::PathBuf;

use experiment_spec::{
    ids::ContentHash,
    program::Program,
    run::{FailureKind, RunSpec, StepSpec},
};
use orchestrator_proto::v1::attempt_event::Event;
use tokio_util::sync::CancellationToken;

use super::Watch;
use crate::{command::Start, events};

impl Watch<'_> {
    /// Checks the assignment, fetches its features, enters its folder.
    pub(super) fn prepare(&mut self, fetching: &CancellationToken) -> Result<(Start, PathBuf), Event> {
        let wrong = |what: &str, why: &dyn std::fmt::Display| {
            events::failed(FailureKind::UserError, format!("the assignment's {what} cannot be read: {why}"))
        };
        let spec = serde_json::from_str(&self.assignment.spec_json).map_err(|e| wrong("specification", &e))?;
        let program = self.program(&spec)?;
        self.runs_program = program.is_some();
        let fingerprint = self.assignment.fingerprint.parse().map_err(|e| wrong("fingerprint", &e))?;
        let mut features = Vec::new();
        for artifact in &self.assignment.features {
            let hash = artifact.hash.parse().map_err(|e| wrong("features", &e))?;
            features.push((artifact.name.clone(), self.fetch(&artifact.name, &hash, artifact.bytes, fetching)?));
        }
        let mut program_files = Vec::new();
        for file in program.into_iter().flat_map(|program| program.files) {
            let path = self.fetch(&file.name, &file.hash, file.bytes, fetching)?;
            program_files.push((file.name, path));
        }
        let folder = self
            .shared
            .folders
            .enter(&fingerprint, self.key)
            .map_err(|error| events::failed(FailureKind::Killed, error.to_string()))?;
        let start = Start {
            spec,
            fingerprint,
            folder: folder.clone(),
            features,
            program_files,
            time_limit_s: self.assignment.time_limit_s,
            memory_bytes: self.assignment.memory_bytes,
            data_folders: self.shared.config.data_folders.clone(),
            threads: self.assignment.cpus.max(1) as usize,
            simd: self.shared.config.simd.clone(),
            gpu: self.gpu.clone(),
            checkpoint_every: self.shared.config.checkpoint_every,
            daemon_process: rustix::process::getpid().as_raw_nonzero().get(),
        };
        Ok((start, folder))
    }

    /// The program of the user's own that stands for the method, if the coordinator has such programs run.
    fn program(&self, spec: &StepSpec) -> Result<Option<Program>, Event> {
        match spec {
            StepSpec::Run(RunSpec { program: Some(_), .. }) if !self.assignment.commands_allowed => {
                let why = "the coordinator was started without --allow-commands: it has no programs of its users run; \
                           start it with the flag, then `orchestrator retry --failed`";
                Err(events::failed(FailureKind::UserError, why))
            }
            StepSpec::Run(run) => Ok(run.program.clone()),
            StepSpec::Extraction(_) => Ok(None),
        }
    }

    /// Content that is whole, fetched where it is not here.
    fn fetch(
        &self,
        name: &str,
        hash: &ContentHash,
        bytes: u64,
        fetching: &CancellationToken,
    ) -> Result<PathBuf, Event> {
        let fetch = self.shared.cache.ensure(hash, bytes);
        match self.shared.runtime.block_on(fetching.run_until_cancelled(fetch)) {
            None => Err(events::released(0, "stopped before its features were there")),
            Some(fetched) => fetched.map_err(|error| events::failed(error.failure_kind(), format!("{name}: {error}"))),
        }
    }
}

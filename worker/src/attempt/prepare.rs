//! What an attempt needs before its process is started: a specification that can be read, content that is whole, a folder.

use std::path::{Path, PathBuf};

use experiment_spec::{
    ids::ContentHash,
    program::Program,
    run::{FailureKind, RunSpec, StepSpec},
};
use orchestrator_proto::v1::{Checkpoint, attempt_event::Event};
use retrieval::{checkpoint::CheckpointFile, kind::Backend};
use tokio_util::sync::CancellationToken;

use super::Watch;
use crate::{
    command::{GivenCheckpoint, Start},
    events,
    step_folder::{CHECKPOINT, KIND_FACT},
};

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
        for artifact in self.assignment.features.clone() {
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
        let data_folders = self.data_folders(&folder, fetching)?;
        let checkpoint = self.checkpoint(&folder, fetching)?;
        let start = Start {
            spec,
            fingerprint,
            folder: folder.clone(),
            features,
            program_files,
            time_limit_s: self.assignment.time_limit_s,
            memory_bytes: self.assignment.memory_bytes,
            data_folders,
            threads: self.assignment.cpus.max(1) as usize,
            simd: self.shared.config.simd.clone(),
            gpu: self.gpu.clone(),
            checkpoint,
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

    /// The checkpoint that the coordinator has, if this attempt could go on from it and has none here that is as new. One
    /// that cannot be had costs what it would have saved, never the attempt.
    fn checkpoint(&mut self, folder: &Path, fetching: &CancellationToken) -> Result<Option<GivenCheckpoint>, Event> {
        let Some(Checkpoint { hash, bytes, iteration, kind, made_by, attempt }) = self.assignment.checkpoint.clone()
        else {
            return Ok(None);
        };
        let here = CheckpointFile::open(&folder.join(CHECKPOINT)).ok().flatten();
        let as_new =
            |here: &CheckpointFile| here.fact(KIND_FACT) == Some(kind.as_str()) && here.iteration() >= iteration;
        if here.as_ref().is_some_and(as_new) || !self.may_compute_as(&kind) {
            return Ok(None);
        }
        let (Ok(hash), true) = (hash.parse::<ContentHash>(), bytes > 0) else { return Ok(None) };
        self.hold.add(hash);
        let fetch = self.shared.cache.ensure(&hash, bytes);
        match self.shared.runtime.block_on(fetching.run_until_cancelled(fetch)) {
            None => Err(events::released(0, "stopped before its checkpoint was there")),
            Some(Ok(path)) => Ok(Some(GivenCheckpoint { path, made_by, attempt })),
            Some(Err(error)) => {
                let line = format!(
                    "the checkpoint of iteration {iteration} by worker {made_by} cannot be had ({error}): goes on from \
                     what is here"
                );
                tracing::warn!(attempt = %self.key, "{line}");
                self.keeper.keep(events::log(events::WORKER, &line));
                // What this attempt makes is worth sending, however little.
                self.assignment.checkpoint = None;
                Ok(None)
            }
        }
    }

    /// Whether the attempt may turn out to be of that kind: what it computes on is settled in its own process.
    fn may_compute_as(&self, kind: &str) -> bool {
        let gpu = self.gpu.as_ref().map(|gpu| Backend::Cuda(&gpu.model));
        let processor = if self.runs_program { Backend::Program } else { Backend::Cpu };
        gpu.into_iter().chain([processor]).any(|backend| retrieval::kind::kind(backend) == kind)
    }

    /// Content that is whole, fetched where it is not here.
    pub(super) fn fetch(
        &mut self,
        name: &str,
        hash: &ContentHash,
        bytes: u64,
        fetching: &CancellationToken,
    ) -> Result<PathBuf, Event> {
        self.hold.add(*hash);
        let fetch = self.shared.cache.ensure(hash, bytes);
        match self.shared.runtime.block_on(fetching.run_until_cancelled(fetch)) {
            None => Err(events::released(0, "stopped before its features were there")),
            Some(fetched) => fetched.map_err(|error| events::failed(error.failure_kind(), format!("{name}: {error}"))),
        }
    }
}

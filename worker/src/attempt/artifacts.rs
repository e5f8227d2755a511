//! What a succeeded attempt has left, on its way into the store of content.

use std::path::Path;

use experiment_spec::{
    ids::ContentHash,
    run::{FailureKind, StepSpec},
};
use orchestrator_proto::v1::{Artifact, Succeeded, attempt_event::Event};

use super::Watch;
use crate::{events, fail_point, step_folder};

impl Watch<'_> {
    /// Moves the artifacts into the store, where they stay until the coordinator has them; an artifact that is not there
    /// fails the attempt.
    pub(super) fn keep_artifacts(&self, succeeded: Succeeded, folder: &Path) -> Event {
        let room = &self.shared.cache.room;
        let (mut kept, mut hashes): (Vec<Artifact>, Vec<ContentHash>) = (Vec::new(), Vec::new());
        let mut failed = None;
        for artifact in succeeded.artifacts {
            let name = artifact.name;
            let Some(path) = step_folder::artifact(folder, &name) else {
                failed = Some(events::failed(FailureKind::UserError, format!("`{name}` is no name for an artifact")));
                break;
            };
            match room.put_file(&path) {
                Ok((hash, bytes)) => {
                    hashes.push(hash);
                    kept.push(Artifact { name, hash: hash.to_string(), bytes, ..Artifact::default() });
                }
                Err(error) => {
                    failed = Some(events::failed(FailureKind::Killed, format!("{name} could not be kept: {error}")));
                    break;
                }
            }
        }
        // Nothing is sent of what failed, nor to a coordinator that has the same store.
        if failed.is_some() || self.shared.config.shared_blobs {
            for hash in &hashes {
                room.let_go(hash);
            }
        }
        // What a run leaves nobody fetches; what an extraction leaves, every run of it.
        if failed.is_none() && self.is_extraction() {
            for hash in hashes {
                self.shared.cache.offer(hash);
            }
        }
        fail_point::passes("score-before-outbox");
        failed.unwrap_or(Event::Succeeded(Succeeded { artifacts: kept, ..succeeded }))
    }

    fn is_extraction(&self) -> bool {
        matches!(serde_json::from_str(&self.assignment.spec_json), Ok(StepSpec::Extraction(_)))
    }
}

//! Steps of a plan (runs and the extractions they wait for), their states and their failures.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{catalog::Parameters, ids::ContentHash, program::Program};

/// State of a step. Wrong combinations cannot be written down: what only some states have (worker,
/// failure) lives with the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for its features or for a free slot.
    Queued,
    /// Given to a worker, not yet confirmed by it.
    Assigned,
    /// An attempt is at work.
    Running,
    /// Its scores (or features) are in the store.
    Succeeded,
    /// Ended without; the reason is with its last attempt.
    Failed,
    /// Taken back by a user.
    Cancelled,
}

impl State {
    /// Every state, in the order of a step's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Assigned, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// States that may follow this one. `Queued` follows `Assigned` and `Running` when the worker
    /// is lost, and `Failed` and `Cancelled` when a user asks for a retry.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Queued => &[Self::Assigned, Self::Failed, Self::Cancelled],
            Self::Assigned => &[Self::Running, Self::Queued, Self::Succeeded, Self::Failed, Self::Cancelled],
            Self::Running => &[Self::Queued, Self::Succeeded, Self::Failed, Self::Cancelled],
            Self::Failed | Self::Cancelled => &[Self::Queued],
            Self::Succeeded => &[],
        }
    }

    /// Nothing more happens unless a user asks.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Kebab-case name, as stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why an attempt ended without a result; each kind has its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Killed for memory by the operating system, or an allocation failed.
    OutOfMemory,
    /// The device's memory ran out.
    CudaOom,
    /// A loss or an embedding is not a number.
    Nan,
    /// The data or features are missing, damaged or unusable.
    Data,
    /// Its time limit ran out.
    Timeout,
    /// Its worker was not heard of any more.
    Lost,
    /// Its process was killed or crashed, or its worker failed it (a file, a GPU).
    Killed,
    /// What was asked for cannot be done (parameters, program of the user's own).
    UserError,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::OutOfMemory,
        Self::CudaOom,
        Self::Nan,
        Self::Data,
        Self::Timeout,
        Self::Lost,
        Self::Killed,
        Self::UserError,
    ];

    /// Kebab-case name, as stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out-of-memory",
            Self::CudaOom => "cuda-oom",
            Self::Nan => "nan",
            Self::Data => "data",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Killed => "killed",
            Self::UserError => "user-error",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What is done about it. What depends on the machine may end differently; what depends on the seed and the
    /// data alone may not.
    #[must_use]
    pub fn policy(self) -> Policy {
        match self {
            Self::OutOfMemory | Self::Killed => Policy::Elsewhere,
            // Whatever else holds the GPU's memory goes away in time.
            Self::CudaOom | Self::Lost => Policy::AfterPause,
            Self::Nan | Self::Data | Self::Timeout | Self::UserError => Policy::NotAgain,
        }
    }
}

/// What is done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Its step has failed.
    NotAgain,
    /// Tried again after a pause, while there are retries left.
    AfterPause,
    /// The same, and by another worker where one could hold it.
    Elsewhere,
}

/// How the pairs of a data set are divided into parts for training, validation and test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitName {
    /// As the data set was released, and what is taken when nothing is said.
    #[default]
    Official,
    /// As the paper divides it (spec E.1).
    Paper,
}

impl SplitName {
    /// Every split.
    pub const ALL: [Self; 2] = [Self::Official, Self::Paper];

    /// Kebab-case name, as in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Paper => "paper",
        }
    }

    /// Name of a data set divided so, as it is shown: `wikipedia`, `wikipedia:paper`.
    #[must_use]
    pub fn shown(self, data_set: &str) -> String {
        match self {
            Self::Official => data_set.to_owned(),
            Self::Paper => format!("{data_set}:{}", self.name()),
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
    fn is_official(&self) -> bool {
        *self == Self::Official
    }
}

/// What an extraction computes: features of a data set by an encoder trained from a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtractionSpec {
    /// Key of the data set.
    pub data_set: String,
    /// Version of its content.
    pub data_set_version: String,
    /// How its pairs are divided. Left out where it is the official way, so that steps stored before there were
    /// others keep their fingerprints.
    #[serde(default, skip_serializing_if = "SplitName::is_official")]
    pub split: SplitName,
    /// Key of the encoder.
    pub encoder: String,
    /// Revision of the encoder.
    pub encoder_revision: u32,
    /// Passes over the training pairs; 0 where nothing is trained.
    pub epochs: u32,
    /// Seed of the encoder's own training; 0 where nothing is trained.
    pub seed: u64,
    /// Whether patches of the images and segments of the texts have features beside the wholes. Left out where they
    /// have not, so that steps stored before there were any keep their fingerprints.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub patches: bool,
}

impl ExtractionSpec {
    /// The data set with its split, as it is shown.
    #[must_use]
    pub fn shown_data_set(&self) -> String {
        self.split.shown(&self.data_set)
    }

    /// The encoder with what it makes beyond the usual, as it is shown.
    #[must_use]
    pub fn shown_encoder(&self) -> String {
        if self.patches { format!("{} with patches", self.encoder) } else { self.encoder.clone() }
    }
}

/// What a run computes. Everything that decides its result is here, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Key of the method.
    pub method: String,
    /// Revision of the method.
    pub method_revision: u32,
    /// The program that stands for the method, where it is one of the user's own. Left out where it is not, so
    /// that runs stored before there were such programs keep their fingerprints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Every parameter, defaults included.
    pub parameters: Parameters,
    /// The features it reads.
    pub features: ExtractionSpec,
    /// Seed of the run.
    pub seed: u64,
    /// Revision of the scoring protocol.
    pub protocol: u32,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepSpec {
    /// Make features.
    Extraction(ExtractionSpec),
    /// Train and score a method.
    Run(RunSpec),
}

impl StepSpec {
    /// Identity of the step: the hash of its canonical JSON (keys in declared or alphabetical order).
    ///
    /// # Panics
    /// Never: the specification holds nothing that JSON cannot say (floats are finite by the planner's checks).
    #[must_use]
    pub fn fingerprint(&self) -> ContentHash {
        ContentHash::of(self.canonical_json().as_bytes())
    }

    /// Canonical JSON text, as stored and sent.
    ///
    /// # Panics
    /// As [`StepSpec::fingerprint`].
    #[must_use]
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a step specification is plain data that JSON can say")
    }
}

/// What a step takes of a worker while it runs. Not part of its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor cores.
    pub cpus: u32,
    /// Share of GPUs; 0 on a worker without.
    pub gpus: f64,
    /// Memory in bytes; 0 = not stated.
    pub memory_bytes: u64,
    /// Time limit of one attempt in seconds; 0 = none.
    pub time_limit_s: u64,
    /// Which device is insisted on.
    pub device: Device,
    /// What the worker must call itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, gpus: 0.0, memory_bytes: 0, time_limit_s: 0, device: Device::Auto, labels: BTreeSet::new() }
    }
}

/// Device a submission insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA GPU.
    Cuda,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_final_states_end() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert!(!state.next().contains(&state));
            if state.is_final() {
                assert!(state.next().iter().all(|next| *next == State::Queued));
            }
        }
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }

    #[test]
    fn a_step_that_has_begun_can_go_back_to_the_queue_and_one_that_succeeded_cannot() {
        for state in State::ALL {
            let goes_back = state.next().contains(&State::Queued);
            assert_eq!(goes_back, !matches!(state, State::Queued | State::Succeeded), "{state:?}");
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
        assert!(State::Succeeded.next().is_empty());
        assert!(!State::Queued.next().contains(&State::Running), "only what was assigned runs");
    }

    #[test]
    fn what_the_seed_and_the_data_decide_is_not_tried_again() {
        let of = |policy| FailureKind::ALL.into_iter().filter(move |kind| kind.policy() == policy).collect::<Vec<_>>();
        assert_eq!(of(Policy::Elsewhere), [FailureKind::OutOfMemory, FailureKind::Killed]);
        assert_eq!(of(Policy::AfterPause), [FailureKind::CudaOom, FailureKind::Lost]);
    }
}

//! Why a request is refused: one small enum, turned into a status at the border.

use crate::store::error::StoreError;

/// A refused request. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("the coordinator is being stopped")]
    Stopping,
    #[error("too many requests wait for the coordinator; try again")]
    Busy,
    #[error("nothing was changed: {0}")]
    Store(#[source] StoreError),
    #[error("nothing was queued: a file of the submission could not be kept: {0}")]
    Blobs(#[source] std::io::Error),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Stopping,
            error => Self::Store(error),
        }
    }
}

impl Refusal {
    /// There is no submission of that name or id.
    pub(crate) fn no_submission(name_or_id: &str) -> Self {
        let name: String = name_or_id.chars().take(100).collect();
        Self::NotFound(format!("there is no submission `{name}`; `orchestrator status` lists them"))
    }

    /// There is no worker of that name or id.
    pub(crate) fn no_worker(name_or_id: &str) -> Self {
        let name: String = name_or_id.chars().take(100).collect();
        Self::NotFound(format!("there is no worker `{name}`; `orchestrator workers` lists them"))
    }

    /// There is no step of that number.
    pub(crate) fn no_step(id: i64) -> Self {
        Self::NotFound(format!("there is no run or extraction {id}; `orchestrator runs` lists them"))
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        match refusal {
            Refusal::Invalid(_) => Self::invalid_argument(sentence),
            Refusal::NotFound(_) => Self::not_found(sentence),
            Refusal::Busy | Refusal::Store(StoreError::Full) => Self::resource_exhausted(sentence),
            Refusal::Stopping | Refusal::Store(StoreError::ReadOnly | StoreError::Busy) => Self::unavailable(sentence),
            Refusal::Store(StoreError::Damaged(_)) => Self::data_loss(sentence),
            Refusal::Blobs(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::resource_exhausted(sentence)
            }
            Refusal::Store(_) | Refusal::Blobs(_) => Self::internal(sentence),
        }
    }
}

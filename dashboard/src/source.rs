//! Looks at the coordinator, with limits: one look at a time, shared by all who ask within the same
//! half second.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    v1::{self, submissions_client::SubmissionsClient},
};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Status, transport::Channel};

use crate::{
    filling::Filling,
    overview::{Overview, Shown, runs},
};

/// Submissions listed.
const MOST_SUBMISSIONS: u32 = 50;

/// Steps listed; of a larger submission those at work come first.
const MOST_STEPS: u32 = 500;

/// A whole look takes no longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Who asks within this time of the last look gets the same: half of the page's own interval.
const LOOK_FRESH: Duration = Duration::from_millis(500);

/// Looks kept; the oldest give way.
const MOST_KEPT: usize = 16;

/// Why there is nothing to show.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// Nobody answered, or not in time, or not what was asked.
    #[error("the coordinator does not answer: {0}")]
    Silent(String),
    /// The coordinator knows no such submission.
    #[error("there is no submission `{0}`")]
    Unknown(String),
}

pub(crate) type Look = Result<Arc<Overview>, LookError>;

/// The coordinator as the pages see it.
#[derive(Debug)]
pub(crate) struct Source {
    client: SubmissionsClient<Channel>,
    one_at_a_time: Semaphore,
    kept: Mutex<Vec<(String, Instant, Look)>>,
    filling: Filling,
}

impl Source {
    pub(crate) fn new(channel: Channel) -> Self {
        let client = SubmissionsClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let filling = Filling::new(client.clone());
        Self { client, one_at_a_time: Semaphore::new(1), kept: Mutex::default(), filling }
    }

    /// A look at the submission of this id or name; an empty name means the newest.
    pub(crate) async fn look(&self, name: &str) -> Look {
        if let Some(look) = self.fresh_look(name) {
            return look;
        }
        let silent = |why: &str| LookError::Silent(why.to_owned());
        let turn = tokio::time::timeout(LOOK_TIMEOUT, self.one_at_a_time.acquire()).await;
        let _turn = turn.map_err(|_| silent("too many ask at once"))?.map_err(|_| silent("shutting down"))?;
        // Whoever waited here may find that the one before has looked already.
        if let Some(look) = self.fresh_look(name) {
            return look;
        }
        let look = match tokio::time::timeout(LOOK_TIMEOUT, self.fetch(name)).await {
            Ok(look) => look.map(Arc::new),
            Err(_) => Err(silent(&format!("no answer within {} s", LOOK_TIMEOUT.as_secs()))),
        };
        if let Err(error) = &look {
            tracing::debug!(%error, "nothing to show");
        }
        let mut kept = self.kept();
        kept.retain(|(other, at, _)| other != name && at.elapsed() < LOOK_FRESH);
        kept.truncate(MOST_KEPT - 1);
        kept.insert(0, (name.to_owned(), Instant::now(), look.clone()));
        look
    }

    fn fresh_look(&self, name: &str) -> Option<Look> {
        let kept = self.kept();
        let look = kept.iter().find(|(other, at, _)| other == name && at.elapsed() < LOOK_FRESH);
        look.map(|(_, _, look)| look.clone())
    }

    /// What is kept is only ever replaced whole, so a thread that panicked has left nothing half done.
    fn kept(&self) -> MutexGuard<'_, Vec<(String, Instant, Look)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, name: &str) -> Result<Overview, LookError> {
        let (mut first, mut second) = (self.client.clone(), self.client.clone());
        let all = v1::ListSubmissionsRequest { name_or_id: String::new(), limit: MOST_SUBMISSIONS };
        let (submissions, workers) = tokio::try_join!(
            first.list_submissions(request(all)),
            second.list_workers(request(v1::ListWorkersRequest {}))
        )
        .map_err(|status| silent(&status))?;
        let mut submissions = submissions.into_inner().submissions;
        submissions.truncate(MOST_SUBMISSIONS as usize);
        let summary = match name {
            "" => submissions.first().cloned(),
            name => Some(self.find(&submissions, name).await?),
        };
        let shown = match summary {
            Some(summary) => Some(self.look_near(summary).await?),
            None => None,
        };
        let v1::ListWorkersResponse { workers, halted } = workers.into_inner();
        Ok(Overview { at_ms: now_ms(), submissions, shown, workers, halted })
    }

    /// The submission of that id or name, among those listed or beyond them.
    async fn find(&self, listed: &[v1::SubmissionSummary], name: &str) -> Result<v1::SubmissionSummary, LookError> {
        let by_id = listed.iter().find(|summary| summary.id.to_string() == name);
        if let Some(summary) = by_id.or_else(|| listed.iter().find(|summary| summary.name == name)) {
            return Ok(summary.clone());
        }
        let ask = v1::ListSubmissionsRequest { name_or_id: name.to_owned(), limit: 1 };
        let found = match self.client.clone().list_submissions(request(ask)).await {
            Ok(answer) => answer.into_inner().submissions.into_iter().next(),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(silent(&status)),
        };
        found.ok_or_else(|| LookError::Unknown(name.to_owned()))
    }

    async fn look_near(&self, summary: v1::SubmissionSummary) -> Result<Shown, LookError> {
        let list = |state: &str| v1::ListStepsRequest {
            submission: summary.id.to_string(),
            state: state.to_owned(),
            limit: MOST_STEPS,
            ..v1::ListStepsRequest::default()
        };
        let (mut first, mut second) = (self.client.clone(), self.client.clone());
        let (at_work, all, tables) = tokio::join!(
            first.list_steps(request(list("running"))),
            second.list_steps(request(list(""))),
            self.filling.tables(&summary)
        );
        let mut steps = at_work.map_err(|status| silent(&status))?.into_inner().steps;
        let others = all.map_err(|status| silent(&status))?.into_inner().steps;
        let mut seen: std::collections::BTreeSet<i64> = steps.iter().map(|step| step.id).collect();
        steps.extend(others.into_iter().filter(|step| seen.insert(step.id)));
        steps.truncate(MOST_STEPS as usize);
        let listed = steps.iter().filter(|step| step.kind == "run").count();
        let left_out = usize::try_from(runs(&summary)).unwrap_or(usize::MAX).saturating_sub(listed);
        Ok(Shown { summary, steps, left_out, tables })
    }
}

/// Tells the coordinator, too, when nobody waits for the answer any more.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(LOOK_TIMEOUT);
    request
}

fn silent(status: &Status) -> LookError {
    LookError::Silent(format!("{} ({:?})", status.message(), status.code()))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

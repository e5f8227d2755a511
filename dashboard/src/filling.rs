//! The tables of a submission as they fill. Scores of a large submission are many megabytes, so they
//! are fetched only when something has changed, one submission at a time, and no page waits for long.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use experiment_spec::{
    catalog::Catalog,
    scores::Normalisation,
    spec::{Spread, TableKind, TableSpec},
    table::{RunRecord, Table, assemble},
};
use orchestrator_proto::{
    records::records,
    v1::{self, submissions_client::SubmissionsClient},
};
use tokio::sync::Semaphore;
use tonic::{Request, Status, transport::Channel};

/// A page waits this long for tables that are being made; the next one will find them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tables are not made anew before this, however fast the submission changes; after it they are tried
/// again when they could not be made.
const PAUSE: Duration = Duration::from_secs(2);

/// Making tables takes no longer than this.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tables are made anew after this even when the counts of the submission have not changed.
const FRESH: Duration = Duration::from_secs(15);

/// Submissions whose tables are kept; the oldest give way.
const MOST_KEPT: usize = 16;

/// Pages of records fetched for one submission, some megabytes each.
const MOST_PAGES: usize = 40;

/// Tables, or why there are none.
pub(crate) type Filled = Result<Arc<Vec<Table>>, String>;

/// Id of a submission and its counts by state: when they are the same, so are its tables, but for
/// changes that cancel each other out ([`FRESH`] catches those).
type Key = (i64, [u32; 6]);

/// Makes tables, and keeps the last ones.
#[derive(Debug)]
pub(crate) struct Filling {
    client: SubmissionsClient<Channel>,
    kept: Arc<Mutex<Vec<(Key, Instant, Filled)>>>,
    one_at_a_time: Arc<Semaphore>,
}

impl Filling {
    pub(crate) fn new(client: SubmissionsClient<Channel>) -> Self {
        Self { client, kept: Arc::default(), one_at_a_time: Arc::new(Semaphore::new(1)) }
    }

    /// The tables of this submission: made now if that is quick, else those made last.
    pub(crate) async fn tables(&self, summary: &v1::SubmissionSummary) -> Filled {
        let s = summary;
        let key: Key = (s.id, [s.queued, s.assigned, s.running, s.succeeded, s.failed, s.cancelled]);
        let fresh = |(other, at, filled): &&(Key, Instant, Filled)| {
            *other == key && at.elapsed() < if filled.is_ok() { FRESH } else { PAUSE }
        };
        if let Some((_, _, filled)) = lock(&self.kept).iter().find(fresh) {
            return filled.clone();
        }
        let young = |(other, at, _): &(Key, Instant, Filled)| other.0 == key.0 && at.elapsed() < PAUSE;
        let paused = lock(&self.kept).iter().any(young);
        if !paused && let Ok(turn) = Arc::clone(&self.one_at_a_time).try_acquire_owned() {
            let (client, kept) = (self.client.clone(), Arc::clone(&self.kept));
            let work = tokio::spawn(async move {
                let filled = match tokio::time::timeout(TIMEOUT, fetch(client, key.0)).await {
                    Ok(filled) => filled.map(Arc::new),
                    Err(_) => Err(format!("not made within {} s", TIMEOUT.as_secs())),
                };
                keep(&mut lock(&kept), key, filled);
                drop(turn);
            });
            // Whether it is done or not: what is kept by now is the best there is.
            let _ = tokio::time::timeout(PATIENCE, work).await;
        }
        let kept = lock(&self.kept);
        let last = kept.iter().find(|((id, _), ..)| *id == key.0);
        last.map_or_else(|| Err("they are being made".to_owned()), |(_, _, filled)| filled.clone())
    }
}

fn keep(kept: &mut Vec<(Key, Instant, Filled)>, key: Key, filled: Filled) {
    kept.retain(|((id, _), ..)| *id != key.0);
    kept.truncate(MOST_KEPT - 1);
    kept.insert(0, (key, Instant::now(), filled));
}

/// Entries are only ever put in and taken out whole, so a thread that panicked has left nothing half done.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(mut client: SubmissionsClient<Channel>, submission: i64) -> Result<Vec<Table>, String> {
    let said = |status: Status| status.message().to_owned();
    let catalog = client.get_catalog(request(v1::GetCatalogRequest {})).await.map_err(said)?.into_inner();
    let mut all: Vec<RunRecord> = Vec::new();
    let mut from = 0;
    for _ in 0..MOST_PAGES {
        let ask = v1::GetRecordsRequest { submission: submission.to_string(), from };
        let page = client.get_records(request(ask)).await.map_err(said)?.into_inner();
        // Megabytes of JSON: not on the threads that answer requests.
        let parsed = tokio::task::spawn_blocking(move || parse(&page).map(|records| (records, page)));
        let (records, page) = parsed.await.map_err(|error| error.to_string())??;
        all.extend(records);
        if page.next == 0 {
            return make(&all, &page, &catalog.catalog_json);
        }
        if page.next <= from {
            return Err(format!("the pages of records go round in circles at {from}"));
        }
        from = page.next;
    }
    Err(format!("more than {} runs are too many for this page; `orchestrator export` prints them", all.len()))
}

/// Records of a page without what no table shows.
fn parse(page: &v1::GetRecordsResponse) -> Result<Vec<RunRecord>, String> {
    let mut records = records(page).map_err(|error| error.to_string())?;
    for score in records.iter_mut().filter_map(|record| record.scores.as_mut()).flat_map(|scores| &mut scores.scores) {
        score.per_category = Vec::new();
        score.precision_recall = Vec::new();
    }
    Ok(records)
}

/// The tables that a submission asks for; one with every label where it asks for none.
fn make(records: &[RunRecord], page: &v1::GetRecordsResponse, catalog: &str) -> Result<Vec<Table>, String> {
    let catalog: Catalog = serde_json::from_str(catalog).map_err(|error| format!("catalog_json: {error}"))?;
    let mut specs: Vec<TableSpec> = match page.tables_json.as_str() {
        "" => Vec::new(),
        text => serde_json::from_str(text).map_err(|error| format!("tables_json: {error}"))?,
    };
    if specs.is_empty() {
        specs.push(TableSpec {
            kind: TableKind::Ablation,
            title: page.name.clone(),
            rows: Vec::new(),
            normalisation: Normalisation::None,
            digits: 3,
            spread: Spread::Both,
        });
    }
    Ok(specs.iter().map(|spec| assemble(records, spec, &[], &catalog)).collect())
}

/// Tells the coordinator, too, when nobody waits for the answer any more.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

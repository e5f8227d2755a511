//! A mirror of contents: a bucket of an S3-compatible store, or a folder that machines share. It takes the load of fetching
//! off the coordinator and is never believed: what comes from it is checked against its hash, and what it lacks, or has
//! damaged, the coordinator has.
//!
//! `prefix/ab/<hash>` holds the content whose BLAKE3 hash is `<hash>`, as in the folder store. Objects appear whole or not
//! at all. Every wait has a limit.

mod fetch;
mod put;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;
use futures::TryStreamExt;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    local::LocalFileSystem,
    path::Path,
};

/// A mirror that says nothing for so long is away.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest sentence of a store that is passed on, in characters.
const SENTENCE: usize = 300;
/// What a URL of a mirror looks like.
const URLS: &str = "expected s3://BUCKET/PREFIX or file:///FOLDER (the key of a bucket comes from AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY, the address of a store that is not Amazon's from AWS_ENDPOINT)";

/// Why a mirror is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// What it is named by.
    #[error("{0}")]
    Setting(String),
    /// It cannot be reached, or is too slow.
    #[error("{0}")]
    Away(String),
    /// It is there and says no.
    #[error("{0}")]
    Denied(String),
    /// What it has is not what it should be.
    #[error("{0}")]
    Damaged(String),
    /// The disk on this side.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// A mirror. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mirror {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The folder, where it is one.
    folder: Option<PathBuf>,
    url: String,
    answer: Duration,
}

/// Something that a mirror has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it should be.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it came.
    pub came_at: SystemTime,
}

impl Mirror {
    /// The mirror of that URL, with what else the environment says of it; nothing is asked yet.
    ///
    /// # Errors
    /// [`MirrorError::Setting`] with the cure when there can be no such mirror.
    pub fn open(url: &str) -> Result<Self, MirrorError> {
        Self::open_with(
            url,
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// [`Mirror::open`] in an environment of these variables.
    ///
    /// # Errors
    /// As [`Mirror::open`].
    pub fn open_with(url: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, MirrorError> {
        let wrong = |why: &dyn std::fmt::Display| MirrorError::Setting(format!("mirror {url}: {why}; {URLS}"));
        if let Some(path) = url.strip_prefix("file://") {
            let prefix = Path::from_url_path(path).map_err(|error| wrong(&error))?;
            if !path.starts_with('/') || prefix.as_ref().is_empty() {
                return Err(wrong(&"a folder is named from the root on"));
            }
            // Synced before it has its name, as everything that others are to find whole.
            let store = LocalFileSystem::new().with_fsync(true);
            let folder = store.path_to_filesystem(&prefix).map_err(|error| wrong(&error))?;
            return Ok(Self::of(Arc::new(store), prefix, Some(folder), url));
        }
        let Some(place) = url.strip_prefix("s3://") else {
            return Err(wrong(&"no such kind of mirror is known"));
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(wrong(&"no bucket is named"));
        }
        let prefix = Path::from_url_path(prefix).map_err(|error| wrong(&error))?;
        let store = bucket_of(bucket, variables).map_err(|error| wrong(&error))?;
        Ok(Self::of(Arc::new(store), prefix, None, url))
    }

    fn of(store: Arc<dyn ObjectStore>, prefix: Path, folder: Option<PathBuf>, url: &str) -> Self {
        Self { store, prefix, folder, url: url.to_owned(), answer: ANSWER }
    }

    /// The same mirror, which is away when it says nothing for so long.
    #[must_use]
    pub fn answering_within(self, answer: Duration) -> Self {
        Self { answer, ..self }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it can be reached.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), MirrorError> {
        self.is_there().await?;
        self.object(&ContentHash::of(b"")).await.map(drop)
    }

    /// What it has under that hash, if anything.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn object(&self, hash: &ContentHash) -> Result<Option<Object>, MirrorError> {
        match self.within(self.answer, self.store.head(&self.path(hash))).await {
            Ok(meta) => Ok(Some(Object { hash: *hash, bytes: meta.size, came_at: meta.last_modified.into() })),
            Err(Failure::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Everything that is in it; what is no content is left out.
    ///
    /// # Errors
    /// When it cannot be read to the end.
    pub async fn list(&self) -> Result<Vec<Object>, MirrorError> {
        self.is_there().await?;
        let (mut found, mut listed) = (Vec::new(), self.store.list(Some(&self.prefix)));
        // A page of a list may take its time.
        while let Some(meta) = self.within(4 * self.answer, listed.try_next()).await? {
            let hash = meta.location.filename().and_then(|name| name.parse().ok());
            if let Some(hash) = hash.filter(|hash| self.path(hash) == meta.location) {
                found.push(Object { hash, bytes: meta.size, came_at: meta.last_modified.into() });
            }
        }
        Ok(found)
    }

    /// Removes what it has under that hash, if anything.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses.
    pub async fn remove(&self, hash: &ContentHash) -> Result<(), MirrorError> {
        match self.within(self.answer, self.store.delete(&self.path(hash))).await {
            Ok(()) | Err(Failure::Store(object_store::Error::NotFound { .. })) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// A folder must be there: one that is not mounted would be made on the disk of this machine.
    async fn is_there(&self) -> Result<(), MirrorError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let look = tokio::fs::metadata(folder);
        match tokio::time::timeout(self.answer, look).await {
            Ok(Ok(metadata)) if metadata.is_dir() => Ok(()),
            Ok(Ok(_)) => Err(MirrorError::Away(format!("{} is no folder", self.url))),
            Ok(Err(error)) => Err(MirrorError::Away(format!("{}: {error}", self.url))),
            Err(_) => Err(self.silent(self.answer)),
        }
    }

    fn path(&self, hash: &ContentHash) -> Path {
        let name = hash.to_string();
        self.prefix.clone().join(&name[..2]).join(name)
    }

    /// Waits no longer than that for the store.
    async fn within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(Failure::Store),
            Err(_) => Err(Failure::Mirror(self.silent(limit))),
        }
    }

    fn silent(&self, limit: Duration) -> MirrorError {
        MirrorError::Away(format!("{} says nothing for {:.1} s", self.url, limit.as_secs_f64()))
    }
}

/// A bucket, with the settings of the environment that begin with `AWS_`.
fn bucket_of(
    bucket: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> object_store::Result<object_store::aws::AmazonS3> {
    // Its client needs one for the process; whoever has settled on another keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // An attempt waits behind a fetch: what does not work at once is the coordinator's.
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: ANSWER };
    let client = |key| AmazonS3ConfigKey::Client(key);
    let mut builder = AmazonS3Builder::new()
        .with_retry(retry)
        .with_disable_bulk_delete(true)
        // Contents may take long as a whole; silence is looked for here.
        .with_config(client(ClientConfigKey::Timeout), "24 hours")
        .with_config(client(ClientConfigKey::ConnectTimeout), "5 seconds");
    for (key, value) in variables {
        let key = key.to_ascii_lowercase();
        let Some(Ok(known)) = key.starts_with("aws_").then(|| key.parse::<AmazonS3ConfigKey>()) else { continue };
        if known == AmazonS3ConfigKey::Endpoint && value.starts_with("http://") {
            // Without TLS no certificates of this machine are needed either.
            let without = client(ClientConfigKey::NoSystemCertificates);
            builder = builder.with_allow_http(true).with_config(without, "true");
        }
        builder = builder.with_config(known, value);
    }
    builder.with_bucket_name(bucket).build()
}

/// What came of a call.
#[derive(Debug)]
enum Failure {
    Store(object_store::Error),
    Mirror(MirrorError),
}

impl From<Failure> for MirrorError {
    fn from(failure: Failure) -> Self {
        use object_store::Error::{PermissionDenied, Unauthenticated};
        match failure {
            Failure::Mirror(error) => error,
            Failure::Store(error @ (PermissionDenied { .. } | Unauthenticated { .. })) => {
                Self::Denied(sentence(&error))
            }
            Failure::Store(error) => Self::Away(sentence(&error)),
        }
    }
}

/// What a store says, in one line of bounded length.
fn sentence(error: &object_store::Error) -> String {
    let one_line = error.to_string().replace(|found: char| found.is_control(), " ");
    one_line.chars().take(SENTENCE).collect()
}

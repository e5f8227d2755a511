//! The way in over a network: a certificate that is renewed, and the tokens that are valid now. Both follow
//! `credentials.toml` while the coordinator is up.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_rustls::rustls::ServerConfig;

use crate::{
    access::{Credentials, Doorkeeper},
    exit::{Failure, Outcome},
};

/// How soon a token that was made or revoked counts.
const LOOK: Duration = Duration::from_secs(1);
/// How often the certificate is made anew: a third of its life.
const RENEW: Duration = Duration::from_hours(30 * 24);

/// What connections are checked with, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    pub(super) keeper: watch::Receiver<Arc<Doorkeeper>>,
    pub(super) tls: watch::Receiver<Arc<ServerConfig>>,
    _watch: Arc<Watching>,
}

#[derive(Debug)]
struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Doors {
    /// For a coordinator that is called by these names and addresses.
    pub(super) fn new(path: &Path, credentials: &Credentials, names: Vec<String>) -> Outcome<Self> {
        let config = credentials
            .authority()
            .certify(&names)
            .map_err(|error| Failure::request(format!("no certificate for {}: {error}", names.join(", "))))?;
        let (tls_sender, tls) = watch::channel(config);
        let (keeper_sender, keeper) = watch::channel(Arc::new(Doorkeeper::new(credentials)));
        let seen = look(path);
        let follow = Follow { path: path.to_owned(), names, seen, keeper: keeper_sender, tls: tls_sender };
        Ok(Self { keeper, tls, _watch: Arc::new(Watching(tokio::spawn(follow.run()))) })
    }
}

struct Follow {
    path: PathBuf,
    names: Vec<String>,
    /// How the file was when it was read.
    seen: Option<(SystemTime, u64, u64)>,
    keeper: watch::Sender<Arc<Doorkeeper>>,
    tls: watch::Sender<Arc<ServerConfig>>,
}

impl Follow {
    async fn run(mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let seen = look(&self.path);
            let changed = seen != self.seen;
            if !changed && renewed.elapsed() < RENEW {
                continue;
            }
            self.seen = seen;
            renewed = Instant::now();
            // A file that is gone or damaged takes nobody's token: what was valid stays so until it can be read again.
            match Credentials::open(&self.path) {
                Ok(Some(credentials)) => self.take(&credentials),
                Ok(None) => tracing::warn!("the credentials are gone; tokens stay as they were"),
                Err(error) => tracing::warn!(%error, "the credentials cannot be read; tokens stay as they were"),
            }
        }
    }

    fn take(&self, credentials: &Credentials) {
        self.keeper.send_replace(Arc::new(Doorkeeper::new(credentials)));
        match credentials.authority().certify(&self.names) {
            Ok(config) => drop(self.tls.send_replace(config)),
            Err(error) => tracing::warn!(%error, "the certificate could not be renewed"),
        }
        tracing::info!("credentials read");
    }
}

fn look(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}

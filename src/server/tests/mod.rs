//! A real coordinator behind a real door, on port 0 of this machine.

mod hostile;
mod roles;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use orchestrator_coordinator::{Config, Coordinator};
use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    link::{Link, Role, Token},
    v1::submissions_client::SubmissionsClient,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Names, Secure, Server, connection::Patience};
use crate::{access::Credentials, catalog, exit::Outcome, link};

/// Short enough for tests, long beside what a good client needs on a busy machine.
const PATIENCE: Patience = Patience {
    proof: Duration::from_secs(2),
    silence: Duration::from_secs(30),
    stall: Duration::from_secs(2),
    request: Duration::from_secs(20),
};

/// Size of what is too large to be under way at once.
const LARGE_BYTES: usize = 64 << 20;

struct Lab {
    coordinator: Coordinator,
    server: Server,
    address: SocketAddr,
    is_secure: bool,
    credentials: Credentials,
    file: PathBuf,
    _folder: TempDir,
}

impl Lab {
    async fn secure() -> Self {
        Self::start(true).await
    }

    async fn start(is_secure: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials.toml");
        let credentials = Credentials::open_or_make(&file).unwrap();
        let config = Config {
            stall: PATIENCE.stall,
            ..Config::new(folder.path(), catalog::registries(), catalog::program_version())
        };
        let coordinator = Coordinator::open(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = Names::of(address, &[]);
        let secure = Secure { credentials: &credentials, file: &file, names: &names };
        let app = coordinator.routes().prepare().into_axum_router();
        // More than any window and queue between the two ends takes up.
        let large = axum::Router::new().route("/large", axum::routing::get(async || vec![7_u8; LARGE_BYTES]));
        let dashboard = orchestrator_dashboard::router(super::inside(app.clone()), is_secure);
        let server =
            Server::start_with(listener, app.merge(dashboard).merge(large), is_secure.then_some(&secure), PATIENCE)
                .unwrap();
        Self { coordinator, server, address, is_secure, credentials, file, _folder: folder }
    }

    fn token(&self, role: Role) -> Token {
        self.credentials.first(role).unwrap().clone()
    }

    fn url(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.address)
    }

    async fn link(&self, token: Option<&Token>) -> Outcome<Link> {
        link::connect(&self.url(), token).await
    }

    async fn users(&self) -> SubmissionsClient<Link> {
        let link = self.link(Some(&self.token(Role::User))).await.expect("a user comes in");
        SubmissionsClient::new(link).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(usize::MAX)
    }

    async fn stop(self) {
        self.server.stop().await;
        self.coordinator.shutdown().await.unwrap();
    }
}

/// A connection over TLS for HTTP of version 1, byte by byte.
async fn raw_tls(lab: &Lab) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut config = link::tests::pinned_to(&lab.credentials, &name);
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap()
}

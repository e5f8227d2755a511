//! A coordinator inside this process: what `serve` is, what `run` works with, and what reading commands
//! open for a moment when none is at work.

use std::{net::SocketAddr, path::Path};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use experiment_spec::catalog::Catalog;
use orchestrator_coordinator::{Config, Coordinator, Metrics, OpenError};
use orchestrator_proto::link::{Bearer, Link};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::{
    access::Credentials,
    catalog,
    exit::{Failure, Outcome},
    home::Home,
    server::{Names, Secure, Server, inside},
};

/// A coordinator at work in this process, listening on an address of this machine.
pub(crate) struct Local {
    coordinator: Coordinator,
    channel: Channel,
    url: String,
    server: Server,
    home: Home,
}

/// TLS and tokens, and what the coordinator is called besides the names of its machine.
#[derive(Debug)]
pub(crate) struct Security {
    pub(crate) credentials: Credentials,
    pub(crate) host_names: Vec<String>,
}

impl Local {
    /// What a coordinator in this process is started with: the usual settings. Submissions are checked against `catalog`.
    pub(crate) fn config(home: &Home, catalog: Catalog) -> Config {
        Config::new(home.root().to_owned(), catalog, catalog::program_version())
    }

    /// Opens the state folder and listens; port 0 takes a free one. Without `security` only loopback addresses are listened on.
    pub(crate) async fn start(
        home: &Home,
        config: Config,
        listen: SocketAddr,
        security: Option<Security>,
    ) -> Outcome<Self> {
        if security.is_none() && !listen.ip().is_loopback() {
            return Err(Failure::request(format!("refusing to listen on {listen} without TLS and tokens")));
        }
        let coordinator =
            Coordinator::open(config).await.map_err(|error: OpenError| Failure::request(error.to_string()))?;
        // Not before there is somebody to answer: to workers, silence is a lease that runs out, a refusal is none.
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Failure::request(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
        })?;
        let address = listener.local_addr().map_err(|error| Failure::request(format!("no local address: {error}")))?;
        let services = coordinator.routes().prepare().into_axum_router();
        let channel = inside(services.clone());
        let dashboard = orchestrator_dashboard::router(channel.clone(), security.is_some());
        let metrics =
            axum::Router::new().route("/metrics", axum::routing::get(show_metrics)).with_state(coordinator.metrics());
        let app = services.merge(dashboard).merge(metrics).fallback(no_such_page);
        let (url, server) = match &security {
            None => (format!("http://{address}"), Server::start(listener, app, None)?),
            Some(Security { credentials, host_names }) => {
                let (names, file) = (Names::of(address, host_names), home.credentials());
                let secure = Secure { credentials, file: &file, names: &names };
                (names.url(), Server::start(listener, app, Some(&secure))?)
            }
        };
        write_endpoint(&home.endpoint(), &here(address, security.is_some()))?;
        Ok(Self { coordinator, channel, url, server, home: home.clone() })
    }

    /// What others call it by.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A link from inside this process.
    pub(crate) fn link(&self) -> Link {
        Bearer::default().over(self.channel.clone())
    }

    /// Stops listening, then closes the store.
    pub(crate) async fn stop(self) {
        let Self { coordinator, channel, server, home, .. } = self;
        server.stop().await;
        drop(channel);
        // Absent when the folder was removed meanwhile: nobody can be misled by it then.
        let _ = std::fs::remove_file(home.endpoint());
        if let Err(error) = coordinator.shutdown().await {
            tracing::warn!(%error, "the coordinator did not close cleanly; nothing acknowledged is lost");
        }
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.text().await {
        Ok(text) => ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

/// A gRPC client reads this status as an unknown method, a person reads the sentence.
async fn no_such_page() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is no such page; the overview is at /\n")
}

/// The address for other programs of this machine.
fn here(address: SocketAddr, is_secure: bool) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("{scheme}://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("{scheme}://[::1]:{}", v6.port()),
        address => format!("{scheme}://{address}"),
    }
}

fn write_endpoint(path: &Path, url: &str) -> Outcome {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, format!("{url}\n"))
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::request(format!("{}: {error}", path.display())))
}

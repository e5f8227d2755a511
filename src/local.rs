//! A coordinator inside this process: what `serve` is, what `run` works with, and what reading commands
//! open for a moment when none is at work.

use std::{net::SocketAddr, path::Path, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use experiment_spec::catalog::Catalog;
use orchestrator_coordinator::{Config, Coordinator, Metrics, OpenError};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{
    catalog,
    exit::{Failure, Outcome},
    home::Home,
};

/// How long open connections may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(3);

/// A coordinator at work in this process, listening on an address of this machine.
pub(crate) struct Local {
    coordinator: Coordinator,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
    home: Home,
}

impl Local {
    /// What a coordinator in this process is started with: the usual settings. Submissions are checked against `catalog`.
    pub(crate) fn config(home: &Home, catalog: Catalog) -> Config {
        Config::new(home.root().to_owned(), catalog, catalog::program_version())
    }

    /// Opens the state folder and listens; port 0 takes a free one.
    pub(crate) async fn start(home: &Home, config: Config, listen: SocketAddr) -> Outcome<Self> {
        let coordinator =
            Coordinator::open(config).await.map_err(|error: OpenError| Failure::request(error.to_string()))?;
        // Not before there is somebody to answer: to workers, silence is a lease that runs out, a refusal is none.
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Failure::request(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
        })?;
        let address = listener.local_addr().map_err(|error| Failure::request(format!("no local address: {error}")))?;
        let stop = CancellationToken::new();
        let dashboard = orchestrator_dashboard::router(channel_to(address)?);
        let metrics =
            axum::Router::new().route("/metrics", axum::routing::get(show_metrics)).with_state(coordinator.metrics());
        let app = coordinator.routes().prepare().into_axum_router().merge(dashboard).merge(metrics);
        let app = app.fallback(no_such_page);
        let closing = stop.clone();
        let server = tokio::spawn(async move {
            axum::serve(listener, app).with_graceful_shutdown(async move { closing.cancelled().await }).await
        });
        write_endpoint(&home.endpoint(), address)?;
        Ok(Self { coordinator, address, server, stop, home: home.clone() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn channel(&self) -> Outcome<Channel> {
        channel_to(self.address)
    }

    /// Stops listening, then closes the store. Connections still open after [`DRAIN`] are cut off.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, &mut self.server).await.is_err() {
            self.server.abort();
        }
        // Absent when the folder was removed meanwhile: nobody can be misled by it then.
        let _ = std::fs::remove_file(self.home.endpoint());
        if let Err(error) = self.coordinator.shutdown().await {
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

fn channel_to(address: SocketAddr) -> Outcome<Channel> {
    Ok(endpoint(&format!("http://{address}"))?.connect_lazy())
}

/// An endpoint with the time limits that every client uses.
pub(crate) fn endpoint(url: &str) -> Outcome<Endpoint> {
    Ok(Endpoint::from_shared(url.to_owned())
        .map_err(|_| Failure::request(format!("`{url}` is not an address like http://127.0.0.1:7117")))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true))
}

fn write_endpoint(path: &Path, address: SocketAddr) -> Outcome {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, format!("http://{address}\n"))
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::request(format!("{}: {error}", path.display())))
}

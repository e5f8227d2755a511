//! The coordinator's way to the outside: one address for gRPC and pages, with TLS and tokens where a network leads to it.

mod admission;
mod connection;
mod doors;
mod guard;
mod inside;
mod names;
mod sign_in;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use inside::inside;
pub(crate) use names::{Names, is_host_name};

use self::{
    admission::Admission,
    connection::{House, Patience},
    doors::Doors,
};
use crate::{access::Credentials, exit::Outcome};

/// How long open connections may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after no connection could be taken: mostly because files are short.
const BREATH: Duration = Duration::from_millis(100);

/// What a network needs before it may lead here.
#[derive(Debug)]
pub(crate) struct Secure<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) file: &'a Path,
    pub(crate) names: &'a Names,
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct Server {
    house: Arc<House>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves what `app` answers. Without `secure` only for this machine: then the listener must be on a loopback address.
    pub(crate) fn start(listener: TcpListener, app: Router, secure: Option<&Secure<'_>>) -> Outcome<Self> {
        Self::start_with(listener, app, secure, Patience::default())
    }

    fn start_with(
        listener: TcpListener,
        app: Router,
        secure: Option<&Secure<'_>>,
        patience: Patience,
    ) -> Outcome<Self> {
        let doors = secure.map(|secure| Doors::new(secure.file, secure.credentials, secure.names.all())).transpose()?;
        let app = match &doors {
            Some(doors) => app.merge(sign_in::routes(doors.keeper.clone())),
            None => app,
        };
        let house = Arc::new(House {
            app,
            doors,
            patience,
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(Arc::clone(&house), connections.clone(), listener));
        Ok(Self { house, connections, accepting })
    }

    /// Stops listening and answers what is at work; what is still open after [`DRAIN`] is cut off.
    pub(crate) async fn stop(self) {
        self.house.closing.cancel();
        // It ends by that; a panic in it is no reason not to end the rest.
        drop(self.accepting.await);
        self.connections.close();
        if tokio::time::timeout(DRAIN, self.connections.wait()).await.is_err() {
            self.house.closed.cancel();
            self.connections.wait().await;
        }
    }
}

async fn accept(house: Arc<House>, connections: TaskTracker, listener: TcpListener) {
    let admission = Admission::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = house.closing.cancelled() => return,
        };
        let (stream, from): (_, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        match admission.enter(from.ip()) {
            Ok(place) => drop(connections.spawn(connection::serve(Arc::clone(&house), stream, place))),
            Err(why) => tracing::debug!(%from, why, "turned away"),
        }
    }
}

//! A channel to services of this process, by no address: the dashboard reads the coordinator through it.

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tonic::transport::{Channel, Endpoint};

/// Bytes on their way between the two ends.
const PIPE_BYTES: usize = 256 << 10;

/// A channel whose calls `app` answers, without doors: who has it is inside.
pub(crate) fn inside(app: Router) -> Channel {
    Endpoint::from_static("http://inside").connect_with_connector_lazy(tower::service_fn(move |_| {
        let service = TowerToHyperService::new(app.clone());
        async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new()).http2_only();
                // It ends with the channel; then nobody is there to be told.
                drop(builder.serve_connection(TokioIo::new(far), service).await);
            });
            Ok::<_, std::io::Error>(TokioIo::new(near))
        }
    }))
}

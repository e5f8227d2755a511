//! One connection from its first byte to its last: what it may do, how fast, and when it is cut off.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
};
use experiment_spec::ids::ContentHash;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use orchestrator_proto::link::Cut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{admission::Place, doors::Doors, guard};
use crate::access::{Doorkeeper, Known};

/// A client that is alive answers this often.
const PING: Duration = Duration::from_secs(20);
/// Contents have limits of their own.
const SENDS_CONTENT: &str = "/orchestrator.v1.Blobs/Put";
/// Requests of one connection in a second; more wait.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// Requests at a time of one connection.
const STREAMS: u32 = 128;
/// Largest head of a request, in bytes.
const HEAD_BYTES: u32 = 16 << 10;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// By then a connection has made a request that may be made, handshake included: a slow or silent stranger costs no more.
    pub(super) proof: Duration,
    /// Without a byte from the other side for so long it is cut off; see [`PING`].
    pub(super) silence: Duration,
    /// The other side takes nothing of what is sent for so long: it is cut off.
    pub(super) stall: Duration,
    /// A request is answered within this time.
    pub(super) request: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            proof: Duration::from_secs(10),
            silence: Duration::from_mins(1),
            stall: Duration::from_secs(30),
            request: Duration::from_mins(2),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct House {
    pub(super) app: Router,
    /// None on a loopback address: everybody on this machine may come in.
    pub(super) doors: Option<Doors>,
    pub(super) patience: Patience,
    /// Take no further requests, answer those at work.
    pub(super) closing: CancellationToken,
    /// Cut everything.
    pub(super) closed: CancellationToken,
}

/// Who is on a connection.
struct Visitor {
    place: Place,
    rate: DefaultDirectRateLimiter,
    cut: Cut,
    /// Tokens that were shown on it.
    shown: Mutex<BTreeSet<ContentHash>>,
}

impl Visitor {
    fn has_shown(&self, known: Known) {
        self.place.prove();
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(known.id);
    }

    /// Whether a token that was shown here is no longer valid.
    fn is_revoked(&self, keeper: &Doorkeeper) -> bool {
        !self.shown.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|id| keeper.knows(id))
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(house: Arc<House>, stream: TcpStream, place: Place) {
    let patience = house.patience;
    let prove_by = Instant::now() + patience.proof;
    // Small answers are not held back; a connection without it only is slower.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(patience.silence));
    stream.set_write_timeout(Some(patience.stall));
    let stream = Box::pin(stream);
    let rate = RateLimiter::direct(Quota::per_second(REQUESTS_PER_SECOND));
    let visitor = Arc::new(Visitor { place, rate, cut: Cut::default(), shown: Mutex::default() });
    let Some(doors) = &house.doors else { return talk(&house, stream, visitor, prove_by).await };
    let acceptor = TlsAcceptor::from(Arc::clone(&doors.tls.borrow()));
    let handshake = tokio::select! {
        () = house.closing.cancelled() => return,
        handshake = timeout(patience.proof, acceptor.accept(stream)) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => talk(&house, stream, visitor, prove_by).await,
        Ok(Err(error)) => tracing::debug!(%error, "no handshake"),
        Err(_) => tracing::debug!("no handshake in time"),
    }
}

async fn talk<S>(house: &Arc<House>, stream: S, visitor: Arc<Visitor>, prove_by: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let (house, visitor) = (Arc::clone(house), Arc::clone(&visitor));
        service_fn(move |request| answer(Arc::clone(&house), Arc::clone(&visitor), request))
    };
    let builder = builder(house.patience);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut keeper = house.doors.as_ref().map(|doors| doors.keeper.clone());
    let (mut is_closing, mut may_prove) = (false, true);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended");
                }
                return;
            }
            () = sleep_until(prove_by), if may_prove => {
                may_prove = false;
                if !visitor.place.is_proven() {
                    tracing::debug!("cut off: it has shown nothing");
                    return;
                }
            }
            () = visitor.cut.wanted() => {
                tracing::info!("cut off: it does not take what it asked for");
                return;
            }
            () = change(&mut keeper) => {
                let revoked = keeper.as_ref().is_some_and(|keeper| visitor.is_revoked(&keeper.borrow()));
                if revoked {
                    tracing::info!("cut off: its token was revoked");
                    return;
                }
            }
            () = house.closing.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = house.closed.cancelled() => return,
        }
    }
}

/// Ready when the valid tokens have changed.
async fn change(keeper: &mut Option<tokio::sync::watch::Receiver<Arc<Doorkeeper>>>) {
    if let Some(keeper) = keeper
        && keeper.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.proof).max_buf_size(HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES);
    builder
}

async fn answer(
    house: Arc<House>,
    visitor: Arc<Visitor>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    visitor.rate.until_ready().await;
    if let Err(refused) = admit(&house, &visitor, &request) {
        tracing::debug!(path = request.uri().path(), ?refused, "refused");
        return Ok(guard::answer(refused, request.headers()));
    }
    request.extensions_mut().insert(visitor.cut.clone());
    let is_limited = request.uri().path() != SENDS_CONTENT;
    let is_grpc = guard::is_grpc(request.headers());
    let answered = house.app.clone().oneshot(request.map(Body::new));
    if !is_limited {
        return answered.await;
    }
    match timeout(house.patience.request, answered).await {
        Ok(answered) => answered,
        Err(_) if is_grpc => Ok(tonic::Status::deadline_exceeded("the request took too long").into_http()),
        Err(_) => {
            let mut response = Response::new(Body::from("the request took too long\n"));
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            Ok(response)
        }
    }
}

fn admit(house: &House, visitor: &Visitor, request: &Request<Incoming>) -> Result<(), guard::Refused> {
    let Some(doors) = &house.doors else {
        let host = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(axum::http::uri::Authority::as_str).or_else(host);
        guard::check_local(authority)?;
        visitor.place.prove();
        return Ok(());
    };
    let keeper = Arc::clone(&doors.keeper.borrow());
    let (method, path) = (request.method(), request.uri().path());
    if let Some(known) = guard::check(&keeper, method, path, request.headers(), SystemTime::now())? {
        visitor.has_shown(known);
    }
    Ok(())
}

//! Read-only pages over the coordinator's own gRPC API: the same one that anyone can use.
//!
//! Entry point: [`router`]. The pages never open the database and change nothing. They have no
//! fallback route of their own, so that they can be merged with the gRPC services of one address.

mod answer;
mod filling;
mod json;
mod overview;
mod page;
mod parts;
mod sign_in;
mod source;
mod wording;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderName, HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::{MethodRouter, get},
};
use serde::Deserialize;
use tonic::transport::Channel;
use tower_http::compression::CompressionLayer;

pub use sign_in::sign_in;
use source::Source;

/// Nothing but our own script and style may load, nothing may be sent anywhere, nobody may frame us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Characters of a submission's name or id in an address; longer ones name nothing.
const MOST_NAME_CHARS: usize = 200;

/// The pages: `/`, the part of it that renews itself, the same as JSON, style and script. The
/// channel leads to the coordinator; it may connect lazily. Where people have signed in, a link to `/sign-out` is shown.
pub fn router(channel: Channel, has_sign_in: bool) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/fragment/overview", get(fragment))
        .route("/api/overview.json", get(api))
        .route("/assets/dashboard.css", asset("text/css; charset=utf-8", include_str!("../assets/dashboard.css")))
        .route("/assets/dashboard.js", asset("text/javascript; charset=utf-8", include_str!("../assets/dashboard.js")))
        .layer(map_response(guard))
        .layer(CompressionLayer::new())
        .with_state(Pages { source: Arc::new(Source::new(channel)), has_sign_in })
}

/// What the pages are made from.
#[derive(Clone, Debug)]
struct Pages {
    source: Arc<Source>,
    has_sign_in: bool,
}

/// Which submission to look at: id or name; none means the newest.
#[derive(Debug, Default, Deserialize)]
struct Choice {
    #[serde(default)]
    submission: String,
}

impl Choice {
    fn name(&self) -> String {
        self.submission.trim().chars().take(MOST_NAME_CHARS).collect()
    }
}

async fn page(State(pages): State<Pages>, Query(choice): Query<Choice>) -> Response {
    let name = choice.name();
    answer::html(&pages.source.look(&name).await, |look| page::whole(look, &name, pages.has_sign_in))
}

async fn fragment(State(pages): State<Pages>, Query(choice): Query<Choice>) -> Response {
    answer::html(&pages.source.look(&choice.name()).await, page::fragment)
}

async fn api(State(pages): State<Pages>, Query(choice): Query<Choice>) -> Response {
    answer::json(&pages.source.look(&choice.name()).await)
}

fn asset(kind: &'static str, text: &'static str) -> MethodRouter<Pages> {
    get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
}

async fn guard(response: Response) -> Response {
    guarded(response, CONTENT_SECURITY_POLICY)
}

fn guarded(mut response: Response, policy: &'static str) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

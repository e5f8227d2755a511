//! Signing in to the dashboard with a user's token, and out.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use orchestrator_proto::link::{Role, Token};
use serde::Deserialize;
use tokio::sync::watch;

use super::guard::{SIGN_IN, SIGN_OUT};
use crate::access::{COOKIE, Doorkeeper, HOURS};

/// Largest form that is read.
const FORM_BYTES: usize = 4 << 10;

type Keeper = watch::Receiver<Arc<Doorkeeper>>;

#[derive(Deserialize)]
struct SignIn {
    #[serde(default)]
    token: String,
}

/// The pages for it.
pub(super) fn routes(keeper: Keeper) -> Router {
    Router::new()
        .route(SIGN_IN, get(async || orchestrator_dashboard::sign_in(None)).post(sign_in))
        .route(SIGN_OUT, get(sign_out))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .with_state(keeper)
}

async fn sign_in(State(keeper): State<Keeper>, Form(form): Form<SignIn>) -> Response {
    let refuse = |why: &str| {
        let mut page = orchestrator_dashboard::sign_in(Some(why));
        *page.status_mut() = StatusCode::UNAUTHORIZED;
        page
    };
    let token: Token = match form.token.parse() {
        Ok(token) => token,
        Err(no_token) => return refuse(&format!("{no_token}.")),
    };
    if token.role == Role::Worker {
        return refuse("This is a worker's token; only users sign in.");
    }
    let session = keeper.borrow().open_session(&token, SystemTime::now());
    let Some(session) = session else {
        return refuse("This token is not known here: it was revoked, or is of another coordinator.");
    };
    let age = HOURS * 3_600;
    with_cookie(
        Redirect::to("/"),
        &format!("{COOKIE}={session}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={age}"),
    )
}

async fn sign_out() -> Response {
    with_cookie(Redirect::to(SIGN_IN), &format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn with_cookie(to: Redirect, cookie: &str) -> Response {
    let mut response = to.into_response();
    let cookie = HeaderValue::from_str(cookie).expect("a session is digits and points");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

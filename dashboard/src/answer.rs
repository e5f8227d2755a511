//! HTTP answers: status and body for what a look found.

use axum::{
    Json,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use maud::Markup;
use serde_json::json;

use crate::{
    json::OverviewJson,
    source::{Look, LookError},
};

/// A page or a part of one; the page itself says what is wrong when something is.
pub(crate) fn html(look: &Look, render: impl FnOnce(&Look) -> Markup) -> Response {
    (status(look), Html(render(look).into_string())).into_response()
}

/// The overview as JSON, or `{"error": "..."}`.
pub(crate) fn json(look: &Look) -> Response {
    match look {
        Ok(overview) => Json(OverviewJson::of(overview)).into_response(),
        Err(error) => (status(look), Json(json!({ "error": error.to_string() }))).into_response(),
    }
}

fn status(look: &Look) -> StatusCode {
    match look {
        Ok(_) => StatusCode::OK,
        Err(LookError::Silent(_)) => StatusCode::SERVICE_UNAVAILABLE,
        Err(LookError::Unknown(_)) => StatusCode::NOT_FOUND,
    }
}

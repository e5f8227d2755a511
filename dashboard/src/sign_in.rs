//! The page to sign in with a token. Who it lets in is not decided here.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, html};

use crate::{guarded, page::head};

/// As on the other pages, but a form may be sent here.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// A form that sends `token` to `/sign-in`, with what was wrong with the one before.
#[must_use]
pub fn sign_in(problem: Option<&str>) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { (head("Sign in - orchestrator")) }
            body {
                header { h1 { "orchestrator" } }
                main {
                    section #sign-in {
                        h2 { "Sign in" }
                        form method="post" action="/sign-in" {
                            label for="token" { "A user's token" }
                            input #token type="password" name="token" autocomplete="current-password" required
                                autofocus aria-describedby="help" aria-invalid=[problem.map(|_| "true")];
                            @if let Some(problem) = problem { p role="alert" .problem { (problem) } }
                            p #help {
                                code { "orchestrator tokens show user" } " prints one on the coordinator's machine."
                            }
                            button type="submit" { "Sign in" }
                        }
                    }
                }
            }
        }
    };
    guarded(Html(page.into_string()).into_response(), CONTENT_SECURITY_POLICY)
}

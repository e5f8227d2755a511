//! Who may ask for what: looked up before a request gets to its service.

use std::{net::IpAddr, time::SystemTime};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use orchestrator_proto::link::{Role, Token};
use tonic::Status;

use crate::access::{COOKIE, Doorkeeper, Known};

/// Where browsers sign in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where they sign out.
pub(super) const SIGN_OUT: &str = "/sign-out";

const MISDIRECTED: &str = "without tokens this coordinator is called localhost, 127.0.0.1 or [::1] and nothing else; \
     use one of these, or start it with --secure";

/// Who may call a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nobody,
    Anybody,
    Of(Role),
}

/// What each path needs. What stands in no line needs a user: new pages and services are closed, not open.
fn needs(path: &str) -> Needs {
    const BLOBS: &str = "/orchestrator.v1.Blobs/";
    match path {
        SIGN_IN | SIGN_OUT | "/assets/dashboard.css" => Needs::Nobody,
        _ if path.starts_with("/orchestrator.v1.Fleet/") => Needs::Of(Role::Worker),
        // Content is asked for by its hash, 256 bits that only those are told who may have it.
        _ if path.starts_with(BLOBS) && !path.ends_with("/Put") => Needs::Anybody,
        _ if path.starts_with(BLOBS) => Needs::Of(Role::Worker),
        _ => Needs::Of(Role::User),
    }
}

/// Why a request is not answered by its service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Who calls cannot be told.
    Unknown(&'static str),
    /// Who calls may not do this.
    Forbidden(String),
    /// A browser that is to sign in first.
    SignIn,
    /// A name that this machine is not called by here.
    Misdirected,
}

/// Where everybody on this machine may come in, a page from elsewhere must not: it can have its own name lead to a
/// loopback address, and then call what is there with the rights of the person who looks at it.
pub(super) fn check_local(authority: Option<&str>) -> Result<(), Refused> {
    let Some(authority) = authority else { return Err(Refused::Misdirected) };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let host = host.to_ascii_lowercase();
    match address {
        Ok(address) if address.to_canonical().is_loopback() => Ok(()),
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Ok(()),
        _ => Err(Refused::Misdirected),
    }
}

/// Whether the request may go on, and whose it is; `None` for what needs nobody.
pub(super) fn check(
    keeper: &Doorkeeper,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<Option<Known>, Refused> {
    let needs = needs(path);
    if needs == Needs::Nobody {
        return Ok(None);
    }
    let known = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let text = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let token = text.and_then(|text| text.parse::<Token>().ok());
            let token = token.ok_or(Refused::Unknown(
                "this is no token: expected `authorization: Bearer TOKEN` with one from `orchestrator tokens show`",
            ))?;
            keeper.recognise(&token).ok_or(Refused::Unknown(
                "this token is not known here: it was revoked, or is of another coordinator; ask its owner for one",
            ))?
        }
        // A page elsewhere can make a browser send a cookie, but not this method with it and read the answer.
        None if method == Method::GET && !is_grpc(headers) => {
            let session = cookie(headers).and_then(|value| keeper.of_session(value, now));
            match session {
                Some(known) => known,
                None if wants_page(headers) => return Err(Refused::SignIn),
                None => {
                    return Err(Refused::Unknown(
                        "sign in at /sign-in, or send a user's token as `authorization: Bearer TOKEN`",
                    ));
                }
            }
        }
        None => {
            return Err(Refused::Unknown(
                "a token is needed: set ORCHESTRATOR_TOKEN to one from `orchestrator tokens show` on the coordinator's machine",
            ));
        }
    };
    match needs {
        Needs::Of(role) if role != known.role => Err(Refused::Forbidden(format!(
            "this is a {}'s token, and only a {} may do this",
            known.role.name(),
            role.name()
        ))),
        _ => Ok(Some(known)),
    }
}

/// The answer to a refused request: to a gRPC client a status, to others the same as a page.
pub(super) fn answer(refused: Refused, headers: &HeaderMap) -> Response<Body> {
    if is_grpc(headers) {
        let status = match refused {
            Refused::Unknown(why) => Status::unauthenticated(why),
            Refused::Forbidden(why) => Status::permission_denied(why),
            Refused::SignIn => Status::unauthenticated("a token is needed"),
            Refused::Misdirected => Status::permission_denied(MISDIRECTED),
        };
        return status.into_http();
    }
    let mut response = Response::new(Body::empty());
    match refused {
        Refused::SignIn => {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static(SIGN_IN));
        }
        Refused::Misdirected => {
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            *response.body_mut() = Body::from(format!("{MISDIRECTED}\n"));
        }
        Refused::Unknown(why) => {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            *response.body_mut() = Body::from(format!("{why}\n"));
        }
        Refused::Forbidden(why) => {
            *response.status_mut() = StatusCode::FORBIDDEN;
            *response.body_mut() = Body::from(format!("{why}\n"));
        }
    }
    response
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// The session's cookie, if one was sent.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use experiment_spec::ids::ContentHash;

    use super::*;
    use crate::access::Credentials;

    struct Lab {
        keeper: Doorkeeper,
        user: Token,
        worker: Token,
    }

    fn lab() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::open_or_make(&folder.path().join("credentials.toml")).unwrap();
        let token = |role| credentials.first(role).unwrap().clone();
        Lab { keeper: Doorkeeper::new(&credentials), user: token(Role::User), worker: token(Role::Worker) }
    }

    fn with(token: Option<&Token>) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        headers
    }

    fn may(lab: &Lab, path: &str, headers: &HeaderMap) -> bool {
        check(&lab.keeper, &Method::POST, path, headers, SystemTime::now()).is_ok()
    }

    #[test]
    fn each_role_may_do_what_is_its_own_and_nothing_else() {
        let lab = lab();
        let forged = Token { secret: ContentHash::of(b"guess"), ..lab.user.clone() };
        for (path, user, worker) in [
            ("/orchestrator.v1.Submissions/Submit", true, false),
            ("/orchestrator.v1.Submissions/Cancel", true, false),
            ("/orchestrator.v1.Submissions/Records", true, false),
            ("/orchestrator.v1.Fleet/Register", false, true),
            ("/orchestrator.v1.Fleet/Poll", false, true),
            ("/orchestrator.v1.Blobs/Get", true, true),
            ("/orchestrator.v1.Blobs/Put", false, true),
            ("/orchestrator.v1.New/Service", true, false),
            ("/", true, false),
            ("/api/overview.json", true, false),
            ("/metrics", true, false),
        ] {
            assert_eq!(may(&lab, path, &with(Some(&lab.user))), user, "a user at {path}");
            assert_eq!(may(&lab, path, &with(Some(&lab.worker))), worker, "a worker at {path}");
            assert!(!may(&lab, path, &with(Some(&forged))), "a forged token at {path}");
            assert!(!may(&lab, path, &with(None)), "nobody at {path}");
        }
        assert!(may(&lab, SIGN_IN, &with(None)));
        let sentence =
            check(&lab.keeper, &Method::POST, "/orchestrator.v1.Fleet/Poll", &with(Some(&lab.user)), SystemTime::now());
        assert_eq!(sentence, Err(Refused::Forbidden("this is a user's token, and only a worker may do this".into())));
    }

    #[test]
    fn a_session_reads_pages_and_calls_nothing() {
        let lab = lab();
        let now = SystemTime::now();
        let session = lab.keeper.open_session(&lab.user, now).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("theme=dark; {COOKIE}={session}").parse().unwrap());
        let get = |headers: &HeaderMap, path| check(&lab.keeper, &Method::GET, path, headers, now);
        assert!(get(&headers, "/").is_ok() && get(&headers, "/metrics").is_ok());
        assert!(check(&lab.keeper, &Method::POST, "/", &headers, now).is_err());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert!(get(&headers, "/orchestrator.v1.Submissions/Cancel").is_err());
        let mut browser = HeaderMap::new();
        assert!(matches!(get(&browser, "/"), Err(Refused::Unknown(_))));
        browser.insert(header::ACCEPT, HeaderValue::from_static("text/html,*/*"));
        assert_eq!(get(&browser, "/"), Err(Refused::SignIn));
        let answer = answer(Refused::SignIn, &browser);
        assert_eq!(
            (answer.status(), &answer.headers()[header::LOCATION]),
            (StatusCode::SEE_OTHER, &HeaderValue::from_static(SIGN_IN))
        );
    }

    #[test]
    fn only_names_of_this_machine_lead_to_a_coordinator_without_tokens() {
        for good in
            ["localhost", "localhost:7117", "LOCALHOST:1", "127.0.0.1:7117", "127.9.9.9", "[::1]:7117", "a.localhost"]
        {
            assert_eq!(check_local(Some(good)), Ok(()), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7117", "localhost.evil.example", "10.0.0.1:7117", "[2001:db8::1]", "", ":"]
        {
            assert_eq!(check_local(Some(bad)), Err(Refused::Misdirected), "{bad}");
        }
        assert_eq!(check_local(None), Err(Refused::Misdirected));
    }

    #[test]
    fn what_is_no_token_is_refused_before_it_is_compared() {
        let lab = lab();
        for bad in ["Basic dXNlcjpwYXNz", "Bearer ", "Bearer user.x.y", "bearer"] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(bad).unwrap())]);
            assert!(!may(&lab, "/", &headers), "{bad}");
        }
        let status = answer(Refused::Unknown("x"), &with(None));
        assert_eq!(status.headers()["grpc-status"], "16");
        assert_eq!(answer(Refused::Forbidden("x".into()), &HeaderMap::new()).status(), StatusCode::FORBIDDEN);
    }
}

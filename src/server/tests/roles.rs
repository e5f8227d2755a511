//! Who comes in, and what each may do, over the wire.

use std::time::Duration;

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    PROTOCOL_VERSION,
    link::{Role, Token},
    v1::{
        CancelRequest, GetRecordsRequest, ListWorkersRequest, RegisterRequest, SubmitRequest,
        fleet_client::FleetClient, submissions_client::SubmissionsClient,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::{Lab, raw_tls};
use crate::access::Credentials;

fn worker() -> RegisterRequest {
    RegisterRequest {
        protocol_version: PROTOCOL_VERSION,
        program_version: "0".into(),
        name: "node".into(),
        host: "node".into(),
        cpus: 1,
        kind: "cpu".into(),
        ..Default::default()
    }
}

/// What an HTTP request of version 1 is answered.
async fn page(lab: &Lab, request: &str) -> String {
    let mut stream = raw_tls(lab).await;
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Cut off without a farewell is fine: the answer is there.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_uses_a_worker_works_and_neither_does_what_the_other_does() {
    let lab = Lab::secure().await;
    let mut user = lab.users().await;
    assert!(user.list_workers(ListWorkersRequest {}).await.unwrap().into_inner().workers.is_empty());
    let link = lab.link(Some(&lab.token(Role::Worker))).await.unwrap();
    let mut fleet = FleetClient::new(link.clone());
    assert_eq!(fleet.register(worker()).await.unwrap().into_inner().refused, "");
    assert_eq!(user.list_workers(ListWorkersRequest {}).await.unwrap().into_inner().workers.len(), 1);

    let mut as_user = SubmissionsClient::new(link);
    let refusals = [
        as_user.submit(SubmitRequest::default()).await.unwrap_err(),
        as_user.cancel(CancelRequest { submission: "1".into(), ..Default::default() }).await.unwrap_err(),
        as_user.get_records(GetRecordsRequest { submission: "1".into(), from: 0 }).await.unwrap_err(),
        as_user.list_workers(ListWorkersRequest {}).await.unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert_eq!(refused.message(), "this is a worker's token, and only a user may do this");
    }
    let as_worker = lab.link(Some(&lab.token(Role::User))).await.unwrap();
    let refused = FleetClient::new(as_worker).register(worker()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_with_a_wrong_one_or_with_another_authority_nobody_comes_in() {
    let lab = Lab::secure().await;
    let none = lab.link(None).await.expect_err("no token").sentence();
    assert!(none.contains("needs a token"), "{none}");
    let wrong = Token { secret: ContentHash::of(b"guess"), ..lab.token(Role::User) };
    let mut client = SubmissionsClient::new(lab.link(Some(&wrong)).await.unwrap());
    let refused = client.list_workers(ListWorkersRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("it was revoked, or is of another coordinator"), "{refused}");
    // Somebody else's coordinator, or a man in the middle: the secret is not told to it.
    let other = Lab::secure().await;
    let theirs = lab.link(Some(&other.token(Role::User))).await.expect_err("another authority").sentence();
    assert!(theirs.contains("not the one that gave out this token"), "{theirs}");
    // Its certificate is for the addresses of this machine, not for every name that leads here.
    let named = format!("https://ip6.localhost.invalid:{}", lab.address.port());
    assert!(crate::link::connect(&named, Some(&lab.token(Role::User))).await.is_err());
    let plain = crate::link::connect(&format!("http://{}", lab.address), None).await;
    let mut plain = SubmissionsClient::new(plain.expect("a connection is not refused before it speaks"));
    assert!(plain.list_workers(ListWorkersRequest {}).await.is_err());
    for lab in [lab, other] {
        lab.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_is_cut_off_and_a_new_one_is_known_without_a_restart() {
    let lab = Lab::secure().await;
    let mut old = lab.users().await;
    old.list_workers(ListWorkersRequest {}).await.unwrap();
    let new = Credentials::edit(&lab.file, |there| there.add(Role::User, "alice")).unwrap();
    Credentials::edit(&lab.file, |there| there.revoke("user")).unwrap();
    let mut code = None;
    for _ in 0..100 {
        match old.list_workers(ListWorkersRequest {}).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(status) => {
                code = Some(status.code());
                if code == Some(Code::Unauthenticated) {
                    break;
                }
            }
        }
    }
    assert_eq!(code, Some(Code::Unauthenticated), "the old token is known no more");
    let mut alice = SubmissionsClient::new(lab.link(Some(&new)).await.unwrap());
    alice.list_workers(ListWorkersRequest {}).await.unwrap();
    // A file that is damaged for a moment takes nobody's token.
    std::fs::write(&lab.file, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    alice.list_workers(ListWorkersRequest {}).await.unwrap();
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_with_a_users_token_and_out() {
    let lab = Lab::secure().await;
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\nHost: x\nConnection: close\nAccept: text/html\n{more}\n")
    };
    let sign_in = |token: &str| {
        let form = format!("token={token}");
        format!(
            "POST /sign-in HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/x-www-form-urlencoded\nContent-Length: {}\n\n{form}",
            form.len()
        )
    };
    let answer = page(&lab, &get("/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("location: /sign-in"), "{answer}");
    let form = page(&lab, &get("/sign-in", "")).await;
    assert!(form.contains("name=\"token\"") && form.contains("form-action 'self'"), "{form}");
    for (token, sentence) in [
        ("nonsense".to_owned(), "this is no token"),
        (lab.token(Role::Worker).to_string(), "worker&#39;s token"),
        (Token { secret: ContentHash::of(b"guess"), ..lab.token(Role::User) }.to_string(), "not known here"),
    ] {
        let answer = page(&lab, &sign_in(&token)).await;
        let sentence = sentence.replace("&#39;", "'");
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(&sentence), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
    let answer = page(&lab, &sign_in(&lab.token(Role::User).to_string())).await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a session");
    for rule in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(rule), "{cookie}");
    }
    let session = format!("Cookie: {}\n", cookie.split(';').next().unwrap());
    let overview = page(&lab, &get("/", &session)).await;
    assert!(overview.starts_with("HTTP/1.1 200") && overview.contains("href=\"/sign-out\""), "{overview}");
    let out = page(&lab, &get("/sign-out", &session)).await;
    assert!(out.contains("Max-Age=0"), "{out}");
    lab.stop().await;
}

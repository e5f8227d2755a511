//! The pages over HTTP, fed by a fake coordinator over gRPC.

mod fake;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use fake::{fake, serve, step};
use http_body_util::BodyExt;
use tower::ServiceExt;

async fn fetch(app: &Router, method: Method, path: &str, encoding: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = Request::builder().method(method).uri(path).header("accept-encoding", encoding);
    let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn get(app: &Router, path: &str) -> (StatusCode, String) {
    let (status, _, body) = fetch(app, Method::GET, path, "identity").await;
    (status, String::from_utf8(body).unwrap())
}

async fn get_json(app: &Router, path: &str) -> (StatusCode, serde_json::Value) {
    let (status, body) = get(app, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn the_page_shows_everything_and_trusts_nothing() {
    let app = serve(Arc::new(fake())).await;
    let (status, page) = get(&app, "/").await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "<title>2/3 toy&lt;script&gt; - orchestrator</title>",
        "about 3 min 20 s",
        r#"<progress value="30" max="400" aria-label="progress of step 4"></progress> 30/400"#,
        "12.5/s",
        "NaN",
        "features by small-cnn",
        "nan: loss of &lt;b&gt;D_I&lt;/b&gt;",
        "node-&quot;1&quot;",
        "put aside",
        "3 steps failed on it: &lt;b&gt;killed&lt;/b&gt;",
        "nothing is given out</span> the disk of &lt;b&gt;/srv&lt;/b&gt; is full",
        "paused</span>",
        "priority -2</span>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "0.500",
        "seed 1 running",
        r#"<a id="submission-1" href="/?submission=1">older</a>"#,
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "only our own script");
    assert!(!page.contains("style=") && !page.contains("onclick"), "the policy would refuse inline style and code");
}

#[tokio::test]
async fn the_fragment_is_the_page_without_its_frame() {
    let app = serve(Arc::new(fake())).await;
    let (_, page) = get(&app, "/").await;
    let (status, fragment) = get(&app, "/fragment/overview").await;
    assert_eq!(status, StatusCode::OK);
    assert!(fragment.starts_with("<section id=\"submissions\"") && page.contains(&fragment));
}

#[tokio::test]
async fn every_answer_carries_the_policy_and_nothing_can_be_posted() {
    let app = serve(Arc::new(fake())).await;
    for path in ["/", "/fragment/overview", "/api/overview.json", "/assets/dashboard.js", "/assets/dashboard.css"] {
        let (status, headers, body) = fetch(&app, Method::GET, path, "gzip").await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!((&headers["content-encoding"], &body[..2]), (&"gzip".parse().unwrap(), &[0x1f, 0x8b][..]), "{path}");
        assert_eq!(fetch(&app, Method::POST, path, "identity").await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn the_json_says_the_same() {
    let app = serve(Arc::new(fake())).await;
    let (status, overview) = get_json(&app, "/api/overview.json").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(overview["submission"], 2);
    assert_eq!(overview["submissions"][0]["seconds_left"], 200.0);
    assert_eq!(overview["submissions"][1]["seconds_left"], serde_json::Value::Null);
    assert_eq!(
        (&overview["submissions"][1]["paused"], &overview["submissions"][1]["priority"]),
        (&true.into(), &(-2).into())
    );
    assert_eq!(overview["halted"], "the disk of <b>/srv</b> is full");
    assert_eq!(overview["steps"][0]["label"], "<script>alert(1)</script>");
    assert_eq!(overview["steps"][0]["progress"]["loss"], serde_json::Value::Null);
    assert_eq!(overview["workers"][0]["cpus_used"], 1);
    assert_eq!(overview["tables"][0]["rows"][0]["cells"][2]["mean"], 0.5);
    assert_eq!(overview["tables"][0]["rows"][1]["cells"][2]["missing"], "seed 1 running");
    assert_eq!(overview["tables_problem"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_submission_is_chosen_by_id_or_name() {
    let app = serve(Arc::new(fake())).await;
    for choice in ["1", "older"] {
        let (status, page) = get(&app, &format!("/?submission={choice}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("Runs of older") && page.contains(&format!("data-submission=\"{choice}\"")), "{page}");
    }
    let (status, page) = get(&app, "/?submission=gone").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("there is no submission `gone`"), "{page}");
}

#[tokio::test]
async fn of_many_runs_those_at_work_are_shown_and_the_rest_counted() {
    let mut fake = fake();
    fake.steps = (1..=700).map(|id| step(id, if id == 700 { "running" } else { "queued" })).collect();
    fake.submissions[0].queued = 699;
    (fake.submissions[0].succeeded, fake.submissions[0].failed) = (0, 0);
    let app = serve(Arc::new(fake)).await;
    let (_, overview) = get_json(&app, "/api/overview.json").await;
    assert_eq!(overview["steps"].as_array().unwrap().len(), 500);
    assert_eq!((&overview["steps"][0]["id"], &overview["steps"][1]["id"]), (&700.into(), &1.into()));
    let (_, page) = get(&app, "/").await;
    assert!(page.contains("200 more runs not shown"));
}

#[tokio::test]
async fn many_readers_are_one_look_and_tables_wait_for_a_change() {
    let fake = Arc::new(fake());
    let app = serve(Arc::clone(&fake)).await;
    let readers = (0..20).map(|_| {
        tokio::spawn({
            let app = app.clone();
            async move { get(&app, "/").await.0 }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.await.unwrap(), StatusCode::OK);
    }
    let first = fake.looks.load(Ordering::SeqCst);
    assert!(first < 10, "{first} looks for 20 readers at once");
    tokio::time::sleep(Duration::from_millis(600)).await;
    get(&app, "/").await;
    assert_eq!(fake.looks.load(Ordering::SeqCst), first + 1, "what is older than half a second is looked up again");
    assert_eq!(fake.record_calls.load(Ordering::SeqCst), 1, "nothing has changed, so the tables stand");
}

#[tokio::test]
async fn tables_that_cannot_be_made_hide_nothing_else() {
    let mut fake = fake();
    fake.records.records[0].spec_json = "{".to_owned();
    let (status, page) = get(&serve(Arc::new(fake)).await, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("They cannot be shown: field spec_json of step 0") && page.contains("30/400"), "{page}");
}

#[tokio::test]
async fn tables_that_take_long_hide_nothing_else() {
    let (status, page) = get(&serve(Arc::new(fake::Fake { stuck_records: true, ..fake() })).await, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("They cannot be shown: they are being made") && page.contains("30/400"), "{page}");
}

#[tokio::test]
async fn records_in_pages_make_one_table() {
    let fake = Arc::new(fake::Fake { pages: true, ..fake() });
    let (_, overview) = get_json(&serve(Arc::clone(&fake)).await, "/api/overview.json").await;
    assert_eq!(overview["tables"][0]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(fake.record_calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_tables_that_the_submission_asks_for_are_shown() {
    let mut fake = fake();
    fake.records.tables_json =
        r#"[{"kind":"main","title":"All tasks","rows":["CM-GANs"],"normalisation":"none","digits":2}]"#.to_owned();
    let (_, page) = get(&serve(Arc::new(fake)).await, "/").await;
    assert!(
        page.contains("<h3>All tasks</h3>") && page.contains("all-modal average") && page.contains(">0.50<"),
        "{page}"
    );
}

#[tokio::test]
async fn an_empty_coordinator_says_what_to_do() {
    let (status, page) = get(&serve(Arc::default()).await, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("orchestrator submit SPEC") && page.contains("orchestrator worker"), "{page}");
}

#[tokio::test]
async fn a_coordinator_that_is_gone_is_a_page_that_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let app =
        orchestrator_dashboard::router(tonic::transport::Endpoint::from_shared(url).unwrap().connect_lazy(), false);
    let (status, page) = get(&app, "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.contains("the coordinator does not answer: ") && page.contains("http-equiv=\"refresh\""), "{page}");
    let (status, answer) = get_json(&app, "/api/overview.json").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer["error"].as_str().unwrap().starts_with("the coordinator does not answer: "));
}

#[tokio::test]
async fn a_coordinator_that_hangs_is_waited_for_only_so_long() {
    let app = serve(Arc::new(fake::Fake { stuck: true, ..fake() })).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), get(&app, "/"));
    let (status, page) = answer.await.expect("the page has a limit of 3 s");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.contains("the coordinator does not answer: "), "{page}");
}

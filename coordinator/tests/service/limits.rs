//! What comes from outside has limits, and what is wrong is refused with its name.

use orchestrator_proto::{
    PROTOCOL_VERSION,
    v1::{self, PollRequest, RegisterRequest, Report, attempt_event::Event},
};
use tonic::Code;

use crate::support::{Worker, YAML, extracted, start};

#[tokio::test]
async fn another_protocol_is_refused_with_both_versions() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let request = RegisterRequest {
        protocol_version: PROTOCOL_VERSION + 1,
        program_version: "9.9".to_owned(),
        name: "new".to_owned(),
        cpus: 1,
        ..Default::default()
    };
    let response = server.fleet.register(request).await.unwrap().into_inner();
    assert_eq!(
        response.refused,
        "worker 9.9 speaks protocol 3, coordinator 0.1.0-test speaks protocol 2; install the same version on both"
    );
    assert_eq!(response.worker_id, 0);
}

#[tokio::test]
async fn what_is_missing_or_too_much_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let good =
        RegisterRequest { protocol_version: PROTOCOL_VERSION, name: "one".to_owned(), cpus: 1, ..Default::default() };
    let mut refused = async |request| {
        let status = server.fleet.register(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    };
    let nameless = RegisterRequest { name: String::new(), ..good.clone() };
    assert_eq!(refused(nameless).await, "name: missing; a worker needs a name of its own");
    assert_eq!(refused(RegisterRequest { cpus: 0, ..good.clone() }).await, "cpus: a worker has at least one");
    let long = RegisterRequest { host: "h".repeat(201), ..good };
    assert_eq!(refused(long).await, "host: 201, at most 200 are taken");
    let many = PollRequest { reports: vec![Report::default(); 1_001], ..Default::default() };
    let status = server.fleet.poll(many).await.unwrap_err();
    assert_eq!(status.message(), "reports: 1001, at most 1000 are taken");
    let huge = v1::SubmitRequest { yaml: "#".repeat((1 << 20) + 1), ..Default::default() };
    let status = server.submissions.submit(huge).await.unwrap_err();
    assert_eq!(status.message(), "yaml: 1048577 bytes, at most 1048576 are taken");
}

#[tokio::test]
async fn an_unknown_worker_is_told_to_register() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let answer = server.fleet.poll(PollRequest { worker_id: 77, ..Default::default() }).await.unwrap().into_inner();
    assert!(answer.register_again);
}

#[tokio::test]
async fn a_report_that_cannot_be_read_blocks_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    worker.poll(&mut server).await;
    worker.sequence += 1;
    let lease = worker.leases[&(1, 1)];
    worker.outbox.push(Report { sequence: worker.sequence, step_id: 1, attempt: 1, at_ms: 0, event: None, lease });
    // A step that does not exist.
    worker.report(4_711, 1, extracted());
    let text = "ä".repeat(10_000);
    let line = v1::LogLine { stream: "s".repeat(500), text, ..Default::default() };
    worker.report(1, 1, Event::Log(line));
    worker.poll(&mut server).await;
    assert!(worker.outbox.is_empty(), "everything is acknowledged");
    let request = v1::LogsRequest { id: 1, follow: false, after: 0 };
    let mut stream = server.submissions.logs(request).await.unwrap().into_inner();
    let line = stream.message().await.unwrap().unwrap();
    assert_eq!((line.text.len(), line.stream.len()), (8 << 10, 100), "cut");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let status = server.submissions.show_step(v1::ShowStepRequest { id: 5 }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "there is no run or extraction 5; `orchestrator runs` lists them");
    for status in [
        server.submissions.logs(v1::LogsRequest { id: 5, ..Default::default() }).await.map(drop).unwrap_err(),
        server
            .submissions
            .cancel(v1::CancelRequest { steps: vec![5], ..Default::default() })
            .await
            .map(drop)
            .unwrap_err(),
        server
            .submissions
            .retry(v1::RetryRequest { steps: vec![5], ..Default::default() })
            .await
            .map(drop)
            .unwrap_err(),
        server
            .submissions
            .get_metrics(v1::GetMetricsRequest { id: 5, ..Default::default() })
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::NotFound);
    }
    let request = v1::RetryRequest { steps: vec![5], failure_kind: "bad-luck".to_owned(), ..Default::default() };
    let status = server.submissions.retry(request).await.unwrap_err();
    assert!(status.message().starts_with("failure_kind: `bad-luck` is not one of out-of-memory, "));
}

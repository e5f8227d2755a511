//! Clients that mean no good, or cannot help it: silent, slow, many, huge, malformed. A good one beside them is served.

use std::time::{Duration, Instant};

use orchestrator_proto::{
    content::ContentStore,
    link::{Bearer, Role},
    v1::{Chunk, GetRequest, ListWorkersRequest, SubmitRequest, blobs_client::BlobsClient},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Streaming};

use super::{LARGE_BYTES, Lab, PATIENCE, raw_tls};
use crate::access::Credentials;

/// Waits for the end of a connection; how long it took.
async fn end(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let started = Instant::now();
    let ended = async {
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it is cut off");
    started.elapsed()
}

async fn is_served(lab: &Lab) {
    lab.users().await.list_workers(ListWorkersRequest {}).await.expect("a good client is served");
}

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_speaks_slowly_is_cut_off() {
    for is_secure in [true, false] {
        let lab = Lab::start(is_secure).await;
        let mut silent = TcpStream::connect(lab.address).await.unwrap();
        let mut garbage = TcpStream::connect(lab.address).await.unwrap();
        garbage.write_all(&[0x16, 0x03, 0x01, 0xff, 0xff, 0, 1, 2, 3]).await.unwrap();
        let (silent, garbage) = tokio::join!(end(&mut silent), end(&mut garbage));
        assert!(silent < 3 * PATIENCE.proof && garbage < 3 * PATIENCE.proof, "{silent:?}, {garbage:?}");
        is_served(&lab).await;
        lab.stop().await;
    }
}

/// Sends a head a byte at a time.
async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &[u8]) -> Duration {
    let started = Instant::now();
    for byte in head.iter().cycle() {
        let sent = stream.write_all(&[*byte]).await.is_ok() && stream.flush().await.is_ok();
        let answered = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0; 64])).await;
        if !sent || matches!(answered, Ok(Ok(0) | Err(_))) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it is not cut off");
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_are_cut_off_however_steadily_they_come() {
    let lab = Lab::secure().await;
    let one = drip(raw_tls(&lab).await, b"GET / HTTP/1.1\r\nHost: x\r\nA: ").await;
    assert!(one < 3 * PATIENCE.proof, "{one:?}");
    let two = drip(raw_tls(&lab).await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0").await;
    assert!(two < 3 * PATIENCE.proof, "{two:?}");
    is_served(&lab).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_take_no_place_from_others() {
    let lab = Lab::start(false).await;
    let before = resident_mib();
    let mut idle = Vec::new();
    for _ in 0..10_000 {
        match TcpStream::connect(lab.address).await {
            Ok(stream) => idle.push(stream),
            // As many as this process may have open.
            Err(_) => break,
        }
    }
    assert!(idle.len() > 1_500, "only {} connections could be made here", idle.len());
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 200, "{grown} MiB for {} connections", idle.len());
    // The first ones are cut off for having shown nothing; then there is room for one who has something to show.
    tokio::time::sleep(PATIENCE.proof + Duration::from_millis(500)).await;
    is_served(&lab).await;
    drop(idle);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_and_malformed_messages_are_refused_with_a_status() {
    let lab = Lab::secure().await;
    let mut user = lab.users().await;
    let huge = SubmitRequest { yaml: "x".repeat(64 << 20), ..Default::default() };
    let refused = user.submit(huge).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
    let head = format!(
        "POST /orchestrator.v1.Submissions/Submit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: application/grpc\r\nContent-Length: ",
        lab.token(Role::User)
    );
    for body in [&b""[..], b"\0", b"\0\0\0\0\x05\xff\xff\xff\xff\xff", b"\x07\xff\xff\xff\xff", b"not a message at all"]
    {
        let mut stream = raw_tls(&lab).await;
        stream.write_all(format!("{head}{}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("grpc-status: ") && !answer.contains("grpc-status: 0"), "{body:?}: {answer}");
    }
    let mut stream = raw_tls(&lab).await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(1 << 20));
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    is_served(&lab).await;
    lab.stop().await;
}

fn blob(lab: &Lab) -> String {
    let store = ContentStore::open(lab.file.with_file_name("blobs")).unwrap();
    store.put_bytes(&vec![7; LARGE_BYTES]).unwrap().to_string()
}

async fn fetch(lab: &Lab, hash: &str) -> Streaming<Chunk> {
    let link = lab.link(Some(&lab.token(Role::Worker))).await.unwrap();
    let mut client = BlobsClient::new(link).max_decoding_message_size(8 << 20);
    client.get(GetRequest { hash: hash.to_owned(), offset: 0 }).await.unwrap().into_inner()
}

/// Reads what still comes; how many bytes, and whether they ended well.
async fn rest(mut chunks: Streaming<Chunk>) -> (usize, bool) {
    let mut got = 0;
    loop {
        match chunks.message().await {
            Ok(Some(chunk)) => got += chunk.data.len(),
            Ok(None) => return (got, true),
            Err(_) => return (got, false),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_from_the_wire_is_cut_off() {
    let lab = Lab::secure().await;
    let mut stream = raw_tls(&lab).await;
    let head = format!("GET /large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", lab.token(Role::User));
    stream.write_all(head.as_bytes()).await.unwrap();
    // The kernel's buffers fill, then nothing can be sent.
    tokio::time::sleep(PATIENCE.stall * 3).await;
    let mut taken = 0;
    let mut bytes = vec![0; 1 << 20];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        taken += read;
    }
    assert!(taken < LARGE_BYTES / 2, "{taken} bytes were still sent to somebody who had not taken any for long");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_but_takes_nothing_of_a_stream_is_cut_off_and_others_are_not() {
    let lab = Lab::secure().await;
    let hash = blob(&lab);
    assert_eq!(rest(fetch(&lab, &hash).await).await, (LARGE_BYTES, true), "one that takes them gets them all");
    let mut stalled = fetch(&lab, &hash).await;
    stalled.message().await.unwrap().unwrap();
    tokio::time::sleep(PATIENCE.stall * 3).await;
    let (got, ended_well) = rest(stalled).await;
    assert!(got < LARGE_BYTES / 2 && !ended_well, "{got} bytes");
    is_served(&lab).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_it_was_asked_for_with() {
    let lab = Lab::secure().await;
    let hash = blob(&lab);
    let mut chunks = fetch(&lab, &hash).await;
    chunks.message().await.unwrap().unwrap();
    Credentials::edit(&lab.file, |there| there.revoke("worker")).unwrap();
    // Sooner than a stalled client is cut off, later than the file is looked at.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (got, ended_well) = rest(chunks).await;
    assert!(got < LARGE_BYTES / 2 && !ended_well, "{got} bytes");
    is_served(&lab).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_elsewhere_cannot_reach_a_coordinator_without_tokens_by_a_name_of_its_own() {
    let lab = Lab::start(false).await;
    let url = format!("http://rebound.example:{}", lab.address.port());
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
    let address = lab.address;
    let channel = endpoint
        .connect_with_connector(tower::service_fn(move |_| async move {
            TcpStream::connect(address).await.map(hyper_util::rt::TokioIo::new)
        }))
        .await
        .unwrap();
    let mut rebound =
        orchestrator_proto::v1::submissions_client::SubmissionsClient::new(Bearer::default().over(channel));
    let refused = rebound.list_workers(ListWorkersRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("is called localhost"), "{refused}");
    is_served(&lab).await;
    lab.stop().await;
}

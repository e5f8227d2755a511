//! As much of an S3-compatible store as a mirror needs, over HTTP, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use orchestrator_proto::mirror::Mirror;
use tokio::net::TcpListener;

/// When everything came, as the two kinds of answers say it.
const CAME_HTTP: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
const CAME_XML: &str = "2020-01-01T00:00:00.000Z";

/// What the store has, and how it is to behave.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a test, each for itself")]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Method, key and range of each request.
    pub(crate) requests: Vec<String>,
    /// Answers nothing at all.
    pub(crate) silent: bool,
    /// Says no more after so many bytes of an object.
    pub(crate) stalls_after: Option<usize>,
    /// Gives an object a few bytes at a time, never silent for long.
    pub(crate) trickles: bool,
    pub(crate) denies: bool,
    /// Takes no part after the first one.
    pub(crate) takes_one_part: bool,
}

/// A store at work.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    store: Arc<Mutex<Store>>,
    endpoint: String,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let s3 = Self::at(&endpoint);
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(s3.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        s3
    }

    /// One that is said to be there.
    pub(crate) fn at(endpoint: &str) -> Self {
        Self { store: Arc::default(), endpoint: endpoint.to_owned() }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirror below `lab` in the bucket `contents`.
    pub(crate) fn mirror(&self) -> Mirror {
        let variables = [
            ("AWS_ENDPOINT", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "somebody"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("UNRELATED", "1"),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Mirror::open_with("s3://contents/lab", variables).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.store().requests)
    }
}

async fn answer(
    State(s3): State<S3>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    while s3.store().silent {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let key = uri.path().trim_start_matches("/contents").trim_start_matches('/').to_owned();
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default().to_owned();
    let mut store = s3.store();
    store.requests.push(format!("{method} {key} {range}").trim_end().to_owned());
    if store.denies {
        return StatusCode::FORBIDDEN.into_response();
    }
    let part = query.get("partNumber").map(|number| number.parse::<u32>().unwrap());
    match (method.as_str(), query.get("uploadId"), part) {
        ("GET", ..) if query.contains_key("list-type") => store.list(&query["prefix"]),
        ("GET" | "HEAD", ..) => store.object(&key, &range, method == Method::HEAD),
        ("PUT", Some(upload), Some(part)) if part == 1 || !store.takes_one_part => {
            store.uploads.get_mut(upload).unwrap().insert(part, body.to_vec());
            [(header::ETAG, format!("\"{part}\""))].into_response()
        }
        ("PUT", Some(_), _) => StatusCode::BAD_REQUEST.into_response(),
        ("PUT", None, _) => {
            store.objects.insert(key, body.to_vec());
            [(header::ETAG, "\"whole\"")].into_response()
        }
        ("POST", None, _) => {
            let upload = format!("upload-{}", store.uploads.len());
            store.uploads.insert(upload.clone(), BTreeMap::new());
            format!("<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
                .into_response()
        }
        ("POST", Some(upload), _) => {
            let parts = store.uploads.remove(upload).unwrap();
            store.objects.insert(key, parts.into_values().flatten().collect());
            "<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>".into_response()
        }
        ("DELETE", Some(upload), _) => {
            store.uploads.remove(upload);
            StatusCode::NO_CONTENT.into_response()
        }
        ("DELETE", None, _) => {
            store.objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

impl Store {
    /// Uploads in parts that nobody has ended.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    fn list(&self, prefix: &str) -> Response {
        let mut xml = String::from("<ListBucketResult>");
        for (key, content) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let size = content.len();
            write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{CAME_XML}</LastModified></Contents>"
            )
            .unwrap();
        }
        (xml + "</ListBucketResult>").into_response()
    }

    fn object(&self, key: &str, range: &str, head: bool) -> Response {
        let Some(content) = self.objects.get(key) else { return StatusCode::NOT_FOUND.into_response() };
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let from = from.map(|from| from.parse::<usize>().unwrap());
        let (all, part) = (content.len(), content[from.unwrap_or(0)..].to_vec());
        let length = part.len();
        let body = match self.stalls_after.filter(|after| *after < length && !head) {
            Some(after) => {
                let some = stream::iter([Ok::<_, std::io::Error>(part[..after].to_vec())]);
                Body::from_stream(some.chain(stream::pending()))
            }
            None if head => Body::empty(),
            None if self.trickles => {
                let drops: Vec<_> = part.chunks(100).map(<[u8]>::to_vec).collect();
                Body::from_stream(stream::iter(drops).then(|drop| async move {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    Ok::<_, std::io::Error>(drop)
                }))
            }
            None => Body::from(part),
        };
        let mut response = Response::new(body);
        let number = |number: usize| HeaderValue::from(number);
        response.headers_mut().insert(header::CONTENT_LENGTH, number(length));
        response.headers_mut().insert(header::LAST_MODIFIED, HeaderValue::from_static(CAME_HTTP));
        response.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"whole\""));
        if let Some(from) = from {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {from}-{}/{all}", all - 1).parse().unwrap();
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }
}

//! Content by hash over the wire.

use std::{
    fs,
    path::{Path, PathBuf},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    CHUNK_BYTES,
    v1::{CancelRequest, Chunk, GetRequest, HasRequest},
};
use tonic::Code;

use crate::{
    support::{Server, Worker, YAML, extracted, failed, scored, start},
    uploads::partial_bytes,
};

/// Content of two chunks and a bit.
pub(crate) fn content() -> Vec<u8> {
    (0..2 * CHUNK_BYTES + 3).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

pub(crate) fn chunks(hash: &str, data: &[u8], total: usize) -> Vec<Chunk> {
    chunks_from(hash, data, total, 0)
}

/// Those after the first `from` bytes.
pub(crate) fn chunks_from(hash: &str, data: &[u8], total: usize, from: usize) -> Vec<Chunk> {
    data[from..]
        .chunks(CHUNK_BYTES)
        .scan(from as u64, |offset, part| {
            let chunk = Chunk {
                hash: hash.to_owned(),
                bytes_total: total as u64,
                offset: *offset,
                data: part.to_vec(),
                checkpoint: false,
            };
            *offset += part.len() as u64;
            Some(chunk)
        })
        .collect()
}

pub(crate) async fn put(server: &mut Server, chunks: Vec<Chunk>) -> Result<bool, tonic::Status> {
    let response = server.blobs.put(tokio_stream::iter(chunks)).await;
    response.map(|response| response.into_inner().already_present)
}

pub(crate) async fn get(server: &mut Server, hash: &str, offset: u64) -> Result<Vec<u8>, tonic::Status> {
    let mut stream = server.blobs.get(GetRequest { hash: hash.to_owned(), offset }).await?.into_inner();
    let mut data = Vec::new();
    while let Some(chunk) = stream.message().await? {
        assert_eq!(chunk.offset, offset + data.len() as u64);
        assert!(chunk.data.len() <= CHUNK_BYTES);
        data.extend(chunk.data);
    }
    Ok(data)
}

#[tokio::test]
async fn content_goes_in_and_comes_out_from_any_offset() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let data = content();
    let hash = ContentHash::of(&data).to_string();
    let absent = ContentHash::of(b"absent").to_string();
    assert!(!put(&mut server, chunks(&hash, &data, data.len())).await.unwrap());
    assert!(put(&mut server, chunks(&hash, &data, data.len())).await.unwrap(), "it is there already");
    let asked = HasRequest { hashes: vec![hash.clone(), absent.clone()], checkpoint: false };
    assert_eq!(server.blobs.has(asked).await.unwrap().into_inner().present, [true, false]);
    assert!(get(&mut server, &hash, 0).await.unwrap() == data);
    let from = CHUNK_BYTES as u64 + 7;
    assert!(get(&mut server, &hash, from).await.unwrap() == data[CHUNK_BYTES + 7..]);
    assert!(get(&mut server, &hash, data.len() as u64).await.unwrap().is_empty());
    assert_eq!(get(&mut server, &hash, data.len() as u64 + 1).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(get(&mut server, &absent, 0).await.unwrap_err().code(), Code::NotFound);

    let empty = ContentHash::of(b"").to_string();
    let chunk = Chunk { hash: empty.clone(), ..Default::default() };
    assert!(!put(&mut server, vec![chunk]).await.unwrap());
    assert!(get(&mut server, &empty, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn content_that_is_not_what_it_says_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let data = content();
    let hash = ContentHash::of(&data).to_string();
    let mut damaged = data.clone();
    damaged[5] ^= 1;
    let told = |status: tonic::Status| status.message().to_owned();
    let refused = put(&mut server, chunks(&hash, &damaged, data.len())).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss);
    let short = put(&mut server, chunks(&hash, &data[..9], data.len())).await.unwrap_err();
    assert_eq!(told(short), format!("content ends after 9 of {} bytes", data.len()));
    let long = put(&mut server, chunks(&hash, &data, CHUNK_BYTES + 9)).await.unwrap_err();
    assert_eq!(told(long), format!("more than the {} bytes that the first chunk names", CHUNK_BYTES + 9));
    assert_eq!(partial_bytes(&mut server, &hash).await, 0, "whatever it is, it is not this");
    let mut gap = chunks(&hash, &data, data.len());
    gap.remove(1);
    let gap = put(&mut server, gap).await.unwrap_err();
    assert_eq!(told(gap), format!("offset: expected {CHUNK_BYTES}, found {}", 2 * CHUNK_BYTES));
    let none = put(&mut server, Vec::new()).await.unwrap_err();
    assert_eq!(told(none), "the first chunk is missing: it names the hash and the size");
    let path = put(&mut server, chunks("../../etc/passwd", &data, data.len())).await.unwrap_err();
    assert!(told(path).starts_with("hash: expected a content hash"));
    let huge = put(&mut server, chunks(&hash, &data, usize::MAX)).await.unwrap_err();
    assert!(told(huge).contains("at most"));
    let asked = HasRequest { hashes: vec![hash], checkpoint: false };
    assert_eq!(server.blobs.has(asked).await.unwrap().into_inner().present, [false]);
}

/// Where the content of a hash is.
fn path_of(home: &Path, hash: &str) -> PathBuf {
    home.join("blobs").join(&hash[..2]).join(hash)
}

#[tokio::test]
async fn damaged_content_is_never_handed_out_and_is_mended_by_who_has_it() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let data = content();
    let hash = ContentHash::of(&data).to_string();
    put(&mut server, chunks(&hash, &data, data.len())).await.unwrap();
    let path = path_of(home.path(), &hash);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let status = get(&mut server, &hash, 0).await.unwrap_err();
    let expected = format!("{} was damaged and has been removed", path.display());
    assert_eq!((status.code(), status.message()), (Code::DataLoss, expected.as_str()));
    assert_eq!(get(&mut server, &hash, 0).await.unwrap_err().code(), Code::NotFound);
    assert!(!put(&mut server, chunks(&hash, &data, data.len())).await.unwrap(), "it is taken anew");
    assert!(get(&mut server, &hash, 0).await.unwrap() == data);
    server.shutdown().await;
}

#[tokio::test]
async fn features_that_are_gone_are_made_anew_for_whoever_submits_again() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let features = b"features";
    let hash = ContentHash::of(features).to_string();
    put(&mut server, chunks(&hash, features, features.len())).await.unwrap();
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 4).await;
    worker.poll(&mut server).await;
    worker.started(1, 1, 0);
    worker.succeed(1, 1, extracted());
    worker.poll(&mut server).await;
    worker.started(2, 1, 0);
    worker.succeed(2, 1, scored(0.5));
    for run in 3..=5 {
        worker.started(run, 1, 0);
        worker.succeed(run, 1, failed("data"));
    }
    worker.poll(&mut server).await;
    assert_eq!(server.states().await, ["succeeded", "succeeded", "failed", "failed", "failed"]);

    // While they are here nothing is made anew.
    server.submit(YAML).await;
    assert_eq!(server.states().await, ["succeeded", "succeeded", "queued", "queued", "queued"]);
    server.submissions.cancel(CancelRequest { submission: "2".to_owned(), steps: vec![3, 4, 5] }).await.unwrap();
    fs::remove_file(path_of(home.path(), &hash)).unwrap();
    let answer = server.submit(YAML).await;
    assert_eq!(answer.already_scored, 1);
    assert_eq!(server.states().await, ["succeeded", "succeeded", "queued", "queued", "queued", "queued"]);
    let given = worker.poll(&mut server).await.assignments;
    assert_eq!(given.iter().map(|it| it.step_id).collect::<Vec<_>>(), [6], "the runs wait for their features");
    assert_eq!(server.steps().await[2].needs, 6);
    put(&mut server, chunks(&hash, features, features.len())).await.unwrap();
    worker.started(6, 1, 0);
    worker.succeed(6, 1, extracted());
    let given = worker.poll(&mut server).await.assignments;
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|it| it.features[0].hash == hash));
    server.shutdown().await;
}

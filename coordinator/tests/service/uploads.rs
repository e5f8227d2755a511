//! Uploads that break off, and that meet others of the same content.

use std::time::{Duration, Instant, SystemTime};

use experiment_spec::ids::ContentHash;
use orchestrator_coordinator::Config;
use orchestrator_proto::{CHUNK_BYTES, v1::HasRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    blobs::{chunks, chunks_from, content, get, put},
    cutting::Cutting,
    support::{Server, catalog, start, start_with},
};

/// What is there of content that is not there as a whole.
pub(crate) async fn partial_bytes(server: &mut Server, hash: &str) -> u64 {
    let asked = HasRequest { hashes: vec![hash.to_owned()], checkpoint: false };
    let answer = server.blobs.has(asked).await.unwrap().into_inner();
    assert_eq!(answer.present, [false]);
    answer.partial_bytes[0]
}

/// The same, once the coordinator has noticed that the sender is gone.
async fn after_a_cut(server: &mut Server, hash: &str) -> u64 {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match partial_bytes(server, hash).await {
            0 => assert!(Instant::now() < end, "nothing is kept"),
            bytes => return bytes,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_upload_whose_connection_is_cut_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let data = content().repeat(8);
    let hash = ContentHash::of(&data).to_string();
    let all = chunks(&hash, &data, data.len());
    // It lets less than half of it through, then both sides see the connection end.
    let cutting = Cutting::after(&server.address, data.len() / 2 - CHUNK_BYTES).await;
    let cut = cutting.blobs().await.put(tokio_stream::iter(all)).await.unwrap_err();
    assert!(matches!(cut.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal), "{cut}");
    let came = after_a_cut(&mut server, &hash).await;
    assert!(came > 0 && came < data.len() as u64 / 2, "{came}");
    assert_eq!(get(&mut server, &hash, 0).await.unwrap_err().code(), Code::NotFound, "half of it is not content");

    // Who goes on somewhere else is told, and what is there stays.
    let from = usize::try_from(came).unwrap();
    for wrong in [1, from - 1, from + 1] {
        let refused = put(&mut server, chunks_from(&hash, &data, data.len(), wrong)).await.unwrap_err();
        let sentence = format!("offset: {came} of {} bytes are here, found {wrong}; begin at 0", data.len());
        assert_eq!((refused.code(), refused.message()), (Code::OutOfRange, sentence.as_str()));
    }
    assert_eq!(partial_bytes(&mut server, &hash).await, came);
    assert!(!put(&mut server, chunks_from(&hash, &data, data.len(), from)).await.unwrap());
    assert!(get(&mut server, &hash, 0).await.unwrap() == data);
}

#[tokio::test]
async fn two_who_send_the_same_do_not_disturb_each_other() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let data = content();
    let hash = ContentHash::of(&data).to_string();
    let all = chunks(&hash, &data, data.len());
    let (first, first_chunks) = tokio::sync::mpsc::channel(4);
    first.send(all[0].clone()).await.unwrap();
    let mut client = server.blobs.clone();
    let slow = tokio::spawn(async move { client.put(ReceiverStream::new(first_chunks)).await });
    let partial = home.path().join("blobs/partial").join(format!("fetch-{hash}"));
    while std::fs::metadata(&partial).map_or(0, |file| file.len()) < CHUNK_BYTES as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(partial_bytes(&mut server, &hash).await, 0, "somebody is at work on it");
    let onto = put(&mut server, all[1..].to_vec()).await.unwrap_err();
    assert_eq!(onto.code(), Code::OutOfRange);
    let mut damaged = all.clone();
    damaged[0].data[0] ^= 1;
    assert_eq!(put(&mut server, damaged).await.unwrap_err().code(), Code::DataLoss);
    assert!(!put(&mut server, all.clone()).await.unwrap());
    for chunk in &all[1..] {
        first.send(chunk.clone()).await.unwrap();
    }
    drop(first);
    assert!(!slow.await.unwrap().unwrap().into_inner().already_present);
    assert!(get(&mut server, &hash, 0).await.unwrap() == data);
    assert_eq!(std::fs::read_dir(home.path().join("blobs/partial")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_broke_off_and_was_something_else_is_thrown_away_and_nothing_stays_for_ever() {
    let home = tempfile::tempdir().unwrap();
    let config = Config { tidy_every: Duration::from_millis(20), ..Config::new(home.path(), catalog(), "0.1.0-test") };
    let mut server = start_with(config).await;
    let data = content();
    let hash = ContentHash::of(&data).to_string();
    let mut damaged = data.clone();
    damaged[5] ^= 1;
    let first = chunks(&hash, &damaged, data.len())[..1].to_vec();
    assert_eq!(put(&mut server, first.clone()).await.unwrap_err().code(), Code::InvalidArgument, "it ends early");
    assert_eq!(partial_bytes(&mut server, &hash).await, CHUNK_BYTES as u64);
    let rest = put(&mut server, chunks_from(&hash, &data, data.len(), CHUNK_BYTES)).await.unwrap_err();
    assert_eq!(rest.code(), Code::DataLoss);
    assert_eq!(partial_bytes(&mut server, &hash).await, 0);
    // Who begins at 0, as senders of before do, begins anew.
    put(&mut server, first.clone()).await.unwrap_err();
    assert!(!put(&mut server, chunks(&hash, &data, data.len())).await.unwrap());

    let other = ContentHash::of(b"other").to_string();
    put(&mut server, chunks(&other, &data[..9], 10)).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(partial_bytes(&mut server, &other).await, 9, "it has just come");
    let partial = home.path().join("blobs/partial").join(format!("fetch-{other}"));
    let long_ago = SystemTime::now() - Duration::from_hours(25);
    std::fs::File::open(&partial).unwrap().set_modified(long_ago).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while partial.exists() {
        assert!(Instant::now() < end, "it is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

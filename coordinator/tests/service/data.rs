//! Data sets for workers that lack them.

use std::{fs, path::Path};

use experiment_spec::ids::ContentHash;
use orchestrator_coordinator::{Config, DataSetFiles};
use orchestrator_proto::v1::{Artifact, Assignment, GetRequest};
use tonic::Code;

use crate::support::{Server, Worker, YAML, catalog, extracted, start_with};

/// A coordinator that has the data set of the toy catalog, as this version.
async fn with_points(folder: &Path, version: &str) -> Server {
    fs::create_dir_all(folder.join("points")).unwrap();
    let file = |name: &str| {
        let path = folder.join("points").join(name);
        fs::write(&path, format!("content of {name}")).unwrap();
        (format!("points/{name}"), path)
    };
    let files = ["image.npy", "text.npy"].map(file).to_vec();
    let data_sets = vec![DataSetFiles { key: "points".to_owned(), version: version.to_owned(), files }];
    let mut server =
        start_with(Config { data_sets, ..Config::new(folder.join("home"), catalog(), "0.1.0-test") }).await;
    server.submit(YAML).await;
    server
}

async fn get(server: &mut Server, hash: &str) -> Result<Vec<u8>, Code> {
    let request = GetRequest { hash: hash.to_owned(), offset: 0 };
    let mut stream = server.blobs.get(request).await.map_err(|status| status.code())?.into_inner();
    let mut data = Vec::new();
    while let Some(chunk) = stream.message().await.map_err(|status| status.code())? {
        data.extend(chunk.data);
    }
    Ok(data)
}

/// An extraction, in the words of the wire.
async fn given(server: &mut Server, worker: &mut Worker) -> Assignment {
    worker.poll(server).await.assignments.remove(0)
}

#[tokio::test]
async fn an_extraction_names_its_files_and_they_are_served_from_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = with_points(folder.path(), "1").await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let files = given(&mut server, &mut worker).await.data_files;
    let named = |name: &str, content: &str| {
        let (hash, bytes) = (ContentHash::of(content.as_bytes()).to_string(), content.len() as u64);
        Artifact { name: format!("points/{name}"), hash, bytes, ..Artifact::default() }
    };
    let [image, text] = ["image.npy", "text.npy"].map(|name| named(name, &format!("content of {name}")));
    assert_eq!(files, [image.clone(), text.clone()]);
    assert_eq!(get(&mut server, &image.hash).await.unwrap(), b"content of image.npy");
    let blobs = fs::read_dir(folder.path().join("home/blobs")).unwrap();
    assert_eq!(blobs.count(), 2, "nothing was copied: the folder of what is on its way is there, and that of features");

    // Another file in its place is another content.
    fs::write(folder.path().join("points/image.npy"), "something else").unwrap();
    assert_eq!(get(&mut server, &image.hash).await.unwrap_err(), Code::NotFound);
    let other = named("image.npy", "something else");
    assert_eq!(get(&mut server, &other.hash).await.unwrap(), b"something else");
    worker.held.clear();
    assert_eq!(given(&mut server, &mut worker).await.data_files, [other, text]);

    worker.succeed(1, 1, extracted());
    let run = given(&mut server, &mut worker).await;
    assert_eq!((run.features.len(), run.data_files.len()), (1, 0), "a run reads features");
}

#[tokio::test]
async fn no_files_are_named_of_another_version_or_when_one_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = with_points(folder.path(), "2").await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    assert_eq!(given(&mut server, &mut worker).await.data_files, []);
    drop(server);

    let folder = tempfile::tempdir().unwrap();
    let mut server = with_points(folder.path(), "1").await;
    fs::remove_file(folder.path().join("points/text.npy")).unwrap();
    let mut worker = Worker::join(&mut server, "one", 1).await;
    assert_eq!(given(&mut server, &mut worker).await.data_files, []);
}

//! Mirrors of contents: a folder, and a store that speaks S3.

mod s3;

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    content::ContentStore,
    mirror::{Mirror, MirrorError},
};
use s3::S3;

/// Content of this many bytes, no two parts of which are the same.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes.div_ceil(4)).flat_map(|word| (word ^ 0x5bd1_e995).to_le_bytes()).take(bytes as usize).collect()
}

async fn put(mirror: &Mirror, content: &[u8], replace: bool) -> Result<bool, MirrorError> {
    let read = Box::new(Cursor::new(content.to_vec()));
    mirror.put(&ContentHash::of(content), content.len() as u64, read, replace).await
}

/// A store of this side.
fn store() -> (tempfile::TempDir, ContentStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ContentStore::open(folder.path().join("blobs")).unwrap();
    (folder, store)
}

/// A mirror in a folder that is there.
fn in_folder() -> (tempfile::TempDir, Mirror) {
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::open(&format!("file://{}", folder.path().display())).unwrap();
    (folder, mirror)
}

fn object(folder: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    folder.join(&name[..2]).join(name)
}

/// A larger one than goes in one part.
const LARGE: u32 = (8 << 20) + 100;

#[tokio::test]
async fn what_is_put_is_fetched_listed_and_removed() {
    let (_folder, folder) = in_folder();
    let s3 = S3::start().await;
    for mirror in [folder, s3.mirror()] {
        mirror.check().await.unwrap();
        assert_eq!(mirror.list().await.unwrap(), []);
        let (_here, store) = store();
        let mut hashes = Vec::new();
        for content in [content(0), content(70_000), content(LARGE)] {
            let hash = ContentHash::of(&content);
            assert!(!mirror.fetch(&store, &hash, content.len() as u64).await.unwrap(), "it lacks it");
            assert!(put(&mirror, &content, false).await.unwrap());
            assert!(!put(&mirror, &content, false).await.unwrap(), "it is there already");
            // Its size need not be known.
            for bytes in [content.len() as u64, 0] {
                assert!(mirror.fetch(&store, &hash, bytes).await.unwrap());
                assert!(fs::read(store.path(&hash)).unwrap() == content);
                store.remove(&hash).unwrap();
            }
            hashes.push((hash, content.len() as u64));
        }
        let mut listed = mirror.list().await.unwrap();
        listed.sort_by_key(|object| object.bytes);
        assert_eq!(listed.iter().map(|object| (object.hash, object.bytes)).collect::<Vec<_>>(), hashes);
        for object in listed {
            // A store in the net tells no parts of a second.
            let said = mirror.object(&object.hash).await.unwrap().unwrap();
            assert_eq!((said.bytes, said.came_at), (object.bytes, object.came_at));
            assert!(said.came_at <= SystemTime::now());
            mirror.remove(&object.hash).await.unwrap();
            mirror.remove(&object.hash).await.unwrap();
            assert_eq!(mirror.object(&object.hash).await.unwrap(), None);
        }
    }
    assert_eq!(s3.store().uploads(), 0);
}

#[tokio::test]
async fn names_are_those_of_the_folder_store_and_other_files_are_no_content() {
    let (folder, mirror) = in_folder();
    let (_here, store) = store();
    let hash = ContentHash::of(b"features");
    put(&mirror, b"features", false).await.unwrap();
    assert_eq!(fs::read(object(folder.path(), &hash)).unwrap(), b"features");
    fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
    fs::write(folder.path().join(hash.to_string()), "in the wrong place").unwrap();
    assert_eq!(mirror.list().await.unwrap().len(), 1);
    let s3 = S3::start().await;
    put(&s3.mirror(), b"features", false).await.unwrap();
    let key = format!("lab/{}/{hash}", &hash.to_string()[..2]);
    assert_eq!(s3.store().objects[&key], b"features");
    drop(store);
}

#[tokio::test]
async fn what_is_damaged_is_never_used_and_is_mended_by_who_replaces_it() {
    let (folder, mirror) = in_folder();
    let (_here, store) = store();
    let content = content(70_000);
    let hash = ContentHash::of(&content);
    put(&mirror, &content, false).await.unwrap();
    let mut flipped = content.clone();
    flipped[60_000] ^= 1;
    let long = [&content[..], b"more"].concat();
    for damaged in [&flipped[..], &content[..69_999], &long, b""] {
        fs::write(object(folder.path(), &hash), damaged).unwrap();
        for bytes in [content.len() as u64, 0] {
            let error = mirror.fetch(&store, &hash, bytes).await.unwrap_err();
            assert!(matches!(&error, MirrorError::Damaged(why) if why.contains(&hash.to_string())), "{error}");
            assert!(!store.has(&hash));
        }
        assert!(put(&mirror, &content, true).await.unwrap());
        assert!(mirror.fetch(&store, &hash, 0).await.unwrap() && store.verify(&hash).unwrap());
        store.remove(&hash).unwrap();
    }
    // Of another size, it is not taken for what it should be.
    fs::write(object(folder.path(), &hash), b"short").unwrap();
    assert!(put(&mirror, &content, false).await.unwrap());
    assert_eq!(fs::read(object(folder.path(), &hash)).unwrap(), content);
}

#[tokio::test]
async fn what_is_not_what_it_should_be_never_appears() {
    let (folder, in_folder) = in_folder();
    let s3 = S3::start().await;
    for mirror in [&in_folder, &s3.mirror()] {
        for bytes in [70_000, LARGE] {
            let mut changed = content(bytes);
            let hash = ContentHash::of(&changed);
            *changed.last_mut().unwrap() ^= 1;
            let length = changed.len() as u64;
            let error = mirror.put(&hash, length, Box::new(Cursor::new(changed)), false).await.unwrap_err();
            assert!(matches!(error, MirrorError::Disk(_)), "{error}");
            assert_eq!(mirror.object(&hash).await.unwrap(), None);
        }
    }
    s3.store().takes_one_part = true;
    assert!(put(&s3.mirror(), &content(LARGE), false).await.is_err());
    let left = s3.store();
    assert_eq!((left.uploads(), left.objects.len()), (0, 0), "nothing half done is left");
    drop(left);
    let left = fs::read_dir(folder.path()).unwrap().flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap());
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_fetch_goes_on_where_it_broke_off_whoever_brought_the_first_part() {
    let s3 = S3::start().await;
    let mirror = s3.mirror().answering_within(Duration::from_millis(300));
    let (_here, store) = store();
    let content = content(300_000);
    let hash = ContentHash::of(&content);
    put(&mirror, &content, false).await.unwrap();
    s3.requests();
    s3.store().stalls_after = Some(200_000);
    let error = mirror.fetch(&store, &hash, 300_000).await.unwrap_err();
    assert!(matches!(error, MirrorError::Away(_)), "{error}");
    let came = store.partial_bytes(&hash);
    assert!(came > 0 && came <= 200_000, "{came}");
    s3.store().stalls_after = None;
    assert!(mirror.fetch(&store, &hash, 300_000).await.unwrap());
    assert!(fs::read(store.path(&hash)).unwrap() == content);
    let gets: Vec<String> = s3.requests().into_iter().filter(|request| request.starts_with("GET")).collect();
    let last = gets.last().unwrap();
    assert!(last.ends_with(&format!("bytes={came}-")), "{gets:?}");

    // The first part came from elsewhere and is wrong: all of it is fetched again, and is right.
    store.remove(&hash).unwrap();
    let mut writer = store.resume(&hash).unwrap();
    writer.write_all(b"something else").unwrap();
    drop(writer);
    assert!(mirror.fetch(&store, &hash, 300_000).await.unwrap());
    assert!(store.verify(&hash).unwrap());
    let gets: Vec<String> = s3.requests().into_iter().filter(|request| request.starts_with("GET")).collect();
    assert!(gets[0].ends_with("bytes=14-") && gets[1].ends_with("bytes=0-") && gets.len() == 2, "{gets:?}");
    // All of it was there, but for its name.
    store.remove(&hash).unwrap();
    let mut writer = store.resume(&hash).unwrap();
    writer.write_all(&content).unwrap();
    drop(writer);
    assert!(mirror.fetch(&store, &hash, 300_000).await.unwrap());
    assert!(s3.requests().iter().all(|request| request.starts_with("HEAD")));
}

#[tokio::test]
async fn a_mirror_that_only_trickles_is_not_waited_for() {
    let s3 = S3::start().await;
    let mirror = s3.mirror().answering_within(Duration::from_millis(300));
    let (_here, store) = store();
    let content = content(70_000);
    let hash = ContentHash::of(&content);
    put(&mirror, &content, false).await.unwrap();
    s3.store().trickles = true;
    let error = mirror.fetch(&store, &hash, 70_000).await.unwrap_err();
    assert!(matches!(error, MirrorError::Away(_)), "{error}");
    let came = store.partial_bytes(&hash);
    assert!(came > 0 && came < 70_000, "{came} are there for who goes on");
}

#[tokio::test]
async fn a_mirror_that_is_away_silent_or_says_no_is_told_apart() {
    let s3 = S3::start().await;
    let mirror = s3.mirror().answering_within(Duration::from_millis(300));
    let (_here, store) = store();
    let hash = ContentHash::of(b"features");
    s3.store().silent = true;
    for error in [mirror.check().await.unwrap_err(), mirror.fetch(&store, &hash, 8).await.unwrap_err()] {
        let MirrorError::Away(why) = error else { panic!("{error}") };
        assert_eq!(why, "s3://contents/lab says nothing for 0.3 s");
    }
    s3.store().silent = false;
    s3.store().denies = true;
    assert!(matches!(mirror.fetch(&store, &hash, 8).await.unwrap_err(), MirrorError::Denied(_)));
    assert!(matches!(put(&mirror, b"features", true).await.unwrap_err(), MirrorError::Denied(_)));

    // A port where nobody listens, and a folder that is not mounted, which must not be made.
    let nobody = S3::at("http://127.0.0.1:9");
    assert!(matches!(nobody.mirror().check().await.unwrap_err(), MirrorError::Away(_)));
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::open(&format!("file://{}/not%20mounted", folder.path().display())).unwrap();
    assert!(matches!(mirror.check().await.unwrap_err(), MirrorError::Away(why) if why.contains("No such file")));
    assert!(matches!(put(&mirror, b"features", false).await.unwrap_err(), MirrorError::Away(_)));
    assert!(!mirror.fetch(&store, &hash, 8).await.unwrap());
    assert!(mirror.list().await.is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::create_dir(folder.path().join("not mounted")).unwrap();
    assert!(put(&mirror, b"features", false).await.unwrap());
}

#[test]
fn a_url_that_names_no_mirror_is_refused_with_the_cure() {
    for (url, why) in [
        ("", "no such kind of mirror is known"),
        ("/shared/folder", "no such kind of mirror is known"),
        ("https://example.org/contents", "no such kind of mirror is known"),
        ("s3:/contents", "no such kind of mirror is known"),
        ("s3://", "no bucket is named"),
        ("s3:///prefix", "no bucket is named"),
        ("file://shared/folder", "a folder is named from the root on"),
        ("file://", "a folder is named from the root on"),
        ("file:///", "a folder is named from the root on"),
    ] {
        let error = Mirror::open_with(url, []).unwrap_err().to_string();
        assert_eq!(error.split("; ").next().unwrap(), format!("mirror {url}: {why}"));
        assert!(error.contains("expected s3://BUCKET/PREFIX or file:///FOLDER") && error.contains("AWS_ENDPOINT"));
    }
    for url in ["s3://bucket", "s3://bucket/a/b/", "file:///shared/folder/"] {
        assert_eq!(Mirror::open_with(url, []).unwrap().url(), url);
    }
}

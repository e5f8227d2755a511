//! What the build script records of the code, and where users see it.

mod common;

#[allow(dead_code)] // its main function is Cargo's
#[path = "../build.rs"]
mod build_script;

use std::{fs, path::Path, process::Command};

use common::{Lab, text};

/// Runs git as somebody; `false` when it is not there or refuses.
fn git(folder: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]);
    command.args(args).output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_revision_is_that_of_the_checkout_and_dirty_only_when_a_tracked_file_differs() {
    let folder = tempfile::tempdir().unwrap();
    let revision = || build_script::revision("git", folder.path());
    assert_eq!(revision(), None, "no checkout");
    if !git(folder.path(), &["init", "--quiet"]) {
        println!("skipped: the_revision_is_that_of_the_checkout: git is not there");
        return;
    }
    assert_eq!(revision(), None, "no commit");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("src/main.rs", "fn main() {}");
    write("tests/main.rs", "");
    write("README.md", "");
    assert!(git(folder.path(), &["add", "."]) && git(folder.path(), &["commit", "--quiet", "-m", "All"]));
    let (hash, dirty) = revision().unwrap();
    assert!(hash.len() >= 7 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) && !dirty, "{hash} {dirty}");
    write("src/other.rs", "");
    assert_eq!(revision(), Some((hash.clone(), false)), "untracked");
    write("src/main.rs", "fn main() { }");
    assert_eq!(revision(), Some((hash.clone(), true)), "changed");
    assert!(git(folder.path(), &["commit", "--quiet", "--all", "-m", "More"]));
    let (next, dirty) = revision().unwrap();
    assert!(next != hash && !dirty);
    let watched = build_script::watched("git", folder.path());
    assert_eq!(watched, ["src/main.rs", ".git/HEAD", ".git/logs/HEAD", ".git/index"]);
    assert_eq!(build_script::revision("git", &folder.path().join("src")), None, "another program's repository");
    assert_eq!(build_script::revision("no-such-git", folder.path()), None);
}

#[test]
fn the_program_says_what_it_was_built_from() {
    let lab = Lab::new();
    let version = text(&lab.run(&["--version"]).stdout);
    let program = version.trim().strip_prefix("orchestrator ").expect("the name stands first");
    let revision = match build_script::revision("git", Path::new(env!("CARGO_MANIFEST_DIR"))) {
        Some((hash, _)) => format!("{} ({hash}, ", env!("CARGO_PKG_VERSION")),
        None => format!("{} (no git revision), ", env!("CARGO_PKG_VERSION")),
    };
    assert!(program.starts_with(&revision) && program.contains(", rustc 1."), "{program}, expected {revision}");
    let findings = text(&lab.run(&["--json", "doctor"]).stdout);
    let found = |what: &str| {
        let findings = findings.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        findings.filter(|finding| finding["what"] == what).map(|finding| finding["found"].clone()).next().unwrap()
    };
    assert_eq!(found("version"), program);
    assert!(found("compiler").as_str().unwrap().starts_with("rustc "));
}

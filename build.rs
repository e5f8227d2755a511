//! Records which code is built, for the record of every run: the git revision, whether tracked files
//! differ from it, and the compiler. Outside a git checkout, or without git, there is no revision.

use std::{env, path::Path, process::Command};

/// Variables with which git, when it is what runs this build, points at something else than this folder.
const POINTERS: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];
/// Files of git that change with every commit, checkout and staging.
const MOVES: [&str; 3] = ["HEAD", "logs/HEAD", "index"];
/// Tracked files that never reach the program: a change there is not worth a build.
const BESIDE: [&str; 4] = ["tests", "benches", "examples", ".ci"];

fn main() {
    let package = env::var("CARGO_MANIFEST_DIR").expect("Cargo names the package's folder");
    let package = Path::new(&package);
    let revision = revision("git", package);
    let (hash, dirty) = revision.as_ref().map_or(("", false), |(hash, dirty)| (hash, *dirty));
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = answer(Command::new(rustc).arg("--version")).unwrap_or_default();
    println!("cargo::rustc-env=ORCHESTRATOR_REVISION={hash}");
    println!("cargo::rustc-env=ORCHESTRATOR_DIRTY={dirty}");
    println!("cargo::rustc-env=ORCHESTRATOR_COMPILER={compiler}");
    println!("cargo::rerun-if-changed=build.rs");
    if revision.is_some() {
        for file in watched("git", package) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

/// Short hash of the commit that `package` is checked out from, and whether a tracked file differs from it;
/// `None` when `package` is not the top of a checkout, or git is not there to say so.
pub(crate) fn revision(git: &str, package: &Path) -> Option<(String, bool)> {
    let told = answer(at(git, package).args(["rev-parse", "--show-toplevel", "--short", "HEAD"]))?;
    let (top, hash) = told.split_once('\n')?;
    // An unpacked archive may lie inside somebody's repository of other things.
    if Path::new(top).canonicalize().ok()? != package.canonicalize().ok()? {
        return None;
    }
    let changes = answer(at(git, package).args(["status", "--porcelain", "--untracked-files=no"]))?;
    Some((hash.to_owned(), !changes.is_empty()))
}

/// Files whose change may change the revision of the program, or its being dirty.
pub(crate) fn watched(git: &str, package: &Path) -> Vec<String> {
    let tracked = answer(at(git, package).args(["-c", "core.quotePath=false", "ls-files"])).unwrap_or_default();
    let reaches_program = |file: &&str| {
        let text = Path::new(file).extension().is_some_and(|kind| kind == "md" || kind == "yaml");
        !text && !file.split('/').any(|part| BESIDE.contains(&part))
    };
    let moves = MOVES.iter().filter_map(|name| answer(at(git, package).args(["rev-parse", "--git-path", name])));
    // Cargo takes a file that is not there for a changed one, at every build.
    let is_there = |file: &String| package.join(file).exists();
    tracked.lines().filter(reaches_program).map(str::to_owned).chain(moves).filter(is_there).collect()
}

/// git in the package's folder, changing nothing: not even the index that it would like to refresh.
fn at(git: &str, package: &Path) -> Command {
    let mut command = Command::new(git);
    command.current_dir(package).arg("--no-optional-locks");
    for name in POINTERS {
        command.env_remove(name);
    }
    command
}

/// What a command prints, if it is there and succeeds.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

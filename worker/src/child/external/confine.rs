//! The hidden verb `confined`: becomes a program of a user's own that can write to one folder only, cannot signal
//! what it has not started, and ends with the attempt.

use std::{ffi::OsString, os::unix::process::CommandExt, path::Path, process::ExitCode};

use crate::child::lifeline;

/// Exit code of a shell for a program that cannot be started.
const CANNOT_START: u8 = 127;

/// Confines this process to writing below `folder`, and becomes the command. Returns only if that fails.
#[must_use]
pub fn confined_main(folder: &Path, command: &[OsString]) -> ExitCode {
    let why = become_program(folder, command);
    eprintln!("{why}");
    ExitCode::from(CANNOT_START)
}

fn become_program(folder: &Path, command: &[OsString]) -> String {
    let [program, arguments @ ..] = command else { return "there is no command".to_owned() };
    if let Err(error) = lifeline::die_with_parent() {
        return format!("the program cannot be tied to its attempt: {error}");
    }
    match confine(folder) {
        Ok(true) => {}
        Ok(false) => eprintln!("this kernel cannot confine a program to its folder (no Landlock)"),
        Err(error) => return format!("the program cannot be confined to {}: {error}", folder.display()),
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    let program = program.display();
    format!("`{program}` cannot be started: {error}; install it on the worker, or correct `command`")
}

/// Whether this kernel confines the process from now on.
#[cfg(target_os = "linux")]
fn confine(folder: &Path) -> Result<bool, landlock::RulesetError> {
    use landlock::{ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules};
    // Every way to change a file; what is done to a device by `ioctl` (a later version) is no file.
    let writing = AccessFs::from_write(ABI::V4);
    let status = Ruleset::default()
        .handle_access(writing)?
        .scope(Scope::Signal)?
        .create()?
        // Shared memory of several processes has no other place than /dev/shm.
        .add_rules(path_beneath_rules([folder, Path::new("/dev/shm")], writing))?
        .add_rules(path_beneath_rules(devices(), AccessFs::WriteFile))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Whether this kernel can confine a program at all.
#[cfg(target_os = "linux")]
pub(super) fn can_confine() -> bool {
    use landlock::{ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    required.handle_access(AccessFs::from_write(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// Devices that programs write to as a matter of course, and GPUs.
#[cfg(target_os = "linux")]
fn devices() -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let usual = |name: &str| matches!(name, "null" | "zero" | "full" | "random" | "urandom" | "tty");
    let wanted =
        all.filter(|entry| entry.file_name().to_str().is_some_and(|name| usual(name) || name.starts_with("nvidia")));
    wanted.map(|entry| entry.path()).collect()
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &Path) -> Result<bool, std::convert::Infallible> {
    Ok(false)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn can_confine() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// In a thread of its own: a thread that is confined stays so.
    #[test]
    fn a_kernel_that_can_confine_is_told_from_one_that_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().to_owned();
        let outside = tempfile::tempdir().unwrap();
        let elsewhere = outside.path().join("file");
        let confined = std::thread::spawn(move || {
            let confined = confine(&inside).unwrap();
            std::fs::write(inside.join("file"), "kept").unwrap();
            assert_eq!(std::fs::write(elsewhere, "refused").is_err(), confined);
            confined
        });
        assert_eq!(confined.join().unwrap(), can_confine());
    }
}

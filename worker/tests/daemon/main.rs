//! The worker daemon against a coordinator that the test plays, with real child processes.
//!
//! Attempts and daemons are processes of this very program, told apart by the first argument; so it has
//! a main function of its own instead of the test harness, and takes parts of test names to select by.

mod cache;
mod child;
mod coordinator;
mod data;
mod disk;
mod endings;
mod external;
mod faults;
mod gpus;
mod leases;
mod mirror;
mod steps;
mod travel;
mod worker;

use std::{
    panic::catch_unwind,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Whether the parent runs this program too: then the argument says what to be, else which tests to run.
fn was_started_by_itself() -> bool {
    let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    let program = std::fs::read_link(format!("/proc/{parent}/exe"));
    program.is_ok_and(|program| std::env::current_exe().is_ok_and(|own| own == program))
}

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().filter(|_| was_started_by_itself()).map(String::as_str) {
        Some("attempt") => return orchestrator_worker::attempt_with(&steps::Steps, &steps::code()),
        Some("confined") => {
            let command: Vec<_> = std::env::args_os().skip(3).collect();
            return orchestrator_worker::confined_main(Path::new(&arguments[1]), &command);
        }
        Some("daemon") => return worker::daemon_process(&arguments[1..]),
        Some("parent") => return child::parent_process(),
        _ => {}
    }
    let tests: Vec<Test> = [
        endings::TESTS,
        faults::TESTS,
        leases::TESTS,
        disk::TESTS,
        gpus::TESTS,
        child::TESTS,
        external::TESTS,
        travel::TESTS,
        cache::TESTS,
        data::TESTS,
        mirror::TESTS,
    ]
    .concat();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in &tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let selected: Vec<Test> = tests
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())))
        .collect();
    println!("\nrunning {} tests", selected.len());
    let queue = Mutex::new(selected.iter());
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((name, test)) = next else { return };
                    let start = Instant::now();
                    let passed = catch_unwind(test).is_ok();
                    let verdict = if passed { "ok" } else { "FAILED" };
                    println!("test {name} ... {verdict} ({:.1} s)", start.elapsed().as_secs_f64());
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) += usize::from(!passed);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "\ntest result: {}; {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        selected.len() - failed
    );
    ExitCode::from(u8::from(failed > 0))
}

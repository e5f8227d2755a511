//! The `orchestrator` command: command line, coordinator daemon and worker daemon in one file.

use std::process::ExitCode;

use clap::Parser;

mod access;
mod beside;
mod catalog;
mod chaos;
mod cli;
mod client;
mod commands;
mod exit;
mod home;
mod link;
mod local;
mod output;
mod progress;
mod report;
mod server;

// Half of a training step's time would be page faults under the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if matches!(cli.command, cli::Command::Attempt) {
        return orchestrator_worker::attempt_main(&catalog::code());
    }
    if let cli::Command::Confined { folder, command } = &cli.command {
        return orchestrator_worker::confined_main(folder, command);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::Failure::request(format!("failed to start the runtime: {error}")).report(),
    };
    match runtime.block_on(commands::dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

//! `completions`: scripts for bash, zsh, fish and others.

use clap::CommandFactory;

use crate::{cli::Cli, exit::Outcome};

/// Prints the completion script of a shell.
#[allow(clippy::unnecessary_wraps)] // every verb has the same shape
pub(super) fn completions(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Cli::command(), "orchestrator", &mut std::io::stdout());
    Ok(())
}

//! One verb a file.

mod cancel;
mod chaos;
mod completions;
mod data;
mod doctor;
mod export;
mod logs;
mod methods;
mod run;
mod runs;
mod serve;
mod show;
mod status;
mod steer;
mod submit;
mod thin;
mod tokens;
mod upkeep;
mod why;
mod worker;
mod workers;

use orchestrator_proto::mirror::Mirror;

use crate::{
    cli::{Cli, Command, Global},
    exit::{Failure, Outcome},
};

/// Carries out one command.
pub(crate) async fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(&global, args).await,
        Command::Serve(args) => serve::serve(&global, args).await,
        Command::Worker(args) => worker::worker(&global, args).await,
        Command::Workers => workers::workers(&global).await,
        Command::Drain { worker, undo } => workers::drain(&global, worker, undo).await,
        Command::Tokens(command) => tokens::tokens(&global, &command),
        Command::Plan(args) => submit::plan(&global, args).await,
        Command::Submit(args) => submit::submit(&global, args).await,
        Command::Status { submission } => status::status(&global, submission).await,
        Command::Runs(args) => runs::runs(&global, args).await,
        Command::Show { run } => show::show(&global, run).await,
        Command::Why { run } => why::why(&global, run).await,
        Command::Logs { run, follow } => logs::logs(&global, run, follow).await,
        Command::Cancel(selection) => cancel::cancel(&global, selection).await,
        Command::Pause(selection) => steer::pause(&global, selection).await,
        Command::Resume(selection) => steer::resume(&global, selection).await,
        Command::Priority { level, selection } => steer::priority(&global, level, selection).await,
        Command::Retry(args) => cancel::retry(&global, args).await,
        Command::Export(args) => export::export(&global, args).await,
        Command::Methods { method } => methods::methods(&global, method.as_deref()),
        Command::Data(command) => data::data(&global, &command),
        Command::Backup { folder } => upkeep::backup(&global, &folder).await,
        Command::Restore { folder } => upkeep::restore(&global, &folder).await,
        Command::Thin(args) => thin::thin(&global, args).await,
        Command::Gc { mirror, older_than, dry_run } => {
            upkeep::gc(&global, mirror.as_deref(), older_than, dry_run).await
        }
        Command::Chaos(args) => chaos::chaos(&global, args).await,
        Command::Doctor => doctor::doctor(&global).await,
        Command::Completions { shell } => completions::completions(shell),
        Command::Attempt | Command::Confined { .. } => unreachable!("main starts attempts before there is a runtime"),
    }
}

/// Sends the daemon's log to standard error: lines for people, JSON with `--json`; `RUST_LOG` filters.
fn log_to_stderr(global: &Global) {
    use tracing_subscriber::EnvFilter;
    let default = if global.quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that is set up already (a test's) stays as it is.
    let _ = if global.json { log.json().try_init() } else { log.try_init() };
}

/// The mirror of that URL; nothing is asked of it yet.
fn mirror(url: &str) -> Outcome<Mirror> {
    Mirror::open(url).map_err(|error| Failure::request(error.to_string()))
}

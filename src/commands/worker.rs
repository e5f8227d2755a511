//! `worker`: the worker daemon.

use std::path::PathBuf;

use orchestrator_proto::link::Role;
use orchestrator_worker::{Config, Links};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Global, Tuning, WorkerArgs},
    exit::{Failure, Outcome},
    home::Home,
    link, progress,
};

/// Works for a coordinator until the first Ctrl-C or SIGTERM.
pub(super) async fn worker(global: &Global, args: WorkerArgs) -> Outcome {
    super::log_to_stderr(global);
    let home = Home::resolve(global.home.clone())?;
    let url = match &global.coordinator {
        Some(url) => url.clone(),
        None => std::fs::read_to_string(home.endpoint()).map(|text| text.trim().to_owned()).map_err(|_| {
            Failure::request(
                "which coordinator? name it with --coordinator URL (`orchestrator serve` prints the command)",
            )
        })?,
    };
    let token = link::token(global, &home, Role::Worker)?;
    let link = || link::lazy(&url, token.as_ref());
    let links = Links { calls: link()?, contents: link()? };
    let folder = args.folder.unwrap_or_else(|| home.local_worker());
    let mut config = config(folder, args.name, args.cpus, &args.tuning, None)?;
    config.labels = args.labels;
    config.min_free_bytes = args.min_free;
    config.cache_bytes = args.cache;
    config.mirror = args.mirror.as_deref().map(super::mirror).transpose()?;
    config.send_checkpoints = args.send_checkpoints;
    config.data_folders = home.data_folders(&global.data_folders).0;
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        if progress::interrupted().await.is_ok() {
            signalled.cancel();
        }
        if progress::interrupted().await.is_ok() {
            std::process::exit(130);
        }
    });
    Box::pin(orchestrator_worker::run(config, links, stop))
        .await
        .map_err(|error| Failure::request(format!("the worker ended: {error}")))
}

/// Settings of a worker daemon; `shared_blobs` is the coordinator's own blob folder when both share it.
pub(super) fn config(
    folder: PathBuf,
    name: Option<String>,
    cpus: Option<u32>,
    tuning: &Tuning,
    shared_blobs: Option<PathBuf>,
) -> Outcome<Config> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::request(format!("this program's own file is not known: {error}")))?;
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let available = u32::try_from(available).unwrap_or(u32::MAX);
    let mut config = Config::new(folder, program, cpus.unwrap_or(available).max(1));
    config.gpus = orchestrator_worker::usable_gpus();
    config.name = name;
    config.checkpoint_every.iterations = tuning.checkpoint_every;
    config.simd = tuning.simd.map(|level| level.name().to_owned());
    if let Some(blobs) = shared_blobs {
        config.blobs = blobs;
        config.shared_blobs = true;
    }
    Ok(config)
}

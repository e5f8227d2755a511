//! `serve`: the coordinator daemon.

use orchestrator_coordinator::Config;

use crate::{
    catalog,
    cli::{Global, ServeArgs},
    exit::{Failure, Outcome},
    home::Home,
    local::Local,
    output, progress,
};

/// Serves until the first Ctrl-C or SIGTERM.
pub(super) async fn serve(global: &Global, args: ServeArgs) -> Outcome {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::request(format!(
            "refusing to listen on {}: without TLS and tokens only this machine may connect; use a loopback address like 127.0.0.1:7117",
            args.listen
        )));
    }
    super::log_to_stderr(global);
    let home = Home::resolve(global.home.clone())?;
    let mut catalog = catalog::build(&home.data_folders(&global.data_folders));
    if !args.allow_commands {
        catalog.external = None;
    }
    let config = Config { lease: args.lease, min_free_bytes: args.min_free, ..Local::config(&home, catalog) };
    let local = Local::start(&home, config, args.listen).await?;
    if global.json {
        output::json(&serde_json::json!({ "address": local.url(), "home": home.root() }))?;
    } else {
        output::lines([
            format!("coordinator and dashboard on {}", local.url()),
            format!("state folder {}", home.root().display()),
            format!("start a worker with: orchestrator worker --coordinator {}", local.url()),
        ])?;
    }
    progress::interrupted().await?;
    // A second signal does not wait for open connections.
    tokio::spawn(async {
        if progress::interrupted().await.is_ok() {
            std::process::exit(130)
        }
    });
    local.stop().await;
    Ok(())
}

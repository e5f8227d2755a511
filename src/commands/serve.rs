//! `serve`: the coordinator daemon.

use std::io::IsTerminal;

use orchestrator_coordinator::{Config, KeepRules};
use orchestrator_proto::link::Role;

use crate::{
    access::Credentials,
    catalog,
    cli::{Global, ServeArgs},
    exit::{Failure, Outcome},
    home::Home,
    local::{Local, Security},
    output, progress,
};

/// Serves until the first Ctrl-C or SIGTERM.
pub(super) async fn serve(global: &Global, args: ServeArgs) -> Outcome {
    super::log_to_stderr(global);
    let home = Home::resolve(global.home.clone())?;
    let data = home.data_folders(&global.data_folders);
    let mut catalog = catalog::build(&data);
    let data_sets = catalog::data_files(&catalog, &data);
    if !args.allow_commands {
        catalog.external = None;
    }
    let config = Config {
        lease: args.lease,
        min_free_bytes: args.min_free,
        max_bytes: args.max_size,
        keep: KeepRules { models: args.keep_models, embeddings: args.keep_embeddings },
        data_sets,
        ..Local::config(&home, catalog)
    };
    let security = if args.secure || !args.listen.ip().is_loopback() {
        let credentials = Credentials::open_or_make(&home.credentials());
        let credentials = credentials.map_err(|error| {
            Failure::request(format!("refusing to listen on {} without TLS and tokens: {error}", args.listen))
        })?;
        Some(Security { credentials, host_names: args.host_names })
    } else {
        None
    };
    let worker_token =
        security.as_ref().and_then(|security| security.credentials.first(Role::Worker).map(ToString::to_string));
    let is_secure = security.is_some();
    let local = Local::start(&home, config, args.listen, security).await?;
    if global.json {
        output::json(&serde_json::json!({ "address": local.url(), "home": home.root() }))?;
    } else {
        let command = format!("orchestrator worker --coordinator {}", local.url());
        let mut lines = vec![
            format!("coordinator and dashboard on {}", local.url()),
            format!("state folder {}", home.root().display()),
        ];
        if is_secure {
            lines.push(format!(
                "authority and tokens in {}, which only you can read; sign in to the dashboard with what `orchestrator tokens show user` prints",
                home.credentials().display()
            ));
        }
        lines.push(match worker_token {
            // Where this goes to a file or a journal, others may read it.
            Some(token) if std::io::stdout().is_terminal() => {
                format!("start a worker with: ORCHESTRATOR_TOKEN={token} {command}")
            }
            Some(_) | None if is_secure => format!(
                "start a worker with: ORCHESTRATOR_TOKEN=TOKEN {command} (for TOKEN what `orchestrator tokens show worker` prints here)"
            ),
            _ => format!("start a worker with: {command}"),
        });
        output::lines(lines)?;
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

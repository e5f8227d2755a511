//! `run`: coordinator and worker in this process, one submission from its file to its tables.

use std::{net::SocketAddr, path::PathBuf};

use orchestrator_coordinator::Config;
use orchestrator_proto::v1;
use orchestrator_worker::Links;
use retrieval::datasets::folders::DataFolders;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::submit;
use crate::{
    beside::Beside,
    catalog,
    cli::{Global, RunArgs, Tuning},
    client::{self, Client},
    exit::{Failure, Outcome},
    home::Home,
    local::Local,
    output,
    progress::{self, Ending},
    report::{self, Report},
};

/// Runs a submission here, or goes on with it, and prints its tables.
pub(super) async fn run(global: &Global, args: RunArgs) -> Outcome {
    if global.coordinator.is_some() {
        return Err(Failure::request(
            "`run` does everything on this machine; to use a coordinator, `submit` the file to it",
        ));
    }
    let yaml = submit::read_spec(&args.spec)?;
    let file_name = submit::file_name(&args.spec);
    let home = Home::resolve(global.home.clone())?;
    let data = home.data_folders(&global.data_folders);
    let catalog = catalog::build(&data);
    // Checked before the state folder is touched: a wrong file changes nothing.
    let mut beside = Beside::new(&args.spec);
    submit::check(&yaml, &file_name, &catalog, &mut beside, global)?;
    let data_sets = catalog::data_files(&catalog, &data);
    let config = Config { data_sets, ..Local::config(&home, catalog) };
    let local = Local::start(&home, config, SocketAddr::from(([127, 0, 0, 1], 0)), None).await?;
    if !global.quiet && !global.json {
        eprintln!("state folder {}; dashboard {}", home.root().display(), local.url());
    }
    let worker = LocalWorker::start(&home, data, &local, args.cpus, &args.tuning)?;
    let interruption = tokio::spawn(progress::interrupted());
    let request = v1::SubmitRequest {
        yaml,
        file_name,
        force: args.force,
        resume: !args.force,
        client_version: catalog::program_version(),
        files: beside.into_sent(),
        ..Default::default()
    };
    let outcome = tokio::select! {
        outcome = carry_out(request, client::client(local.link()), &home, global) => outcome,
        signal = interruption => {
            signal.map_err(|error| Failure::request(format!("the signal handler ended: {error}")))??;
            // The second signal ends the process at once; attempts end by themselves with it.
            tokio::spawn(async { if progress::interrupted().await.is_ok() { std::process::exit(130) } });
            if !global.quiet {
                eprintln!("stopping; once more to stop at once");
            }
            Err(Failure::Interrupted(format!("interrupted; `orchestrator run {}` goes on where it was", args.spec.display())))
        }
        ended = worker.ended() => Err(ended),
    };
    worker.stop().await;
    local.stop().await;
    let (ending, written) = outcome?;
    if !global.quiet && !global.json {
        eprintln!("written to {}", written.display());
    }
    submit::verdict(ending)
}

/// Submits, follows to the end, prints and writes the report; where that is.
async fn carry_out(
    request: v1::SubmitRequest,
    mut client: Client,
    home: &Home,
    global: &Global,
) -> Outcome<(Ending, PathBuf)> {
    let file_name = request.file_name.clone();
    let answer = client.submit(request).await?.into_inner();
    submit::refuse(&answer.problems, &file_name, global)?;
    submit::tell_left_out(&answer, global);
    let id = answer.submission_id;
    if answer.resumed && !global.quiet && !global.json {
        eprintln!("going on with submission {id}");
    }
    let ending = progress::follow(&mut client, id, global).await?;
    let written = finish(&mut client, id, home, global).await?;
    Ok((ending, written))
}

/// Prints the tables of a submission and writes its report.
pub(super) async fn finish(client: &mut Client, submission: i64, home: &Home, global: &Global) -> Outcome<PathBuf> {
    let report = Report::fetch(client, &submission.to_string()).await?;
    let folder = home.report(report.folder_name());
    report.write(&folder, &report::ALL_FORMATS)?;
    if global.json {
        report.print_json()?;
    } else {
        output::lines([report.text()])?;
    }
    Ok(folder)
}

/// The worker daemon that `run` starts in its own process. Its attempts are processes of their own.
struct LocalWorker {
    task: tokio::sync::Mutex<JoinHandle<Result<(), orchestrator_worker::WorkerError>>>,
    stop: CancellationToken,
}

impl LocalWorker {
    fn start(home: &Home, data: DataFolders, local: &Local, cpus: Option<u32>, tuning: &Tuning) -> Outcome<Self> {
        let mut config = super::worker::config(home.local_worker(), None, cpus, tuning, Some(home.blobs()))?;
        config.data_folders = data.0;
        let stop = CancellationToken::new();
        let links = Links { calls: local.link(), contents: local.link() };
        let task = tokio::spawn(orchestrator_worker::run(config, links, stop.clone()));
        Ok(Self { task: tokio::sync::Mutex::new(task), stop })
    }

    /// Resolves only if the worker ends without having been told to: the reason.
    async fn ended(&self) -> Failure {
        match (&mut *self.task.lock().await).await {
            Ok(Ok(())) => Failure::request("the worker ended by itself"),
            Ok(Err(error)) => Failure::request(format!("the worker ended: {error}")),
            Err(error) => Failure::request(format!("the worker ended: {error}")),
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        let task = self.task.into_inner();
        if !task.is_finished()
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "the worker did not end cleanly");
        }
    }
}

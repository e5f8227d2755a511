//! `submit`: sends the text of a specification to the coordinator, and the files that its programs take along. What the
//! coordinator read is what runs.

use std::path::Path;

use experiment_spec::{catalog::Catalog, spec};
use orchestrator_proto::v1;

use super::run;
use crate::{
    beside::Beside,
    catalog,
    cli::{Global, PlanArgs, SubmitArgs},
    client::{Need, Session},
    exit::{Failure, Outcome},
    home::Home,
    output,
    progress::{self, Ending},
};

/// Largest specification, in bytes.
const MAX_SPEC_BYTES: u64 = 1 << 20;

/// Shows what a submission would do.
pub(super) async fn plan(global: &Global, args: PlanArgs) -> Outcome {
    let PlanArgs { spec, force } = args;
    submit(global, SubmitArgs { spec, dry_run: true, wait: false, force, priority: 0 }).await
}

/// Sends a submission; follows it when asked to.
pub(super) async fn submit(global: &Global, args: SubmitArgs) -> Outcome {
    let yaml = read_spec(&args.spec)?;
    let mut session = Session::connect(global, Need::Live).await?;
    let outcome = send(global, &args, yaml, &mut session).await;
    session.close().await;
    outcome
}

async fn send(global: &Global, args: &SubmitArgs, yaml: String, session: &mut Session) -> Outcome {
    let file_name = file_name(&args.spec);
    let request = v1::SubmitRequest {
        files: Beside::collect(&args.spec, &yaml, &catalog::registries())?,
        yaml,
        file_name: file_name.clone(),
        dry_run: args.dry_run,
        force: args.force,
        priority: args.priority,
        request_id: uuid::Uuid::new_v4().to_string(),
        client_version: catalog::program_version(),
        ..Default::default()
    };
    let answer = session.client.submit(request).await?.into_inner();
    refuse(&answer.problems, &file_name, global)?;
    tell_left_out(&answer, global);
    if args.dry_run {
        return show_plan(global, &answer);
    }
    if global.json && !args.wait {
        output::json(&answer)?;
    } else if !global.quiet {
        eprintln!(
            "submission {} ({}): {} runs, {} already scored, {} extractions",
            answer.submission_id, answer.name, answer.runs, answer.already_scored, answer.extractions
        );
        for sentence in answer.forecast.iter().flat_map(|forecast| &forecast.never_fits) {
            eprintln!("{}", output::printable(sentence));
        }
    }
    if !args.wait {
        return Ok(());
    }
    let id = answer.submission_id;
    tokio::select! {
        ending = progress::follow(&mut session.client, id, global) => {
            let ending = ending?;
            run::finish(&mut session.client, id, &Home::resolve(global.home.clone())?, global).await?;
            verdict(ending)
        }
        signal = progress::interrupted() => {
            signal?;
            Err(Failure::Interrupted(format!("no longer following; the submission goes on: `orchestrator status {id}`")))
        }
    }
}

/// Says which data sets a submission does without; with `--json` the answer itself does.
pub(super) fn tell_left_out(answer: &v1::SubmitResponse, global: &Global) {
    if !answer.left_out.is_empty() && !global.quiet && !global.json {
        let names = output::printable(&answer.left_out.join(", "));
        eprintln!("left out, not installed: {names}; `orchestrator data list` tells where they are looked for");
    }
}

fn show_plan(global: &Global, answer: &v1::SubmitResponse) -> Outcome {
    if global.json {
        return output::json(answer);
    }
    let rows = answer.steps.iter().map(|step| {
        let state = if step.already_scored { "already scored" } else { "to do" };
        let expected = if step.expected_known { output::span(step.expected_seconds) } else { String::new() };
        vec![
            step.kind.clone(),
            step.data_set.clone(),
            step.label.clone(),
            step.seed.to_string(),
            state.into(),
            expected,
        ]
    });
    output::table(&["step", "data set", "label", "seed", "state", "expected"], rows.collect())?;
    let to_do = answer.runs - answer.already_scored;
    let counts = format!(
        "{} runs, {} already scored, {to_do} to run; {} extractions",
        answer.runs, answer.already_scored, answer.extractions
    );
    output::lines(std::iter::once(counts).chain(answer.forecast.iter().flat_map(forecast)))
}

/// What the steps will take, in sentences.
fn forecast(forecast: &v1::Forecast) -> Vec<String> {
    let v1::Forecast { core_hours, gpu_hours, unknown, seconds_left, seconds_left_known, never_fits } = forecast;
    let mut told = vec![format!("{core_hours:.1} core hours, {gpu_hours:.1} GPU hours by like steps that ended")];
    if *unknown > 0 {
        told.push(format!("{unknown} steps are of kinds that were never seen to end: their time is not in this"));
    }
    if *seconds_left_known {
        let (span, at) = (output::span(*seconds_left), output::time_in(*seconds_left));
        told.push(format!("done in about {span} ({at}), after what is queued already, on the workers that are online"));
    }
    told.extend(never_fits.iter().map(|sentence| output::printable(sentence)));
    told
}

/// Text of a specification file.
pub(super) fn read_spec(path: &Path) -> Outcome<String> {
    let fail = |error: std::io::Error| Failure::request(format!("{}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_SPEC_BYTES {
        return Err(Failure::request(format!(
            "{}: {size} bytes; a specification has at most {MAX_SPEC_BYTES}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// The file's name without its folders, for messages and the record.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "specification".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Checks a specification here, before anything is opened or sent.
pub(super) fn check(yaml: &str, file_name: &str, catalog: &Catalog, files: &mut Beside, global: &Global) -> Outcome {
    let Err(problems) = spec::parse_with(yaml, catalog, files) else { return Ok(()) };
    let problems: Vec<v1::Problem> = problems
        .into_iter()
        .map(|p| v1::Problem { line: p.line, column: p.column, key_path: p.key_path, message: p.message })
        .collect();
    refuse(&problems, file_name, global)
}

/// Every mistake of a file, one a line; no failure when there is none.
pub(super) fn refuse(problems: &[v1::Problem], file_name: &str, global: &Global) -> Outcome {
    if problems.is_empty() {
        return Ok(());
    }
    if global.json {
        for problem in problems {
            output::json(problem)?;
        }
    }
    let line = |p: &v1::Problem| {
        format!(
            "{file_name}:{}:{}: {}{}{}",
            p.line,
            p.column,
            p.key_path,
            if p.key_path.is_empty() { "" } else { ": " },
            p.message
        )
    };
    let lines: Vec<String> = problems.iter().map(|p| output::printable(&line(p))).collect();
    let noun = if problems.len() == 1 { "mistake" } else { "mistakes" };
    Err(Failure::request(format!("{}\n{} {noun} in {file_name}; nothing was queued", lines.join("\n"), problems.len())))
}

/// The exit code of a followed submission.
pub(super) fn verdict(ending: Ending) -> Outcome {
    if ending.failed == 0 {
        return Ok(());
    }
    Err(Failure::RunFailed(format!(
        "{} of {} runs failed; `orchestrator runs --state failed` lists them, `orchestrator show RUN` tells why",
        ending.failed,
        ending.failed + ending.succeeded + ending.cancelled
    )))
}

//! `export`: the tables of a submission as files.

use crate::{
    cli::{ExportArgs, Global},
    client::{Need, Session},
    exit::Outcome,
    home::Home,
    output,
    report::{ALL_FORMATS, Report},
};

/// Writes the tables of a submission; says where.
pub(super) async fn export(global: &Global, args: ExportArgs) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let report = Report::fetch(&mut session.client, &args.submission).await;
    session.close().await;
    let mut report = report?;
    if let Some(figures) = &args.figures {
        report.hold_to(figures)?;
    }
    let folder = match args.out {
        Some(folder) => folder,
        None => Home::resolve(global.home.clone())?.report(report.folder_name()),
    };
    let formats = if args.format.is_empty() { ALL_FORMATS.to_vec() } else { args.format };
    let written = report.write(&folder, &formats)?;
    if global.json {
        return output::json(&serde_json::json!({ "submission": report.submission_id(), "files": written }));
    }
    output::lines(written.iter().map(|path| path.display().to_string()))
}

//! The same submissions on one machine that nothing happens to.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{daemon::Daemon, evidence, users::specs};
use crate::{
    cli::Global,
    client::{Need, Session},
    exit::{Failure, Outcome},
};

/// How long one submission may take.
const LIMIT: Duration = Duration::from_mins(10);

/// Runs each submission in a folder of its own, below this one; lines of `scores.csv` by submission.
pub(super) async fn scores(folder: &Path) -> Outcome<BTreeMap<String, Vec<String>>> {
    let home = folder.join("undisturbed");
    let mut daemon = Daemon::new("undisturbed".to_owned(), home.clone(), folder.join("undisturbed.log"));
    for (index, yaml) in specs().iter().enumerate() {
        let spec = folder.join(format!("undisturbed-{index}.yaml"));
        fs::write(&spec, yaml).map_err(|error| Failure::request(format!("{}: {error}", spec.display())))?;
        daemon.start(&["run".to_owned(), spec.display().to_string()])?;
        daemon.wait(LIMIT).await.map_err(|why| {
            Failure::request(format!("an undisturbed run did not succeed: {why}; {}", daemon.log_text().trim_end()))
        })?;
    }
    let global = Global {
        home: Some(home),
        data_folders: Vec::new(),
        coordinator: None,
        token_file: None,
        json: false,
        quiet: true,
    };
    let mut session = Session::connect(&global, Need::Records).await?;
    let read = read(&mut session).await;
    session.close().await;
    read
}

async fn read(session: &mut Session) -> Outcome<BTreeMap<String, Vec<String>>> {
    let mut scores = BTreeMap::new();
    for id in (1..).take(specs().len()) {
        let submission = evidence::read_submission(&mut session.client, id).await?;
        scores.insert(submission.name, submission.scores);
    }
    Ok(scores)
}

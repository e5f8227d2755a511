//! `backup`, `restore` and `gc`: looking after the state folder.

use std::{path::Path, time::Duration};

use orchestrator_coordinator::{Copied, Removed};

use crate::{
    cli::Global,
    exit::{Failure, Outcome},
    home::Home,
    output,
};

/// Copies the state folder to a new one; a coordinator may be at work in it.
pub(super) async fn backup(global: &Global, folder: &Path) -> Outcome {
    let home = Home::resolve(global.home.clone())?;
    let copied = orchestrator_coordinator::backup(home.root(), folder).await;
    tell(global, &copied.map_err(|error| Failure::request(error.to_string()))?, folder)
}

/// Makes the state folder from a copy.
pub(super) async fn restore(global: &Global, folder: &Path) -> Outcome {
    let home = Home::resolve(global.home.clone())?;
    let copied = orchestrator_coordinator::restore(folder, home.root()).await;
    tell(global, &copied.map_err(|error| Failure::request(error.to_string()))?, home.root())
}

/// Removes contents that nothing in the database names, from the state folder or from a mirror.
pub(super) async fn gc(global: &Global, mirror: Option<&str>, older_than: Duration, dry_run: bool) -> Outcome {
    let home = Home::resolve(global.home.clone())?;
    let removed = match mirror.map(super::mirror).transpose()? {
        None => orchestrator_coordinator::gc(home.root(), older_than, dry_run).await,
        Some(mirror) => orchestrator_coordinator::gc_mirror(home.root(), &mirror, older_than, dry_run).await,
    };
    let removed = removed.map_err(|error| Failure::request(error.to_string()))?;
    if global.json {
        return output::json(&removed);
    }
    let Removed { blobs, bytes, kept } = removed;
    let done = if dry_run { "would be removed" } else { "removed" };
    output::lines([format!("{blobs} contents of {bytes} bytes {done}, {kept} stay")])
}

fn tell(global: &Global, copied: &Copied, to: &Path) -> Outcome {
    if global.json {
        output::json(copied)?;
    } else if !global.quiet {
        let Copied { submissions, steps, blobs, bytes, .. } = copied;
        output::lines([format!(
            "{}: {submissions} submissions, {steps} runs and extractions, {blobs} contents of {bytes} bytes, all of them checked",
            to.display()
        )])?;
    }
    if copied.missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = copied.missing.iter().map(|missing| output::printable(missing)).collect();
    Err(Failure::RunFailed(format!(
        "{}\n{} contents that the database names were not copied, for the reasons above: an older backup may have them, and \
         `orchestrator submit --force` computes their runs again",
        lines.join("\n"),
        lines.len()
    )))
}

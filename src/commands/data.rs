//! `data`: data sets by name and content.

use crate::{
    catalog,
    cli::{DataCommand, Global},
    exit::Outcome,
    output,
};

/// Lists the data sets that this installation can read.
pub(super) fn data(global: &Global, command: &DataCommand) -> Outcome {
    let DataCommand::List = command;
    let catalog = catalog::build();
    if global.json {
        return catalog.data_sets.iter().try_for_each(output::json);
    }
    let rows = catalog.data_sets.iter().map(|d| {
        vec![
            d.key.clone(),
            d.classes.len().to_string(),
            format!("{} / {} / {}", d.train, d.validation, d.test),
            d.version.chars().take(12).collect(),
            d.description.clone(),
        ]
    });
    output::table(&["data set", "classes", "train / validation / test", "version", "what it is"], rows.collect())
}

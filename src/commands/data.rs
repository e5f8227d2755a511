//! `data`: data sets by name and content.

use experiment_spec::catalog::DataSetEntry;

use crate::{
    catalog,
    cli::{DataCommand, Global},
    exit::Outcome,
    home::Home,
    output,
};

/// Lists the data sets that this program knows: those that can be read here, then why the others cannot.
pub(super) fn data(global: &Global, command: &DataCommand) -> Outcome {
    let DataCommand::List = command;
    let folders = Home::resolve(global.home.clone())?.data_folders(&global.data_folders);
    let catalog = catalog::build(&folders);
    if global.json {
        catalog.data_sets.iter().try_for_each(output::json)?;
        return catalog.absent.iter().try_for_each(output::json);
    }
    let rows = catalog.data_sets.iter().flat_map(|set| set.splits.iter().map(move |split| (set, split)));
    let rows = rows.map(|(set, split)| {
        vec![
            split.name.shown(&set.key),
            set.classes.len().to_string(),
            format!("{} / {} / {}", split.train, split.validation, split.test),
            features(set),
            set.version.chars().take(12).collect(),
            set.description.clone(),
        ]
    });
    let header = ["data set", "classes", "train / validation / test", "features", "version", "what it is"];
    output::table(&header, rows.collect())?;
    output::lines(catalog.absent.iter().map(|set| format!("{}: not usable here: {}", set.key, set.reason)))
}

/// Dimensions of the features that a set comes with, or who makes them.
fn features(set: &DataSetEntry) -> String {
    set.dims.map_or_else(|| format!("by {}", set.default_encoder), |(image, text)| format!("{image} / {text}"))
}

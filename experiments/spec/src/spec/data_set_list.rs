//! The list `datasets`: which data sets, how their pairs are divided, and what to do without them.

use super::{
    keys,
    limits::MAX_DATA_SETS,
    problem::Problems,
    read::{Cursor, Fields},
    submission::DataSetChoice,
};
use crate::{
    catalog::{Catalog, DataSetEntry},
    run::SplitName,
};

/// What the list says.
#[derive(Debug, Default)]
pub(super) struct DataSets {
    /// Data sets in the order of the file.
    pub(super) chosen: Vec<DataSetChoice>,
    /// Those marked `if-present` that are not here; their encoder is not known.
    pub(super) left_out: Vec<DataSetChoice>,
    /// Whether every entry could be read.
    pub(super) whole: bool,
}

impl DataSets {
    /// The data sets as they are shown.
    pub(super) fn shown(&self) -> Vec<String> {
        self.chosen.iter().map(DataSetChoice::shown).collect()
    }

    /// Everything that an override may call them: as shown, or by the key that stands for all splits.
    pub(super) fn named(&self) -> Vec<String> {
        let all = self.chosen.iter().chain(&self.left_out);
        all.flat_map(|choice| [choice.data_set.clone(), choice.shown()]).collect()
    }
}

/// Reads the list and gives each data set its encoder: the one the file names, if it names a known one, else its own.
pub(super) fn read(fields: &Fields<'_>, encoder: Option<&str>, catalog: &Catalog, problems: &mut Problems) -> DataSets {
    let mut read = DataSets::default();
    let Some(list) = fields.require(problems, "datasets") else { return read };
    let Some(items) = list.list(problems, "a list of data sets", MAX_DATA_SETS) else { return read };
    read.whole = true;
    for item in &items {
        match entry(item, encoder, catalog, problems) {
            None => read.whole = false,
            Some((choice, _)) if read.chosen.iter().chain(&read.left_out).any(|c| c.shown() == choice.shown()) => {
                item.report(problems, "this data set stands in the list twice");
                read.whole = false;
            }
            Some((choice, true)) => read.chosen.push(choice),
            Some((choice, false)) => read.left_out.push(choice),
        }
    }
    if read.whole && read.chosen.is_empty() {
        let reasons = read.left_out.iter().filter_map(|choice| catalog.absent(&choice.data_set));
        let reasons: Vec<String> = reasons.map(|absent| format!("{}: {}", absent.key, absent.reason)).collect();
        list.report(problems, format!("none of these data sets is here: {}", reasons.join("; ")));
        read.whole = false;
    }
    read
}

/// One entry: a key alone, or a mapping; whether the data set is here.
fn entry(
    item: &Cursor<'_>,
    encoder: Option<&str>,
    catalog: &Catalog,
    problems: &mut Problems,
) -> Option<(DataSetChoice, bool)> {
    if !item.is_map() {
        return choose(item, item, SplitName::Official, false, encoder, catalog, problems);
    }
    let fields = item.fields(problems, "a data set: a key or a mapping")?;
    fields.refuse_unknown(problems, keys::DATA_SET);
    let split = fields.read_or("split", SplitName::Official, |cursor| split(cursor, problems));
    let if_present = fields.read_or("if-present", false, |cursor| cursor.boolean(problems));
    let key = fields.require(problems, "dataset")?;
    choose(item, key, split?, if_present?, encoder, catalog, problems)
}

fn split(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<SplitName> {
    let name = cursor.choice(problems, "a split:", &SplitName::ALL.map(SplitName::name))?;
    SplitName::ALL.into_iter().find(|split| split.name() == name)
}

/// The data set of that key with its encoder, or that it may be left out.
fn choose(
    item: &Cursor<'_>,
    key: &Cursor<'_>,
    split: SplitName,
    if_present: bool,
    encoder: Option<&str>,
    catalog: &Catalog,
    problems: &mut Problems,
) -> Option<(DataSetChoice, bool)> {
    let present = catalog.data_sets.iter().map(|entry| entry.key.as_str());
    let names = present.chain(catalog.absent.iter().map(|entry| entry.key.as_str()));
    let name = key.choice(problems, "a data set:", &names)?;
    if let Some(absent) = catalog.absent(name) {
        if !(if_present && absent.missing) {
            key.report(problems, &absent.reason);
            return None;
        }
        return Some((
            DataSetChoice { data_set: name.to_owned(), split, encoder: String::new(), trained: false },
            false,
        ));
    }
    let entry = catalog.data_set(name)?;
    if entry.split(split).is_none() {
        let known: Vec<&str> = entry.splits.iter().map(|split| split.name.name()).collect();
        let (known, split) = (known.join(", "), split.name());
        item.report(problems, format!("this data set has no split `{split}`; it has: {known}"));
        return None;
    }
    let encoder = encoder.unwrap_or(&entry.default_encoder);
    refuse_unreadable(item, entry, encoder, catalog, problems);
    let trained = catalog.encoder(encoder).is_some_and(|encoder| encoder.networks.is_some());
    Some((DataSetChoice { data_set: entry.key.clone(), split, encoder: encoder.to_owned(), trained }, true))
}

fn refuse_unreadable(
    item: &Cursor<'_>,
    entry: &DataSetEntry,
    encoder: &str,
    catalog: &Catalog,
    problems: &mut Problems,
) {
    if !entry.encoders.iter().any(|known| known == encoder) || catalog.encoder(encoder).is_none() {
        let known = entry.encoders.join(", ");
        item.report(problems, format!("the encoder `{encoder}` cannot read this data set; these can: {known}"));
    }
}

//! From the text of a file to a [`Submission`], or to everything that is wrong with it.

use super::{
    data_set_list, keys,
    limits::{DEFAULT_ENCODER_SEED, DEFAULT_RETRIES, MAX_ENCODER_EPOCHS, MAX_NAME, MAX_RETRIES, MAX_SEED, MAX_SEEDS},
    lines, node,
    problem::{Problem, Problems},
    read::{Cursor, Fields},
    resources, rows,
    submission::{DataSetChoice, Submission},
    table_list,
};
use crate::{
    catalog::Catalog,
    program::{Files, NoFiles},
    run::Resources,
};

/// Reads the text of a submission and checks it against what there is.
///
/// # Errors
/// Every mistake of the text, in its order (at most [`super::limits::MAX_PROBLEMS`], the rest counted): never an empty list.
pub fn parse(yaml: &str, catalog: &Catalog) -> Result<Submission, Vec<Problem>> {
    parse_with(yaml, catalog, &mut NoFiles)
}

/// As [`parse`], with the files that stand beside the submission: its programs take along those they name.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(yaml: &str, catalog: &Catalog, files: &mut dyn Files) -> Result<Submission, Vec<Problem>> {
    let mut problems = Problems::default();
    let submission =
        node::read(yaml, &mut problems).and_then(|root| read(&Cursor::root(&root), catalog, files, &mut problems));
    match submission {
        Some(submission) if problems.is_empty() => Ok(submission),
        _ => Err(problems.into_sorted()),
    }
}

/// Reads the mapping at the root. Every part is read before anything is given up.
fn read(root: &Cursor<'_>, catalog: &Catalog, files: &mut dyn Files, problems: &mut Problems) -> Option<Submission> {
    let fields = root.fields(problems, "a submission: a mapping with `name`, `datasets`, `seeds` and `methods`")?;
    fields.refuse_unknown(problems, keys::SUBMISSION);
    let name = fields.require(problems, "name").and_then(|cursor| name(cursor, problems));
    let encoder = fields.get("encoder").and_then(|cursor| encoder(cursor, catalog, problems));
    let data_sets = data_set_list::read(&fields, encoder, catalog, problems);
    let encoder_seeds = encoder_seeds(&fields, problems);
    let encoder_epochs = fields.get("encoder-epochs").map(|cursor| {
        let number = cursor.integer(problems, &(1..=i64::from(MAX_ENCODER_EPOCHS)));
        number.and_then(|number| u32::try_from(number).ok())
    });
    let seeds = fields.require(problems, "seeds").and_then(|cursor| seeds(cursor, problems));
    let resources = fields.read_or("resources", Resources::default(), |cursor| resources::read(cursor, problems));
    let retries = fields.read_or("retries", DEFAULT_RETRIES, |cursor| {
        cursor.integer(problems, &(0..=i64::from(MAX_RETRIES))).and_then(|number| u32::try_from(number).ok())
    });

    let defaults = fields.get("defaults").and_then(|cursor| cursor.fields(problems, "a mapping of parameters"));
    let methods = fields.require(problems, "methods")?;
    let lines = lines::read(methods, defaults.as_ref(), catalog, files, problems);
    let seed_count = seeds.as_ref().map_or(1, Vec::len) * encoder_seeds.as_ref().map_or(1, Vec::len);
    let rows = rows::expand(&lines, fields.get("overrides"), &data_sets, seed_count, methods, problems);
    let tables = match fields.get("tables") {
        Some(cursor) => table_list::read(cursor, &rows, problems),
        None => name.map(|name| table_list::default(name, &rows)),
    };
    if problems.is_empty() {
        rows::refuse_same_runs(&rows.drafts, &data_sets.shown(), problems);
    }
    Some(Submission {
        name: name?.to_owned(),
        left_out: data_sets.left_out.iter().map(DataSetChoice::shown).collect(),
        data_sets: data_sets.whole.then_some(data_sets.chosen)?,
        encoder_seeds: encoder_seeds?,
        encoder_epochs: encoder_epochs.map_or(Some(None), |epochs| epochs.map(Some))?,
        seeds: seeds?,
        rows: rows.drafts.into_iter().map(Into::into).collect(),
        resources: resources?,
        retries: retries?,
        tables: tables?,
    })
}

/// One seed of the encoders, or several as a factor of their own.
fn encoder_seeds(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<u64>> {
    match (fields.get("encoder-seed"), fields.get("encoder-seeds")) {
        (Some(_), Some(several)) => {
            several.report(problems, "`encoder-seed` is there too; give one of the two");
            None
        }
        (Some(one), None) => seed(one, problems).map(|seed| vec![seed]),
        (None, Some(several)) => seeds(several, problems),
        (None, None) => Some(vec![DEFAULT_ENCODER_SEED]),
    }
}

/// A name that can stand in a file name and cannot be taken for a number of a submission.
fn name<'n>(cursor: &Cursor<'n>, problems: &mut Problems) -> Option<&'n str> {
    let name = cursor.text(problems, "a name", MAX_NAME)?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !plain || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        cursor.expected(problems, "a name of letters, digits, `_`, `.` and `-`, with a letter or digit first");
        return None;
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        cursor.report(problems, "a name of digits alone would be taken for the number of a submission");
        return None;
    }
    Some(name)
}

/// The encoder named for all data sets; `None` when there is no such one.
fn encoder<'c>(cursor: &Cursor<'_>, catalog: &'c Catalog, problems: &mut Problems) -> Option<&'c str> {
    cursor.choice(problems, "an encoder:", &catalog.encoders.iter().map(|entry| entry.key.as_str()))
}

/// One seed.
fn seed(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<u64> {
    cursor.integer(problems, &(0..=MAX_SEED.cast_signed())).and_then(|number| u64::try_from(number).ok())
}

/// Seeds: a list, or a count n for 1, 2, ..., n.
fn seeds(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Vec<u64>> {
    if !cursor.is_list() {
        let what = format_args!("a list of seeds, or how many: a whole number from 1 to {MAX_SEEDS}");
        let count = cursor.integer_as(problems, &(1..=i64::from(MAX_SEEDS)), what)?;
        return Some((1..=u64::try_from(count).ok()?).collect());
    }
    let items = cursor.list(problems, "a list of seeds, or how many", MAX_SEEDS as usize)?;
    let mut seeds = Vec::with_capacity(items.len());
    for item in &items {
        let seed = seed(item, problems);
        if seed.is_some_and(|seed| seeds.contains(&seed)) {
            item.report(problems, "this seed stands in the list twice");
        }
        seeds.extend(seed);
    }
    (seeds.len() == items.len()).then_some(seeds)
}

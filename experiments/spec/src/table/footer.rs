//! The facts under a table: how its numbers came about.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cell, Fact, Row, RunRecord,
    plain::{clean, duration, ranges},
    record::encoder_factor,
};
use crate::{
    catalog::Catalog,
    run::RunSpec,
    scores::Normalisation,
    spec::{Spread, TableKind, TableSpec},
};

/// Parameter that names how the weights to score were chosen.
const SELECTION: &str = "selection";

/// Longest note of a fit that is printed, in characters.
const MOST_NOTE_CHARS: usize = 300;

/// Hexadecimal digits of a hash that people compare.
const HASH_DIGITS: usize = 12;

/// Facts of the records that a table shows.
pub(super) fn facts(
    records: &[&RunRecord],
    spec: &TableSpec,
    data_sets: &[String],
    rows: &[Row],
    catalog: &Catalog,
) -> Vec<Fact> {
    let fact = |name| move |value| Fact { name, value };
    let seeds: Vec<u64> = records.iter().map(|record| record.seed).collect();
    let encoders = encoder_factor(records.iter().copied());
    let one_data_set = if let [data_set] = data_sets { Some(data_set.clone()) } else { None };
    one_data_set
        .map(fact("Data set"))
        .into_iter()
        .chain([
            fact("Score")(score(spec, rows, encoders.len())),
            fact("Normalisation")(normalisation(spec.normalisation).to_owned()),
            fact("Selection")(selection(records)),
        ])
        .chain((!seeds.is_empty()).then(|| fact("Seeds")(ranges(&seeds))))
        .chain((encoders.len() > 1).then(|| fact("Encoder seeds")(ranges(&encoders))))
        .chain(features(records, catalog).into_iter().map(fact("Features")))
        .chain(kinds(records).into_iter().map(fact("Kind of scores")))
        .chain(codes(records).into_iter().map(fact("Code")))
        .chain(compute(records).map(fact("Compute")))
        .chain(departures(records, catalog).into_iter().map(fact("Departure")))
        .chain(notes(records).into_iter().map(fact("Note")))
        .collect()
}

fn score(spec: &TableSpec, rows: &[Row], encoder_seeds: usize) -> String {
    let most = rows.iter().flat_map(|row| &row.cells).map(Cell::n).max().unwrap_or(0);
    let deviation = match most {
        0 => "no score yet".to_owned(),
        1 => "one seed (n=1), so no deviation".to_owned(),
        n => format!(
            "mean ± sample standard deviation {}, n={n} where no other n is given",
            over(spec.spread, encoder_seeds)
        ),
    };
    let gallery = match spec.kind {
        TableKind::Ablation => "",
        TableKind::Main => "; an all-modal gallery holds the query itself, ranked first",
    };
    format!(
        "MAP over all returned results, no cut-off, every query of weight 1, cosine similarity, ties in the order \
         of the gallery{gallery}; averages from unrounded values; {deviation}"
    )
}

/// What the deviation of a cell is over, in words.
fn over(spread: Spread, encoder_seeds: usize) -> String {
    match spread {
        _ if encoder_seeds < 2 => "over seeds".to_owned(),
        Spread::Both => {
            format!("over the methods' seeds with {encoder_seeds} encoder seeds each, both spreads together")
        }
        Spread::MethodSeeds => format!("over the methods' seeds within one encoder seed, pooled over {encoder_seeds}"),
        Spread::EncoderSeeds => "over encoder seeds, of the means over the methods' seeds".to_owned(),
    }
}

fn normalisation(normalisation: Normalisation) -> &'static str {
    match normalisation {
        Normalisation::None => "none",
        Normalisation::Authors => "authors: z-scores with statistics of the test set (transductive)",
    }
}

/// One rule, or each rule with the labels it holds for.
fn selection(records: &[&RunRecord]) -> String {
    let mut rules: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for record in records {
        let Some(spec) = &record.spec else { continue };
        let rule = spec.parameters.get(SELECTION).map_or_else(|| left_to_the_run(spec), ToString::to_string);
        let labels = rules.entry(rule).or_default();
        if !labels.contains(&record.label.as_str()) {
            labels.push(&record.label);
        }
    }
    match rules.len() {
        0 => "not recorded".to_owned(),
        1 => rules.into_keys().collect(),
        _ => {
            let parts = rules.into_iter().map(|(rule, labels)| format!("{rule} ({})", labels.join(", ")));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Of a method without a selection rule: which parameters it chose on validation pairs.
fn left_to_the_run(spec: &RunSpec) -> String {
    let chosen: Vec<&str> =
        spec.parameters.iter().filter(|(_, value)| value.is_auto()).map(|(key, _)| key.as_str()).collect();
    if chosen.is_empty() {
        return "nothing to select".to_owned();
    }
    format!("{} chosen on validation pairs by the bi-modal average", chosen.join(", "))
}

fn features(records: &[&RunRecord], catalog: &Catalog) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for record in records {
        let spec = record.spec.as_ref().map(|spec| &spec.features);
        let (encoder, shown) =
            spec.map_or(("encoder", "encoder".to_owned()), |spec| (spec.encoder.as_str(), spec.shown_encoder()));
        if !seen.insert((&record.data_set, shown.clone(), record.encoder_seed, &record.features_hash)) {
            continue;
        }
        let hash: String = record.features_hash.chars().take(HASH_DIGITS).collect();
        let content = if hash.is_empty() { "not made yet".to_owned() } else { format!("content {hash}") };
        let trained = catalog.encoder(encoder).is_none_or(|encoder| encoder.networks.is_some());
        let made = if trained { format!("encoder seed {}", record.encoder_seed) } else { "nothing trained".to_owned() };
        out.push(format!("{} by {shown}, {made}, {content}", record.data_set));
    }
    out
}

fn kinds(records: &[&RunRecord]) -> BTreeSet<String> {
    records.iter().filter_map(|record| record.counted()).map(|scores| clean(&scores.kind, 200)).collect()
}

/// Each program that a score comes from, once.
fn codes(records: &[&RunRecord]) -> BTreeSet<String> {
    let counted = records.iter().filter(|record| record.counted().is_some());
    counted
        .flat_map(|record| {
            let told = record.codes.iter().map(|code| clean(&code.to_string(), 200));
            told.chain(record.codes.is_empty().then(|| "not recorded".to_owned()))
        })
        .collect()
}

fn compute(records: &[&RunRecord]) -> Option<String> {
    let scored: Vec<f64> = records.iter().filter(|record| record.counted().is_some()).map(|r| r.seconds).collect();
    let word = if scored.len() == 1 { "run" } else { "runs" };
    (!scored.is_empty()).then(|| format!("{} of work in {} scored {word}", duration(scored.iter().sum()), scored.len()))
}

fn departures(records: &[&RunRecord], catalog: &Catalog) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let methods = records.iter().map(|record| record.method.as_str()).filter(|method| seen.insert(*method));
    let entries = methods.filter_map(|method| catalog.method(method));
    entries.flat_map(|entry| entry.departures.iter().map(|text| format!("{}: {text}", entry.label))).collect()
}

/// What a reader has to know of the fits, each sentence once for a label; with the data sets that it holds for where it
/// does not hold for all that the label has scores on.
fn notes(records: &[&RunRecord]) -> Vec<String> {
    let mut data_sets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut sentences: Vec<((&str, String), BTreeSet<&str>)> = Vec::new();
    for (record, scores) in records.iter().filter_map(|record| Some((record, record.counted()?))) {
        data_sets.entry(&record.label).or_default().insert(&record.data_set);
        for note in &scores.notes {
            let key = (record.label.as_str(), clean(note, MOST_NOTE_CHARS));
            match sentences.iter_mut().find(|(known, _)| *known == key) {
                Some((_, on)) => _ = on.insert(&record.data_set),
                None => sentences.push((key, BTreeSet::from([record.data_set.as_str()]))),
            }
        }
    }
    let told = sentences.into_iter().map(|((label, note), on)| {
        if data_sets.get(label).is_some_and(|all| *all == on) {
            return format!("{label}: {note}");
        }
        format!("{label} on {}: {note}", on.into_iter().collect::<Vec<_>>().join(", "))
    });
    told.collect()
}

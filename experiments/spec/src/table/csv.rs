//! Long forms: one line a number. The same records give the same bytes.

use std::collections::BTreeMap;

use super::{Measure, RunRecord, Summary, record::encoder_factor};
use crate::scores::Normalisation;

/// `submission,dataset,method,label,seed,task,normalisation,map`: every score, in the order of the
/// records, then of [`Measure::ALL`], then of [`Normalisation::ALL`]. Averages are made from the
/// unrounded scores. Numbers read back to the same bits; what has no score has no line. Where encoders have several
/// seeds a column `encoder_seed` follows.
#[must_use]
pub fn scores_csv(records: &[RunRecord]) -> String {
    let mut header = vec!["submission", "dataset", "method", "label", "seed", "task", "normalisation", "map"];
    let several = !encoder_factor(records.iter()).is_empty();
    header.extend(several.then_some("encoder_seed"));
    let mut lines = Lines::new(&header);
    for record in records {
        let Some(scores) = record.counted() else { continue };
        for measure in Measure::ALL {
            for normalisation in Normalisation::ALL {
                let Ok(map) = measure.value(scores, normalisation) else { continue };
                let (seed, map, encoder) = (record.seed.to_string(), map.to_string(), record.encoder_seed.to_string());
                let mut line = vec![
                    record.submission.as_str(),
                    &record.data_set,
                    &record.method,
                    &record.label,
                    &seed,
                    measure.name(),
                    normalisation.name(),
                    &map,
                ];
                line.extend(several.then_some(encoder.as_str()));
                lines.add(&line);
            }
        }
    }
    lines.text()
}

/// `submission,dataset,method,label,task,n,mean,std`: one line for each cell and measure under
/// normalisation `none`, cells in the order of their first record. `mean` is empty when no seed has
/// a score, `std` when fewer than two have.
#[must_use]
pub fn cells_csv(records: &[RunRecord]) -> String {
    let mut lines = Lines::new(&["submission", "dataset", "method", "label", "task", "n", "mean", "std"]);
    let mut index = BTreeMap::new();
    let mut cells: Vec<Vec<&RunRecord>> = Vec::new();
    for record in records {
        let cell = (&record.submission, &record.data_set, &record.method, &record.label);
        let at = *index.entry(cell).or_insert(cells.len());
        if at == cells.len() {
            cells.push(Vec::new());
        }
        cells[at].push(record);
    }
    for cell in cells {
        for measure in Measure::ALL {
            let value = |record: &&RunRecord| measure.value(record.counted()?, Normalisation::None).ok();
            let values: Vec<f64> = cell.iter().filter_map(value).collect();
            let summary = Summary::of(&values);
            let text = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
            lines.add(&[
                &cell[0].submission,
                &cell[0].data_set,
                &cell[0].method,
                &cell[0].label,
                measure.name(),
                &values.len().to_string(),
                &text(summary.map(|summary| summary.mean)),
                &text(summary.and_then(|summary| summary.std)),
            ]);
        }
    }
    lines.text()
}

/// CSV in memory: quoted only where needed, lines ended by a line feed on every platform.
struct Lines(csv::Writer<Vec<u8>>);

impl Lines {
    fn new(header: &[&str]) -> Self {
        let mut lines = Self(csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new()));
        lines.add(header);
        lines
    }

    fn add(&mut self, fields: &[&str]) {
        self.0.write_record(fields).expect("lines of equal length go into memory");
    }

    fn text(self) -> String {
        let bytes = self.0.into_inner().expect("memory takes every write");
        String::from_utf8(bytes).expect("every field was a string")
    }
}

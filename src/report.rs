//! The report of a submission: its tables and long forms, on the screen and as files.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use experiment_spec::{
    spec::TableSpec,
    table::{self, ReferenceFigure, RunRecord, Table},
};
use orchestrator_proto::{fail_point, records};

use crate::{
    catalog,
    cli::Format,
    client::Client,
    exit::{Failure, Outcome},
    output,
};

/// Everything that `export` can write.
pub(crate) const ALL_FORMATS: [Format; 5] =
    [Format::Latex, Format::Markdown, Format::Csv, Format::Json, Format::Results];

/// Attribution of the embedded graphics (NOTICE); stands in every report that used them.
const EMOJI_ATTRIBUTION: &str = "emoji: graphics by Twemoji, Copyright 2020 Twitter, Inc and other contributors, CC BY 4.0 \
     (https://creativecommons.org/licenses/by/4.0/), composited on white and scaled down; names by the crate emojis.";

/// Records of a submission with the tables made of them.
#[derive(Debug)]
pub(crate) struct Report {
    id: i64,
    name: String,
    records: Vec<RunRecord>,
    tables: Vec<Table>,
    /// Figures from elsewhere, with the name of their file.
    figures: Option<(String, Vec<ReferenceFigure>)>,
}

/// Largest file of figures, in bytes.
const MAX_FIGURES_BYTES: u64 = 1 << 20;

impl Report {
    /// Fetches the records of a submission (id or name) and assembles its tables.
    pub(crate) async fn fetch(client: &mut Client, submission: &str) -> Outcome<Self> {
        let answer = records::fetch(client, submission).await?;
        let unreadable =
            |error: String| Failure::request(format!("the records of submission {submission} cannot be read: {error}"));
        let records = records::records(&answer).map_err(|error| unreadable(error.to_string()))?;
        let specs: Vec<TableSpec> =
            serde_json::from_str(&answer.tables_json).map_err(|error| unreadable(error.to_string()))?;
        let mut data_sets: Vec<String> = Vec::new();
        for record in &records {
            if !data_sets.contains(&record.data_set) {
                data_sets.push(record.data_set.clone());
            }
        }
        let catalog = catalog::registries();
        let tables = specs.iter().map(|spec| table::assemble(&records, spec, &data_sets, &catalog)).collect();
        Ok(Self { id: answer.submission_id, name: answer.name, records, tables, figures: None })
    }

    /// Sets figures from elsewhere beside those of the submission.
    pub(crate) fn hold_to(&mut self, path: &Path) -> Outcome {
        let wrong = |why: String| Failure::request(format!("{}: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > MAX_FIGURES_BYTES {
            return Err(wrong(format!("{size} bytes; a file of figures has at most {MAX_FIGURES_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let figures = table::reference_figures(&text).map_err(wrong)?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.figures = Some((name, figures));
        Ok(())
    }

    pub(crate) fn submission_id(&self) -> i64 {
        self.id
    }

    /// The submission's name; the parser allows only names that are safe as a folder's.
    pub(crate) fn folder_name(&self) -> &str {
        &self.name
    }

    /// The tables for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text: Vec<String> = self.tables.iter().map(table::text).collect();
        text.extend(self.attribution().map(str::to_owned));
        text.join("\n")
    }

    /// The tables as one JSON document.
    pub(crate) fn print_json(&self) -> Outcome {
        output::lines([table::json(&self.tables)])
    }

    fn attribution(&self) -> Option<&'static str> {
        self.records.iter().any(|record| record.data_set == "emoji").then_some(EMOJI_ATTRIBUTION)
    }

    /// Writes the asked-for formats into a folder; each file is whole or absent.
    pub(crate) fn write(&self, folder: &Path, formats: &[Format]) -> Outcome<Vec<PathBuf>> {
        let place = |error: std::io::Error| {
            Failure::request(format!("{}: {error}; choose another folder with --out", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(place)?;
        let mut written = Vec::new();
        for (name, text) in formats.iter().flat_map(|format| self.files(*format)) {
            let path = folder.join(name);
            fail_point::passes("export-before-write");
            write_whole(&path, &text).map_err(place)?;
            written.push(path);
        }
        Ok(written)
    }

    fn files(&self, format: Format) -> Vec<(&'static str, String)> {
        let note = |before: &str| self.attribution().map(|text| format!("{before}{text}\n")).unwrap_or_default();
        let joined = |render: fn(&Table) -> String| self.tables.iter().map(render).collect::<Vec<_>>().join("\n");
        match format {
            Format::Latex => vec![("tables.tex", joined(table::latex) + &note("\n% "))],
            Format::Markdown => vec![("tables.md", joined(table::markdown) + &note("\n"))],
            Format::Csv => {
                vec![("scores.csv", table::scores_csv(&self.records)), ("cells.csv", table::cells_csv(&self.records))]
            }
            Format::Json => vec![("tables.json", table::json(&self.tables))],
            Format::Results => {
                let figures = self.figures.as_ref().map(|(name, figures)| (name.as_str(), figures.as_slice()));
                let results = table::results(&self.name, &self.records, &self.tables, figures);
                vec![("RESULTS.md", results + &note("\n"))]
            }
        }
    }
}

/// Writes beside, syncs, renames: a reader never sees half a file, and a kill leaves the one before.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

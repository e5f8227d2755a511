//! The results of a submission as one Markdown document: its tables, which of the paper's orders hold, what it cost.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Measure, RunRecord, Summary, Table,
    figures::{ReferenceFigure, differences},
    markdown::{escape, markdown},
    orders::{Claim, Orders, Verdict, orders},
    plain::duration,
};
use crate::scores::Average;

/// Fact of a run that holds the most memory of its fit.
const PEAK_MEMORY: &str = "fit-peak-memory-bytes";
/// The same of a program of a user's own, whose memory is not that of the process which scores it.
const PROGRAM_PEAK_MEMORY: &str = "program-peak-memory-bytes";

/// Makes the document from the records of a submission and the tables made of them, held to figures from elsewhere
/// where there are some (with the name of their file). The same records give the same bytes.
#[must_use]
pub fn results(
    submission: &str,
    records: &[RunRecord],
    tables: &[Table],
    figures: Option<(&str, &[ReferenceFigure])>,
) -> String {
    let held_to = figures.map(|(source, _)| format!(" --figures {source}")).unwrap_or_default();
    let mut text = format!(
        "# Results of `{}`\n\nMade by `orchestrator export {submission} --format results{held_to}`; not written by hand.\n",
        escape(submission),
    );
    for table in tables {
        let _ = write!(text, "\n{}", markdown(table).replacen("### ", "## ", 1));
    }
    if let Some((source, figures)) = figures {
        text += &differences(records, figures, source);
    }
    text += &paper(records);
    text += &cost(records);
    text
}

/// Data sets in the order of the records.
fn data_sets(records: &[RunRecord]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for record in records {
        if !all.contains(&record.data_set.as_str()) {
            all.push(&record.data_set);
        }
    }
    all
}

fn paper(records: &[RunRecord]) -> String {
    let mut text = String::from(
        "\n## The paper's orders\n\nFor every two rows that the paper prints figures for: whether ours stand the same \
         way round. A difference within two standard errors over seeds (encoder seeds, where there are several) tells \
         neither, nor does a single seed. The levels are not compared: the features are not the paper's.\n",
    );
    let mut some = false;
    for data_set in data_sets(records) {
        for average in [Average::BiModal, Average::AllModal] {
            let orders = orders(records, data_set, Measure::Average(average));
            if !orders.claims.is_empty() {
                some = true;
                text += &order(&orders);
            }
        }
    }
    if !some {
        text += "\nNo two scored rows are rows of the paper.\n";
    }
    text
}

fn order(orders: &Orders) -> String {
    let names: Vec<&str> = orders.claimed_on.iter().map(|set| set.name()).collect();
    let source = if names.len() == 1 {
        format!("as printed for {}", names[0])
    } else {
        format!("on which {} agree", names.join(", ").replace(", Wikipedia", " and Wikipedia"))
    };
    let count = |verdict| orders.count(verdict);
    let mut text = format!(
        "\n### {}, {}\n\nOf {} orders {source}, {} hold here, {} are reversed, {} cannot be told.\n",
        escape(&orders.data_set),
        orders.measure.name(),
        orders.claims.len(),
        count(Verdict::Holds),
        count(Verdict::Reversed),
        count(Verdict::NotTold),
    );
    for (verdict, heading) in [(Verdict::Reversed, "Reversed"), (Verdict::NotTold, "Not told")] {
        let list: Vec<String> = orders.claims.iter().filter(|claim| claim.verdict == verdict).map(claim_text).collect();
        if !list.is_empty() {
            let _ = write!(text, "\n{heading}: {}.\n", list.join("; "));
        }
    }
    text
}

fn claim_text(claim: &Claim) -> String {
    let (better, worse) = (escape(&claim.better), escape(&claim.worse));
    match claim.verdict {
        Verdict::Reversed => format!("{worse} is above {better} by {:.3}", -claim.difference),
        _ => format!("{better} and {worse} ({:+.3})", claim.difference),
    }
}

/// Work and memory of the fits of each row.
fn cost(records: &[RunRecord]) -> String {
    let mut rows: BTreeMap<(&str, &str), (Vec<f64>, f64)> = BTreeMap::new();
    let mut order: Vec<(&str, &str)> = Vec::new();
    for record in records {
        let Some(scores) = record.counted() else { continue };
        let key = (record.data_set.as_str(), record.label.as_str());
        let row = rows.entry(key).or_insert_with(|| {
            order.push(key);
            (Vec::new(), 0.0)
        });
        row.0.push(record.seconds);
        let of_program = record.spec.as_ref().is_some_and(|spec| spec.program.is_some());
        let fact = if of_program { PROGRAM_PEAK_MEMORY } else { PEAK_MEMORY };
        row.1 = row.1.max(scores.facts.get(fact).copied().unwrap_or(0.0));
    }
    if order.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Cost\n\nWork of a run with all its attempts, mean over seeds, and the most memory of a fit.\n\n\
         | data set | method | n | work of a run | memory of a fit |\n| :--- | :--- | ---: | ---: | ---: |\n",
    );
    for key in order {
        let (seconds, memory) = &rows[&key];
        let mean = Summary::of(seconds).map_or(0.0, |summary| summary.mean);
        let memory = if *memory > 0.0 { format!("{:.0} MiB", memory / 1_048_576.0) } else { "-".to_owned() };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {memory} |",
            escape(key.0),
            escape(key.1),
            seconds.len(),
            duration(mean)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::PaperSet;

    #[test]
    fn words_say_which_way_round() {
        let claim = |verdict, difference| Claim { better: "A_1".into(), worse: "B".into(), verdict, difference };
        assert_eq!(claim_text(&claim(Verdict::Reversed, -0.0125)), "B is above A\\_1 by 0.013");
        assert_eq!(claim_text(&claim(Verdict::NotTold, 0.002)), "A\\_1 and B (+0.002)");
        let orders = Orders {
            data_set: "emoji".into(),
            measure: Measure::Average(Average::BiModal),
            claimed_on: PaperSet::ALL.to_vec(),
            claims: vec![claim(Verdict::Holds, 0.5), claim(Verdict::Reversed, -0.5)],
        };
        let text = order(&orders);
        let wanted = "Of 2 orders on which XMediaNet, Pascal Sentence and Wikipedia agree, 1 hold here, 1 are reversed, \
                      0 cannot be told.";
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("Not told"), "{text}");
    }
}

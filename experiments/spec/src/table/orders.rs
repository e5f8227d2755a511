//! Which of the paper's orders hold in the records: for every two methods that the paper ranks, whether ours stand
//! the same way round.

use std::collections::BTreeMap;

use super::{Measure, RunRecord, Summary};
use crate::{
    published::{PaperSet, figure},
    scores::Normalisation,
    spec::Spread,
};

/// Standard errors that a difference must exceed to count as one (about one chance in twenty by accident).
const STANDARD_ERRORS: f64 = 2.0;

/// What the paper says of two methods: the first is the better one.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Label of the better method.
    pub better: String,
    /// Label of the other one.
    pub worse: String,
    /// What the records say of it.
    pub verdict: Verdict,
    /// Mean of the better method less that of the other, in the records.
    pub difference: f64,
}

/// What records say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same way round.
    Holds,
    /// The other way round.
    Reversed,
    /// The difference is within the spread over seeds, or there is but one seed.
    NotTold,
}

/// The claims of the paper about one data set and measure, with what the records say.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    /// Key of our data set.
    pub data_set: String,
    /// What is compared.
    pub measure: Measure,
    /// Whose printed figures the claims are from: one data set, or all three where ours is none of them.
    pub claimed_on: Vec<PaperSet>,
    /// Every claim about two methods that both have scores, in the order of the paper's figures.
    pub claims: Vec<Claim>,
}

impl Orders {
    /// How many claims have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.claims.iter().filter(|claim| claim.verdict == verdict).count()
    }
}

/// Compares the scored rows of a data set with what the paper prints: with its own figures where ours is a form of one
/// of the paper's data sets, else with what all three of its data sets agree on. Normalisation `none`.
#[must_use]
pub fn orders(records: &[RunRecord], data_set: &str, measure: Measure) -> Orders {
    let claimed_on = PaperSet::behind(data_set).map_or(PaperSet::ALL.to_vec(), |set| vec![set]);
    // By encoder seed: scores on the same features are no independent witnesses.
    let mut values: BTreeMap<&str, BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
    let mut labels: Vec<&str> = Vec::new();
    for record in records.iter().filter(|record| record.data_set == data_set) {
        let Some(scores) = record.counted() else { continue };
        let Ok(value) = measure.value(scores, Normalisation::None) else { continue };
        if claimed_on.iter().any(|set| figure(*set, &record.label, measure).is_none()) {
            continue;
        }
        if !labels.contains(&record.label.as_str()) {
            labels.push(&record.label);
        }
        values.entry(&record.label).or_default().entry(record.encoder_seed).or_default().push(value);
    }
    let summary = |label: &str| {
        let groups: Vec<Vec<f64>> = values[label].values().cloned().collect();
        Summary::of_groups(&groups, Spread::EncoderSeeds)
    };
    let printed = |set: PaperSet, label: &str| figure(set, label, measure).unwrap_or_default();
    labels.sort_by(|a, b| printed(claimed_on[0], b).total_cmp(&printed(claimed_on[0], a)));
    let mut claims = Vec::new();
    for (place, better) in labels.iter().enumerate() {
        for worse in &labels[place + 1..] {
            let agreed = claimed_on.iter().all(|set| printed(*set, better) > printed(*set, worse));
            let both = summary(better).zip(summary(worse));
            if let (true, Some((high, low))) = (agreed, both) {
                let (better, worse) = ((*better).to_owned(), (*worse).to_owned());
                claims.push(Claim { better, worse, verdict: verdict(high, low), difference: high.mean - low.mean });
            }
        }
    }
    Orders { data_set: data_set.to_owned(), measure, claimed_on, claims }
}

/// By the means, where they differ by more than their standard errors allow; a single seed has none to tell by.
#[allow(clippy::cast_precision_loss, reason = "counts of runs")]
fn verdict(high: Summary, low: Summary) -> Verdict {
    let (Some(of_high), Some(of_low)) = (high.std, low.std) else { return Verdict::NotTold };
    let error = (of_high * of_high / high.n as f64 + of_low * of_low / low.n as f64).sqrt();
    let difference = high.mean - low.mean;
    if difference.abs() <= STANDARD_ERRORS * error {
        Verdict::NotTold
    } else if difference > 0.0 {
        Verdict::Holds
    } else {
        Verdict::Reversed
    }
}

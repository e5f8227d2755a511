//! The figures printed in the paper, as printed (spec part F).

use std::{collections::BTreeMap, sync::OnceLock};

use crate::{scores::Average, table::Measure};

/// `table,dataset,method,task,map`, 270 lines.
const PRINTED: &str = include_str!("published.csv");

/// A data set of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PaperSet {
    /// `XMediaNet`, its image and text part.
    XMediaNet,
    /// Pascal Sentence.
    PascalSentence,
    /// Wikipedia.
    Wikipedia,
}

impl PaperSet {
    /// Every data set, in the order of the paper's tables.
    pub const ALL: [Self; 3] = [Self::XMediaNet, Self::PascalSentence, Self::Wikipedia];

    /// Name as printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XMediaNet => "XMediaNet",
            Self::PascalSentence => "Pascal Sentence",
            Self::Wikipedia => "Wikipedia",
        }
    }

    /// The paper's data set that one of ours is a form of, though with other features: `wikipedia-cnn` and
    /// `wikipedia:paper` of Wikipedia.
    #[must_use]
    pub fn behind(data_set: &str) -> Option<Self> {
        let data_set = data_set.split_once(':').map_or(data_set, |(key, _)| key);
        let family = |name: &str| data_set == name || data_set.strip_prefix(name).is_some_and(|it| it.starts_with('-'));
        [("xmedianet", Self::XMediaNet), ("pascal-sentence", Self::PascalSentence), ("wikipedia", Self::Wikipedia)]
            .into_iter()
            .find_map(|(name, set)| family(name).then_some(set))
    }
}

/// Figures by data set and measure name, then by method, as printed.
type Figures = BTreeMap<(PaperSet, &'static str), BTreeMap<&'static str, f64>>;

/// The printed MAP of a method's label, or nothing where the paper has none.
#[must_use]
pub fn figure(set: PaperSet, label: &str, measure: Measure) -> Option<f64> {
    figures().get(&(set, measure.name()))?.get(label).copied()
}

/// Labels that the paper prints figures for in its main tables, best bi-modal average of Wikipedia first.
#[must_use]
pub fn main_labels() -> Vec<&'static str> {
    let all_modal = figures().get(&(PaperSet::Wikipedia, Measure::Average(Average::AllModal).name()));
    let bi_modal = figures().get(&(PaperSet::Wikipedia, Measure::Average(Average::BiModal).name()));
    let (Some(main), Some(worth)) = (all_modal, bi_modal) else { return Vec::new() };
    let mut labels: Vec<&str> = main.keys().copied().collect();
    labels.sort_by(|a, b| worth[b].total_cmp(&worth[a]));
    labels
}

fn figures() -> &'static Figures {
    static FIGURES: OnceLock<Figures> = OnceLock::new();
    FIGURES.get_or_init(|| {
        let mut figures = Figures::new();
        for line in PRINTED.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [_, set, method, task, map] = fields[..] else { unreachable!("a line of the embedded file: {line}") };
            let set =
                PaperSet::ALL.into_iter().find(|it| it.name() == set).expect("the embedded file names three sets");
            // The main row of a data set is repeated in its ablation tables, figure for figure.
            let map = map.parse().expect("the embedded file holds figures");
            figures.entry((set, task)).or_default().insert(method, map);
        }
        figures
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_figures_are_the_papers() {
        assert_eq!(PRINTED.lines().count(), 271);
        let bi_modal = Measure::Average(Average::BiModal);
        assert_eq!(figure(PaperSet::Wikipedia, "CM-GANs", bi_modal), Some(0.494));
        assert_eq!(figure(PaperSet::PascalSentence, "CM-GANs without ws&sc", bi_modal), Some(0.560));
        assert_eq!(figure(PaperSet::XMediaNet, "CFA", Measure::Average(Average::AllModal)), Some(0.263));
        assert_eq!(figure(PaperSet::XMediaNet, "CM-GANs-CAE", Measure::Average(Average::AllModal)), None);
        assert_eq!(figure(PaperSet::XMediaNet, "no such method", bi_modal), None);
        let labels = main_labels();
        assert_eq!((labels.len(), labels[0], labels[10]), (11, "CM-GANs", "CCA"));
        // A line that is repeated in another table says the same.
        let mut seen = BTreeMap::new();
        for line in PRINTED.lines().skip(1) {
            let (_, rest) = line.split_once(',').unwrap();
            let (key, map) = rest.rsplit_once(',').unwrap();
            assert_eq!(*seen.entry(key).or_insert(map), map, "{key}");
        }
    }

    #[test]
    fn forms_of_a_data_set_belong_to_it() {
        assert_eq!(PaperSet::behind("wikipedia-cnn"), Some(PaperSet::Wikipedia));
        assert_eq!(PaperSet::behind("wikipedia:paper"), Some(PaperSet::Wikipedia));
        assert_eq!(PaperSet::behind("pascal-sentence"), Some(PaperSet::PascalSentence));
        assert_eq!((PaperSet::behind("emoji"), PaperSet::behind("wikipedians")), (None, None));
    }
}

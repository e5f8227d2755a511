//! What a run yields: one score for each retrieval task and normalisation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::Parameters;

/// Retrieval task (spec D.2). The all-modal gallery holds the query itself, or leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Test images rank test texts.
    ImageToText,
    /// Test texts rank test images.
    TextToImage,
    /// Test images rank all test items, themselves included (first).
    ImageToAll,
    /// Test texts rank all test items, themselves included (first).
    TextToAll,
    /// Test images rank all other test items.
    ImageToAllSelfOut,
    /// Test texts rank all other test items.
    TextToAllSelfOut,
}

impl Task {
    /// Every task, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::ImageToText,
        Self::TextToImage,
        Self::ImageToAll,
        Self::TextToAll,
        Self::ImageToAllSelfOut,
        Self::TextToAllSelfOut,
    ];

    /// Name as in the published tables and in `scores.csv`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageToText => "image->text",
            Self::TextToImage => "text->image",
            Self::ImageToAll => "image->all",
            Self::TextToAll => "text->all",
            Self::ImageToAllSelfOut => "image->all (self out)",
            Self::TextToAllSelfOut => "text->all (self out)",
        }
    }

    /// The task of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }
}

/// Average of two tasks, always made from unrounded values, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Average {
    /// Of image->text and text->image.
    BiModal,
    /// Of image->all and text->all.
    AllModal,
    /// The same with the query left out of the gallery.
    AllModalSelfOut,
}

impl Average {
    /// Every average, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::BiModal, Self::AllModal, Self::AllModalSelfOut];

    /// Name as in the published tables and in `scores.csv`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BiModal => "bi-modal average",
            Self::AllModal => "all-modal average",
            Self::AllModalSelfOut => "all-modal average (self out)",
        }
    }

    /// The two tasks it averages.
    #[must_use]
    pub fn tasks(self) -> [Task; 2] {
        match self {
            Self::BiModal => [Task::ImageToText, Task::TextToImage],
            Self::AllModal => [Task::ImageToAll, Task::TextToAll],
            Self::AllModalSelfOut => [Task::ImageToAllSelfOut, Task::TextToAllSelfOut],
        }
    }
}

/// Normalisation of the embeddings before the cosine (spec D.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// None: the stated protocol.
    #[default]
    None,
    /// The authors' z-scoring with statistics of the test set (transductive).
    Authors,
}

impl Normalisation {
    /// Both, in the order they are stored.
    pub const ALL: [Self; 2] = [Self::None, Self::Authors];

    /// Kebab-case name, as stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Authors => "authors",
        }
    }

    /// The normalisation of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|normalisation| normalisation.name() == name)
    }
}

/// Score of one task under one normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Which task.
    pub task: Task,
    /// Which normalisation.
    pub normalisation: Normalisation,
    /// Mean average precision over all returned results, every query weight 1; in 0..=1.
    pub map: f64,
    /// Mean average precision over the queries of each class, index = label; empty classes are `None`.
    pub per_category: Vec<Option<f64>>,
    /// Interpolated precision at recall 0.01, 0.02, ..., 1.00, averaged over queries.
    pub precision_recall: Vec<f64>,
    /// Share of neighbours in the ranking that are tied; a method above 0.5 has failed.
    pub tied_share: f64,
}

/// The scores of a run and what they hold for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// One for each task and normalisation.
    pub scores: Vec<Score>,
    /// Backend, SIMD level or device model, and program version: scores of one kind repeat to the bit.
    pub kind: String,
    /// Iteration whose weights were scored (0 for closed forms).
    pub selected_iteration: u64,
    /// Facts worth keeping beside the scores (accuracy of heads, counts, seconds), by name.
    pub facts: BTreeMap<String, f64>,
    /// What was chosen on validation, and from what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// What a reader has to know of the fit, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Scores {
    /// Average of the two tasks under a normalisation; `None` unless both were scored.
    #[must_use]
    pub fn average(&self, average: Average, normalisation: Normalisation) -> Option<f64> {
        let of = |task| self.scores.iter().find(|score| score.task == task && score.normalisation == normalisation);
        let [first, second] = average.tasks().map(of);
        Some(f64::midpoint(first?.map, second?.map))
    }
}

/// Parameters that were left to the run (`auto`), chosen by the bi-modal average on validation pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tuning {
    /// Every candidate in the order it was tried.
    pub candidates: Vec<Candidate>,
    /// Index of the one chosen: the highest, the first of equals.
    pub chosen: usize,
    /// Pairs it was chosen on.
    pub validation_pairs: usize,
    /// Whether these were carved off the training pairs, because the split has none of its own.
    pub carved: bool,
}

/// One candidate of a [`Tuning`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// The parameters that were left to the run, with the values tried.
    pub parameters: Parameters,
    /// Bi-modal average on the validation pairs, or why there is none.
    pub validation_map: Result<f64, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_agree_between_text_and_json() {
        for task in Task::ALL {
            assert_eq!(Task::from_name(task.name()), Some(task));
            assert_eq!(serde_json::from_str::<Task>(&serde_json::to_string(&task).unwrap()).unwrap(), task);
        }
        for normalisation in Normalisation::ALL {
            assert_eq!(Normalisation::from_name(normalisation.name()), Some(normalisation));
            assert_eq!(serde_json::to_string(&normalisation).unwrap(), format!("\"{}\"", normalisation.name()));
        }
        assert_eq!(Task::from_name("image->image"), None);
    }

    #[test]
    fn the_averages_take_every_task_once() {
        assert_eq!(Average::ALL.map(Average::tasks).concat(), Task::ALL);
    }
}

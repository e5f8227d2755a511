//! What a column measures: the MAP of a task, or the average of two.

use crate::scores::{Average, Normalisation, Scores, Task};

/// One column of a table, one value of the `task` column of the CSV files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// MAP of one task.
    Task(Task),
    /// Mean of the unrounded MAPs of two tasks.
    Average(Average),
}

impl Measure {
    /// Every measure, in the order of `published.csv`; the self-out tasks follow.
    pub const ALL: [Self; 9] = [
        Self::Task(Task::ImageToText),
        Self::Task(Task::TextToImage),
        Self::Average(Average::BiModal),
        Self::Task(Task::ImageToAll),
        Self::Task(Task::TextToAll),
        Self::Average(Average::AllModal),
        Self::Task(Task::ImageToAllSelfOut),
        Self::Task(Task::TextToAllSelfOut),
        Self::Average(Average::AllModalSelfOut),
    ];

    /// Name as in `published.csv` and `scores.csv`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Task(task) => task.name(),
            Self::Average(average) => average.name(),
        }
    }

    /// Its value in 0..=1, or the first task that has no usable score: an average of one is none.
    ///
    /// # Errors
    /// The task whose score is absent or not a finite number.
    pub fn value(self, scores: &Scores, normalisation: Normalisation) -> Result<f64, Task> {
        let map = |task: Task| {
            let score = scores.scores.iter().find(|score| score.task == task && score.normalisation == normalisation);
            score.map(|score| score.map).filter(|map| map.is_finite()).ok_or(task)
        };
        match self {
            Self::Task(task) => map(task),
            Self::Average(average) => {
                let [first, second] = average.tasks();
                Ok(f64::midpoint(map(first)?, map(second)?))
            }
        }
    }
}

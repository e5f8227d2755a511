//! Trains the two encoders of a pair, one after the other, and encodes all pairs: iterations, checkpoints
//! and accuracies are the same for every pair.

use std::collections::BTreeMap;

use super::{
    encoder::{EncodeContext, EncodedPairs},
    softmax::{BatchLoss, largest},
};
use crate::{
    checkpoint::{Checkpoint, NamedTensor},
    datasets::data_set::RawPairs,
    error::{Error, Result},
    features::Split,
};

/// Encoder of one modality.
pub trait Encoding {
    /// `image` or `text`: prefix of its metrics and tensors.
    fn name(&self) -> &'static str;
    /// Iterations of its training.
    fn iterations(&self) -> u64;
    /// One iteration (from 1), a function of the tensors and the iteration alone.
    fn train(&mut self, iteration: u64) -> BatchLoss;
    /// Everything that training changes.
    fn tensors(&mut self) -> Vec<NamedTensor>;
    /// Takes it back.
    ///
    /// # Errors
    /// [`Error::Data`] when something is missing.
    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<()>;
    /// Features of every pair and the head's logits (`n x classes`).
    fn encode(&mut self) -> (Vec<f32>, Vec<f32>);
}

/// Trains and encodes.
///
/// # Errors
/// A loss or feature that is not a number (named, with its iteration), a stop, an unusable checkpoint.
pub fn encode(
    raw: &RawPairs,
    mut image: impl Encoding,
    mut text: impl Encoding,
    context: EncodeContext<'_>,
) -> Result<EncodedPairs> {
    let EncodeContext { observer, resume, .. } = context;
    let total = image.iterations() + text.iterations();
    let mut done = 0;
    if let Some(checkpoint) = resume {
        image.restore(&checkpoint.tensors)?;
        text.restore(&checkpoint.tensors)?;
        done = checkpoint.iteration.min(total);
        observer.log(&format!("extraction goes on after iteration {done} of {total}"));
    }
    while done < total {
        let before = image.iterations();
        done += 1;
        let (name, BatchLoss { loss, accuracy }) =
            if done <= before { (image.name(), image.train(done)) } else { (text.name(), text.train(done - before)) };
        if !loss.is_finite() {
            return Err(Error::Nan { what: format!("{name} encoder loss"), iteration: done });
        }
        let metrics = [(format!("{name}.loss"), loss), (format!("{name}.accuracy"), accuracy)];
        let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        observer.iteration(done, total, loss, &metrics)?;
        if observer.wants_checkpoint(done) {
            let tensors = image.tensors().into_iter().chain(text.tensors()).collect();
            observer.checkpoint(&Checkpoint { iteration: done, tensors, facts: BTreeMap::new() })?;
        }
    }
    let mut facts = BTreeMap::new();
    let mut sides = Vec::new();
    for side in [&mut image as &mut dyn Encoding, &mut text] {
        let (features, logits) = side.encode();
        if features.iter().any(|value| !value.is_finite()) {
            return Err(Error::Nan { what: format!("an {} feature", side.name()), iteration: total });
        }
        for part in Split::ALL {
            facts.insert(format!("{}.accuracy.{}", side.name(), part.name()), accuracy(raw, part, &logits));
        }
        sides.push(features);
    }
    let text = sides.pop().expect("two sides were pushed");
    let image = sides.pop().expect("two sides were pushed");
    Ok(EncodedPairs { image, text, facts })
}

/// Share of the pairs of a part whose largest logit is the label's; 0 for an empty part.
#[allow(clippy::cast_precision_loss)]
fn accuracy(raw: &RawPairs, part: Split, logits: &[f32]) -> f64 {
    let rows = raw.rows(part);
    let hit =
        |row: &&usize| largest(&logits[**row * raw.classes..(**row + 1) * raw.classes]) == raw.labels[**row] as usize;
    rows.iter().filter(hit).count() as f64 / rows.len().max(1) as f64
}

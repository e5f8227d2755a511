//! Trains the two encoders of a pair, one after the other, and encodes all pairs: iterations, checkpoints
//! and accuracies are the same for every pair.

use std::collections::BTreeMap;

use super::{
    encoder::{EncodeContext, EncodedPairs, EncodedPatches, Matrix},
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
    /// Features of the patches of every image, or of the segments of every text, pair by pair, and how many each has.
    fn encode_patches(&mut self) -> (Vec<f32>, Vec<usize>);
}

/// Trains and encodes.
///
/// # Errors
/// A loss or feature that is not a number (named, with its iteration), a stop, an unusable checkpoint.
///
/// # Panics
/// Never: both sides are encoded, and no data set has 2^32 patches.
pub fn encode(
    raw: &RawPairs,
    mut image: impl Encoding,
    mut text: impl Encoding,
    context: EncodeContext<'_>,
) -> Result<EncodedPairs> {
    let EncodeContext { observer, resume, patches, .. } = context;
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
    let (mut sides, mut parts) = (Vec::new(), Vec::new());
    for side in [&mut image as &mut dyn Encoding, &mut text] {
        let (features, logits) = side.encode();
        let unusable = |features: &[f32]| features.iter().any(|value| !value.is_finite());
        if unusable(&features) {
            return Err(Error::Nan { what: format!("an {} feature", side.name()), iteration: total });
        }
        for part in Split::ALL {
            facts.insert(format!("{}.accuracy.{}", side.name(), part.name()), accuracy(raw, part, &logits));
        }
        sides.push(Matrix::F32(features));
        if patches {
            let (features, counts) = side.encode_patches();
            if unusable(&features) {
                return Err(Error::Nan { what: format!("a feature of {} patches", side.name()), iteration: total });
            }
            parts.push(EncodedPatches { values: Matrix::F32(features), starts: starts(&counts) });
        }
    }
    let text = sides.pop().expect("two sides were pushed");
    let image = sides.pop().expect("two sides were pushed");
    Ok(EncodedPairs { image, text, patches: parts.try_into().ok(), facts })
}

/// Where the patches of each pair begin, and where the last one's end.
fn starts(counts: &[usize]) -> Vec<u32> {
    let ends = counts.iter().scan(0, |end, count| {
        *end += u32::try_from(*count).expect("a picture or a text has fewer than 2^32 patches");
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Share of the pairs of a part whose largest logit is the label's; 0 for an empty part.
#[allow(clippy::cast_precision_loss)]
fn accuracy(raw: &RawPairs, part: Split, logits: &[f32]) -> f64 {
    let rows = raw.rows(part);
    let hit =
        |row: &&usize| largest(&logits[**row * raw.classes..(**row + 1) * raw.classes]) == raw.labels[**row] as usize;
    rows.iter().filter(hit).count() as f64 / rows.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encoders::{
            small_cnn::{IMAGE, ImageCnn, ImageSettings},
            word_cnn::{TEXT, TextSettings, WordCnn},
        },
        method::{Observer, Silent},
        nn::{gemm, stream::Stream},
    };

    /// Twelve-pixel squares whose colour and name tell the class.
    fn pairs() -> RawPairs {
        let mut draws = Stream::new(1, "test pairs", 0);
        let labels: Vec<u32> = (0..3).cycle().take(30).collect();
        let colour = |label: u32| [0, 1, 2].map(|channel| if channel == label { 32 } else { 224 });
        let images = labels.iter().flat_map(|&label| (0..144).flat_map(move |_| colour(label)));
        RawPairs {
            ids: (0..30).map(|row| row.to_string()).collect(),
            images: images.map(|v| u8::try_from(v).unwrap() ^ u8::try_from(draws.below(16)).unwrap()).collect(),
            side: 12,
            texts: labels
                .iter()
                .map(|&label| format!("a {} square", ["red", "green", "blue"][label as usize]))
                .collect(),
            segments: (0..30).map(|row| vec!["a square".to_owned(); 1 + row % 2]).collect(),
            split: (0..30).map(|row| Split::ALL[if row < 21 { 0 } else { row % 2 + 1 }]).collect(),
            labels,
            classes: 3,
        }
    }

    const SMALL_IMAGE: ImageSettings = ImageSettings {
        side: 6,
        channels: [4, 4, 6],
        pools: [2, 3, 1],
        features: 16,
        batch: 8,
        epochs: 30,
        rate: 2e-2,
        ..IMAGE
    };
    const SMALL_TEXT: TextSettings = TextSettings { dims: 6, maps: 5, batch: 8, epochs: 8, rate: 1e-2, ..TEXT };

    fn run(raw: &RawPairs, seed: u64, observer: &mut dyn Observer, resume: Option<Checkpoint>) -> Result<EncodedPairs> {
        run_with(raw, false, EncodeContext { seed, epochs: 8, patches: false, observer, resume })
    }

    fn run_with(raw: &RawPairs, patches: bool, context: EncodeContext<'_>) -> Result<EncodedPairs> {
        let seed = context.seed;
        let (image, text) = (ImageCnn::new(raw, seed, SMALL_IMAGE), WordCnn::new(raw, seed, SMALL_TEXT));
        encode(raw, image, text, EncodeContext { patches, ..context })
    }

    #[test]
    fn patches_are_encoded_by_the_same_networks_and_change_nothing_of_the_wholes() {
        let mut raw = pairs();
        // The first text is its own one segment, the second the same text twice.
        raw.segments[0] = vec![raw.texts[0].clone()];
        raw.segments[1] = vec![raw.texts[1].clone(); 2];
        for (at, value) in (29 * 432..).zip(0..432) {
            let (y, x, channel) = (value / 36, value / 3 % 12, value % 3);
            raw.images[at] = raw.images[(y / 2 * 12 + 6 + x / 2) * 3 + channel];
        }
        let context = |observer| EncodeContext { seed: 7, epochs: 8, patches: false, observer, resume: None };
        let mut silent = [Silent; 2];
        let [first, second] = &mut silent;
        let whole = run_with(&raw, false, context(first)).unwrap();
        let both = run_with(&raw, true, context(second)).unwrap();
        assert_eq!(EncodedPairs { patches: None, ..both.clone() }, whole);
        let [image, text] = both.patches.unwrap();
        let values = |matrix: &Matrix| matrix.reals().to_f64();
        assert_eq!(image.starts, (0..=30).map(|row| 5 * row).collect::<Vec<_>>());
        assert_eq!(values(&image.values).len(), 30 * 5 * 16);
        assert_eq!((&text.starts[..4], text.starts[30]), (&[0, 1, 3, 4][..], 45));
        let (segments, texts) = (values(&text.values), values(&both.text));
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&segments[..15], &texts[..15]));
        assert!(close(&segments[15..30], &texts[15..30]) && close(&segments[30..45], &texts[15..30]));
        assert!(!close(&segments[45..60], &texts[30..45]), "a segment is not its text");
        // The last picture is the first one's second crop, every pixel four times.
        let (crops, pictures) = (values(&image.values), values(&both.image));
        assert!(close(&crops[16..32], &pictures[29 * 16..]) && !close(&crops[..16], &crops[16..32]));
    }

    /// Keeps every checkpoint of some iterations and stops at one.
    #[derive(Default)]
    struct Keeper {
        every: u64,
        stop_at: u64,
        kept: Option<Checkpoint>,
        seen: Vec<(u64, String)>,
    }

    impl Observer for Keeper {
        fn iteration(&mut self, iteration: u64, _: u64, _: f64, metrics: &[(&str, f64)]) -> Result<()> {
            self.seen.push((iteration, metrics[0].0.to_owned()));
            if iteration == self.stop_at { Err(Error::Stopped(iteration)) } else { Ok(()) }
        }
        fn wants_checkpoint(&self, iteration: u64) -> bool {
            iteration.is_multiple_of(self.every)
        }
        fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint.safetensors");
            checkpoint.save(&path)?;
            self.kept = Checkpoint::load(&path)?;
            Ok(())
        }
        fn log(&mut self, _: &str) {}
    }

    #[test]
    fn an_extraction_stopped_anywhere_goes_on_to_the_same_bits() {
        let raw = pairs();
        let whole = run(&raw, 7, &mut Silent, None).unwrap();
        for stop_at in [2, 9, 60, 61, 67, 76] {
            let mut keeper = Keeper { every: 3, stop_at, ..Keeper::default() };
            assert!(matches!(run(&raw, 7, &mut keeper, None), Err(Error::Stopped(at)) if at == stop_at));
            let from = keeper.kept.as_ref().map_or(0, |kept| kept.iteration);
            assert_eq!(from, (stop_at - 1) / 3 * 3);
            let mut after = Keeper { every: 100, ..Keeper::default() };
            assert_eq!(run(&raw, 7, &mut after, keeper.kept).unwrap(), whole, "stopped at {stop_at}");
            assert_eq!(after.seen[0].0, from + 1);
            assert_eq!(*after.seen.last().unwrap(), (76, "text.loss".to_owned()));
        }
        assert_ne!(run(&raw, 8, &mut Silent, None).unwrap().image, whole.image);
    }

    #[test]
    fn threads_change_no_bit_and_the_classes_are_learnt() {
        let raw = pairs();
        let one = run(&raw, 7, &mut Silent, None).unwrap();
        for threads in [2, 4] {
            gemm::set_threads(threads);
            assert_eq!(run(&raw, 7, &mut Silent, None).unwrap(), one, "{threads} threads");
            gemm::set_threads(1);
        }
        assert_eq!((one.image.reals().len(), one.text.reals().len()), (30 * 16, 30 * 15));
        for name in ["image.accuracy.train", "image.accuracy.test", "text.accuracy.train", "text.accuracy.test"] {
            assert!(one.facts[name] > 0.9, "{name}: {:?}", one.facts);
        }
    }

    #[test]
    fn labels_outside_the_training_part_teach_nothing() {
        let raw = pairs();
        let mut other = raw.clone();
        for row in 21..30 {
            other.labels[row] = 0;
        }
        let (a, b) = (run(&raw, 7, &mut Silent, None).unwrap(), run(&other, 7, &mut Silent, None).unwrap());
        assert_eq!((&a.image, &a.text), (&b.image, &b.text));
        assert_ne!(a.facts, b.facts);
    }

    #[test]
    fn a_checkpoint_of_something_else_and_a_loss_that_is_not_a_number_are_refused() {
        let raw = pairs();
        let strange = Checkpoint { iteration: 4, tensors: Vec::new(), facts: BTreeMap::new() };
        let Err(Error::Data(text)) = run(&raw, 7, &mut Silent, Some(strange)) else { panic!("it was taken") };
        assert!(text.contains("no tensor `image.conv1.weight`"), "{text}");
        let mut keeper = Keeper { every: 5, stop_at: 6, ..Keeper::default() };
        assert!(run(&raw, 7, &mut keeper, None).is_err());
        let mut broken = keeper.kept.unwrap();
        for tensor in &mut broken.tensors {
            if let crate::checkpoint::Values::F32(values) = &mut tensor.values {
                values[0] = f32::NAN;
            }
        }
        let result = run(&raw, 7, &mut Silent, Some(broken));
        assert!(
            matches!(&result, Err(Error::Nan { what, iteration: 6 }) if what == "image encoder loss"),
            "{result:?}"
        );
    }
}

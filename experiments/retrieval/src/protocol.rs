//! The one path by which every method is trained and scored: it fits on the training split, chooses by
//! the validation split, and embeds the test split once, at the end. No method ever sees a test pair.

use std::time::Instant;

use experiment_spec::{
    run::RunSpec,
    scores::{Score, Scores},
};

use crate::{
    carving::Carving,
    checkpoint::Checkpoint,
    error::{Error, Result},
    features::{Pairs, Rows},
    method::{
        Embedding, EmbeddingValues, FitContext, FitRecord, Fitted, Method, Observer, Outcome, TrainingData, Unlabelled,
    },
    metrics::{cosine::find_unusable, map::evaluate},
};

/// Rises when a change of the code (splits, selection, MAP) changes scores; part of every fingerprint.
pub const REVISION: u32 = 1;

/// A method whose rankings have a larger share of tied neighbours has failed: its MAP would follow from
/// the order of the gallery (spec D.3).
pub const LARGEST_TIED_SHARE: f64 = 0.5;

/// The features of a data set by what they may be used for.
#[derive(Clone, Copy, Debug)]
pub struct Splits<'a> {
    /// What the method is given: training and validation pairs.
    pub training: TrainingData<'a>,
    /// What it is scored on.
    pub test: Pairs<'a>,
}

/// Trains and scores one run. `kind` is that of its scores (see [`crate::kind`]); `resume` is what an
/// earlier attempt left.
///
/// # Errors
/// [`Error::User`] when the specification is for another revision of the method or the protocol, when
/// the method breaks its contract, or when its rankings are tied; [`Error::Data`] when a split cannot be
/// used; [`Error::Nan`] when an embedding is not a number; and what the method's own fit returns.
pub fn run(
    method: &dyn Method,
    spec: &RunSpec,
    splits: &Splits<'_>,
    kind: String,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<Outcome> {
    check_specification(method, spec)?;
    check_splits(splits)?;
    let carving = (method.chooses(&spec.parameters) && splits.training.validation.rows() == 0)
        .then(|| Carving::of(&splits.training));
    let training = carving.as_ref().map_or(splits.training, |carving| carving.apply(&splits.training));
    let mut clock = Clock(Instant::now());
    let unlabelled = method
        .transductive(&spec.parameters)
        .then_some(Unlabelled { image: splits.test.image, text: splits.test.text });
    let context = FitContext { parameters: &spec.parameters, seed: spec.seed, observer, resume, unlabelled };
    let fitted = method.fit(training, context)?;
    let FitRecord { tuning, mut notes, mut facts } = fitted.record();
    if unlabelled.is_some() {
        notes.push("transductive: the fit was given features of the test pairs, without their labels".into());
    }
    facts.insert("fit-seconds".into(), clock.lap());
    facts.extend(peak_memory_bytes().map(|bytes| ("fit-peak-memory-bytes".into(), bytes)));
    let (image, text) = embed(fitted.as_ref(), &splits.test)?;
    facts.insert("embed-seconds".into(), clock.lap());
    let scores = evaluate(&image, &text, splits.test.labels, splits.training.classes)?;
    check_ties(&scores)?;
    facts.insert("score-seconds".into(), clock.lap());
    for (name, number) in [
        ("train-pairs", training.train.rows()),
        ("validation-pairs", training.validation.rows()),
        ("test-pairs", splits.test.rows()),
        ("embedding-dims", image.dims),
    ] {
        #[allow(clippy::cast_precision_loss)] // counts of things in memory, far below 2^53
        facts.insert(name.into(), number as f64);
    }
    let scores = Scores { scores, kind, selected_iteration: fitted.selected_iteration(), facts, tuning, notes };
    Ok(Outcome { scores, image, text, model: fitted.tensors()? })
}

/// Most memory this process has held at a time, features that it maps included; unknown where the system does not say.
fn peak_memory_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Seconds since the lap before.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        seconds
    }
}

fn check_specification(method: &dyn Method, spec: &RunSpec) -> Result<()> {
    let entry = method.entry();
    if entry.key != spec.method || entry.revision != spec.method_revision {
        return Err(Error::User(format!(
            "the run wants method {} in revision {}, but this program has {} in revision {}; submit it again with \
             coordinator and workers of one version",
            spec.method, spec.method_revision, entry.key, entry.revision
        )));
    }
    if spec.protocol != REVISION {
        return Err(Error::User(format!(
            "the run wants revision {} of the scoring protocol, but this program has revision {REVISION}; submit it \
             again with coordinator and workers of one version",
            spec.protocol
        )));
    }
    Ok(())
}

fn check_splits(splits: &Splits<'_>) -> Result<()> {
    let TrainingData { train, validation, classes, .. } = splits.training;
    for (name, pairs) in [("training", train), ("test", splits.test)] {
        if pairs.rows() == 0 {
            return Err(Error::Data(format!("the {name} split has no pairs")));
        }
    }
    for (name, pairs) in [("training", train), ("validation", validation), ("test", splits.test)] {
        if let Some(pair) = pairs.labels.iter().position(|&label| label as usize >= classes) {
            return Err(Error::Data(format!(
                "pair {pair} of the {name} split has label {}, but there are {classes} classes, counted from 0",
                pairs.labels[pair]
            )));
        }
        let dims = |pairs: &Pairs<'_>| (pairs.image.dims(), pairs.text.dims());
        if pairs.rows() > 0 && dims(&pairs) != dims(&train) {
            return Err(Error::Data(format!(
                "features of the {name} split have {:?} columns (image, text), those of the training split {:?}",
                dims(&pairs),
                dims(&train)
            )));
        }
    }
    Ok(())
}

/// Embeds the test split, once, and checks what comes back.
fn embed(fitted: &dyn Fitted, pairs: &Pairs<'_>) -> Result<(Embedding, Embedding)> {
    let image = checked("image", fitted.embed_image(pairs.image)?, pairs.image, fitted)?;
    let text = checked("text", fitted.embed_text(pairs.text)?, pairs.text, fitted)?;
    let single = |embedding: &Embedding| matches!(embedding.values, EmbeddingValues::F32(_));
    if image.dims != text.dims || single(&image) != single(&text) {
        return Err(Error::User(format!(
            "the method embeds images in {} columns and texts in {}, or in different element types: that is no \
             common space",
            image.dims, text.dims
        )));
    }
    Ok((image, text))
}

fn checked(side: &str, embedding: Embedding, rows: Rows<'_>, fitted: &dyn Fitted) -> Result<Embedding> {
    let held = match &embedding.values {
        EmbeddingValues::F32(values) => values.len(),
        EmbeddingValues::F64(values) => values.len(),
    };
    let wanted = rows.rows();
    if embedding.rows != wanted || embedding.dims == 0 || Some(held) != wanted.checked_mul(embedding.dims) {
        return Err(Error::User(format!(
            "the method embedded {wanted} test {side}s as {} rows of {} columns in {held} values",
            embedding.rows, embedding.dims
        )));
    }
    if let Some((row, column, _)) = find_unusable(&embedding) {
        let what = format!("row {row}, column {column} of the {side} embedding of the test split");
        return Err(Error::Nan { what, iteration: fitted.selected_iteration() });
    }
    Ok(embedding)
}

fn check_ties(scores: &[Score]) -> Result<()> {
    match scores.iter().find(|score| score.tied_share > LARGEST_TIED_SHARE) {
        None => Ok(()),
        Some(score) => Err(Error::User(format!(
            "{:.1} % of the neighbours in the rankings of {} (normalisation {}) are tied, at most {:.0} % may be: the \
             embedding tells too few items apart, so its MAP would follow from the order of the gallery",
            100.0 * score.tied_share,
            score.task.name(),
            score.normalisation.name(),
            100.0 * LARGEST_TIED_SHARE
        ))),
    }
}

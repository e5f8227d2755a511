//! The word CNN: Kim's network, with word vectors trained from a seeded start (spec E.3 has word2vec
//! vectors, which come with a later encoder).

use super::{
    pair::Encoding,
    small_cnn::{batch_rows, batches, cosine},
    softmax::BatchLoss,
    word_net::{WINDOWS, WordNet, WordShape},
    words::{PAD, UNKNOWN, Vocabulary},
};
use crate::{
    checkpoint::NamedTensor, datasets::data_set::RawPairs, error::Result, features::Split, nn::stream::Stream,
};

/// Dimensions of the text features: 3 window sizes of 100 maps.
pub const FEATURES: usize = WINDOWS.len() * TEXT.maps;

/// How the word CNN is trained. All fixed beforehand: neither validation nor test labels choose anything.
#[derive(Clone, Copy, Debug)]
pub struct TextSettings {
    /// Dimensions of a word vector.
    pub dims: usize,
    /// Maps of each window size.
    pub maps: usize,
    /// Pairs in a batch.
    pub batch: usize,
    /// Passes over the training pairs.
    pub epochs: u64,
    /// Largest learning rate; falls to 0 along a half cosine.
    pub rate: f64,
    /// Decoupled weight decay (not of the word vectors).
    pub decay: f64,
    /// Dropout of the feature before the head.
    pub dropout: f64,
    /// Share of words read as unknown in training, so that the unknown word learns a vector of its own.
    pub unknown: f64,
    /// Label smoothing.
    pub smoothing: f64,
}

/// The settings of the pair `small-cnn`.
pub const TEXT: TextSettings = TextSettings {
    dims: 128,
    maps: 100,
    batch: 64,
    epochs: 30,
    rate: 1e-3,
    decay: 0.05,
    dropout: 0.5,
    unknown: 0.1,
    smoothing: 0.1,
};

/// The word CNN and its training pairs.
#[derive(Debug)]
pub struct WordCnn<'a> {
    raw: &'a RawPairs,
    train: Vec<usize>,
    texts: Vec<Vec<u32>>,
    segments: Vec<Vec<u32>>,
    seed: u64,
    settings: TextSettings,
    net: WordNet<f32>,
}

impl<'a> WordCnn<'a> {
    /// A CNN with seeded weights and the vocabulary of the training part of `raw`.
    #[must_use]
    pub fn new(raw: &'a RawPairs, seed: u64, settings: TextSettings) -> Self {
        let train = raw.rows(Split::Train);
        let vocabulary = Vocabulary::of(train.iter().map(|&row| raw.texts[row].as_str()));
        let TextSettings { dims, maps, .. } = settings;
        let shape = WordShape { rows: vocabulary.rows(), dims, maps, classes: raw.classes };
        let texts = raw.texts.iter().map(|text| vocabulary.numbers(text)).collect();
        let segments = raw.segments.iter().flatten().map(|segment| vocabulary.numbers(segment)).collect();
        Self { raw, train, texts, segments, seed, settings, net: WordNet::new(shape, seed) }
    }
}

impl Encoding for WordCnn<'_> {
    fn name(&self) -> &'static str {
        "text"
    }

    fn iterations(&self) -> u64 {
        self.settings.epochs * batches(self.train.len(), self.settings.batch)
    }

    fn train(&mut self, iteration: u64) -> BatchLoss {
        let TextSettings { batch, rate, decay, dropout, unknown, smoothing, .. } = self.settings;
        let rows = batch_rows(&self.train, batch, self.seed, "text order", iteration);
        let mut draws = Stream::new(self.seed, "text unknown", iteration);
        let mut texts: Vec<Vec<u32>> = rows.iter().map(|&row| self.texts[row].clone()).collect();
        for word in texts.iter_mut().flatten().filter(|word| **word != PAD) {
            *word = if draws.uniform() < unknown { UNKNOWN } else { *word };
        }
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let labels: Vec<u32> = rows.iter().map(|&row| self.raw.labels[row]).collect();
        let mut draws = Stream::new(self.seed, "text dropout", iteration);
        let loss = self.net.learn(&texts, &labels, dropout, smoothing, &mut draws);
        let rate = rate * cosine(iteration, self.iterations());
        self.net.parameters().into_iter().for_each(|parameter| parameter.step(iteration, rate, decay));
        loss
    }

    fn tensors(&mut self) -> Vec<NamedTensor> {
        self.net.parameters().into_iter().flat_map(|parameter| parameter.tensors()).collect()
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<()> {
        self.net.parameters().into_iter().try_for_each(|parameter| parameter.restore(tensors))
    }

    fn encode(&mut self) -> (Vec<f32>, Vec<f32>) {
        encoded(&mut self.net, &self.texts, self.settings.batch)
    }

    fn encode_patches(&mut self) -> (Vec<f32>, Vec<usize>) {
        let counts = self.raw.segments.iter().map(Vec::len).collect();
        (encoded(&mut self.net, &self.segments, self.settings.batch).0, counts)
    }
}

/// Features of some texts and the head's logits, a batch at a time.
fn encoded(net: &mut WordNet<f32>, texts: &[Vec<u32>], batch: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    for texts in texts.chunks(batch) {
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let (some, heads) = net.encode(&texts);
        features.extend_from_slice(some);
        logits.extend_from_slice(heads);
    }
    (features, logits)
}

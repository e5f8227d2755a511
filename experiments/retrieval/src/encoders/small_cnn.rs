//! Encoder pair `small-cnn`: a small image CNN and a word CNN, both trained from scratch on the training
//! labels, so that nothing has to be downloaded.

use experiment_spec::catalog::{EncoderEntry, EncoderNetworks};

use super::{
    adam,
    augment::{Placement, sample},
    blocks,
    encoder::{EncodeContext, EncodedPairs, Encoder},
    image_net::{ImageNet, ImageShape},
    pair::{self, Encoding},
    softmax::BatchLoss,
    word_cnn::{TEXT, TextSettings, WordCnn},
};
use crate::{
    checkpoint::NamedTensor,
    datasets::data_set::{LoadedPairs, RawPairs},
    error::{Error, Result},
    features::Split,
    nn::stream::Stream,
};

/// Key of the pair.
pub const KEY: &str = "small-cnn";
/// Dimensions of the image features, those of fc7 in the paper.
const FEATURES: usize = 4096;

/// How the image CNN is trained. All fixed beforehand: neither validation nor test labels choose anything.
#[derive(Clone, Copy, Debug)]
pub struct ImageSettings {
    /// Rows and columns of the network's input.
    pub side: usize,
    /// Channels of the three blocks.
    pub channels: [usize; 3],
    /// Pooling windows of the three blocks.
    pub pools: [usize; 3],
    /// Dimensions of the feature.
    pub features: usize,
    /// Pairs in a batch.
    pub batch: usize,
    /// Passes over the training pairs.
    pub epochs: u64,
    /// Largest learning rate; falls to 0 along a half cosine.
    pub rate: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Dropout of the feature before the head.
    pub dropout: f64,
    /// Label smoothing.
    pub smoothing: f64,
}

/// The settings of [`SmallCnn`].
pub const IMAGE: ImageSettings = ImageSettings {
    side: 36,
    channels: [32, 64, 128],
    pools: [2, 2, 3],
    features: FEATURES,
    batch: 64,
    epochs: 30,
    rate: 1e-3,
    decay: 0.05,
    dropout: 0.5,
    smoothing: 0.1,
};

/// The pair.
#[derive(Clone, Copy, Debug)]
pub struct SmallCnn;

impl Encoder for SmallCnn {
    fn entry(&self) -> EncoderEntry {
        EncoderEntry {
            key: KEY.into(),
            revision: 1,
            description: "image CNN (36x36, 3 blocks of 32, 64, 128 channels, a ReLU layer) and word CNN (windows \
                          3, 4, 5, 100 maps each), trained from scratch on the training labels"
                .into(),
            networks: Some(EncoderNetworks {
                default_epochs: 30,
                image_dims: FEATURES,
                text_dims: super::word_cnn::FEATURES,
                patches: true,
            }),
        }
    }

    fn encode(&self, pairs: &LoadedPairs, context: EncodeContext<'_>) -> Result<EncodedPairs> {
        let LoadedPairs::Raw(raw) = pairs else {
            return Err(Error::User(format!("the encoder {KEY} reads pictures and texts, not features: use `given`")));
        };
        let epochs = u64::from(context.epochs);
        let image = ImageCnn::new(raw, context.seed, ImageSettings { epochs, ..IMAGE });
        let text = WordCnn::new(raw, context.seed, TextSettings { epochs, ..TEXT });
        pair::encode(raw, image, text, context)
    }
}

/// The image CNN and its training pairs.
#[derive(Debug)]
pub struct ImageCnn<'a> {
    raw: &'a RawPairs,
    train: Vec<usize>,
    seed: u64,
    settings: ImageSettings,
    net: ImageNet<f32>,
    input: Vec<f32>,
}

impl<'a> ImageCnn<'a> {
    /// A CNN with seeded weights, to be trained on the training part of `raw`.
    #[must_use]
    pub fn new(raw: &'a RawPairs, seed: u64, settings: ImageSettings) -> Self {
        let ImageSettings { side, channels, pools, features, .. } = settings;
        let shape = ImageShape { side, channels, pools, features, classes: raw.classes };
        let net = ImageNet::new(shape, seed);
        Self { raw, train: raw.rows(Split::Train), seed, settings, net, input: Vec::new() }
    }

    /// Features of all pictures, row by row each at every one of these placements, and the logits of each.
    fn encode_at(&mut self, placements: &[Placement]) -> (Vec<f32>, Vec<f32>) {
        let ImageSettings { side, features, batch, .. } = self.settings;
        let all: Vec<(usize, Placement)> =
            (0..self.raw.len()).flat_map(|row| placements.iter().map(move |placement| (row, *placement))).collect();
        let (mut values, mut logits) = (Vec::new(), Vec::new());
        values.reserve_exact(all.len() * features);
        for some in all.chunks(batch) {
            let (rows, placements): (Vec<usize>, Vec<Placement>) = some.iter().copied().unzip();
            self.load(&rows, &placements);
            let (some, heads) = self.net.encode(&self.input[..rows.len() * side * side * 3], rows.len());
            values.extend_from_slice(some);
            logits.extend_from_slice(heads);
        }
        (values, logits)
    }

    fn load(&mut self, rows: &[usize], placements: &[Placement]) {
        let (raw, side) = (self.raw, self.settings.side);
        let values = side * side * 3;
        let input = blocks::first(&mut self.input, rows.len() * values);
        blocks::for_each_one(input, values, |i, out| sample(raw.image(rows[i]), raw.side, placements[i], out, side));
    }
}

impl Encoding for ImageCnn<'_> {
    fn name(&self) -> &'static str {
        "image"
    }

    fn iterations(&self) -> u64 {
        self.settings.epochs * batches(self.train.len(), self.settings.batch)
    }

    fn train(&mut self, iteration: u64) -> BatchLoss {
        let ImageSettings { batch, rate, decay, dropout, smoothing, .. } = self.settings;
        let rows = batch_rows(&self.train, batch, self.seed, "image order", iteration);
        let mut draws = Stream::new(self.seed, "image augmentation", iteration);
        let placements: Vec<Placement> = rows.iter().map(|_| Placement::random(&mut draws)).collect();
        self.load(&rows, &placements);
        let labels: Vec<u32> = rows.iter().map(|&row| self.raw.labels[row]).collect();
        let input = &self.input[..rows.len() * self.settings.side * self.settings.side * 3];
        let mut draws = Stream::new(self.seed, "image dropout", iteration);
        let loss = self.net.learn(input, &labels, dropout, smoothing, &mut draws);
        let rate = rate * cosine(iteration, self.iterations());
        self.net.parameters().into_iter().for_each(|parameter| parameter.step(iteration, rate, decay));
        loss
    }

    fn tensors(&mut self) -> Vec<NamedTensor> {
        let mut all: Vec<NamedTensor> = self.net.parameters().into_iter().flat_map(|p| p.tensors()).collect();
        all.extend(self.net.statistics().into_iter().map(|(name, values)| adam::tensor(&name, values)));
        all
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<()> {
        self.net.parameters().into_iter().try_for_each(|parameter| parameter.restore(tensors))?;
        self.net.statistics().into_iter().try_for_each(|(name, values)| adam::restore(values, tensors, &name))
    }

    fn encode(&mut self) -> (Vec<f32>, Vec<f32>) {
        self.encode_at(&[Placement::IDENTITY])
    }

    fn encode_patches(&mut self) -> (Vec<f32>, Vec<usize>) {
        let counts = vec![Placement::CROPS.len(); self.raw.len()];
        (self.encode_at(&Placement::CROPS).0, counts)
    }
}

/// Batches of one epoch: whole ones only, or one small one when there are not enough rows for that.
#[must_use]
pub fn batches(rows: usize, batch: usize) -> u64 {
    (rows / batch).max(1) as u64
}

/// Rows of the batch of an iteration (from 1): each epoch has its own order, and those left over sit it out.
///
/// # Panics
/// Never: a place within an epoch is smaller than the number of rows.
#[must_use]
pub fn batch_rows(train: &[usize], batch: usize, seed: u64, stream: &str, iteration: u64) -> Vec<usize> {
    let per_epoch = batches(train.len(), batch);
    let (epoch, place) = ((iteration - 1) / per_epoch, (iteration - 1) % per_epoch);
    let order = Stream::new(seed, stream, epoch).permutation(train.len());
    let place = usize::try_from(place).expect("a place within an epoch fits usize") * batch;
    order[place..(place + batch).min(train.len())].iter().map(|&row| train[row]).collect()
}

/// Half a cosine from 1 to 0 over `total` iterations.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn cosine(iteration: u64, total: u64) -> f64 {
    0.5 + 0.5 * libm::cos(std::f64::consts::PI * (iteration - 1) as f64 / total as f64)
}

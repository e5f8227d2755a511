//! What several test binaries share: forms of the training step by name, and watchers.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

use std::path::PathBuf;

use candle_core::Device;
use retrieval::{
    methods::cm_gans::{
        fast::FastForm,
        form::{Batch, Form, Update, Watcher},
        plain::PlainForm,
        settings::{MismatchConcat, ReconstructionNorm, Settings, Sizes, WeightSharing},
        state::{Player, State, Tensors},
    },
    nn::{real::Real, stream::Stream},
};

pub mod synthetic;
pub mod trace;

/// Makes a form of the training step from a state.
pub type Constructor<T> = fn(&Settings, Sizes, &State<T>) -> Box<dyn Form<T>>;

pub fn plain<T: Real + 'static>(settings: &Settings, sizes: Sizes, state: &State<T>) -> Box<dyn Form<T>> {
    Box::new(PlainForm::new(settings, sizes, state, &Device::Cpu).unwrap())
}

pub fn fast<T: Real + 'static>(settings: &Settings, sizes: Sizes, state: &State<T>) -> Box<dyn Form<T>> {
    Box::new(FastForm::new(settings, sizes, state).unwrap())
}

/// The forms that every check of the training step runs on, by name.
pub fn forms<T: Real + 'static>() -> Vec<(&'static str, Constructor<T>)> {
    vec![("plain", plain::<T>), ("fast", fast::<T>)]
}

/// One update as it was reported.
#[derive(Debug)]
pub struct Record<T> {
    pub player: Player,
    pub loss: f64,
    pub terms: Vec<(String, f64)>,
    pub gradients: Tensors<T>,
}

/// Keeps every update of an iteration, gradients included.
#[derive(Debug)]
pub struct Recorder<T> {
    pub updates: Vec<Record<T>>,
    pub logits: Vec<(Player, &'static str, f64)>,
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Self { updates: Vec::new(), logits: Vec::new() }
    }
}

impl<T> Recorder<T> {
    /// Updates of one player, in order.
    pub fn of(&self, player: Player) -> impl Iterator<Item = &Record<T>> {
        self.updates.iter().filter(move |record| record.player == player)
    }
}

impl<T> Watcher<T> for Recorder<T> {
    fn wants_gradients(&self) -> bool {
        true
    }
    fn update(&mut self, update: Update<'_, T>) {
        self.updates.push(Record {
            player: update.player,
            loss: update.loss,
            terms: update.terms.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            gradients: update.gradients.expect("gradients were asked for"),
        });
    }
    fn mean_logit(&mut self, player: Player, group: &'static str, value: f64) {
        self.logits.push((player, group, value));
    }
}

/// One iteration with every update recorded.
pub fn record<T>(form: &mut dyn Form<T>, batch: &Batch<T>, rate: f64) -> Recorder<T> {
    let mut recorder = Recorder::default();
    form.iteration(batch, rate, &mut recorder).unwrap();
    recorder
}

/// A batch of random features and labels.
pub fn random_batch<T: Real>(sizes: Sizes, rows: usize, index: u64) -> Batch<T> {
    let side = |name: &str, columns: usize| -> Vec<T> {
        let mut stream = Stream::new(7, name, index);
        (0..rows * columns).map(|_| T::of(stream.normal().max(0.0))).collect()
    };
    let mut stream = Stream::new(7, "labels", index);
    Batch {
        h_i: side("h_i", sizes.image),
        h_t: side("h_t", sizes.text),
        mismatched_h_i: side("mismatched_h_i", sizes.image),
        mismatched_h_t: side("mismatched_h_t", sizes.text),
        labels: (0..rows).map(|_| u32::try_from(stream.below(sizes.classes)).unwrap()).collect(),
    }
}

/// Every variant of the method that changes the arithmetic of a step, by name.
pub fn variants() -> Vec<(&'static str, Settings)> {
    let paper = || Settings { batch_size: 6, generator_steps: 2, ..Settings::paper() };
    let released = || Settings { batch_size: 6, generator_steps: 2, ..Settings::released() };
    let l1 = ReconstructionNorm::L1;
    vec![
        ("paper", paper()),
        ("released", released()),
        ("anchor", Settings { mismatch_concat: MismatchConcat::Anchor, ..paper() }),
        ("with ws", Settings { semantic_constraint: false, ..paper() }),
        ("with sc", Settings { weight_sharing: WeightSharing::None, ..paper() }),
        ("only inter", Settings { intra_discriminators: false, ..paper() }),
        ("CAE", Settings { adversarial: false, ..paper() }),
        ("CAE, l1", Settings { adversarial: false, reconstruction_norm: l1, ..released() }),
        ("reconstruction error", Settings { recon_loss_weight: 0.3, ..paper() }),
        (
            "only inter, reconstruction error",
            Settings { intra_discriminators: false, recon_loss_weight: 0.3, reconstruction_norm: l1, ..released() },
        ),
    ]
}

/// A folder of the shared material beside the workspace, or `None` with a line on why the test is skipped.
pub fn shared(test: &str, folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {test}: ../shared is not there");
    None
}

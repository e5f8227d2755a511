//! What several test binaries share: forms of the training step by name, and watchers.
#![allow(dead_code)] // each test binary uses a part

use std::path::PathBuf;

use candle_core::Device;
use retrieval::methods::cm_gans::{
    fast::FastForm,
    form::{Batch, Form, Update, Watcher},
    plain::PlainForm,
    settings::{Settings, Sizes},
    state::{Player, State, Tensors},
};

pub mod synthetic;
pub mod trace;

/// Makes a form of the training step from a state.
pub type Constructor<T> = fn(&Settings, Sizes, &State<T>) -> Box<dyn Form<T>>;

pub fn plain<T: retrieval::nn::real::Real + 'static>(
    settings: &Settings,
    sizes: Sizes,
    state: &State<T>,
) -> Box<dyn Form<T>> {
    Box::new(PlainForm::new(settings, sizes, state, &Device::Cpu).unwrap())
}

pub fn fast<T: retrieval::nn::real::Real + 'static>(
    settings: &Settings,
    sizes: Sizes,
    state: &State<T>,
) -> Box<dyn Form<T>> {
    Box::new(FastForm::new(settings, sizes, state).unwrap())
}

/// The forms that every check of the training step runs on, by name.
pub fn forms<T: retrieval::nn::real::Real + 'static>() -> Vec<(&'static str, Constructor<T>)> {
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

/// A folder of the shared material beside the workspace, or `None` with a line on why the test is skipped.
pub fn shared(test: &str, folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {test}: ../shared is not there");
    None
}

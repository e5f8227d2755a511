//! Where a fit stands between two iterations, and its form as a checkpoint: everything that is needed to
//! go on to the same bits, and nothing that can be drawn again.

use std::{collections::BTreeMap, str::FromStr};

use super::{
    layout,
    settings::{Settings, Sizes},
    state::{Adam, Array, Player, State, Tensors},
};
use crate::{
    checkpoint::{Checkpoint, NamedTensor, Values},
    error::{Error, Result},
};

/// The best weights so far by the validation score.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Iteration they are from.
    pub iteration: u64,
    /// Their bi-modal average on validation.
    pub score: f64,
    /// The encoders' weights.
    pub weights: Tensors<f32>,
    /// The encoders' running statistics.
    pub running: Tensors<f32>,
}

/// A fit after some iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Iterations done.
    pub iteration: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Weights, running statistics and moments.
    pub state: State<f32>,
    /// The best so far, where validation chooses.
    pub best: Option<Best>,
    /// Iterations in a row that each discriminator has been out of balance.
    pub outside: BTreeMap<Player, u64>,
}

const SEED: &str = "seed";
const BEST_ITERATION: &str = "best/iteration";
const BEST_SCORE: &str = "best/score";

fn put(into: &mut Vec<NamedTensor>, folder: &str, tensors: Tensors<f32>) {
    into.extend(tensors.into_iter().map(|(name, array)| NamedTensor {
        name: format!("{folder}/{name}"),
        shape: array.shape,
        values: Values::F32(array.data),
    }));
}

impl Progress {
    /// As tensors `weights/…`, `running/…`, `adam/g_i/m/…`, `best/weights/…` and facts.
    #[must_use]
    pub fn into_checkpoint(self) -> Checkpoint {
        let mut tensors = Vec::new();
        let mut facts = BTreeMap::from([(SEED.to_owned(), self.seed.to_string())]);
        put(&mut tensors, "weights", self.state.weights);
        put(&mut tensors, "running", self.state.running);
        for (player, adam) in self.state.adam {
            let name = player.name();
            facts.insert(format!("adam/{name}/step"), adam.step.to_string());
            put(&mut tensors, &format!("adam/{name}/m"), adam.m);
            put(&mut tensors, &format!("adam/{name}/v"), adam.v);
        }
        if let Some(best) = self.best {
            facts.insert(BEST_ITERATION.to_owned(), best.iteration.to_string());
            // The shortest text that reads back to the same bits.
            facts.insert(BEST_SCORE.to_owned(), format!("{:?}", best.score));
            put(&mut tensors, "best/weights", best.weights);
            put(&mut tensors, "best/running", best.running);
        }
        for (player, count) in self.outside {
            facts.insert(format!("outside/{}", player.name()), count.to_string());
        }
        Checkpoint { iteration: self.iteration, tensors, facts }
    }

    /// Reads a checkpoint back.
    ///
    /// # Errors
    /// [`Error::Data`] when it is of another seed, or of other settings or sizes, or lacks something: the
    /// sentence names it.
    pub fn from_checkpoint(checkpoint: Checkpoint, settings: &Settings, sizes: Sizes, seed: u64) -> Result<Self> {
        let facts = checkpoint.facts;
        if fact::<u64>(&facts, SEED)? != seed {
            return Err(refused(&format!("its seed is not {seed}")));
        }
        let mut folders: BTreeMap<String, Tensors<f32>> = BTreeMap::new();
        for tensor in checkpoint.tensors {
            let Values::F32(data) = tensor.values else {
                return Err(refused(&format!("{} does not hold f32 values", tensor.name)));
            };
            let (folder, name) = tensor.name.rsplit_once('/').unwrap_or(("", &tensor.name));
            let array = Array { shape: tensor.shape, data };
            folders.entry(folder.to_owned()).or_default().insert(name.to_owned(), array);
        }
        let mut take = |folder: &str| folders.remove(folder).unwrap_or_default();
        let mut adam = BTreeMap::new();
        for player in layout::players(settings) {
            let name = player.name();
            let step = fact(&facts, &format!("adam/{name}/step"))?;
            let (m, v) = (take(&format!("adam/{name}/m")), take(&format!("adam/{name}/v")));
            adam.insert(player, Adam { step, m, v });
        }
        let state = State { weights: take("weights"), running: take("running"), adam };
        layout::check(&state, settings, sizes)?;
        let best = if facts.contains_key(BEST_ITERATION) {
            let (iteration, score) = (fact(&facts, BEST_ITERATION)?, fact(&facts, BEST_SCORE)?);
            let (weights, running) = (take("best/weights"), take("best/running"));
            layout::check_encoders(&weights, &running, settings, sizes)?;
            Some(Best { iteration, score, weights, running })
        } else {
            None
        };
        let mut outside = BTreeMap::new();
        for player in Player::ALL {
            let key = format!("outside/{}", player.name());
            if facts.contains_key(&key) {
                outside.insert(player, fact(&facts, &key)?);
            }
        }
        Ok(Self { iteration: checkpoint.iteration, seed, state, best, outside })
    }
}

fn refused(why: &str) -> Error {
    Error::Data(format!("the checkpoint is not of this run ({why}); remove it and run again"))
}

fn fact<T: FromStr>(facts: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let parsed = facts.get(key).and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| refused(&format!("it has no readable `{key}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::cm_gans::init::initial_state;

    const SIZES: Sizes = Sizes { image: 6, text: 4, hidden: 5, inter_hidden: 3, classes: 2 };

    fn progress(settings: &Settings) -> Progress {
        let mut state = initial_state::<f32>(settings, SIZES, 8);
        for (n, adam) in state.adam.values_mut().enumerate() {
            adam.step = 3 + n as u64;
        }
        let (weights, running) = (layout::encoder_weights(settings), layout::running_names());
        let chosen = |tensors: &Tensors<f32>, names: &[String]| -> Tensors<f32> {
            names.iter().map(|name| (name.clone(), tensors[name].clone())).collect()
        };
        let best = Best {
            iteration: 2,
            score: 0.1 + 0.2,
            weights: chosen(&state.weights, &weights),
            running: chosen(&state.running, &running),
        };
        let outside = BTreeMap::from([(Player::DI, 7)]);
        Progress { iteration: 3, seed: 8, state, best: Some(best), outside }
    }

    #[test]
    fn a_checkpoint_reads_back_to_the_same_bits_also_through_a_file() {
        for settings in [Settings::paper(), Settings { adversarial: false, ..Settings::released() }] {
            let progress = progress(&settings);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint.safetensors");
            progress.clone().into_checkpoint().save(&path).unwrap();
            let read = Checkpoint::load(&path).unwrap().unwrap();
            assert_eq!(Progress::from_checkpoint(read, &settings, SIZES, 8).unwrap(), progress);
        }
    }

    #[test]
    fn a_checkpoint_of_something_else_is_refused() {
        let settings = Settings::paper();
        let checkpoint = || progress(&settings).into_checkpoint();
        let refusal = |checkpoint, settings: &Settings, sizes, seed| {
            Progress::from_checkpoint(checkpoint, settings, sizes, seed).unwrap_err().to_string()
        };
        assert!(refusal(checkpoint(), &settings, SIZES, 9).contains("its seed is not 9"));
        let wider = Sizes { hidden: 6, ..SIZES };
        assert!(refusal(checkpoint(), &settings, wider, 8).contains("d_ci.hidden.weight"));
        assert!(refusal(checkpoint(), &Settings::released(), SIZES, 8).contains("lack"));
        let mut lacking = checkpoint();
        lacking.tensors.retain(|tensor| tensor.name != "adam/g_t/v/enc2.gamma");
        assert!(refusal(lacking, &settings, SIZES, 8).contains("enc2.gamma"));
        let mut lacking = checkpoint();
        lacking.tensors.retain(|tensor| tensor.name != "best/running/text.enc2.var");
        assert!(refusal(lacking, &settings, SIZES, 8).contains("text.enc2.var"));
        let mut lacking = checkpoint();
        lacking.facts.remove("adam/d_i/step");
        assert!(refusal(lacking, &settings, SIZES, 8).contains("adam/d_i/step"));
    }
}

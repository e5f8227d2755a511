//! Reads the spec's traces (`spec/trace/README.md`) and compares a form of the training step with them.

use std::path::Path;

use retrieval::{
    methods::cm_gans::{
        embed::Encoder,
        form::{Batch, Modality},
        settings::{Activation, MismatchConcat, Settings, Sizes, SoftmaxHead, WeightSharing},
        state::{Array, State, Tensors},
    },
    nn::real::Real,
};
use serde_json::Value;

use super::{Constructor, Recorder, record};

fn numbers<T: Real>(value: &Value) -> Vec<T> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![T::of(number.as_f64().unwrap())],
    }
}

fn array<T: Real>(value: &Value) -> Array<T> {
    let rows = value.as_array().unwrap();
    let shape = match rows[0].as_array() {
        Some(columns) => vec![rows.len(), columns.len()],
        None => vec![rows.len()],
    };
    Array { shape, data: numbers(value) }
}

fn tensors<T: Real>(value: &Value) -> Tensors<T> {
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), array(value))).collect()
}

fn batch<T: Real>(value: &Value) -> Batch<T> {
    let labels: Vec<f64> = numbers(&value["y"]);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small whole numbers
    let labels = labels.iter().map(|&label| label as u32).collect();
    Batch {
        h_i: numbers(&value["h_i"]),
        h_t: numbers(&value["h_t"]),
        mismatched_h_i: numbers(&value["mismatched_h_i"]),
        mismatched_h_t: numbers(&value["mismatched_h_t"]),
        labels,
    }
}

fn settings(file: &Value) -> (Settings, Sizes) {
    let said = &file["settings"];
    let size = |key: &str| usize::try_from(said[key].as_u64().unwrap()).unwrap();
    let settings = Settings {
        activation: if said["activation"] == "relu" { Activation::Relu } else { Activation::LeakyRelu },
        weight_sharing: if said["weight_sharing"] == "tied" { WeightSharing::Tied } else { WeightSharing::InitOnly },
        softmax_head: if said["softmax_head"] == "shared" { SoftmaxHead::Shared } else { SoftmaxHead::PerModality },
        mismatch_concat: if said["mismatch_concat"] == "own" { MismatchConcat::Own } else { MismatchConcat::Anchor },
        generator_steps: size("k"),
        batch_size: size("batch"),
        ..Settings::paper()
    };
    let sizes = Sizes {
        image: size("image_dim"),
        text: size("text_dim"),
        hidden: size("hidden"),
        inter_hidden: size("inter_hidden"),
        classes: size("classes"),
    };
    (settings, sizes)
}

/// Compares numbers; all that is beyond the tolerance ends the test with the place named.
struct Comparison<'a> {
    place: &'a str,
    tolerance: f64,
    relative: bool,
    worst: f64,
    compared: usize,
}

impl Comparison<'_> {
    /// `scale` is the size of the largest of the numbers that `want` stands among.
    fn number(&mut self, what: &str, got: f64, want: f64, scale: f64) {
        let error = (got - want).abs() / scale;
        assert!(error <= self.tolerance, "{}: {what}: {got} is not {want}", self.place);
        self.worst = self.worst.max(error);
        self.compared += 1;
    }

    fn array<T: Real>(&mut self, what: &str, got: &Array<T>, want: &Value) {
        let want: Array<T> = array(want);
        assert_eq!(got.shape, want.shape, "{}: {what}", self.place);
        let largest = want.data.iter().fold(0.0f64, |largest, value| largest.max(value.wide().abs()));
        if largest == 0.0 {
            assert_eq!(got, &want, "{}: {what}: not exactly 0", self.place);
        }
        // Second moments are tiny: against their own size in f64, which has the digits for it.
        let scale = if self.relative && largest > 0.0 { largest } else { largest.max(1.0) };
        for (got, want) in got.data.iter().zip(&want.data) {
            self.number(what, got.wide(), want.wide(), scale);
        }
    }

    fn tensors<T: Real>(&mut self, what: &str, got: &Tensors<T>, want: &Value) {
        let want = want.as_object().unwrap();
        assert!(got.keys().eq(want.keys()), "{}: {what}: {:?}", self.place, got.keys());
        for (name, got) in got {
            self.array(&format!("{what} {name}"), got, &want[name]);
        }
    }

    fn updates<T: Real>(&mut self, recorder: &Recorder<T>, wanted: &[Value]) {
        assert_eq!(recorder.updates.len(), wanted.len(), "{}: updates", self.place);
        for (n, (got, want)) in recorder.updates.iter().zip(wanted).enumerate() {
            let name = got.player.name();
            assert_eq!(name, want["update"], "{}: update {n}", self.place);
            self.number(&format!("loss of {name} at update {n}"), got.loss, want["loss"].as_f64().unwrap(), 1.0);
            let terms = want["terms"].as_object().unwrap();
            assert_eq!(got.terms.len(), terms.len(), "{}: terms of {name}", self.place);
            for (term, value) in &got.terms {
                self.number(&format!("{name} {term}"), *value, terms[term].as_f64().unwrap(), 1.0);
            }
            if want["gradients"].is_object() {
                self.tensors(&format!("gradient of {name} at update {n}:"), &got.gradients, &want["gradients"]);
            }
        }
    }

    fn logits<T: Real>(&mut self, recorder: &Recorder<T>, phase: &Value) {
        let mut seen = 0;
        for (player, group, value) in &recorder.logits {
            let group = if *group == "paired" { "other" } else { group };
            let wanted = &phase[format!("logit_{}_{group}", player.name())];
            if wanted.is_array() {
                let logits: Vec<f64> = numbers(wanted);
                let mean = logits.iter().sum::<f64>() / 4.0;
                self.number(&format!("mean logit {} {group}", player.name()), *value, mean, 1.0);
                seen += 1;
            }
        }
        assert_eq!((seen, recorder.logits.len()), (6, 10), "{}: mean logits", self.place);
    }

    fn state<T: Real>(&mut self, state: &State<T>, after: &Value) {
        self.tensors("weight", &state.weights, &after["weights"]);
        self.tensors("running", &state.running, &after["running"]);
        assert_eq!(state.adam.len(), 6);
        for (player, adam) in &state.adam {
            let want = &after["adam"][player.name()];
            assert_eq!(adam.step, want["t"].as_u64().unwrap(), "{}: steps", self.place);
            self.tensors(&format!("m of {}:", player.name()), &adam.m, &want["m"]);
            self.tensors(&format!("v of {}:", player.name()), &adam.v, &want["v"]);
        }
    }
}

/// Runs a trace and compares every number in it; returns the largest error and how many were compared.
pub fn follow<T: Real>(path: &Path, tolerance: f64, construct: Constructor<T>) -> (f64, usize) {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (settings, sizes) = settings(&file);
    let mut state = retrieval::methods::cm_gans::init::initial_state::<T>(&settings, sizes, 0);
    let weights = tensors(&file["initial_weights"]);
    assert!(weights.keys().eq(state.weights.keys()), "{}: {:?}", path.display(), weights.keys());
    state.weights = weights;
    let batches: Vec<Batch<T>> = file["batches"].as_array().unwrap().iter().map(batch).collect();
    let relative = size_of::<T>() == size_of::<f64>();
    let mut compare = Comparison { place: &path.display().to_string(), tolerance, relative, worst: 0.0, compared: 0 };
    // Without generator steps an iteration ends where the discriminator phase does.
    let only_discriminators = Settings { generator_steps: 0, ..settings.clone() };
    let mut form = construct(&only_discriminators, sizes, &state);
    record(form.as_mut(), &batches[0], 0.001);
    let wanted = &file["iterations"][0]["running_after_discriminator_phase"];
    compare.tensors("running after the discriminator phase", &form.state().unwrap().running, wanted);

    let mut form = construct(&settings, sizes, &state);
    let (mut worst, mut compared) = (compare.worst, compare.compared);
    for (n, (iteration, batch)) in file["iterations"].as_array().unwrap().iter().zip(&batches).enumerate() {
        let place = format!("{}, iteration {}", path.display(), n + 1);
        let mut compare = Comparison { place: &place, tolerance, relative, worst, compared };
        let rate = 0.001 * 0.5f64.powi(i32::try_from(n / 2).unwrap());
        compare.number("rate", rate, iteration["learning_rate"].as_f64().unwrap(), 1.0);
        let recorder = record(form.as_mut(), batch, rate);
        compare.updates(&recorder, iteration["updates"].as_array().unwrap());
        if iteration["discriminator_phase"].is_object() {
            compare.logits(&recorder, &iteration["discriminator_phase"]);
        }
        compare.state(&form.state().unwrap(), &iteration["after"]);
        (worst, compared) = (compare.worst, compare.compared);
    }
    let place = format!("{}, evaluation", path.display());
    let mut compare = Comparison { place: &place, tolerance, relative, worst, compared };
    let state = form.state().unwrap();
    for (modality, h, s) in [(Modality::Image, "h_i", "s_i"), (Modality::Text, "h_t", "s_t")] {
        let encoder = Encoder::new(&settings, modality, &state.weights, &state.running);
        let h: Array<T> = array(&file["evaluation"][h]);
        let codes = encoder.encode(h.shape[0], |row, out| {
            out.copy_from_slice(&h.data[row * h.shape[1]..(row + 1) * h.shape[1]]);
        });
        let codes = Array { shape: vec![h.shape[0], sizes.hidden], data: codes };
        compare.array(s, &codes, &file["evaluation"][s]);
    }
    (compare.worst, compare.compared)
}

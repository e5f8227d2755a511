//! The fast form of the training step against the plain one and against finite differences, for every
//! switch and ablation.

mod common;

use common::{Recorder, fast, plain, record};
use retrieval::{
    methods::cm_gans::{
        fast::FastForm,
        form::{Batch, Form},
        init::initial_state,
        layout,
        settings::{MismatchConcat, ReconstructionNorm, Settings, Sizes, SoftmaxHead, WeightSharing},
        state::State,
    },
    nn::{gemm::set_threads, real::Real, stream::Stream},
};

const SMALL: Sizes = Sizes { image: 23, text: 9, hidden: 12, inter_hidden: 7, classes: 5 };
/// Wide enough for several pieces of every kind.
const WIDE: Sizes = Sizes { image: 500, text: 90, hidden: 270, inter_hidden: 140, classes: 6 };

/// Every switch, and the paper's ablations, by name.
fn variants() -> Vec<(&'static str, Settings)> {
    let paper = || Settings { generator_steps: 2, batch_size: 8, ..Settings::paper() };
    let released = || Settings { generator_steps: 2, batch_size: 8, ..Settings::released() };
    let apart = WeightSharing::None;
    vec![
        ("paper", paper()),
        ("released", released()),
        ("anchor", Settings { mismatch_concat: MismatchConcat::Anchor, ..paper() }),
        ("tied, head per modality", Settings { softmax_head: SoftmaxHead::PerModality, ..paper() }),
        ("without ws&sc", Settings { weight_sharing: apart, semantic_constraint: false, ..paper() }),
        ("with ws", Settings { semantic_constraint: false, ..paper() }),
        ("with sc", Settings { weight_sharing: apart, ..paper() }),
        ("only inter", Settings { intra_discriminators: false, ..paper() }),
        ("only inter, released", Settings { intra_discriminators: false, ..released() }),
        ("CAE", Settings { adversarial: false, ..paper() }),
        ("CAE, L1", Settings { adversarial: false, reconstruction_norm: ReconstructionNorm::L1, ..released() }),
        ("reconstruction error", Settings { recon_loss_weight: 0.7, ..released() }),
        ("only inter and error", Settings { recon_loss_weight: 0.7, intra_discriminators: false, ..paper() }),
    ]
}

fn batch<T: Real>(sizes: Sizes, n: usize, index: u64) -> Batch<T> {
    let draw = |name: &str, columns: usize| {
        let mut stream = Stream::new(5, name, index);
        (0..n * columns).map(|_| T::of((stream.normal() + 0.5).max(0.0))).collect()
    };
    let mut labels = Stream::new(5, "labels", index);
    Batch {
        h_i: draw("image", sizes.image),
        h_t: draw("text", sizes.text),
        mismatched_h_i: draw("mismatched image", sizes.image),
        mismatched_h_t: draw("mismatched text", sizes.text),
        labels: (0..n).map(|_| u32::try_from(labels.below(sizes.classes)).unwrap()).collect(),
    }
}

/// The state after some iterations of the fast form.
fn trained<T: Real>(settings: &Settings, sizes: Sizes, iterations: u64) -> State<T> {
    let mut form = FastForm::new(settings, sizes, &initial_state(settings, sizes, 3)).unwrap();
    for index in 0..iterations {
        let mut losses = Recorder::default();
        form.iteration(&batch(sizes, settings.batch_size, index), 1e-3, &mut losses).unwrap();
        assert!(losses.updates.iter().all(|update| update.loss.is_finite()));
    }
    form.state().unwrap()
}

/// Largest norm of a difference over the norm of what is wanted.
fn compare<T: Real>(place: &str, got: &Recorder<T>, want: &Recorder<T>, tolerance: f64) -> f64 {
    assert!(got.updates.len() == want.updates.len() && !want.updates.is_empty(), "{place}: updates");
    let mut worst: f64 = 0.0;
    for (n, (got, want)) in got.updates.iter().zip(&want.updates).enumerate() {
        let place = format!("{place}, update {n}, {}", want.player.name());
        assert_eq!(got.player, want.player, "{place}");
        let error = (got.loss - want.loss).abs() / want.loss.abs();
        assert!(error <= tolerance, "{place}: loss {} is not {}", got.loss, want.loss);
        assert!(got.terms.iter().map(|t| &t.0).eq(want.terms.iter().map(|t| &t.0)), "{place}: {:?}", got.terms);
        assert!(got.gradients.keys().eq(want.gradients.keys()), "{place}: {:?}", got.gradients.keys());
        for (name, want) in want.gradients.iter().filter(|(name, _)| !layout::bias_before_norm(name)) {
            let norm = |square: &dyn Fn(usize) -> f64| (0..want.data.len()).map(square).sum::<f64>().sqrt();
            let size = norm(&|i| want.data[i].wide().powi(2));
            let difference = norm(&|i| (got.gradients[name].data[i] - want.data[i]).wide().powi(2));
            assert!(size > 0.0 && difference <= tolerance * size, "{place}: {name}: {difference:e} of {size:e}");
            worst = worst.max(difference / size);
        }
    }
    assert_eq!(got.logits.len(), want.logits.len(), "{place}: mean logits");
    for (got, want) in got.logits.iter().zip(&want.logits) {
        assert!(got.0 == want.0 && got.1 == want.1, "{place}: {got:?} {want:?}");
        assert!((got.2 - want.2).abs() <= tolerance * want.2.abs().max(1.0), "{place}: {got:?} {want:?}");
    }
    worst
}

/// One iteration of both forms from one state; with a rate of 0 every update starts from that state.
fn against_plain<T: Real>(iterations: u64, rate: f64, tolerance: f64) {
    for (name, settings) in variants() {
        let state = trained::<T>(&settings, SMALL, iterations);
        let batch = batch(SMALL, settings.batch_size, iterations);
        let got = record(fast(&settings, SMALL, &state).as_mut(), &batch, rate);
        let want = record(plain(&settings, SMALL, &state).as_mut(), &batch, rate);
        let worst = compare(&format!("{name} after {iterations}"), &got, &want, tolerance);
        println!("{name} after {iterations} iterations at rate {rate}: {worst:e}");
    }
}

#[test]
fn updates_are_the_plain_forms_from_a_fresh_state() {
    against_plain::<f64>(0, 1e-3, 1e-10);
    against_plain::<f32>(0, 0.0, 1e-4);
}

#[test]
fn updates_are_the_plain_forms_after_200_iterations() {
    against_plain::<f64>(200, 0.0, 1e-10);
    against_plain::<f32>(200, 0.0, 1e-4);
}

#[test]
fn five_iterations_are_the_plain_forms() {
    for (name, settings) in variants() {
        let state = initial_state::<f64>(&settings, SMALL, 3);
        let (mut fast, mut plain) = (fast(&settings, SMALL, &state), plain(&settings, SMALL, &state));
        for index in 0..5 {
            let batch = batch(SMALL, settings.batch_size, index);
            let (got, want) = (record(fast.as_mut(), &batch, 1e-3), record(plain.as_mut(), &batch, 1e-3));
            for (got, want) in got.updates.iter().zip(&want.updates) {
                let error = (got.loss - want.loss).abs();
                assert!(error <= 1e-9 * want.loss.abs(), "{name}, iteration {index}: {} {}", got.loss, want.loss);
            }
        }
        let (got, want) = (fast.state().unwrap(), plain.state().unwrap());
        assert!(got.adam.keys().eq(want.adam.keys()) && got.weights.keys().eq(want.weights.keys()), "{name}");
        for (key, want) in &want.running {
            for (got, want) in got.running[key].data.iter().zip(&want.data) {
                assert!((got - want).abs() < 1e-9, "{name}: {key}: {got} {want}");
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let step = 1e-5;
    for (name, settings) in variants() {
        let settings = Settings { generator_steps: 1, ..settings };
        let state = trained::<f64>(&settings, SMALL, 2);
        let batch = batch(SMALL, settings.batch_size, 2);
        // With a rate of 0 nothing moves, so each reported loss is that of the given state.
        let at = |state: &State<f64>| record(fast(&settings, SMALL, state).as_mut(), &batch, 0.0);
        for (update, reported) in at(&state).updates.iter().enumerate() {
            for (tensor, gradient) in &reported.gradients {
                let size = gradient.data.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let position = gradient.data.len() * (3 + update) / 11;
                let moved = |by: f64| {
                    let mut state = state.clone();
                    state.weights.get_mut(tensor).unwrap().data[position] += by;
                    at(&state).updates[update].loss
                };
                let numeric = (moved(step) - moved(-step)) / (2.0 * step);
                let error = (gradient.data[position] - numeric).abs();
                let place = format!("{name}: {} {tensor}[{position}]", reported.player.name());
                assert!(error <= 1e-5 * size + 1e-8, "{place}: {} {numeric}", gradient.data[position]);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let settings = Settings { batch_size: 16, ..Settings::paper() };
    let state = initial_state::<f32>(&settings, WIDE, 3);
    let run = |threads| {
        set_threads(threads);
        let mut form = FastForm::new(&settings, WIDE, &state).unwrap();
        for index in 0..2 {
            record(&mut form, &batch(WIDE, 16, index), 1e-3);
        }
        form.state().unwrap()
    };
    let one = run(1);
    assert_ne!(one, state);
    for threads in [2, 4] {
        assert!(run(threads) == one, "{threads} threads");
    }
    set_threads(1);
}

#[test]
fn a_state_taken_out_goes_on_to_the_same_bits() {
    for (name, settings) in variants() {
        let mut whole = FastForm::new(&settings, SMALL, &initial_state::<f32>(&settings, SMALL, 3)).unwrap();
        record(&mut whole, &batch(SMALL, settings.batch_size, 0), 1e-3);
        let mut resumed = FastForm::new(&settings, SMALL, &whole.state().unwrap()).unwrap();
        for form in [&mut whole, &mut resumed] {
            record(form, &batch(SMALL, settings.batch_size, 1), 1e-3);
        }
        assert!(whole.state().unwrap() == resumed.state().unwrap(), "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let settings = Settings { batch_size: 8, ..Settings::paper() };
    let mut state = initial_state::<f32>(&settings, SMALL, 3);
    let mut form = FastForm::new(&settings, SMALL, &state).unwrap();
    let mut losses = Recorder::default();
    let error = form.iteration(&batch(SMALL, 7, 0), 1e-3, &mut losses).unwrap_err().to_string();
    assert!(error.contains("rows"), "{error}");
    let mut odd = batch(SMALL, 8, 0);
    odd.labels[3] = 5;
    let error = form.iteration(&odd, 1e-3, &mut losses).unwrap_err().to_string();
    assert!(error.contains("class 5"), "{error}");
    assert!(losses.updates.is_empty());
    state.weights.remove("d_ci.out.bias");
    assert!(FastForm::new(&settings, SMALL, &state).unwrap_err().to_string().contains("d_ci.out.bias"));
}

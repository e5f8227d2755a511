//! Properties of the training step, of every form and every variant of the method (spec G.2, 9 and 10).

mod common;

use common::{forms, random_batch, record, variants};
use retrieval::methods::cm_gans::{
    init::initial_state,
    layout,
    settings::{Settings, Sizes, WeightSharing},
    state::{Player, State},
};
use retrieval::nn::stream::Stream;

const SIZES: Sizes = Sizes { image: 7, text: 5, hidden: 8, inter_hidden: 6, classes: 3 };
const ROWS: usize = 6;

/// A state a few iterations away from the first one, where no moment is 0 and no two players are alike.
fn trained(settings: &Settings) -> State<f64> {
    let mut form = common::plain::<f64>(settings, SIZES, &initial_state(settings, SIZES, 3));
    for index in 0..3 {
        record(form.as_mut(), &random_batch(SIZES, ROWS, index), 0.01);
    }
    form.state().unwrap()
}

#[test]
fn gradients_are_the_finite_differences_of_each_players_loss() {
    for (name, construct) in forms::<f64>() {
        for (variant, settings) in variants() {
            // At learning rate 0 nothing moves, so that every loss is seen at the state that is given.
            let settings = Settings { generator_steps: 1, ..settings };
            let state = trained(&settings);
            let batch = random_batch(SIZES, ROWS, 9);
            let recorder = record(construct(&settings, SIZES, &state).as_mut(), &batch, 0.0);
            // The derivative along one random direction through all of a player's tensors.
            let direction = |tensor: &str, elements: usize| -> Vec<f64> {
                let mut stream = Stream::new(1, tensor, 0);
                (0..elements).map(|_| stream.uniform_in(-1.0, 1.0)).collect()
            };
            let loss = |player: Player, offset: f64| {
                let mut state = state.clone();
                for tensor in &layout::ownership(&settings)[&player] {
                    let data = &mut state.weights.get_mut(tensor).unwrap().data;
                    let along = direction(tensor, data.len());
                    data.iter_mut().zip(along).for_each(|(value, along)| *value += offset * along);
                }
                let recorder = record(construct(&settings, SIZES, &state).as_mut(), &batch, 0.0);
                recorder.of(player).next().unwrap().loss
            };
            assert_eq!(recorder.updates.len(), layout::players(&settings).len());
            for update in &recorder.updates {
                let place = format!("{name}, {variant}: {}", update.player.name());
                let sum: f64 = update.terms.iter().map(|(_, value)| value).sum();
                assert!((sum - update.loss).abs() < 1e-12, "{place}: terms add up to {sum}, not {}", update.loss);
                let mut got = 0.0;
                for (tensor, gradient) in &update.gradients {
                    let along = direction(tensor, gradient.data.len());
                    got += gradient.data.iter().zip(along).map(|(g, along)| g * along).sum::<f64>();
                    if layout::bias_before_norm(tensor) {
                        assert!(gradient.data.iter().all(|g| g.to_bits() == 0), "{place}: {tensor} is not exactly 0");
                    }
                }
                let step = 1e-6;
                let want = (loss(update.player, step) - loss(update.player, -step)) / (2.0 * step);
                assert!((want - got).abs() < 1e-7 * (1.0 + want.abs()), "{place}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn updates_come_in_the_order_of_the_algorithm() {
    use Player::{DCi, DCt, DI, DT, GI, GT};
    for (_, construct) in forms::<f32>() {
        for (variant, settings) in variants() {
            let state = initial_state(&settings, SIZES, 3);
            let recorder = record(construct(&settings, SIZES, &state).as_mut(), &random_batch(SIZES, ROWS, 1), 0.001);
            let players: Vec<Player> = recorder.updates.iter().map(|update| update.player).collect();
            let want = match variant {
                "CAE" | "CAE, l1" => vec![GI, GT, GI, GT],
                "only inter" | "only inter, reconstruction error" => vec![DCt, DCi, GI, GT, GI, GT],
                _ => vec![DT, DI, DCt, DCi, GI, GT, GI, GT],
            };
            assert_eq!(players, want, "{variant}");
            for update in &recorder.updates {
                let terms: Vec<&str> = update.terms.iter().map(|(name, _)| name.as_str()).collect();
                let has = |term: &str, wanted: bool| assert_eq!(terms.contains(&term), wanted, "{variant} {term}");
                if matches!(update.player, GI | GT) {
                    has("inter", settings.adversarial);
                    has("intra", settings.judges_reconstructions());
                    has("class", settings.semantic_constraint);
                    has("reconstruction", settings.reconstruction_weight() > 0.0);
                }
            }
        }
    }
}

#[test]
fn blind_players_have_the_losses_of_chance() {
    let (ln2, settings) = (2.0f64.ln(), Settings { batch_size: ROWS, ..Settings::paper() });
    let mut state = trained(&settings);
    for layer in ["d_i", "d_t", "d_ci.out", "d_ct.out", "head"] {
        for suffix in layout::LINEAR {
            state.weights.get_mut(&format!("{layer}.{suffix}")).unwrap().data.fill(0.0);
        }
    }
    for (name, construct) in forms::<f64>() {
        let recorder = record(construct(&settings, SIZES, &state).as_mut(), &random_batch(SIZES, ROWS, 1), 0.0);
        for update in &recorder.updates {
            let class = if matches!(update.player, Player::GI | Player::GT) { 3.0f64.ln() } else { 0.0 };
            let want = 2.0 * ln2 + class;
            assert!((update.loss - want).abs() < 1e-12, "{name}: {} {}", update.player.name(), update.loss);
        }
        assert!(recorder.logits.len() == 10 && recorder.logits.iter().all(|(_, _, logit)| *logit == 0.0));
    }
}

#[test]
fn losses_and_gradients_stay_finite_at_logits_of_a_hundred() {
    let settings = Settings { batch_size: ROWS, ..Settings::paper() };
    for bias in [-100.0f32, 100.0] {
        let mut state = initial_state::<f32>(&settings, SIZES, 3);
        for layer in ["d_i", "d_t", "d_ci.out", "d_ct.out"] {
            state.weights.get_mut(&format!("{layer}.bias")).unwrap().data[0] = bias;
        }
        for (name, construct) in forms::<f32>() {
            let recorder = record(construct(&settings, SIZES, &state).as_mut(), &random_batch(SIZES, ROWS, 1), 0.0);
            for update in &recorder.updates {
                let place = format!("{name}: {} at {bias}", update.player.name());
                assert!(update.loss.is_finite() && update.loss < 300.0, "{place}: {}", update.loss);
                let finite = update.gradients.values().flat_map(|g| &g.data).all(|g| g.is_finite());
                assert!(finite, "{place}");
            }
            // One side of each discriminator's loss is about 100, the other about 0.
            let loss = recorder.of(Player::DI).next().unwrap().loss;
            assert!((loss - 100.0).abs() < 10.0, "{name}: {loss}");
        }
    }
}

#[test]
fn each_phase_moves_its_own_players_and_no_other() {
    for (name, construct) in forms::<f32>() {
        for (variant, settings) in variants() {
            let before = initial_state::<f32>(&settings, SIZES, 3);
            let batch = random_batch(SIZES, ROWS, 1);
            let after = |generator_steps| {
                let settings = Settings { generator_steps, ..settings.clone() };
                let mut form = construct(&settings, SIZES, &before);
                record(form.as_mut(), &batch, 0.001);
                form.state().unwrap()
            };
            let (judged, full) = (after(0), after(2));
            let ownership = layout::ownership(&settings);
            for tensor in before.weights.keys() {
                let place = format!("{name}, {variant}: {tensor}");
                let is_judges = tensor.starts_with("d_");
                let owned = ownership.values().any(|owned| owned.contains(tensor));
                let moves = owned && !layout::bias_before_norm(tensor);
                let same = |a: &State<f32>, b: &State<f32>| a.weights[tensor] == b.weights[tensor];
                assert_eq!(same(&before, &judged), !(is_judges && moves), "{place} in the discriminator phase");
                assert_eq!(same(&judged, &full), is_judges || !moves, "{place} in the generator phase");
            }
            assert_eq!(judged.running == before.running, !settings.adversarial, "{name}, {variant}");
            assert_ne!(judged.running, full.running, "{name}, {variant}");
        }
    }
}

#[test]
fn tied_layers_have_moments_of_their_own_and_released_ones_drift_apart() {
    for (name, construct) in forms::<f32>() {
        for (_, settings) in variants().into_iter().take(2) {
            let mut form = construct(&settings, SIZES, &initial_state(&settings, SIZES, 3));
            record(form.as_mut(), &random_batch(SIZES, ROWS, 1), 0.001);
            let state = form.state().unwrap();
            if settings.weight_sharing == WeightSharing::Tied {
                let moments = |player| &state.adam[&player].m["enc2.weight"];
                assert_ne!(moments(Player::GI), moments(Player::GT), "{name}");
                assert!(!state.weights.contains_key("image.enc2.weight"));
            } else {
                assert_ne!(state.weights["image.enc2.weight"], state.weights["text.enc2.weight"], "{name}");
            }
            assert_ne!(state.running["image.enc2.mean"], state.running["text.enc2.mean"], "{name}");
        }
    }
}

#[test]
fn a_form_goes_on_from_its_own_state_to_the_same_bits() {
    for (name, construct) in forms::<f32>() {
        for (variant, settings) in variants() {
            let step = |form: &mut dyn retrieval::methods::cm_gans::form::Form<f32>, index| {
                record(form, &random_batch(SIZES, ROWS, index), 0.001);
            };
            let mut whole = construct(&settings, SIZES, &initial_state(&settings, SIZES, 3));
            step(whole.as_mut(), 1);
            let mut resumed = construct(&settings, SIZES, &whole.state().unwrap());
            step(whole.as_mut(), 2);
            step(resumed.as_mut(), 2);
            assert!(whole.state().unwrap() == resumed.state().unwrap(), "{name}, {variant}");
        }
    }
}

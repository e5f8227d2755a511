//! Initial state of CM-GANs (spec A.4): every tensor is drawn from a stream of its own, so that none
//! depends on which others there are, or on their order.

use super::{
    layout,
    settings::{Settings, Sizes, WeightSharing},
    state::{Adam, Array, State, Tensors},
};
use crate::nn::{real::Real, stream::Stream};

/// Standard deviation of the initial gamma of batch norm, around 1 (spec A.4).
const GAMMA_DEVIATION: f64 = 0.02;

/// Weights of `seed`, fresh running statistics, and Adam moments of zero.
///
/// Linear weights and biases are uniform in ±1/√in, gammas normal(1, 0.02), betas 0. With `tied` and
/// `init-only` sharing both second encoder layers start from the same draws; with `none` they do not.
#[must_use]
pub fn initial_state<T: Real>(settings: &Settings, sizes: Sizes, seed: u64) -> State<T> {
    let shapes = layout::shapes(settings, sizes);
    let weights: Tensors<T> = shapes
        .iter()
        .map(|(name, shape)| {
            let (layer, kind) = split(name);
            // A linear layer's bias is drawn within the bound of its weight's rows.
            let inputs = shapes.get(&format!("{layer}.weight")).map_or(1, |shape| shape[0]);
            let mut stream = Stream::new(seed, &format!("init/{}", stream_name(settings, name)), 0);
            let count = shape.iter().product();
            let data = std::iter::repeat_with(|| T::of(draw(&mut stream, kind, inputs))).take(count).collect();
            (name.clone(), Array { shape: shape.clone(), data })
        })
        .collect();
    let constant = |value: f64, shape: Vec<usize>| {
        let count = shape.iter().product();
        Array { shape, data: vec![T::of(value); count] }
    };
    let running = layout::running_names()
        .into_iter()
        .map(|name| {
            let value = if split(&name).1 == "var" { 1.0 } else { 0.0 };
            (name, constant(value, vec![sizes.hidden]))
        })
        .collect();
    let adam = layout::ownership(settings)
        .into_iter()
        .map(|(player, owned)| {
            let zeros: Tensors<T> =
                owned.into_iter().map(|name| (name.clone(), constant(0.0, shapes[&name].clone()))).collect();
            (player, Adam { step: 0, m: zeros.clone(), v: zeros })
        })
        .collect();
    State { weights, running, adam }
}

/// Second layers that start equal draw from one stream: the tied layer's.
fn stream_name<'a>(settings: &Settings, name: &'a str) -> &'a str {
    match settings.weight_sharing {
        WeightSharing::InitOnly if name.contains(".enc2.") => {
            name.split_once('.').map_or(name, |(_modality, rest)| rest)
        }
        _ => name,
    }
}

fn draw(stream: &mut Stream, kind: &str, inputs: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)] // widths are far below 2^53
    let bound = 1.0 / (inputs as f64).sqrt();
    match kind {
        "beta" => 0.0,
        "gamma" => 1.0 + GAMMA_DEVIATION * stream.normal(),
        _ => stream.uniform_in(-bound, bound),
    }
}

/// `image.enc1.weight` to `image.enc1` and `weight`.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').expect("the layout's names have a layer and a kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { image: 64, text: 16, hidden: 100, inter_hidden: 9, classes: 4 };

    #[test]
    fn distributions_are_those_of_the_spec() {
        let state = initial_state::<f64>(&Settings::paper(), SIZES, 3);
        let check = |name: &str, bound: f64| {
            let data = &state.weights[name].data;
            let largest = data.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert!(largest <= bound && largest > 0.9 * bound, "{name}: {largest} of {bound}");
        };
        check("image.enc1.weight", 0.125);
        check("image.enc1.bias", 0.125);
        check("text.enc1.weight", 0.25);
        check("enc2.bias", 0.1);
        let gamma = &state.weights["enc2.gamma"].data;
        let mean = gamma.iter().sum::<f64>() / 100.0;
        let deviation = (gamma.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / 100.0).sqrt();
        assert!((mean - 1.0).abs() < 0.01 && (deviation - 0.02).abs() < 0.006, "{mean} {deviation}");
        assert_eq!(state.weights["enc2.beta"].data, [0.0; 100]);
        assert_eq!(state.running["text.enc2.var"].data, [1.0; 100]);
    }

    #[test]
    fn second_layers_start_equal_unless_sharing_is_none() {
        let of =
            |weight_sharing| initial_state::<f32>(&Settings { weight_sharing, ..Settings::paper() }, SIZES, 3).weights;
        let (tied, init_only, none) = (of(WeightSharing::Tied), of(WeightSharing::InitOnly), of(WeightSharing::None));
        for suffix in layout::NORMED {
            let pair = |weights: &Tensors<f32>| {
                (weights[&format!("image.enc2.{suffix}")].clone(), weights[&format!("text.enc2.{suffix}")].clone())
            };
            let (image, text) = pair(&init_only);
            assert!(image == text && image == tied[&format!("enc2.{suffix}")], "{suffix}");
            let (image, text) = pair(&none);
            assert_eq!(image == text, suffix == "beta", "{suffix}");
        }
        assert_eq!(tied["head.weight"], none["head.weight"], "a tensor's draws depend on no other");
    }

    #[test]
    fn the_seed_decides_everything() {
        let of = |seed| initial_state::<f32>(&Settings::released(), SIZES, seed);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).weights["d_t.weight"], of(2).weights["d_t.weight"]);
    }
}

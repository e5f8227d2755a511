//! Which tensors a CM-GANs model has, their shapes, and which player's optimiser steps them (spec A.2,
//! A.3, A.9). Both forms of the training step, the initialisation and the checkpoints follow this list.
//!
//! A layer that the settings leave unused (decoders without anything that judges a reconstruction, a
//! head without the semantic constraint) is there with its initial values, and nobody owns it.

use std::collections::BTreeMap;

use super::{
    form::Modality,
    settings::{Embedded, Settings, Sizes, SoftmaxHead, WeightSharing},
    state::{Player, State, Tensors},
};
use crate::error::{Error, Result};

/// Suffixes of a linear layer.
pub const LINEAR: [&str; 2] = ["weight", "bias"];
/// Suffixes of a linear layer with batch norm behind it.
pub const NORMED: [&str; 4] = ["weight", "bias", "gamma", "beta"];

/// Prefix of the second encoder layer of a modality.
#[must_use]
pub fn enc2(settings: &Settings, modality: Modality) -> &'static str {
    match (settings.weight_sharing, modality) {
        (WeightSharing::Tied, _) => "enc2",
        (_, Modality::Image) => "image.enc2",
        (_, Modality::Text) => "text.enc2",
    }
}

/// Prefix of the softmax head of a modality.
#[must_use]
pub fn head(settings: &Settings, modality: Modality) -> &'static str {
    match (settings.softmax_head, modality) {
        (SoftmaxHead::Shared, _) => "head",
        (SoftmaxHead::PerModality, Modality::Image) => "image.head",
        (SoftmaxHead::PerModality, Modality::Text) => "text.head",
    }
}

/// Whether this is a bias in front of batch norm: its gradient is zero, and is written as exactly 0 in
/// every form, so that Adam does not step on rounding noise.
#[must_use]
pub fn bias_before_norm(name: &str) -> bool {
    name.strip_suffix(".bias").is_some_and(|layer| {
        ["enc1", "enc2", "dec1", "hidden"].iter().any(|part| layer.rsplit('.').next() == Some(part))
    })
}

/// The players these settings have, in the order of [`Player::ALL`].
#[must_use]
pub fn players(settings: &Settings) -> Vec<Player> {
    let plays = |player: &Player| match player {
        Player::GI | Player::GT => true,
        Player::DI | Player::DT => settings.judges_reconstructions(),
        Player::DCi | Player::DCt => settings.adversarial,
    };
    Player::ALL.into_iter().filter(plays).collect()
}

fn names(prefix: &str, suffixes: &[&str]) -> impl Iterator<Item = String> {
    suffixes.iter().map(move |suffix| format!("{prefix}.{suffix}"))
}

fn generator(settings: &Settings, modality: Modality) -> Vec<String> {
    let side = modality.name();
    let mut owned: Vec<String> = names(&format!("{side}.enc1"), &NORMED).collect();
    owned.extend(names(enc2(settings, modality), &NORMED));
    if settings.decodes() {
        owned.extend(names(&format!("{side}.dec1"), &NORMED));
        owned.extend(names(&format!("{side}.dec2"), &LINEAR));
    }
    if settings.semantic_constraint {
        owned.extend(names(head(settings, modality), &LINEAR));
    }
    owned
}

/// The names of the tensors that each player's optimiser steps, sorted. A tied second layer and a shared
/// head belong to both generators, each with moments of its own.
#[must_use]
pub fn ownership(settings: &Settings) -> BTreeMap<Player, Vec<String>> {
    let owned = |player| {
        let mut list = match player {
            Player::GI => generator(settings, Modality::Image),
            Player::GT => generator(settings, Modality::Text),
            Player::DI => names("d_i", &LINEAR).collect(),
            Player::DT => names("d_t", &LINEAR).collect(),
            Player::DCi => names("d_ci.hidden", &NORMED).chain(names("d_ci.out", &LINEAR)).collect(),
            Player::DCt => names("d_ct.hidden", &NORMED).chain(names("d_ct.out", &LINEAR)).collect(),
        };
        list.sort_unstable();
        list
    };
    players(settings).into_iter().map(|player| (player, owned(player))).collect()
}

/// Shape of every weight by name: `[in, out]` for matrices, `[out]` for the rest.
#[must_use]
pub fn shapes(settings: &Settings, sizes: Sizes) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut layer = |prefix: &str, suffixes: &[&str], input: usize, output: usize| {
        for suffix in suffixes {
            let shape = if *suffix == "weight" { vec![input, output] } else { vec![output] };
            shapes.insert(format!("{prefix}.{suffix}"), shape);
        }
    };
    let Sizes { hidden, inter_hidden, classes, .. } = sizes;
    for modality in [Modality::Image, Modality::Text] {
        let (side, original) = (modality.name(), sizes.original(modality));
        layer(&format!("{side}.enc1"), &NORMED, original, hidden);
        layer(enc2(settings, modality), &NORMED, hidden, hidden);
        layer(&format!("{side}.dec1"), &NORMED, hidden, hidden);
        layer(&format!("{side}.dec2"), &LINEAR, hidden, original);
        layer(head(settings, modality), &LINEAR, hidden, classes);
    }
    for player in players(settings) {
        match player {
            Player::GI | Player::GT => {}
            Player::DI => layer("d_i", &LINEAR, sizes.image, 1),
            Player::DT => layer("d_t", &LINEAR, sizes.text, 1),
            Player::DCi => {
                layer("d_ci.hidden", &NORMED, hidden + sizes.image, inter_hidden);
                layer("d_ci.out", &LINEAR, inter_hidden, 1);
            }
            Player::DCt => {
                layer("d_ct.hidden", &NORMED, hidden + sizes.text, inter_hidden);
                layer("d_ct.out", &LINEAR, inter_hidden, 1);
            }
        }
    }
    shapes
}

/// Names of the weights that both encoders need, all that is used once training is over (spec A.12), with the heads
/// where class probabilities are the embedding.
#[must_use]
pub fn encoder_weights(settings: &Settings) -> Vec<String> {
    let layers = [Modality::Image, Modality::Text]
        .map(|modality| [format!("{}.enc1", modality.name()), enc2(settings, modality).to_owned()]);
    let mut list: Vec<String> = layers.iter().flatten().flat_map(|layer| names(layer, &NORMED)).collect();
    if settings.embedded == Embedded::Posterior {
        let heads = [Modality::Image, Modality::Text].map(|modality| head(settings, modality));
        list.extend(heads.iter().flat_map(|head| names(head, &LINEAR)));
    }
    list.sort_unstable();
    list.dedup();
    list
}

/// Names of the running statistics, one pair per modality and encoder layer also where it is tied; each
/// has shape `[hidden]`.
#[must_use]
pub fn running_names() -> Vec<String> {
    ["image.enc1", "image.enc2", "text.enc1", "text.enc2"]
        .iter()
        .flat_map(|layer| names(layer, &["mean", "var"]))
        .collect()
}

/// Checks that a state has exactly the tensors of these settings, in their shapes and filled.
///
/// # Errors
/// [`Error::Data`] naming the first tensor at fault.
pub fn check<T>(state: &State<T>, settings: &Settings, sizes: Sizes) -> Result<()> {
    let shapes = shapes(settings, sizes);
    let running = running_names().into_iter().map(|name| (name, vec![sizes.hidden])).collect();
    compare("weights", &state.weights, &shapes)?;
    compare("running statistics", &state.running, &running)?;
    let ownership = ownership(settings);
    if !state.adam.keys().eq(ownership.keys()) {
        return Err(Error::Data("the state has other players than these settings".into()));
    }
    for (player, owned) in ownership {
        let owned = owned.into_iter().map(|name| (name.clone(), shapes[&name].clone())).collect();
        compare(player.name(), &state.adam[&player].m, &owned)?;
        compare(player.name(), &state.adam[&player].v, &owned)?;
    }
    Ok(())
}

/// Checks the weights and running statistics that the encoders need, alone.
///
/// # Errors
/// As [`check`].
pub fn check_encoders<T>(weights: &Tensors<T>, running: &Tensors<T>, settings: &Settings, sizes: Sizes) -> Result<()> {
    let all = shapes(settings, sizes);
    let encoders = encoder_weights(settings).into_iter().map(|name| (name.clone(), all[&name].clone())).collect();
    let statistics = running_names().into_iter().map(|name| (name, vec![sizes.hidden])).collect();
    compare("encoder weights", weights, &encoders)?;
    compare("running statistics", running, &statistics)
}

fn compare<T>(what: &str, tensors: &Tensors<T>, shapes: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    for (name, shape) in shapes {
        match tensors.get(name) {
            None => return Err(Error::Data(format!("the {what} of the state lack {name}"))),
            Some(array) if array.shape != *shape || array.data.len() != shape.iter().product::<usize>() => {
                let found = (&array.shape, array.data.len());
                return Err(Error::Data(format!("{what}: {name} has shape and length {found:?}, not {shape:?}")));
            }
            Some(_) => {}
        }
    }
    match tensors.keys().find(|name| !shapes.contains_key(*name)) {
        Some(name) => Err(Error::Data(format!("the {what} of the state have {name}, which these settings have not"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { image: 6, text: 4, hidden: 5, inter_hidden: 3, classes: 2 };

    #[test]
    fn every_owned_tensor_has_a_shape_and_only_unused_layers_are_unowned() {
        for (settings, unowned) in [
            (Settings::paper(), vec![]),
            (Settings { intra_discriminators: false, ..Settings::paper() }, vec!["dec1", "dec2"]),
            (Settings { semantic_constraint: false, ..Settings::paper() }, vec!["head"]),
            (Settings { adversarial: false, ..Settings::released() }, vec![]),
        ] {
            let shapes = shapes(&settings, SIZES);
            let owned: Vec<String> = ownership(&settings).into_values().flatten().collect();
            assert!(owned.iter().all(|name| shapes.contains_key(name)));
            for name in shapes.keys() {
                let unused = unowned.iter().any(|part| name.split('.').any(|piece| piece == *part));
                assert_eq!(!owned.contains(name), unused, "{name}");
            }
        }
    }

    #[test]
    fn a_tied_layer_and_a_shared_head_belong_to_both_generators() {
        let paper = ownership(&Settings::paper());
        let released = ownership(&Settings::released());
        for player in [Player::GI, Player::GT] {
            assert!(paper[&player].contains(&"enc2.gamma".into()) && paper[&player].contains(&"head.bias".into()));
        }
        assert!(released[&Player::GI].iter().all(|name| !released[&Player::GT].contains(name)));
        assert_eq!(players(&Settings { adversarial: false, ..Settings::paper() }), [Player::GI, Player::GT]);
    }

    #[test]
    fn eight_biases_stand_before_batch_norm_when_second_layers_are_apart() {
        let names = shapes(&Settings::released(), SIZES);
        assert_eq!(names.keys().filter(|name| bias_before_norm(name)).count(), 8);
        assert!(!bias_before_norm("image.dec2.bias") && !bias_before_norm("image.enc1.weight"));
    }
}

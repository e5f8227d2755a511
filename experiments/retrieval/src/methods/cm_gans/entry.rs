//! CM-GANs in the registry: parameters with their defaults and sources, presets, departures.

use experiment_spec::catalog::{MethodEntry, Parameter, ParameterValue, Parameters, Preset};

use super::configuration::{
    ACTIVATIONS, EMBEDDINGS, EVALUATION_NORMS, FEATURE_NORMS, MISMATCH_CONCATS, RECONSTRUCTION_NORMS, SELECTIONS,
    SOFTMAX_HEADS, WEIGHT_SHARINGS,
};
use crate::parameters::{choice, count, flag, float};

/// Largest hidden width; above it the networks outgrow the memory of any machine this is meant for.
const LARGEST_WIDTH: i64 = 16_384;

fn switches() -> Vec<Parameter> {
    vec![
        choice(
            "activation",
            &ACTIVATIONS,
            "Activation of encoders, decoders and inter discriminators (relu: paper; leaky-relu, slope 0.2: released code).",
        ),
        choice(
            "weight-sharing",
            &WEIGHT_SHARINGS,
            "Second encoder layer of both pathways: one set of weights (paper), equal at the start only (released code in effect), or independent.",
        ),
        choice(
            "softmax-head",
            &SOFTMAX_HEADS,
            "One class head for both pathways (the paper read literally; CAE needs it) or one a modality (released code).",
        ),
        choice(
            "mismatch-concat",
            &MISMATCH_CONCATS,
            "Original that a mismatched common representation is joined with: its own (paper, released code) or the anchor's.",
        ),
        float(
            "recon-loss-weight",
            (0.0, 1e6),
            0.0,
            "Weight of an explicit reconstruction error in both generators' losses; 0 in the paper's GAN variants, and at least 1 in CAE whatever is set.",
        ),
        choice(
            "cae-norm",
            &RECONSTRUCTION_NORMS,
            "Reconstruction error: mean squared (inferred) or mean absolute (a criterion the released code declares).",
        ),
        flag(
            "semantic-constraint",
            true,
            "Class term in both generators' losses (paper); false in the rows `with ws` and `without ws&sc`.",
        ),
        flag(
            "intra-discriminators",
            true,
            "Discriminators of original against reconstruction (paper); false is the row `only inter`, whose decoders are unused.",
        ),
        flag(
            "adversarial",
            true,
            "Adversarial training (paper); false is the row CAE: no discriminators, generators trained on class and reconstruction error.",
        ),
    ]
}

fn training() -> Vec<Parameter> {
    vec![
        count(
            "generator-steps",
            (1, 100),
            5,
            "K, steps of each generator an iteration (released code; the paper's value is lost).",
        ),
        count("batch-size", (2, 4096), 64, "Pairs in a batch (released code)."),
        float("learning-rate", (1e-8, 1.0), 1e-3, "Of all six Adam optimisers (released code)."),
        count(
            "lr-decay-every",
            (0, 10_000_000),
            1300,
            "Iterations after which the learning rate is halved, again and again; 0 is never (released code: 100 epochs of 13 on Pascal Sentence).",
        ),
        count(
            "iterations",
            (1, 10_000_000),
            26_000,
            "Iterations (released code: 2,000 epochs of 13 on Pascal Sentence).",
        ),
        count("hidden", (1, LARGEST_WIDTH), 1024, "Columns of the common representation and hidden units (paper)."),
        count("inter-hidden", (1, LARGEST_WIDTH), 512, "Hidden units of the inter discriminators (paper)."),
        choice(
            "feat-norm",
            &FEATURE_NORMS,
            "Features as they are (released code), z-scored by training statistics, or of length 1.",
        ),
        choice(
            "eval-norm",
            &EVALUATION_NORMS,
            "Normalisation a row of this preset is to be read under: none (paper) or the authors' z-scores; both are always scored.",
        ),
        choice(
            "embedding",
            &EMBEDDINGS,
            "What is compared: the common representation (paper) or the softmax head's class probabilities of it (beyond the paper).",
        ),
        choice(
            "selection",
            &SELECTIONS,
            "Iteration whose weights are kept: the last (released code) or the best on validation by bi-modal average.",
        ),
        count("select-every", (1, 10_000_000), 100, "Iterations between two looks at validation (inferred)."),
    ]
}

/// What the registry says about CM-GANs.
#[must_use]
pub fn entry() -> MethodEntry {
    let text = |value: &str| ParameterValue::Text(value.into());
    let released = Parameters::from([
        ("activation".into(), text("leaky-relu")),
        ("weight-sharing".into(), text("init-only")),
        ("softmax-head".into(), text("per-modality")),
        ("eval-norm".into(), text("authors")),
    ]);
    MethodEntry {
        key: "cm-gans".into(),
        label: "CM-GANs".into(),
        revision: 1,
        objective: "min over G_I, G_T max over D_I, D_T, D_CI, D_CT of V_intra + V_inter, with the class terms and a \
                    shared second encoder layer for the generators"
            .into(),
        reference: "Peng, Qi, Yuan: CM-GANs: Cross-modal Generative Adversarial Networks for Common Representation \
                    Learning. ACM TOMM 15(1), 2019; arXiv 1710.05106"
            .into(),
        parameters: switches().into_iter().chain(training()).collect(),
        presets: vec![
            Preset { name: "paper".into(), values: Parameters::new() },
            Preset { name: "released".into(), values: released },
        ],
        departures: vec![
            "generator steps, optimiser, learning rate, batch size and iterations are those of the released code, \
             whatever the preset: the paper's values are not known"
                .into(),
            "generators descend -log D(fake), as the released code does, not the printed minimax".into(),
            "cross-entropy is computed on logits, without the released code's clamp at 1e-12".into(),
            "a bias in front of batch norm, whose gradient is zero but for rounding, keeps its initial value".into(),
        ],
    }
}

//! CCL: cross-modal correlation learning over wholes and patches (spec C.10).

use experiment_spec::catalog::{MethodEntry, Parameters};

use self::training::Grained;
use crate::{
    error::Result,
    method::TrainingData,
    nn::device::device,
    parameters::{Reader, count, float, patches},
    tuning::iterative::{Iterative, Training},
};

mod fitted;
mod grain;
pub mod multi_task;
mod training;

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Ccl;

impl Iterative for Ccl {
    fn entry(&self) -> MethodEntry {
        MethodEntry {
            key: "ccl".into(),
            label: "CCL".into(),
            revision: 2,
            objective: "representations of each modality by RBMs and a correspondence autoencoder on wholes and on \
                        patches, an RBM over both and fine-tuning on the classes; then min contrastive loss over all image-text combinations + both class losses"
                .into(),
            reference: "Peng, Qi, Huang, Yuan: CCL: Cross-modal correlation learning with multi-grained fusion by \
                        hierarchical network. IEEE Transactions on Multimedia 20(2), 2018"
                .into(),
            parameters: vec![
                patches(
                    "fine-grain",
                    true,
                    "Learns from patches of images and segments of texts as well, where the encoder makes features of \
                     them: small-cnn does.",
                ),
                count(
                    "hidden",
                    (1, 8192),
                    1024,
                    "Units of every layer; the first image RBM has twice as many, as has the RBM over both grains.",
                ),
                count("rbm-steps", (1, 10_000_000), 50_000, "Steps of each of the four RBMs of a grain."),
                count("rbm-batch-size", (1, 65_536), 128, "Rows an RBM step."),
                float(
                    "alpha",
                    (0.0, 1.0),
                    0.7,
                    "Weight of the distance of the codes in the correspondence autoencoder.",
                ),
                count("corr-steps", (1, 10_000_000), 10_000, "Steps of the correspondence autoencoder of a grain."),
                count("joint-steps", (1, 10_000_000), 50_000, "Steps of each of the two RBMs over both grains."),
                count("tuning-steps", (1, 10_000_000), 50_000, "Steps of fine-tuning on the classes."),
                count("iterations", (1, 10_000_000), 20_000, "Steps of the second stage."),
                count(
                    "batch-size",
                    (2, 65_536),
                    80,
                    "Pairs a step of the second stage; all their combinations are compared.",
                ),
                float(
                    "learning-rate",
                    (1e-8, 10.0),
                    1e-4,
                    "Rate of the second stage; a tenth after each 25,000 steps.",
                ),
            ],
            presets: vec![],
            departures: vec![
                "patches are 5 crops of an image (corners and centre, of half its height and width) through the same \
                 CNN, not the authors' regions; segments are the sentences of a text, or on emoji its names; where the \
                 features have none, coarse grain only, and the joint RBM of both grains gives way to the coarse \
                 autoencoder's output; expect less than the published figures"
                    .into(),
                "the RBMs over both grains have the settings of CMDN's joint RBM: CCL's own are not recorded (inferred)"
                    .into(),
                "the text features are real numbers: the lowest text RBM is Gaussian on z-scored features; RBMs \
                 have sparsity target 0.1 with cost 0.01 on the hidden biases, of the ranges in the released scripts"
                    .into(),
                "fine-tuning has the rate of CMDN's released code (0.01, halved each 10,000 steps, momentum 0.9, L2 \
                 0.001): CCL's own is not recorded (inferred)"
                    .into(),
                "the contrastive loss counts twice, as in the released backward pass; biases do not decay (inferred)"
                    .into(),
            ],
        }
    }

    fn looks_at_validation(&self, _: &Parameters) -> bool {
        false
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        Ok(Box::new(Grained::new(&data, reader, seed, &device())?))
    }
}

//! CMDN: cross-media multiple deep networks, in their five steps, and a lite variant without Boltzmann machines (spec
//! C.8).

use experiment_spec::catalog::{MethodEntry, Parameters};

use self::stages::{LEVELS, Settings, Stages};
use crate::{
    error::Result,
    method::TrainingData,
    nn::{device::device, unit::UnitKind},
    parameters::{Reader, count, flag, integers, tuned},
    tuning::iterative::{Iterative, Training},
};

mod bimodal;
mod intra;
mod joint;
mod model;
mod stages;

/// The method, with Boltzmann machines or autoencoders in their place.
#[derive(Clone, Copy, Debug)]
pub struct Cmdn {
    /// What the layers of steps 2 and 3 are.
    pub units: UnitKind,
}

impl Cmdn {
    fn departures(self) -> Vec<String> {
        let mut departures = vec![
            "scales (to 0..1 and to mean 0, deviation 1) are those of each column's training rows, not of the whole \
             matrix of each split as in the released code"
                .to_owned(),
            "step 1 makes half of the released code's 100,000 steps with its first layer and half with both (inferred)"
                .into(),
            "the code of step 4 is scaled to 0..1 before step 5, whose rebuilt layer is logistic; labels are learnt on \
             its codes, as the paper says and the released files seem not to do"
                .into(),
            "the number of levels is chosen on validation pairs; weights of rectified layers start with variance \
             2 / inputs (inferred)"
                .into(),
        ];
        departures.push(match self.units {
            UnitKind::Rbm => {
                "the text features are real numbers: the lowest text RBM is Gaussian on z-scored features; RBMs \
                 have sparsity target 0.1 with cost 0.01 on the hidden biases, of the ranges in the released scripts"
                    .into()
            }
            UnitKind::Autoencoder => "lite: the RBMs of steps 2 and 3 are autoencoders of the same sizes under Adam, \
                                      the joint one shown one side, the other or both, and an absent side is 0 at use"
                .into(),
        });
        departures
    }
}

impl Iterative for Cmdn {
    fn entry(&self) -> MethodEntry {
        let steps = |key: &str, default: i64, help: &str| count(key, (1, 10_000_000), default, help);
        let (key, label) = match self.units {
            UnitKind::Rbm => ("cmdn", "CMDN"),
            UnitKind::Autoencoder => ("cmdn-lite", "CMDN (lite)"),
        };
        let levels = count("levels", (1, 4), 4, "Levels of the stacked bimodal autoencoders that are used.");
        MethodEntry {
            key: key.into(),
            label: label.into(),
            revision: 1,
            objective: "each modality by a stacked autoencoder (intra) and a multimodal deep belief network (inter), \
                        joined by a Boltzmann machine, fine-tuned on the classes; then stacked bimodal autoencoders"
                .into(),
            reference:
                "Peng, Huang, Qi: Cross-media shared representation by hierarchical learning with multiple deep \
                        networks. IJCAI 2016"
                    .into(),
            parameters: vec![
                count(
                    "hidden",
                    (2, 8192),
                    1024,
                    "Units of most layers; joint and first image layers have twice as many, codes half and less.",
                ),
                steps("intra-steps", 50_000, "Steps of step 1 with its first layer, and as many with both."),
                steps("rbm-steps", 50_000, "Steps of each of the four lower layers of step 2."),
                steps("joint-steps", 200_000, "Steps of the joint layer of step 2."),
                steps("combination-steps", 100_000, "Steps of step 3."),
                count("rbm-batch-size", (1, 65_536), 128, "Rows a step of steps 2 and 3."),
                steps("tuning-steps", 50_000, "Steps of step 4, fine-tuning on the classes."),
                steps("level-steps", 2_000, "Steps of each level of step 5."),
                tuned(levels, integers([1, 2, 3, 4])),
                flag("label", true, "Whether the codes of step 5 also learn the classes."),
            ],
            presets: vec![],
            departures: self.departures(),
        }
    }

    fn looks_at_validation(&self, _: &Parameters) -> bool {
        false
    }

    fn runs_on_gpu(&self) -> bool {
        true
    }

    /// All of them: every level is trained on the codes of the one below, whichever is used in the end.
    fn shared_steps(&self, parameters: &Parameters) -> u64 {
        let entry = self.entry();
        let all = |reader: Reader<'_>| {
            let of = |key: &str| reader.count(key);
            2 * of("intra-steps")
                + 4 * of("rbm-steps")
                + of("joint-steps")
                + of("combination-steps")
                + of("tuning-steps")
                + LEVELS as u64 * of("level-steps")
        };
        Reader::new(&entry, parameters).map_or(0, all)
    }

    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, seed: u64) -> Result<Box<dyn Training + 'a>> {
        let entry = self.entry();
        let reader = Reader::new(&entry, parameters)?;
        let settings = Settings {
            hidden: reader.size("hidden"),
            units: self.units,
            intra: reader.count("intra-steps"),
            rbm: reader.count("rbm-steps"),
            joint: reader.count("joint-steps"),
            combination: reader.count("combination-steps"),
            tuning: reader.count("tuning-steps"),
            level: reader.count("level-steps"),
            batch: reader.size("rbm-batch-size"),
            levels: reader.size("levels"),
            labelled: reader.flag("label"),
            seed,
        };
        Ok(Box::new(Stages::new(&data, settings, &device())?))
    }
}

//! The two networks: each two rectified hidden layers and a linear last one.

use candle_core::Tensor;

use crate::{
    error::Result,
    nn::{
        learner::{Learner, Start},
        stack::{Activation, Stack},
    },
};

const NAMES: [&str; 2] = ["image", "text"];
const LAYERS: [(&str, Activation); 3] =
    [("one", Activation::Rectified), ("two", Activation::Rectified), ("out", Activation::Identity)];

/// Sizes of one network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) columns: usize,
    pub(super) hidden: usize,
    pub(super) outputs: usize,
}

/// Both networks; they share no weight.
pub(super) struct Towers {
    pub(super) learner: Learner,
}

impl Towers {
    pub(super) fn new(mut learner: Learner, sizes: [Sizes; 2], seed: u64) -> Result<Self> {
        for (name, sizes) in NAMES.into_iter().zip(sizes) {
            let Sizes { columns, hidden, outputs } = sizes;
            learner.add_layer(&format!("{name}.one"), (columns, hidden), Start::He, seed)?;
            learner.add_layer(&format!("{name}.two"), (hidden, hidden), Start::He, seed)?;
            learner.add_layer(&format!("{name}.out"), (hidden, outputs), Start::Normal, seed)?;
        }
        Ok(Self { learner })
    }

    /// `[n, outputs]` of both sides, with gradients.
    pub(super) fn outputs(&self, x: &[Tensor; 2]) -> Result<[Tensor; 2]> {
        let of = |name: &str, x: &Tensor| {
            LAYERS.into_iter().try_fold(x.clone(), |x, (layer, activation)| {
                activation.of(&self.learner.affine(&format!("{name}.{layer}"), &x)?)
            })
        };
        Ok([of(NAMES[0], &x[0])?, of(NAMES[1], &x[1])?])
    }

    /// Both as they are now.
    pub(super) fn stacks(&self) -> Result<[Stack; 2]> {
        let of = |name: &str| -> Result<Stack> {
            let layers = LAYERS.into_iter().map(|(layer, it)| self.learner.layer(&format!("{name}.{layer}"), it));
            Ok(Stack(layers.collect::<Result<_>>()?))
        };
        Ok([of(NAMES[0])?, of(NAMES[1])?])
    }
}

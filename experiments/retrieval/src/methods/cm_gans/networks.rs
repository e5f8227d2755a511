//! The networks of CM-GANs on candle tensors (spec A.2, A.3), as one player sees them while it learns:
//! its own tensors are variables, all others are constants.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::{
    form::Modality,
    layout,
    settings::{Activation, Settings},
};
use crate::{
    error::Result,
    nn::layers::{Moments, batch_norm, linear, rectify},
};

/// Common representations of one batch, with the batch moments of the two encoder layers.
pub(super) struct Codes {
    /// s, `[n, hidden]`.
    pub(super) s: Tensor,
    /// Of enc 1 and enc 2.
    pub(super) moments: [Moments; 2],
}

/// All networks, as `learner` sees them.
pub(super) struct Networks<'a> {
    pub(super) settings: &'a Settings,
    pub(super) weights: &'a BTreeMap<String, Var>,
    /// Sorted names of the tensors that gradients reach.
    pub(super) learner: &'a [String],
}

impl Networks<'_> {
    fn weight(&self, name: &str) -> Tensor {
        let variable = &self.weights[name];
        if self.learner.binary_search_by(|owned| owned.as_str().cmp(name)).is_ok() {
            variable.as_tensor().clone()
        } else {
            variable.as_detached_tensor()
        }
    }

    fn linear(&self, layer: &str, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight(&format!("{layer}.weight")), &self.weight(&format!("{layer}.bias")))
    }

    /// Linear, batch norm, activation.
    fn normed(&self, layer: &str, x: &Tensor) -> Result<(Tensor, Moments)> {
        // The bias cannot change what batch norm puts out, only the mean it records: its gradient is
        // zero in exact arithmetic, and left out here so that rounding gives it none.
        let bias = self.weight(&format!("{layer}.bias")).detach();
        let x = linear(x, &self.weight(&format!("{layer}.weight")), &bias)?;
        let (gamma, beta) = (self.weight(&format!("{layer}.gamma")), self.weight(&format!("{layer}.beta")));
        let (y, moments) = batch_norm(&x, &gamma, &beta)?;
        Ok((rectify(&y, self.settings.activation.slope())?, moments))
    }

    /// s of originals `h`, `[n, original]`.
    pub(super) fn encode(&self, modality: Modality, h: &Tensor) -> Result<Codes> {
        let (x, first) = self.normed(&format!("{}.enc1", modality.name()), h)?;
        let (s, second) = self.normed(layout::enc2(self.settings, modality), &x)?;
        Ok(Codes { s, moments: [first, second] })
    }

    /// r of common representations, `[n, original]`.
    pub(super) fn decode(&self, modality: Modality, s: &Tensor) -> Result<Tensor> {
        let (x, _) = self.normed(&format!("{}.dec1", modality.name()), s)?;
        self.linear(&format!("{}.dec2", modality.name()), &x)
    }

    /// Class logits, `[n, classes]`.
    pub(super) fn classify(&self, modality: Modality, s: &Tensor) -> Result<Tensor> {
        self.linear(layout::head(self.settings, modality), s)
    }

    /// Logits of D_I or D_T on originals or reconstructions, `[n, 1]`.
    pub(super) fn intra(&self, modality: Modality, x: &Tensor) -> Result<Tensor> {
        self.linear(modality.intra_judge().name(), x)
    }

    /// Logits of D_CI or D_CT on `[s ; h]`, `[n, 1]`. One group a call: each has batch moments of its own.
    pub(super) fn inter(&self, pathway: Modality, s: &Tensor, h: &Tensor) -> Result<Tensor> {
        let judge = pathway.inter_judge().name();
        let (x, _) = self.normed(&format!("{judge}.hidden"), &Tensor::cat(&[s, h], 1)?)?;
        self.linear(&format!("{judge}.out"), &x)
    }
}

impl Activation {
    /// Factor below zero.
    #[must_use]
    pub fn slope(self) -> f64 {
        match self {
            Self::Relu => 0.0,
            Self::LeakyRelu => 0.2,
        }
    }
}

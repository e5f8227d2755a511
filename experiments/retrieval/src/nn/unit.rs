//! A layer of units that learns to rebuild what it sees: a Boltzmann machine, or an autoencoder in its place.

use candle_core::{DType, Device, Tensor};

use super::{
    autoencoder::Autoencoder,
    kept::Kept,
    rbm::{Machine, Settings, Visible},
    stack::{Activation, Layer},
};
use crate::{checkpoint::NamedTensor, error::Result};

/// Which of the two is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// Restricted Boltzmann machines.
    Rbm,
    /// Autoencoders of the same sizes under Adam.
    Autoencoder,
}

/// One of the two under training.
#[derive(Debug)]
pub enum Unit {
    /// A restricted Boltzmann machine.
    Rbm(Machine),
    /// An autoencoder.
    Autoencoder(Autoencoder),
}

impl Unit {
    /// One of `kind` that has learnt nothing yet; of the settings an autoencoder takes the visible units alone.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        kind: UnitKind,
        name: &str,
        sizes: (usize, usize),
        settings: Settings,
        seed: u64,
        on: (&Device, DType),
    ) -> Result<Self> {
        Ok(match kind {
            UnitKind::Rbm => Self::Rbm(Machine::new(name, sizes, settings, seed, on)?),
            UnitKind::Autoencoder => {
                let output = match settings.visible {
                    Visible::Gaussian => Activation::Identity,
                    Visible::Logistic => Activation::Logistic,
                };
                Self::Autoencoder(Autoencoder::new(name, sizes, output, seed, on)?)
            }
        })
    }

    /// What the hidden units say: `[n, visible]` to `[n, hidden]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn hidden(&self, visible: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rbm(machine) => machine.hidden(visible),
            Self::Autoencoder(autoencoder) => autoencoder.hidden(visible),
        }
    }

    /// One step, counted from 1, on the rows of a batch; gives the mean squared error of rebuilding them.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn step(&mut self, visible: &Tensor, step: u64, seed: u64) -> Result<f64> {
        match self {
            Self::Rbm(machine) => machine.step(visible, step, seed),
            Self::Autoencoder(autoencoder) => autoencoder.step(visible, visible, step),
        }
    }

    /// The way up, as a layer.
    ///
    /// # Errors
    /// When the device has no room for a copy.
    pub fn upward(&self) -> Result<Layer> {
        match self {
            Self::Rbm(machine) => machine.upward(),
            Self::Autoencoder(autoencoder) => autoencoder.upward(),
        }
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        match self {
            Self::Rbm(machine) => machine.state(),
            Self::Autoencoder(autoencoder) => autoencoder.state(),
        }
    }

    /// Puts it where [`Unit::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        match self {
            Self::Rbm(machine) => machine.restore(kept),
            Self::Autoencoder(autoencoder) => autoencoder.restore(kept),
        }
    }
}

//! One grain of CCL's first stage: machines on features of wholes or of patches, then a correspondence autoencoder over
//! what they say of each pair (spec C.10, stage 1).

use std::cell::OnceCell;

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::{Pairs, Rows},
    linalg::standardise::Standardisation,
    methods::{
        corr_ae::network::{CorrNet, Plan, Variant},
        rbm_stacks::{Inputs, RbmStacks, Shape},
        stacked::standardised,
    },
    nn::{batches::batch, kept::Kept, stack::Stack, unit::UnitKind},
};

/// Rate and penalty of the correspondence autoencoder (spec C.6).
const CORR_RATE: f64 = 0.05;
const CORR_DECAY: f64 = 1e-4;
/// Items whose patches go through the machines at once: bounds the memory of what they say of patches.
const ITEMS_AT_ONCE: usize = 512;

/// Sizes and lengths of both grains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) rbm_steps: u64,
    pub(super) rbm_batch: usize,
    pub(super) corr_batch: usize,
    pub(super) alpha: f64,
}

/// A grain under training.
#[derive(Debug)]
pub(super) struct Grain {
    /// Tells its draws and tensors from those of the other grain.
    prefix: &'static str,
    standardisations: [Standardisation; 2],
    features: Inputs,
    /// Of the fine grain: how many rows of the features belong to each pair.
    counts: Option<[Vec<usize>; 2]>,
    stacks: RbmStacks,
    corr: CorrNet,
    corr_batch: usize,
    /// What the trained machines say of each pair, made when first needed.
    said: OnceCell<Inputs>,
}

impl Grain {
    /// The grain of whole images and texts.
    pub(super) fn coarse(train: &Pairs<'_>, sizes: Sizes, seed: u64, device: &Device) -> Result<Self> {
        Self::new("", ["image", "text"], [train.image, train.text], None, sizes, seed, device)
    }

    /// The grain of patches and segments, where the features have them.
    pub(super) fn fine(train: &Pairs<'_>, sizes: Sizes, seed: u64, device: &Device) -> Result<Option<Self>> {
        let (Some(image), Some(text)) = (train.image.patches(), train.text.patches()) else { return Ok(None) };
        let counts = [image.counts().to_vec(), text.counts().to_vec()];
        let (names, rows) = (["image patch", "text segment"], [image.rows(), text.rows()]);
        Self::new("fine.", names, rows, Some(counts), sizes, seed, device).map(Some)
    }

    fn new(
        prefix: &'static str,
        names: [&str; 2],
        [image, text]: [Rows<'_>; 2],
        counts: Option<[Vec<usize>; 2]>,
        sizes: Sizes,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let Sizes { hidden, rbm_steps, rbm_batch, corr_batch, alpha } = sizes;
        let standardisations = [Standardisation::fit(names[0], image)?, Standardisation::fit(names[1], text)?];
        let features = Inputs {
            image: standardised(&standardisations[0], image, device)?,
            text: standardised(&standardisations[1], text, device)?,
        };
        let shape = Shape {
            image: [2 * hidden, hidden],
            text: [hidden, hidden],
            steps: rbm_steps,
            batch: rbm_batch,
            units: UnitKind::Rbm,
        };
        let plan = Plan {
            variant: Variant::CorrAe,
            alpha,
            inputs: [hidden; 2],
            hidden,
            pretrained: true,
            rate: CORR_RATE,
            decay: CORR_DECAY,
        };
        let on = (device, DType::F32);
        let stacks = RbmStacks::new(prefix, shape, [image.dims(), text.dims()], seed, on)?;
        let corr = CorrNet::new(prefix, plan, seed, on)?;
        Ok(Self { prefix, standardisations, features, counts, stacks, corr, corr_batch, said: OnceCell::new() })
    }

    /// Steps of the machines.
    pub(super) fn machine_steps(&self) -> u64 {
        self.stacks.steps()
    }

    /// One step of the machines, counted from 1; gives the error of rebuilding.
    pub(super) fn step_machines(&mut self, step: u64) -> Result<f64> {
        self.stacks.step(&self.features, step)
    }

    /// One step of the autoencoder, counted from 1; gives the loss before it.
    pub(super) fn step_corr(&mut self, step: u64, seed: u64) -> Result<f64> {
        let said = self.said()?;
        let rows = batch(seed, &format!("ccl {}corr", self.prefix), said.image.dim(0)?, self.corr_batch, step);
        let inputs = said.rows(&rows)?;
        self.corr.step(&inputs, step)
    }

    /// What the trained machines say of each training pair: `[n, hidden]`.
    fn said(&self) -> Result<&Inputs> {
        if let Some(said) = self.said.get() {
            return Ok(said);
        }
        let [image, text] = self.stacks.stacks()?;
        let counts = |side: usize| self.counts.as_ref().map(|counts| &counts[side][..]);
        let said = Inputs {
            image: through(&image, &self.features.image, counts(0))?,
            text: through(&text, &self.features.text, counts(1))?,
        };
        Ok(self.said.get_or_init(|| said))
    }

    /// Codes of each training pair once the autoencoder is trained: `[n, hidden]`.
    pub(super) fn codes(&self) -> Result<Inputs> {
        let ([image, text], said) = (self.corr.coders()?.map(Stack), self.said()?);
        Ok(Inputs { image: image.apply(&said.image)?, text: text.apply(&said.text)? })
    }

    /// The way of a row of either side to its code, as trained so far.
    pub(super) fn ways(&self) -> Result<[Way; 2]> {
        let ([image, text], [image_coder, text_coder]) = (self.stacks.stacks()?, self.corr.coders()?.map(Stack));
        let [of_images, of_texts] = self.standardisations.clone();
        let way = |standardisation, machines, coder| Way { standardisation, machines, coder };
        Ok([way(of_images, image, image_coder), way(of_texts, text, text_coder)])
    }

    /// Mean number of patches of an image and of segments of a text; none where the rows are wholes.
    #[allow(clippy::cast_precision_loss)] // counts of rows in memory
    pub(super) fn patches_each(&self) -> Option<[f64; 2]> {
        let mean = |counts: &Vec<usize>| counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        self.counts.as_ref().map(|counts| counts.each_ref().map(mean))
    }

    /// Everything that further steps depend on.
    pub(super) fn state(&self) -> Result<Vec<NamedTensor>> {
        Ok([self.stacks.state()?, self.corr.state()?].concat())
    }

    /// Puts the grain where [`Grain::state`] was taken.
    pub(super) fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.said = OnceCell::new();
        self.stacks.restore(kept)?;
        self.corr.restore(kept)
    }
}

/// From features of one side to codes, trained.
#[derive(Debug)]
pub(super) struct Way {
    standardisation: Standardisation,
    machines: Stack,
    coder: Stack,
}

impl Way {
    /// Codes of wholes, `[rows, hidden]`; of patches by how many each item has, `[items, hidden]`.
    pub(super) fn codes(&self, rows: Rows<'_>, counts: Option<&[usize]>, device: &Device) -> Result<Tensor> {
        let features = standardised(&self.standardisation, rows, device)?;
        self.coder.apply(&through(&self.machines, &features, counts)?)
    }

    /// Its numbers, named after `side`.
    pub(super) fn tensors(&self, side: &str) -> Result<Vec<NamedTensor>> {
        let layers = Stack([&self.machines.0[..], &self.coder.0[..]].concat());
        Ok([self.standardisation.tensors(side), layers.tensors(side)?].concat())
    }
}

/// What the machines say of each row, or its mean over the patches of each item.
fn through(machines: &Stack, features: &Tensor, counts: Option<&[usize]>) -> Result<Tensor> {
    let Some(counts) = counts else { return machines.apply(features) };
    let (mut first, mut means) = (0, Vec::new());
    for counts in counts.chunks(ITEMS_AT_ONCE) {
        let rows = counts.iter().sum();
        means.push(averaged(&machines.apply(&features.narrow(0, first, rows)?)?, counts)?);
        first += rows;
    }
    Ok(Tensor::cat(&means, 0)?)
}

/// Means of the first `counts[0]` rows, of the next `counts[1]`, and so on, summed in the order of the rows.
#[allow(clippy::cast_precision_loss)] // patches of an item
fn averaged(x: &Tensor, counts: &[usize]) -> Result<Tensor> {
    let item = |(item, count): (u32, &usize)| std::iter::repeat_n(item, *count);
    let items: Vec<u32> = (0..).zip(counts).flat_map(item).collect();
    let shares: Vec<f64> = counts.iter().map(|count| 1.0 / *count as f64).collect();
    let sums = Tensor::zeros((counts.len(), x.dim(1)?), x.dtype(), x.device())?;
    let sums = sums.index_add(&Tensor::new(items, x.device())?, x, 0)?;
    let shares = Tensor::from_vec(shares, (counts.len(), 1), &Device::Cpu)?;
    Ok(sums.broadcast_mul(&shares.to_dtype(x.dtype())?.to_device(x.device())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::stack::{Activation, Layer};

    const CPU: Device = Device::Cpu;

    #[test]
    fn an_item_is_the_mean_of_its_patches_whatever_its_place() {
        let x = Tensor::new(&[[1.0f64, 8.0], [3.0, 6.0], [5.0, -6.0], [7.0, 2.0]], &CPU).unwrap();
        let means = averaged(&x, &[1, 2, 1]).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(means, [[1.0, 8.0], [4.0, 0.0], [7.0, 2.0]]);
        // More items than go through at once; item n has n % 3 + 1 patches, all of the value n.
        let counts: Vec<usize> = (0..2 * ITEMS_AT_ONCE + 7).map(|n| n % 3 + 1).collect();
        let item = |(n, count): (usize, &usize)| std::iter::repeat_n(f64::from(u32::try_from(n).unwrap()), *count);
        let values: Vec<f64> = counts.iter().enumerate().flat_map(item).collect();
        let features = Tensor::from_vec(values.clone(), (values.len(), 1), &CPU).unwrap();
        let weight = Tensor::new(&[[2.0f64]], &CPU).unwrap();
        let bias = Tensor::new(&[1.0f64], &CPU).unwrap();
        let double = Stack(vec![Layer { weight, bias, activation: Activation::Identity }]);
        let said = through(&double, &features, Some(&counts)).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(said.len(), counts.len());
        for (n, row) in (0u32..).zip(said) {
            assert!((row[0] - (2.0 * f64::from(n) + 1.0)).abs() < 1e-9, "{n}: {row:?}");
        }
    }
}

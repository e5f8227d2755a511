//! Candle tensors as they are kept in checkpoints and models, and back.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::{NamedTensor, Values},
    error::{Error, Result},
};

/// The tensor under that name, f32 or f64 as it is.
///
/// # Errors
/// When it is of another type, or cannot be read back from its device.
pub fn named(name: impl Into<String>, tensor: &Tensor) -> Result<NamedTensor> {
    let flat = tensor.flatten_all()?;
    let values = match tensor.dtype() {
        DType::F64 => Values::F64(flat.to_vec1()?),
        _ => Values::F32(flat.to_vec1()?),
    };
    Ok(NamedTensor { name: name.into(), shape: tensor.dims().to_vec(), values })
}

/// The tensors of a checkpoint, taken out one by one.
#[derive(Debug)]
pub struct Kept {
    tensors: BTreeMap<String, NamedTensor>,
    device: Device,
}

impl Kept {
    /// All of them, to be put on a device.
    #[must_use]
    pub fn new(tensors: Vec<NamedTensor>, device: &Device) -> Self {
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        Self { tensors, device: device.clone() }
    }

    /// Whether there is one of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes the one of that name, which must have the shape and type of `like`.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, or one of another shape or type.
    pub fn take(&mut self, name: &str, like: &Tensor) -> Result<Tensor> {
        let fits = |it: &NamedTensor| {
            let wide = matches!(it.values, Values::F64(_));
            it.shape == like.dims()
                && matches!(it.values, Values::F32(_) | Values::F64(_))
                && wide == (like.dtype() == DType::F64)
        };
        let Some(tensor) = self.tensors.remove(name).filter(fits) else {
            let shape = like.dims();
            return Err(Error::Data(format!(
                "the checkpoint has no tensor `{name}` of shape {shape:?}; remove it and run again"
            )));
        };
        Ok(match tensor.values {
            Values::F64(values) => Tensor::from_vec(values, like.shape(), &self.device)?,
            Values::F32(values) => Tensor::from_vec(values, like.shape(), &self.device)?,
            Values::U32(_) => unreachable!("whole numbers were filtered out"),
        })
    }

    /// To be called when everything was taken.
    ///
    /// # Errors
    /// [`Error::Data`] naming a tensor that is left: it is the checkpoint of another training.
    pub fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Error::Data(format!("the checkpoint has a strange tensor `{name}`; remove it and run again")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_what_does_not_fit_is_named() {
        let device = Device::Cpu;
        let wide = Tensor::new(&[[1.0f64, 2.0], [3.0, 4.0]], &device).unwrap();
        let narrow = Tensor::new(&[0.5f32], &device).unwrap();
        let both = || vec![named("wide", &wide).unwrap(), named("narrow", &narrow).unwrap()];
        let mut kept = Kept::new(both(), &device);
        assert!(kept.has("wide") && !kept.has("other"));
        assert_eq!(kept.take("wide", &wide).unwrap().to_vec2::<f64>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(kept.take("narrow", &narrow).unwrap().to_vec1::<f32>().unwrap(), [0.5]);
        kept.finish().unwrap();
        let refused = |name: &str, like: &Tensor| Kept::new(both(), &device).take(name, like).unwrap_err().to_string();
        assert!(refused("other", &narrow).contains("no tensor `other` of shape [1]"));
        assert!(refused("wide", &wide.flatten_all().unwrap()).contains("no tensor `wide` of shape [4]"));
        assert!(refused("narrow", &narrow.to_dtype(DType::F64).unwrap()).contains("`narrow`"));
        let left = Kept::new(both(), &device).finish().unwrap_err().to_string();
        assert!(left.contains("strange tensor `narrow`"), "{left}");
    }
}

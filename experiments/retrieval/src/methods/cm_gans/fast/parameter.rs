//! One trainable tensor with the Adam moments of every player that steps it.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    methods::cm_gans::state::{Array, Player, State, Tensors},
    nn::{
        gemm::{Mat, SimdLevel},
        real::Real,
        vector::{AdamStep, at_level},
    },
};

/// Adam moments of one player for one tensor.
#[derive(Clone, Debug)]
struct Moments<T> {
    player: Player,
    m: Vec<T>,
    v: Vec<T>,
    /// The last gradient, kept only for a watcher that wants it; else empty.
    gradient: Vec<T>,
}

/// A tensor by its name, its values, and the moments of its owners (two for a tied layer, spec A.9).
#[derive(Clone, Debug)]
pub(super) struct Parameter<T> {
    name: String,
    shape: Vec<usize>,
    pub(super) value: Vec<T>,
    owners: Vec<Moments<T>>,
}

impl<T: Real> Parameter<T> {
    /// The tensor of that name.
    ///
    /// # Errors
    /// When the state has no such tensor, or its moments have another size.
    pub(super) fn load(state: &State<T>, name: &str) -> Result<Self> {
        let tensor = |tensors: &Tensors<T>, what: &str| {
            tensors.get(name).cloned().ok_or_else(|| Error::Data(format!("the training state has no {what} of {name}")))
        };
        let weight = tensor(&state.weights, "values")?;
        let mut owners = Vec::new();
        for (&player, adam) in &state.adam {
            if !adam.m.contains_key(name) {
                continue;
            }
            let (m, v) = (tensor(&adam.m, "first moments")?.data, tensor(&adam.v, "second moments")?.data);
            if m.len() != weight.data.len() || v.len() != weight.data.len() {
                return Err(Error::Data(format!("the training state's moments of {name} do not have its size")));
            }
            owners.push(Moments { player, m, v, gradient: Vec::new() });
        }
        Ok(Self { name: name.into(), shape: weight.shape, value: weight.data, owners })
    }

    /// Copies values and moments into a state.
    pub(super) fn store(&self, state: &mut State<T>) {
        let array = |data: &Vec<T>| Array { shape: self.shape.clone(), data: data.clone() };
        state.weights.insert(self.name.clone(), array(&self.value));
        for owner in &self.owners {
            let adam = state.adam.entry(owner.player).or_default();
            adam.m.insert(self.name.clone(), array(&owner.m));
            adam.v.insert(self.name.clone(), array(&owner.v));
        }
    }

    /// Copies the gradient of `player`'s last step; zeros where it made none (identity 7).
    pub(super) fn store_gradient(&self, player: Player, gradients: &mut Tensors<T>) {
        if let Some(owner) = self.owners.iter().find(|owner| owner.player == player) {
            let mut data = owner.gradient.clone();
            data.resize(self.value.len(), T::zero());
            gradients.insert(self.name.clone(), Array { shape: self.shape.clone(), data });
        }
    }

    /// The matrix (in x out), or a vector as one column.
    pub(super) fn matrix(&self) -> Mat<'_, T> {
        Mat::new(&self.value, self.shape[0], self.columns())
    }

    fn columns(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    /// Everything a step of `player` changes. With `watched`, the gradient is kept.
    ///
    /// # Panics
    /// If the player does not own the tensor: layers without owner are never run (see `layout.rs`).
    pub(super) fn step(&mut self, player: Player, watched: bool) -> Rows<'_, T> {
        self.step_if_owned(player, watched).expect("only owned tensors are stepped")
    }

    /// [`Self::step`], or nothing where the player does not own the tensor.
    pub(super) fn step_if_owned(&mut self, player: Player, watched: bool) -> Option<Rows<'_, T>> {
        let columns = self.columns();
        let owner = self.owners.iter_mut().find(|owner| owner.player == player)?;
        owner.gradient.resize(if watched { self.value.len() } else { 0 }, T::zero());
        Some(Rows {
            first: 0,
            columns,
            value: &mut self.value,
            m: &mut owner.m,
            v: &mut owner.v,
            gradient: watched.then_some(&mut owner.gradient),
        })
    }
}

/// Some rows of a tensor on the way through an Adam step.
#[derive(Debug)]
pub(super) struct Rows<'a, T> {
    pub(super) first: usize,
    pub(super) columns: usize,
    pub(super) value: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    gradient: Option<&'a mut [T]>,
}

impl<'a, T: Real> Rows<'a, T> {
    /// Which rows these are.
    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.first + self.value.len() / self.columns
    }

    /// Steps them by their gradient.
    pub(super) fn apply(&mut self, level: SimdLevel, adam: AdamStep<T>, gradient: &[T]) {
        at_level!(level, adam.apply(self.value, self.m, self.v, gradient));
        if let Some(kept) = &mut self.gradient {
            kept.copy_from_slice(gradient);
        }
    }

    /// The first `rows` rows, and the others, counted from 0 again.
    pub(super) fn split(self, rows: usize) -> [Rows<'a, T>; 2] {
        let at = rows * self.columns;
        let (value, m, v) = (self.value.split_at_mut(at), self.m.split_at_mut(at), self.v.split_at_mut(at));
        let gradient = self.gradient.map(|gradient| gradient.split_at_mut(at));
        let (kept, kept_below) = gradient.map_or((None, None), |(above, below)| (Some(above), Some(below)));
        let columns = self.columns;
        [
            Rows { first: 0, columns, value: value.0, m: m.0, v: v.0, gradient: kept },
            Rows { first: 0, columns, value: value.1, m: m.1, v: v.1, gradient: kept_below },
        ]
    }

    /// Parts of `rows` rows each, the last one possibly smaller.
    pub(super) fn parts(self, rows: usize) -> impl Iterator<Item = Rows<'a, T>> + Send {
        let columns = self.columns;
        let size = rows * columns;
        let mut gradient = self.gradient;
        let parts = self.value.chunks_mut(size).zip(self.m.chunks_mut(size)).zip(self.v.chunks_mut(size));
        parts.enumerate().map(move |(part, ((value, m), v))| {
            let kept = gradient.take().map(|all| {
                let (this, rest) = all.split_at_mut(value.len());
                gradient = Some(rest);
                this
            });
            Rows { first: part * rows, columns, value, m, v, gradient: kept }
        })
    }
}

//! The one owner of the scheduler's state, and the handle that everybody else holds.

pub(crate) mod handle;
pub(crate) mod household;
pub(crate) mod live;
pub(crate) mod owner;
pub(crate) mod planning;
pub(crate) mod polls;
pub(crate) mod refusal;
pub(crate) mod reports;
pub(crate) mod submissions;
mod sweep;
#[cfg(test)]
mod tests;

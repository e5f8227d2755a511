//! What runs where and when: plain values and functions of them. No clock, no store, no await.

pub(crate) mod census;
pub(crate) mod effects;
pub(crate) mod forecast;
pub(crate) mod place;
pub(crate) mod queue;
pub(crate) mod reactor;
pub(crate) mod setbacks;
pub(crate) mod state;
#[cfg(test)]
mod tests;
pub(crate) mod why;

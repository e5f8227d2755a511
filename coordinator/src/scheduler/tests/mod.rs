//! Event in, effects out; every invariant is checked again after each event.

mod events;
mod model;
mod order;
mod placement;
mod random;
mod setbacks;
mod why;

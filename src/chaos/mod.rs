//! Faults on purpose: a throw-away fleet of real processes, disturbed for a while, then held to what is promised.
//! Entry point: [`carry_out`].

mod checks;
mod daemon;
mod damage;
mod disk;
mod disturbance;
mod evidence;
mod faults;
mod fleet;
mod network;
mod random;
mod rest;
mod sheet;
mod trial;
mod undisturbed;
mod users;

pub(crate) use trial::carry_out;

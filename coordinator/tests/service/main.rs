//! The coordinator from outside: a real server on port 0, a real store, workers that only speak.

mod blobs;
mod checkpoints;
mod cutting;
mod data;
mod details;
mod disk;
mod faults;
mod folder;
mod keeping;
mod large;
mod lifecycle;
mod limits;
mod order;
mod programs;
mod support;
mod upkeep;
mod uploads;
mod users;
mod year;

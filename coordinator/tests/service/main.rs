//! The coordinator from outside: a real server on port 0, a real store, workers that only speak.

mod lifecycle;
mod support;

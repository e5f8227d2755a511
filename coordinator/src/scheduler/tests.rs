//! Event in, effects out, with every invariant checked again after each event.

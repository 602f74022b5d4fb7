//! Typed events, metrics and their names. No output here.

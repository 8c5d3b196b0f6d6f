//! Carries the connections of an unmodified program in a private network.

pub mod check;
pub mod namespace;

//! Runs an unmodified program in a private network whose other end is finack, and tells what became of each of its
//! connections.

pub mod plan;
pub mod report;
pub mod services;

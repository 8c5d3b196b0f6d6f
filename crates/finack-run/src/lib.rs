//! Runs an unmodified program in a private network whose other end is finack, and tells what became of each of its
//! connections.

pub mod check;
pub mod control;
pub mod gateway;
pub mod namespace;
mod pcap;
pub mod plan;
pub mod report;
mod run;
pub mod services;
mod warnings;

pub use pcap::PcapConfig;
pub use run::{RunConfig, RunError, RunOutcome, run, settings};
pub use warnings::Warnings;

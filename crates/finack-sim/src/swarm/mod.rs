//! Swarm: one seed is a random world, and no rule may be broken in any of them.
//!
//! A [`Plan`] is drawn from a seed: hosts with settings, ways between them with faults, applications that write, read,
//! wait, half-close, close early, abort and crash. [`run`] plays it while the [`checker`](crate::checker) watches each
//! host and the applications check each byte and each error. What broke a rule is [shrunk](shrink::shrink): taken apart
//! piece by piece while the same rule stays broken. A [`Case`] is a seed and what was taken out, and runs the same
//! world again.

mod app;
mod case;
mod describe;
mod draw;
mod features;
mod net;
pub mod plan;
mod run;
pub mod shrink;
mod stats;
mod stream;
mod udp;

pub use case::Case;
pub use draw::draw;
pub use features::{Feature, Features};
pub use plan::Plan;
pub use run::{Outcome, run};
pub use stats::Stats;

/// Packets after which a run is cut short: it is wound up and judged as if all had wanted to end.
pub const MOST_PACKETS: u64 = 30_000;
/// Steps (arrivals, timers, calls) after which a run is cut short.
pub const MOST_STEPS: u64 = 200_000;

//! Small worlds of two hosts, explored exhaustively: every interleaving of socket call, arrival, loss, duplicate, reorder,
//! timer and crash, on the real engine.
//!
//! What is explored, what is checked and why the search may skip what it skips stands in `docs/explorer.md`.

mod app;
mod host;
mod hosts;
mod ladder;
mod liveness;
mod packet_script;
mod replay;
mod rules;
mod search;
mod segment;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod world;
mod worlds;

pub use app::{App, Farewell, Op, Phase, Record};
pub use host::Event;
pub use rules::{RULES, Rule};
pub use search::{Limits, Outcome, Violation, explore};
pub use segment::Segment;
pub use world::{End, Faults, HostSpec, Program, World};
pub use worlds::{named, worlds};

//! What the two ends of a relay see of each other: through finack's connections, the kernel's, and one of each.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

#[path = "../common/mod.rs"]
mod common;
mod exchanges;
mod links;
mod other_streams;
mod schedules;
mod segments;
mod urgent;

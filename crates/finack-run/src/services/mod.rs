//! What answers inside the private network: names over DNS, services of plain use, and services that do one thing wrong
//! each. [`table`] says what each is and does.
//!
//! What behaves is written against tokio's traits alone, so that it can be tested without a network.

pub mod content;
pub mod dns;
pub mod hello;
mod misbehave;
mod serve;
mod small;
mod start;
pub mod table;

pub(crate) use serve::{CONNECTIONS, Decision, decide, is_silent};
pub(crate) use start::start;

//! What answers inside the private network: `hello.finack` over HTTP, and names over DNS.
//!
//! Each service is written against tokio's traits alone, so that it can be tested without a network.

pub mod content;
pub mod dns;
pub mod hello;
mod start;

pub(crate) use start::start;

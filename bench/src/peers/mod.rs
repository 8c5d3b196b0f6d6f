//! The stacks that finack is measured against.

pub mod ipstack;
pub mod lwip;
pub mod pktkit;
pub mod smoltcp;

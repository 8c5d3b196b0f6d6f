//! The Linux kernel of this machine as what a packet script is run against.
//!
//! Each script gets a network namespace of its own with one TUN device in it. Its system calls are made as such, what it
//! injects is written to the device, and what the kernel sends is taken with the kernel's own time stamps from a packet
//! socket on the device, so that a busy machine does not falsify times. Linux's default settings are in force there,
//! also where the machine has others ([`namespace`]).
//!
//! [`prepare`] once, then [`Kernel::new`] on a thread of its own for each script.

mod call;
mod counters;
mod info;
mod kernel;
mod machine;
pub mod namespace;
mod netlink;
mod sniffer;
mod sys;
mod tun;
mod worker;

pub use kernel::{Kernel, Limits};
pub use namespace::{has_tcp_ao, prepare};

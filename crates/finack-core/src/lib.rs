//! finack's sans-IO TCP and UDP engine.
//!
//! A [`Stack`] is one host's transport: it is handed packets and times, and gives back packets,
//! events and the next time at which it wants to be called. It does no I/O, reads no clock, draws
//! no entropy of its own and starts no thread, so that the same code serves real sockets, a
//! simulator and exhaustive exploration. Equal seeds and equal inputs give equal bytes.
//!
//! The three verbs are [`Stack::handle_packets`], [`Stack::handle_timeout`] and the socket
//! commands (`tcp_*`, `udp_*`). After any of them drain [`Stack::poll_transmit`],
//! [`Stack::poll_event`] and [`Stack::poll_timeout`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "md5-ao")]
pub mod auth;
#[cfg(not(feature = "md5-ao"))]
#[path = "auth/none.rs"]
mod auth;
pub mod counters;
mod cx;
mod demux;
pub mod device;
pub mod error;
mod hash;
mod icmp;
mod ip;
pub mod options;
mod pool;
mod ports;
mod ring;
pub mod settings;
mod slab;
pub mod stack;
pub mod steer;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod time;
mod timer;
pub mod trace;
mod udp;

pub use error::Error;
pub use stack::{Config, Event, Stack};
pub use time::Instant;

//! TCP and UDP in user space: tokio-shaped sockets over TUN and AF_PACKET devices.

pub mod blocking;
pub mod device;
mod error;
mod host;
pub mod net;
mod shard;

pub use finack_core as core;
pub use host::{EnterGuard, Net, NetBuilder};

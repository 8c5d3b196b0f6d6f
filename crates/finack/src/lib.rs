//! TCP and UDP in user space: tokio-shaped sockets over TUN and AF_PACKET devices.

pub mod device;

//! The four-tuple that names a connection.

use core::net::{IpAddr, SocketAddr};

/// Both ends, as this stack sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Tuple {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local: local.ip(), remote: remote.ip(), local_port: local.port(), remote_port: remote.port() }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.local_port)
    }

    pub(crate) fn remote_addr(&self) -> SocketAddr {
        SocketAddr::new(self.remote, self.remote_port)
    }

    pub(crate) fn is_v6(&self) -> bool {
        self.local.is_ipv6()
    }

    /// Bytes of the IP header in front of each segment.
    pub(crate) fn ip_header_len(&self) -> usize {
        if self.is_v6() { 40 } else { 20 }
    }
}

//! Which packets belong together.

use crate::bytes::u16_at;
use crate::ip::IpHeader;
use crate::protocol;
use core::fmt;
use core::net::SocketAddr;

#[cfg(test)]
mod tests;

/// The two ends of a connection or of an exchange of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourTuple {
    /// This host's address and port.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
}

impl FourTuple {
    /// The ends of a packet that has arrived, by its ports: `local` is where it goes. `payload` is
    /// that of `ip`. `None` if it has no ports: a protocol other than TCP and UDP, a payload of fewer
    /// than 4 bytes, or a fragment but the first.
    #[inline]
    #[must_use]
    pub fn from_packet(ip: &IpHeader, payload: &[u8]) -> Option<Self> {
        if !matches!(ip.protocol, protocol::TCP | protocol::UDP)
            || ip.fragment.is_some_and(|fragment| fragment.offset != 0)
        {
            return None;
        }
        let (src_port, dst_port) = (u16_at(payload, 0)?, u16_at(payload, 2)?);
        Some(Self { local: SocketAddr::new(ip.dst, dst_port), remote: SocketAddr::new(ip.src, src_port) })
    }

    /// The same seen from the other end.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }

    /// The same for both directions: the lower end first. What flows are spread over workers by, so
    /// that both directions come to the same one.
    #[inline]
    #[must_use]
    pub fn canonical(self) -> Self {
        if self.local <= self.remote { self } else { self.reversed() }
    }
}

impl fmt::Display for FourTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <-> {}", self.local, self.remote)
    }
}

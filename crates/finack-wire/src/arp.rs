//! ARP for IPv4 over Ethernet (RFC 826).

use crate::ethernet::MacAddr;
use core::fmt;
use core::net::Ipv4Addr;

#[cfg(test)]
mod tests;

/// Bytes of a packet.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target's IPv4 address?
    Request,
    /// The sender has its address.
    Reply,
    /// Something else, by its number.
    Other(u16),
}

impl Operation {
    /// The operation with that number.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::Reply,
            other => Self::Other(other),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Other(number) => number,
        }
    }
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPacket {
    /// What it is for.
    pub operation: Operation,
    /// The sender's link-layer address.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// The target's link-layer address; of no meaning in a request.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

/// Why bytes are no ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpError {
    /// Fewer than 28 bytes.
    Truncated,
    /// For another hardware or protocol.
    Unsupported,
}

impl fmt::Display for ArpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ARP packet is below 28 bytes",
            Self::Unsupported => "ARP packet is not for IPv4 over Ethernet",
        })
    }
}

impl core::error::Error for ArpError {}

impl ArpPacket {
    /// The request for the link-layer address of `target`.
    #[must_use]
    pub const fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        let operation = Operation::Request;
        Self { operation, sender_mac, sender_ip, target_mac: MacAddr::ZERO, target_ip: target }
    }

    /// The reply to this request from who has the target's address at `mac`.
    #[must_use]
    pub const fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Parses a frame's payload, which may be padded.
    ///
    /// # Errors
    ///
    /// If it is too short, or not for IPv4 over Ethernet.
    pub fn parse(packet: &[u8]) -> Result<Self, ArpError> {
        let Some((h, rest)) = packet.split_first_chunk::<8>() else { return Err(ArpError::Truncated) };
        let &[head @ .., high, low] = h;
        if head != HEAD {
            return Err(ArpError::Unsupported);
        }
        let Some(&[a, b, c, d, e, f, g, i, j, k, l, m, n, o, p, q, r, s, t, u]) = rest.first_chunk::<20>()
        else {
            return Err(ArpError::Truncated);
        };
        Ok(Self {
            operation: Operation::from_number(u16::from_be_bytes([high, low])),
            sender_mac: MacAddr([a, b, c, d, e, f]),
            sender_ip: Ipv4Addr::new(g, i, j, k),
            target_mac: MacAddr([l, m, n, o, p, q]),
            target_ip: Ipv4Addr::new(r, s, t, u),
        })
    }

    /// Writes the packet to the start of `out` and returns its length: 28, or 0 with nothing written
    /// if `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let Some(out) = out.first_chunk_mut::<LEN>() else { return 0 };
        out[..6].copy_from_slice(&HEAD);
        out[6..8].copy_from_slice(&self.operation.number().to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..].copy_from_slice(&self.target_ip.octets());
        LEN
    }
}

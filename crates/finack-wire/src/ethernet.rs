//! Ethernet II frames, with at most one IEEE 802.1Q tag.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// Bytes of a header without a tag.
pub const HEADER_LEN: usize = 14;
/// Bytes of an 802.1Q tag.
pub const TAG_LEN: usize = 4;
/// The shortest payload, to which a frame is padded: bytes.
pub const MIN_PAYLOAD: usize = 46;

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of all stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The address that is none.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether this is [`MacAddr::BROADCAST`].
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        *self == Self::BROADCAST
    }

    /// Whether this is a group address: multicast or broadcast.
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station may have this address: not a group, not zero.
    #[must_use]
    pub fn is_station(&self) -> bool {
        !self.is_multicast() && *self != Self::ZERO
    }

    /// Where packets to an IPv4 multicast group go (RFC 1112 section 6.4).
    #[must_use]
    pub const fn from_multicast_v4(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where packets to an IPv6 multicast group go (RFC 2464 section 7).
    #[must_use]
    pub const fn from_multicast_v6(group: Ipv6Addr) -> Self {
        let [a, b, c, d] = (group.to_bits() as u32).to_be_bytes();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The protocol of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag, after which comes the payload's own type.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// Protocol of the payload, behind the tag if there is one.
    pub ethertype: EtherType,
    /// The tag's control information: priority in the top three bits, VLAN in the lower twelve.
    pub tag: Option<u16>,
}

/// Why bytes are no Ethernet II frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthernetError {
    /// The frame ends within the header.
    Truncated,
    /// The type field is a length (below 0x600): an IEEE 802.3 frame, which carries no IP this way.
    LengthField,
}

impl fmt::Display for EthernetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "frame ends within the Ethernet header",
            Self::LengthField => "Ethernet type field is a length",
        })
    }
}

impl core::error::Error for EthernetError {}

impl EthernetHeader {
    /// Parses the header of a frame, which is without preamble and checksum.
    ///
    /// # Errors
    ///
    /// If it is too short or not Ethernet II.
    pub fn parse(frame: &[u8]) -> Result<Self, EthernetError> {
        let Some((h, rest)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Err(EthernetError::Truncated);
        };
        let &[a, b, c, d, e, f, g, i, j, k, l, m, high, low] = h;
        let mut ethertype = EtherType(u16::from_be_bytes([high, low]));
        let mut tag = None;
        if ethertype == EtherType::VLAN {
            let Some(&[w, x, y, z]) = rest.first_chunk::<TAG_LEN>() else {
                return Err(EthernetError::Truncated);
            };
            tag = Some(u16::from_be_bytes([w, x]));
            ethertype = EtherType(u16::from_be_bytes([y, z]));
        }
        if ethertype.0 < 0x600 {
            return Err(EthernetError::LengthField);
        }
        Ok(Self { dst: MacAddr([a, b, c, d, e, f]), src: MacAddr([g, i, j, k, l, m]), ethertype, tag })
    }

    /// Bytes of the header: 14, or 18 with a tag.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.tag.is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
    }

    /// The payload of `frame`, which this was parsed from, with padding if there is any.
    #[must_use]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.header_len()..).unwrap_or(&[])
    }

    /// Writes the header to the start of `out` and returns its length; 0, with nothing written, if
    /// `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.header_len();
        let Some(out) = out.get_mut(..len) else { return 0 };
        let Some((h, rest)) = out.split_first_chunk_mut::<HEADER_LEN>() else { return 0 };
        h[..6].copy_from_slice(&self.dst.0);
        h[6..12].copy_from_slice(&self.src.0);
        let ethertype = self.ethertype.0.to_be_bytes();
        match (self.tag, rest.first_chunk_mut::<TAG_LEN>()) {
            (Some(tag), Some(rest)) => {
                h[12..].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
                rest[..2].copy_from_slice(&tag.to_be_bytes());
                rest[2..].copy_from_slice(&ethertype);
            }
            _ => h[12..].copy_from_slice(&ethertype),
        }
        len
    }
}

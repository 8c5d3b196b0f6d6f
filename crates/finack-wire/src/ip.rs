//! What IPv4 and IPv6 have in common: one parsed header for both, one header to emit, and the
//! pseudo-header that upper layers' checksums cover.

use crate::{ipv4, ipv6};
use core::fmt;
use core::net::IpAddr;

#[cfg(test)]
mod tests;

/// The ECN codepoint in the two low bits of the TOS octet or traffic class (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not do ECN.
    #[default]
    NotEct = 0,
    /// ECN-capable transport (1): also the mark of L4S traffic (RFC 9331).
    Ect1 = 1,
    /// ECN-capable transport (0).
    Ect0 = 2,
    /// Congestion experienced: set by a router in place of ECT.
    Ce = 3,
}

impl Ecn {
    /// The codepoint in the low two bits of `tos`; the upper six (DSCP) are ignored.
    #[inline]
    #[must_use]
    pub const fn from_bits(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits, 0 to 3.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether this is ECT(0), ECT(1) or CE: what an ECN-capable transport's packets carry.
    #[inline]
    #[must_use]
    pub const fn is_capable(self) -> bool {
        !matches!(self, Self::NotEct)
    }
}

/// Where a fragment belongs in the datagram that was cut (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// The identification that fragments of one datagram share: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Offset of the payload in the fragmented part of the datagram: bytes, a multiple of 8, at most
    /// 65528.
    pub offset: u32,
    /// Whether more fragments follow this one.
    pub more: bool,
}

/// The header of a checked packet, whichever version it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Protocol of the payload: in IPv6, what comes after the extension headers. See
    /// [`protocol`](crate::protocol).
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Type of service, or traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Set if this is a part of a datagram. In IPv6 the payload then begins right after the fragment
    /// header and may begin with further extension headers: see [`IpHeader::reassembled`]. A
    /// "fragment" that is the whole datagram (RFC 6946) counts as not fragmented.
    pub fragment: Option<Fragment>,
    /// Whether routers may not fragment the packet: the DF bit, and always true in IPv6.
    pub dont_fragment: bool,
    /// The IPv6 flow label, 20 bits; 0 in IPv4.
    pub flow_label: u32,
    /// Bytes of IP header, with options or extension headers, in front of the payload.
    pub header_len: usize,
    /// Bytes of payload. What lies behind it in the buffer is padding of the link.
    pub payload_len: usize,
    /// Whether there are IPv4 options, or IPv6 extension headers other than the fragment header.
    pub has_options: bool,
    /// Whether there is an IPv4 source-route option or an IPv6 routing header, even if used up.
    pub source_routed: bool,
    /// Whether an IPv4 (RFC 2113) or IPv6 (RFC 2711) router-alert option was seen.
    pub router_alert: bool,
    /// Offset in the packet of the field that names [`protocol`](Self::protocol): what an ICMP
    /// parameter problem about an unknown protocol points to (RFC 4443 section 3.4).
    pub next_header_offset: usize,
}

impl IpHeader {
    /// The ECN codepoint.
    #[inline]
    #[must_use]
    pub fn ecn(&self) -> Ecn {
        Ecn::from_bits(self.tos)
    }

    /// The differentiated-services codepoint, 0 to 63.
    #[inline]
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// Whether the packet is IPv6.
    #[inline]
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.src.is_ipv6()
    }

    /// Bytes of header and payload together.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.header_len + self.payload_len
    }

    /// The payload within `packet`, the bytes that this header was parsed from, without padding.
    /// Empty if `packet` is too short to be those.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.header_len..self.total_len()).unwrap_or(&[])
    }

    /// The sum, not inverted, of the pseudo-header for an upper-layer packet of `len` bytes.
    #[inline]
    #[must_use]
    pub fn pseudo_header_sum(&self, len: usize) -> u16 {
        pseudo_header_sum(&self.src, &self.dst, self.protocol, len)
    }

    /// The header of the whole datagram, from this header of its first fragment (that at offset 0)
    /// and the reassembled payload.
    ///
    /// In the result `header_len` and `payload_len` are about `payload`: the former is the length of
    /// the IPv6 extension headers that `payload` begins with (0 in IPv4), so that
    /// [`IpHeader::payload`] of `payload` is the upper layer's.
    ///
    /// # Errors
    ///
    /// Those of the extension headers in `payload`.
    pub fn reassembled(&self, payload: &[u8]) -> Result<Self, IpError> {
        let mut header = *self;
        header.fragment = None;
        header.header_len = 0;
        header.payload_len = payload.len();
        if self.is_v6() {
            ipv6::continue_reassembled(&mut header, self.header_len, payload)?;
        }
        Ok(header)
    }
}

/// What is to be done about an IPv6 option that is not known, from the upper two bits of its type
/// (RFC 8200 section 4.2); that of just skipping it is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionAction {
    /// Discard the packet.
    Discard,
    /// Discard it and report it to the source, even if it was sent to a multicast address.
    Report,
    /// Discard it and report it to the source unless it was sent to a multicast address.
    ReportUnlessMulticast,
}

/// Why a packet is not acceptable. Pointers are offsets in bytes from the start of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpError {
    /// The buffer ends before the header does.
    Truncated,
    /// The version is neither 4 nor 6.
    BadVersion,
    /// The IPv4 header length is below 20.
    BadHeaderLength,
    /// The total length is below the header length, or above what the buffer holds.
    BadTotalLength,
    /// The IPv4 header checksum is wrong.
    BadChecksum,
    /// An IPv4 option has an impossible length.
    BadOption {
        /// Where the option's length is.
        pointer: u32,
    },
    /// An IPv6 extension header does not fit in the packet, or an option in it not in the header.
    BadExtension {
        /// Where the length at fault is.
        pointer: u32,
    },
    /// A hop-by-hop options header that does not follow the IPv6 header directly.
    MisplacedHopByHop {
        /// Where the next-header field is that names it.
        pointer: u32,
    },
    /// A routing header with segments left: no type is supported (RFC 5095 deprecates type 0).
    UnsupportedRouting {
        /// Where the routing type is.
        pointer: u32,
    },
    /// An IPv6 option that is not known and may not be skipped.
    UnknownOption {
        /// Where the option's type is.
        pointer: u32,
        /// What the type asks for.
        action: OptionAction,
    },
    /// More extension headers than [`ipv6::MAX_EXTENSIONS`].
    TooManyExtensions,
    /// A jumbo payload option (RFC 2675): lengths above 65535 are not supported.
    JumboUnsupported {
        /// Where the option's type is.
        pointer: u32,
    },
    /// A fragment, not the last, whose length is not a multiple of 8.
    BadFragmentLength {
        /// Where the packet's length field is.
        pointer: u32,
    },
    /// A fragment that ends beyond what a datagram can hold.
    BadFragmentOffset {
        /// Where the fragment offset is.
        pointer: u32,
    },
    /// A first IPv6 fragment that does not hold all headers through the upper layer's (RFC 7112).
    IncompleteHeaderChain,
    /// A second IPv6 fragment header in a packet, or one in a reassembled datagram.
    NestedFragment,
}

/// What to say in an ICMP parameter problem message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The ICMP code.
    pub code: u8,
    /// Offset in the packet of what is at fault.
    pub pointer: u32,
    /// Whether to report it even if the packet was sent to a multicast address.
    pub even_if_multicast: bool,
}

impl IpError {
    /// The parameter problem to report to the source (RFC 1122 section 3.2.2.5, RFC 8200 sections 4
    /// to 4.5), or `None` where the packet is discarded silently.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let at = |code, pointer| Some(Problem { code, pointer, even_if_multicast: false });
        match *self {
            Self::BadOption { pointer }
            | Self::BadExtension { pointer }
            | Self::UnsupportedRouting { pointer }
            | Self::BadFragmentLength { pointer }
            | Self::BadFragmentOffset { pointer } => at(0, pointer),
            Self::MisplacedHopByHop { pointer } => at(1, pointer),
            Self::JumboUnsupported { pointer }
            | Self::UnknownOption { pointer, action: OptionAction::ReportUnlessMulticast } => at(2, pointer),
            Self::UnknownOption { pointer, action: OptionAction::Report } => {
                Some(Problem { code: 2, pointer, even_if_multicast: true })
            }
            Self::IncompleteHeaderChain => at(3, 0),
            Self::UnknownOption { action: OptionAction::Discard, .. }
            | Self::Truncated
            | Self::BadVersion
            | Self::BadHeaderLength
            | Self::BadTotalLength
            | Self::BadChecksum
            | Self::TooManyExtensions
            | Self::NestedFragment => None,
        }
    }
}

impl fmt::Display for IpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("packet ends within the IP header"),
            Self::BadVersion => f.write_str("IP version is neither 4 nor 6"),
            Self::BadHeaderLength => f.write_str("IPv4 header length is below 20 bytes"),
            Self::BadTotalLength => f.write_str("IP total length does not fit the header or the packet"),
            Self::BadChecksum => f.write_str("IPv4 header checksum is wrong"),
            Self::BadOption { pointer } => write!(f, "IPv4 option has a bad length at byte {pointer}"),
            Self::BadExtension { pointer } => {
                write!(f, "IPv6 extension header has a bad length at byte {pointer}")
            }
            Self::MisplacedHopByHop { pointer } => {
                write!(f, "hop-by-hop options header is not the first, named at byte {pointer}")
            }
            Self::UnsupportedRouting { pointer } => {
                write!(f, "routing header with segments left, type at byte {pointer}")
            }
            Self::UnknownOption { pointer, .. } => write!(f, "unknown IPv6 option at byte {pointer}"),
            Self::TooManyExtensions => f.write_str("too many IPv6 extension headers"),
            Self::JumboUnsupported { pointer } => {
                write!(f, "jumbo payload option at byte {pointer} is not supported")
            }
            Self::BadFragmentLength { .. } => {
                f.write_str("length of a fragment that is not the last is not a multiple of 8")
            }
            Self::BadFragmentOffset { .. } => f.write_str("fragment ends beyond the largest datagram"),
            Self::NestedFragment => f.write_str("fragment header within a fragment"),
            Self::IncompleteHeaderChain => f.write_str("first fragment does not hold all headers"),
        }
    }
}

impl core::error::Error for IpError {}

/// Checks and parses the header of a packet of either version.
///
/// The version, all lengths and the IPv4 header checksum are checked, IPv4 options and IPv6 extension
/// headers are walked. The buffer may be longer than the packet: what is beyond the packet's own
/// length is padding, and left out of `payload_len`.
///
/// # Errors
///
/// What is wrong with the packet: see [`IpError`].
#[inline]
pub fn parse(packet: &[u8]) -> Result<IpHeader, IpError> {
    match packet.first() {
        Some(first) if first >> 4 == 4 => ipv4::parse(packet),
        Some(first) if first >> 4 == 6 => ipv6::parse(packet),
        Some(_) => Err(IpError::BadVersion),
        None => Err(IpError::Truncated),
    }
}

/// The destination address alone, of a packet that is known to be one: nothing about it is checked. `None` where it is too
/// short to have it.
#[inline]
#[must_use]
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?)),
        _ => None,
    }
}

/// The one's-complement sum, not inverted, of the pseudo-header in front of an upper-layer packet of
/// `len` bytes (RFC 9293 section 3.1, RFC 8200 section 8.1).
///
/// Addresses of different families are summed all the same; no packet has such.
#[inline]
#[must_use]
pub fn pseudo_header_sum(src: &IpAddr, dst: &IpAddr, protocol: u8, len: usize) -> u16 {
    // A length above 32 bits is no packet's; truncating it here cannot make a wrong packet right.
    let rest = u64::from(protocol) + u64::from(len as u32);
    fold(address_sum(src) + address_sum(dst) + rest)
}

/// An address as a sum of up to four 32-bit words.
#[inline]
fn address_sum(address: &IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
        }
    }
}

/// Folds a sum of fewer than 2^16 words of 32 bits to 16 bits.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// A header to emit, of the version that its addresses are of.
///
/// Where the two addresses are of different families, the IPv4 one is written as an IPv4-mapped IPv6
/// address (which no network carries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpEmit {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Type of service, or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Identification: IPv4 only. Of no meaning for a packet that may not be fragmented (RFC 6864).
    pub ident: u16,
    /// The DF bit: IPv4 only.
    pub dont_fragment: bool,
    /// Bytes of payload, at most 65515 in IPv4 and 65535 in IPv6; beyond those the length field wraps.
    pub payload_len: usize,
}

impl IpEmit {
    /// Bytes of the header: 20 in IPv4, 40 in IPv6.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.is_v4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
    }

    /// Bytes of the header of a fragment: 20 in IPv4, 48 in IPv6.
    #[inline]
    #[must_use]
    pub const fn fragment_header_len(&self) -> usize {
        if self.is_v4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN + ipv6::FRAGMENT_LEN }
    }

    #[inline]
    const fn is_v4(&self) -> bool {
        matches!((&self.src, &self.dst), (IpAddr::V4(_), IpAddr::V4(_)))
    }

    /// The sum, not inverted, of the pseudo-header for this packet's payload.
    #[inline]
    #[must_use]
    pub fn pseudo_header_sum(&self) -> u16 {
        pseudo_header_sum(&self.src, &self.dst, self.protocol, self.payload_len)
    }

    /// Writes the header, with the IPv4 checksum, to the start of `out` and returns its length; 0,
    /// with nothing written, if `out` is shorter. The IPv6 flow label is 0.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        self.emit_with_flow_label(0, out)
    }

    /// [`emit`](Self::emit) with an IPv6 flow label of 20 bits (RFC 6437); IPv4 has none.
    #[inline]
    pub fn emit_with_flow_label(&self, flow_label: u32, out: &mut [u8]) -> usize {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::emit(self, src, dst, None, out),
            (src, dst) => ipv6::emit(self, mapped(src), mapped(dst), flow_label, out),
        }
    }

    /// Writes the header of one fragment of the packet: `payload_len` is that fragment's own.
    ///
    /// In IPv4, the DF bit is left out and `fragment.id` is cut to 16 bits; in IPv6 a fragment header
    /// follows the IPv6 header. Returns the length, which is
    /// [`fragment_header_len`](Self::fragment_header_len); 0, with nothing written, if `out` is shorter.
    pub fn emit_fragment(&self, fragment: &Fragment, out: &mut [u8]) -> usize {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::emit(self, src, dst, Some(fragment), out),
            (src, dst) => ipv6::emit_fragment(self, mapped(src), mapped(dst), fragment, out),
        }
    }

    /// How to cut this packet's payload for links of `mtu` bytes. Nothing if not even 8 bytes fit.
    #[must_use]
    pub fn fragments(&self, mtu: usize) -> FragmentPlan {
        // Every fragment but the last holds a multiple of 8 bytes.
        let room = mtu.saturating_sub(self.fragment_header_len()) & !7;
        FragmentPlan { total: if room == 0 { 0 } else { self.payload_len }, room, at: 0 }
    }
}

#[inline]
const fn mapped(address: IpAddr) -> core::net::Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// One fragment's part of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPiece {
    /// Offset of its first byte in the payload, a multiple of 8.
    pub offset: usize,
    /// Bytes in it.
    pub len: usize,
    /// Whether more fragments follow.
    pub more: bool,
}

/// The parts that a payload is cut into, in order. Made by [`IpEmit::fragments`].
#[derive(Clone, Debug)]
pub struct FragmentPlan {
    total: usize,
    room: usize,
    at: usize,
}

impl Iterator for FragmentPlan {
    type Item = FragmentPiece;

    fn next(&mut self) -> Option<FragmentPiece> {
        let left = self.total - self.at;
        if left == 0 {
            return None;
        }
        let offset = self.at;
        let len = left.min(self.room);
        self.at += len;
        Some(FragmentPiece { offset, len, more: self.at < self.total })
    }
}

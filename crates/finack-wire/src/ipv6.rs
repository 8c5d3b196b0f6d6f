//! IPv6 headers and extension headers (RFC 8200).

use crate::ip::{Fragment, IpEmit, IpError, IpHeader, OptionAction};
use crate::protocol;
use core::net::{IpAddr, Ipv6Addr};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Bytes of a fragment header (section 4.5).
pub const FRAGMENT_LEN: usize = 8;
/// The smallest MTU that a link may have (section 5): bytes.
pub const MIN_MTU: usize = 1280;
/// How many extension headers are walked before the packet is refused. Section 4.1 recommends each
/// kind at most once, and destination options twice: five in all.
pub const MAX_EXTENSIONS: usize = 8;

const PAD1: u8 = 0;
const PADN: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const JUMBO: u8 = 0xc2;

/// Checks and parses an IPv6 header and its extension headers; see [`ip::parse`](crate::ip::parse),
/// which calls this.
///
/// # Errors
///
/// What is wrong with the packet.
#[inline]
pub fn parse(packet: &[u8]) -> Result<IpHeader, IpError> {
    let Some(h) = packet.first_chunk::<HEADER_LEN>() else { return Err(IpError::Truncated) };
    if h[0] >> 4 != 6 {
        return Err(IpError::BadVersion);
    }
    let payload_len = usize::from(u16::from_be_bytes([h[4], h[5]]));
    if payload_len > packet.len() - HEADER_LEN {
        return Err(IpError::BadTotalLength);
    }
    // Each way builds the result of its own, so that without extension headers it is written but
    // once, where the caller wants it.
    if is_extension(h[6]) { walk_extensions(packet, h) } else { Ok(fixed(h)) }
}

/// What the fixed header says.
#[inline(always)]
fn fixed(h: &[u8; HEADER_LEN]) -> IpHeader {
    let first = u32::from_be_bytes([h[0], h[1], h[2], h[3]]);
    IpHeader {
        src: IpAddr::V6(address(h, 8)),
        dst: IpAddr::V6(address(h, 24)),
        protocol: h[6],
        hop_limit: h[7],
        tos: (first >> 20) as u8,
        fragment: None,
        dont_fragment: true,
        flow_label: first & 0xf_ffff,
        header_len: HEADER_LEN,
        payload_len: usize::from(u16::from_be_bytes([h[4], h[5]])),
        has_options: false,
        source_routed: false,
        router_alert: false,
        next_header_offset: 6,
    }
}

#[cold]
fn walk_extensions(packet: &[u8], h: &[u8; HEADER_LEN]) -> Result<IpHeader, IpError> {
    let mut header = fixed(h);
    // With a jumbo payload the length field is zero: the header that says so is beyond it.
    let jumbo = header.payload_len == 0 && header.protocol == protocol::HOP_BY_HOP;
    let end = if jumbo { packet.len() } else { HEADER_LEN + header.payload_len };
    let packet = packet.get(..end).unwrap_or(packet);
    Walk { packet, header: &mut header, base: 0, past_fragment: false }.run(true)?;
    if jumbo { Err(IpError::BadTotalLength) } else { Ok(header) }
}

#[inline]
fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// Whether a next-header number is that of an extension header that [`parse`] walks.
#[inline]
#[must_use]
pub const fn is_extension(next: u8) -> bool {
    matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::IPV6_FRAGMENT | protocol::DEST_OPTS)
}

/// Walks the extension headers at the start of a reassembled payload. `base` is the offset at which
/// the payload began in its first fragment, for pointers.
pub(crate) fn continue_reassembled(
    header: &mut IpHeader,
    base: usize,
    payload: &[u8],
) -> Result<(), IpError> {
    if is_extension(header.protocol) {
        Walk { packet: payload, header, base, past_fragment: true }.run(false)?;
    }
    Ok(())
}

/// A walk along extension headers: `header` says how far it has come.
struct Walk<'a> {
    /// The packet, cut to its own length.
    packet: &'a [u8],
    header: &'a mut IpHeader,
    /// What to add to an offset in `packet` for a pointer.
    base: usize,
    /// Whether a fragment header was passed. There is at most one: a datagram within a fragment of
    /// another has no use but to make the walk long.
    past_fragment: bool,
}

impl Walk<'_> {
    /// Walks until `header.protocol` is no extension header, or the payload is part of a datagram.
    fn run(&mut self, mut at_start: bool) -> Result<(), IpError> {
        for _ in 0..MAX_EXTENSIONS {
            match self.header.protocol {
                protocol::HOP_BY_HOP if !at_start => {
                    let pointer = self.header.next_header_offset as u32;
                    return Err(IpError::MisplacedHopByHop { pointer });
                }
                protocol::IPV6_FRAGMENT => {
                    if self.fragment()? {
                        return Ok(());
                    }
                }
                protocol::HOP_BY_HOP | protocol::DEST_OPTS => {
                    let len = self.length()?;
                    self.options(len)?;
                    self.advance(len);
                    self.header.has_options = true;
                }
                protocol::ROUTING => {
                    let len = self.length()?;
                    // Section 4.4: with no segments left the header is passed over, of any type.
                    if self.byte(3)? != 0 {
                        return Err(IpError::UnsupportedRouting { pointer: self.pointer(2) });
                    }
                    self.advance(len);
                    self.header.has_options = true;
                    self.header.source_routed = true;
                }
                _ => return Ok(()),
            }
            at_start = false;
        }
        if is_extension(self.header.protocol) { Err(IpError::TooManyExtensions) } else { Ok(()) }
    }

    fn pointer(&self, offset: usize) -> u32 {
        (self.base + self.header.header_len + offset) as u32
    }

    /// The byte at `offset` in the extension header that the walk is at.
    fn byte(&self, offset: usize) -> Result<u8, IpError> {
        let at = self.header.header_len + offset;
        self.packet.get(at).copied().ok_or(IpError::Truncated)
    }

    /// The length of an extension header with the usual length field, which is in units of 8 bytes
    /// without the first 8. It is within the packet.
    fn length(&self) -> Result<usize, IpError> {
        let len = (usize::from(self.byte(1)?) + 1) * 8;
        if self.header.header_len + len > self.packet.len() {
            return Err(IpError::BadExtension { pointer: self.pointer(1) });
        }
        Ok(len)
    }

    /// Goes on behind the extension header of `len` bytes, which is within the packet.
    fn advance(&mut self, len: usize) {
        let at = self.header.header_len;
        if let Some(next) = self.packet.get(at) {
            self.header.protocol = *next;
        }
        self.header.next_header_offset = self.base + at;
        self.header.header_len += len;
        self.header.payload_len = self.packet.len() - self.header.header_len;
    }

    /// Walks the options in a hop-by-hop or destination options header (section 4.2).
    fn options(&mut self, len: usize) -> Result<(), IpError> {
        let mut at = 2;
        while at < len {
            let kind = self.byte(at)?;
            if kind == PAD1 {
                at += 1;
                continue;
            }
            let bad = IpError::BadExtension { pointer: self.pointer(at + 1) };
            if at + 2 > len {
                return Err(bad);
            }
            let end = at + 2 + usize::from(self.byte(at + 1)?);
            if end > len {
                return Err(bad);
            }
            let pointer = self.pointer(at);
            match kind {
                PADN => {}
                ROUTER_ALERT => self.header.router_alert = true,
                JUMBO => return Err(IpError::JumboUnsupported { pointer }),
                _ => {
                    let action = match kind >> 6 {
                        0 => None,
                        1 => Some(OptionAction::Discard),
                        2 => Some(OptionAction::Report),
                        _ => Some(OptionAction::ReportUnlessMulticast),
                    };
                    if let Some(action) = action {
                        return Err(IpError::UnknownOption { pointer, action });
                    }
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Passes a fragment header; true if the payload is a fragment, so that the walk ends.
    fn fragment(&mut self) -> Result<bool, IpError> {
        if self.past_fragment {
            return Err(IpError::NestedFragment);
        }
        self.past_fragment = true;
        let at = self.header.header_len;
        let Some(bytes) = self.packet.get(at..).and_then(|rest| rest.first_chunk::<FRAGMENT_LEN>()) else {
            return Err(IpError::Truncated);
        };
        let bits = u16::from_be_bytes([bytes[2], bytes[3]]);
        let fragment = Fragment {
            id: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            offset: u32::from(bits & !7),
            more: bits & 1 != 0,
        };
        let before = at.saturating_sub(HEADER_LEN);
        let offset_pointer = self.pointer(2);
        self.advance(FRAGMENT_LEN);
        if fragment.offset == 0 && !fragment.more {
            return Ok(false);
        }
        let len = self.header.payload_len;
        if fragment.more && !len.is_multiple_of(8) {
            return Err(IpError::BadFragmentLength { pointer: 4 });
        }
        // The payload length of the whole datagram, with the headers before the fragment header.
        if before + fragment.offset as usize + len > usize::from(u16::MAX) {
            return Err(IpError::BadFragmentOffset { pointer: offset_pointer });
        }
        if fragment.offset == 0 {
            self.check_chain()?;
        }
        self.header.fragment = Some(fragment);
        Ok(true)
    }

    /// Checks that a first fragment goes on with all headers through the upper layer's (RFC 7112
    /// section 5), so that nothing that must be looked at hides in a later one.
    fn check_chain(&self) -> Result<(), IpError> {
        let mut ahead = *self.header;
        let mut walk = Walk { packet: self.packet, header: &mut ahead, base: self.base, past_fragment: true };
        match walk.run(false) {
            Err(IpError::Truncated | IpError::BadExtension { .. }) => {
                return Err(IpError::IncompleteHeaderChain);
            }
            other => other?,
        }
        let least = match ahead.protocol {
            protocol::TCP => 20,
            protocol::UDP | protocol::ICMPV6 => 8,
            _ => 0,
        };
        if ahead.payload_len < least { Err(IpError::IncompleteHeaderChain) } else { Ok(()) }
    }
}

/// Writes a header and returns its length: 40, or 0 with nothing written if `out` is shorter. The
/// addresses are these, not those in `ip`; of `flow_label` the lower 20 bits are used.
#[inline]
pub fn emit(ip: &IpEmit, src: Ipv6Addr, dst: Ipv6Addr, flow_label: u32, out: &mut [u8]) -> usize {
    let Some(out) = out.first_chunk_mut::<HEADER_LEN>() else { return 0 };
    let first = (6 << 28) | u32::from(ip.tos) << 20 | (flow_label & 0xf_ffff);
    out[..4].copy_from_slice(&first.to_be_bytes());
    out[4..6].copy_from_slice(&(ip.payload_len as u16).to_be_bytes());
    out[6] = ip.protocol;
    out[7] = ip.hop_limit;
    out[8..24].copy_from_slice(&src.octets());
    out[24..40].copy_from_slice(&dst.octets());
    HEADER_LEN
}

/// Writes the headers of a fragment: [`emit`] and a fragment header, 48 bytes; 0 with nothing written
/// if `out` is shorter. `ip.payload_len` is that of the fragment, without the fragment header.
pub fn emit_fragment(
    ip: &IpEmit,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    fragment: &Fragment,
    out: &mut [u8],
) -> usize {
    let Some(out) = out.first_chunk_mut::<{ HEADER_LEN + FRAGMENT_LEN }>() else { return 0 };
    let outer =
        IpEmit { protocol: protocol::IPV6_FRAGMENT, payload_len: ip.payload_len + FRAGMENT_LEN, ..*ip };
    emit(&outer, src, dst, 0, out);
    let bits = (fragment.offset as u16 & !7) | u16::from(fragment.more);
    out[40] = ip.protocol;
    out[41] = 0;
    out[42..44].copy_from_slice(&bits.to_be_bytes());
    out[44..48].copy_from_slice(&fragment.id.to_be_bytes());
    HEADER_LEN + FRAGMENT_LEN
}

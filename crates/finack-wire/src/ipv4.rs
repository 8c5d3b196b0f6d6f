//! IPv4 headers (RFC 791).

use crate::ip::{Fragment, IpEmit, IpError, IpHeader};
use core::net::{IpAddr, Ipv4Addr};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = 60;
/// What every host must be able to take, in fragments or whole (RFC 1122 section 3.3.2): bytes.
pub const MIN_REASSEMBLY: usize = 576;
/// The smallest MTU that a link may have (RFC 791 section 3.2): bytes.
pub const MIN_MTU: usize = 68;

/// Option: loose source and record route.
pub const OPTION_LSRR: u8 = 131;
/// Option: strict source and record route.
pub const OPTION_SSRR: u8 = 137;
/// Option: router alert (RFC 2113).
pub const OPTION_ROUTER_ALERT: u8 = 148;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Checks and parses an IPv4 header; see [`ip::parse`](crate::ip::parse), which calls this.
///
/// # Errors
///
/// What is wrong with the packet.
#[inline]
pub fn parse(packet: &[u8]) -> Result<IpHeader, IpError> {
    let Some(h) = packet.first_chunk::<HEADER_LEN>() else { return Err(IpError::Truncated) };
    if h[0] >> 4 != 4 {
        return Err(IpError::BadVersion);
    }
    let header_len = usize::from(h[0] & 0xf) * 4;
    if header_len < HEADER_LEN {
        return Err(IpError::BadHeaderLength);
    }
    let total_len = usize::from(u16::from_be_bytes([h[2], h[3]]));
    if total_len < header_len || total_len > packet.len() {
        return Err(if packet.len() < header_len { IpError::Truncated } else { IpError::BadTotalLength });
    }
    let mut options = Options::default();
    if header_len == HEADER_LEN {
        if finack_sum::sum(h) != 0xffff {
            return Err(IpError::BadChecksum);
        }
    } else {
        let Some(header) = packet.get(..header_len) else { return Err(IpError::Truncated) };
        if finack_sum::sum(header) != 0xffff {
            return Err(IpError::BadChecksum);
        }
        options = walk_options(header)?;
    }
    let payload_len = total_len - header_len;
    let bits = u16::from_be_bytes([h[6], h[7]]);
    let fragment = if bits & (MORE_FRAGMENTS | OFFSET_MASK) == 0 {
        None
    } else {
        Some(fragment(u16::from_be_bytes([h[4], h[5]]), bits, header_len, payload_len)?)
    };
    Ok(IpHeader {
        src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
        dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
        protocol: h[9],
        hop_limit: h[8],
        tos: h[1],
        fragment,
        dont_fragment: bits & DONT_FRAGMENT != 0,
        flow_label: 0,
        header_len,
        payload_len,
        has_options: header_len > HEADER_LEN,
        source_routed: options.source_routed,
        router_alert: options.router_alert,
        next_header_offset: 9,
    })
}

fn fragment(id: u16, bits: u16, header_len: usize, payload_len: usize) -> Result<Fragment, IpError> {
    let more = bits & MORE_FRAGMENTS != 0;
    let offset = u32::from(bits & OFFSET_MASK) * 8;
    if more && !payload_len.is_multiple_of(8) {
        return Err(IpError::BadFragmentLength { pointer: 2 });
    }
    // The datagram's total length, with at least this header, must fit its 16-bit field.
    if offset as usize + payload_len + header_len > usize::from(u16::MAX) {
        return Err(IpError::BadFragmentOffset { pointer: 6 });
    }
    Ok(Fragment { id: u32::from(id), offset, more })
}

#[derive(Default)]
struct Options {
    source_routed: bool,
    router_alert: bool,
}

/// Walks the options of a whole header (RFC 791 section 3.1); unknown ones are skipped (RFC 1122
/// section 3.2.1.8).
#[cold]
fn walk_options(header: &[u8]) -> Result<Options, IpError> {
    let mut seen = Options::default();
    let mut at = HEADER_LEN;
    while let Some(&kind) = header.get(at) {
        match kind {
            0 => break,
            1 => {
                at += 1;
                continue;
            }
            OPTION_LSRR | OPTION_SSRR => seen.source_routed = true,
            OPTION_ROUTER_ALERT => seen.router_alert = true,
            _ => {}
        }
        let bad = IpError::BadOption { pointer: at as u32 + 1 };
        let len = usize::from(*header.get(at + 1).ok_or(bad)?);
        if len < 2 || at + len > header.len() {
            return Err(bad);
        }
        at += len;
    }
    Ok(seen)
}

/// Writes a header without options, with its checksum, and returns its length: 20, or 0 with nothing
/// written if `out` is shorter. The addresses are these, not those in `ip`; with a `fragment`, its
/// identification, offset and flag go in place of `ident` and DF.
#[inline]
pub fn emit(ip: &IpEmit, src: Ipv4Addr, dst: Ipv4Addr, fragment: Option<&Fragment>, out: &mut [u8]) -> usize {
    let Some(out) = out.first_chunk_mut::<HEADER_LEN>() else { return 0 };
    let total = (HEADER_LEN + ip.payload_len) as u16;
    let (ident, bits) = match fragment {
        None => (ip.ident, if ip.dont_fragment { DONT_FRAGMENT } else { 0 }),
        Some(f) => {
            let more = if f.more { MORE_FRAGMENTS } else { 0 };
            (f.id as u16, (f.offset / 8) as u16 & OFFSET_MASK | more)
        }
    };
    let mut h = [0; HEADER_LEN];
    h[0] = 0x45;
    h[1] = ip.tos;
    h[2..4].copy_from_slice(&total.to_be_bytes());
    h[4..6].copy_from_slice(&ident.to_be_bytes());
    h[6..8].copy_from_slice(&bits.to_be_bytes());
    h[8] = ip.hop_limit;
    h[9] = ip.protocol;
    h[12..16].copy_from_slice(&src.octets());
    h[16..20].copy_from_slice(&dst.octets());
    let checksum = !finack_sum::sum(&h);
    h[10..12].copy_from_slice(&checksum.to_be_bytes());
    *out = h;
    HEADER_LEN
}

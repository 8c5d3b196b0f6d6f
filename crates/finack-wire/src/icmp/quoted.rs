//! The packet quoted in an ICMP error.

use crate::bytes::{u16_at, u32_at};
use crate::flow::FourTuple;
use crate::{ipv4, ipv6, protocol};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is known of a packet quoted in an ICMP error: one that this host sent, if the error is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source address: this host's.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of the payload: in IPv6, what comes after the extension headers.
    pub protocol: u8,
    /// Source port; of ICMP echoes the identifier, 0 for protocols without ports.
    pub src_port: u16,
    /// Destination port; of ICMP echoes the sequence number, 0 for protocols without ports.
    pub dst_port: u16,
    /// The sequence number, if this is TCP and the quote reaches that far.
    pub tcp_seq: Option<u32>,
    /// Bytes of IP header: what follows them in the quote is the payload.
    pub header_len: usize,
    /// Bytes of the packet when it was sent, as its header says: usually more than are quoted. What a
    /// router older than RFC 1191 did not say its MTU about.
    pub total_len: usize,
}

impl Quoted {
    /// The flow that the packet belongs to: its source is the local end.
    #[must_use]
    pub fn flow(&self) -> FourTuple {
        FourTuple {
            local: SocketAddr::new(self.src, self.src_port),
            remote: SocketAddr::new(self.dst, self.dst_port),
        }
    }
}

/// Parses the packet quoted in an error, of which at least the IP header and 4 bytes, with the ports,
/// must be there.
///
/// As a rule the quote is cut: the length in its header is not held against it, nor is its checksum,
/// as routers on the way may have changed what it covers. `None` if it cannot be told whose packet it
/// was: the quote is too short, no IP, or a fragment but the first.
#[must_use]
pub fn parse_quoted(quoted: &[u8]) -> Option<Quoted> {
    let head = match quoted.first()? >> 4 {
        4 => head_v4(quoted)?,
        6 => head_v6(quoted)?,
        _ => return None,
    };
    let payload = quoted.get(head.header_len..)?;
    let is_icmp = if head.src.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP } == head.protocol;
    let (src_port, dst_port) = match head.protocol {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP => {
            (u16_at(payload, 0)?, u16_at(payload, 2)?)
        }
        _ if is_icmp && matches!(payload.first(), Some(0 | 8 | 128 | 129)) => {
            (u16_at(payload, 4)?, u16_at(payload, 6)?)
        }
        _ => (0, 0),
    };
    let tcp_seq = if head.protocol == protocol::TCP { u32_at(payload, 4) } else { None };
    Some(Quoted { src_port, dst_port, tcp_seq, ..head })
}

fn head_v4(quoted: &[u8]) -> Option<Quoted> {
    let h = quoted.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let header_len = usize::from(h[0] & 0xf) * 4;
    let offset = u16::from_be_bytes([h[6], h[7]]) & 0x1fff;
    if header_len < ipv4::HEADER_LEN || offset != 0 {
        return None;
    }
    Some(Quoted {
        src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
        dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
        protocol: h[9],
        src_port: 0,
        dst_port: 0,
        tcp_seq: None,
        header_len,
        total_len: usize::from(u16::from_be_bytes([h[2], h[3]])),
    })
}

fn head_v6(quoted: &[u8]) -> Option<Quoted> {
    let h = quoted.first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let (_, addresses) = h.split_first_chunk::<8>()?;
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let (protocol, header_len) = skip_extensions(quoted, h[6])?;
    Some(Quoted {
        src: IpAddr::V6(Ipv6Addr::from(*src)),
        dst: IpAddr::V6(Ipv6Addr::from(*dst.first_chunk()?)),
        protocol,
        src_port: 0,
        dst_port: 0,
        tcp_seq: None,
        header_len,
        total_len: ipv6::HEADER_LEN + usize::from(u16::from_be_bytes([h[4], h[5]])),
    })
}

/// The upper layer's protocol and where it begins. Unlike in a packet that arrives, nothing in the
/// extension headers is judged: this host has made them.
fn skip_extensions(quoted: &[u8], mut next: u8) -> Option<(u8, usize)> {
    let mut at = ipv6::HEADER_LEN;
    for _ in 0..ipv6::MAX_EXTENSIONS {
        if !ipv6::is_extension(next) {
            break;
        }
        let len = if next == protocol::IPV6_FRAGMENT {
            if u16_at(quoted, at + 2)? & !7 != 0 {
                return None;
            }
            ipv6::FRAGMENT_LEN
        } else {
            (usize::from(*quoted.get(at + 1)?) + 1) * 8
        };
        next = *quoted.get(at)?;
        at += len;
    }
    if ipv6::is_extension(next) { None } else { Some((next, at)) }
}

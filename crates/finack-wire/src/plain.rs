//! The commonest of all packets, read at one go: a TCP segment with nothing special about it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use finack_sum::Accumulator;

use crate::tcp::{self, Flags};
use crate::{ipv4, ipv6, protocol};

mod run;

pub use run::{Next, Run};

/// Bytes of options where they are two NOPs and timestamps (RFC 7323 appendix A).
const TIMESTAMPS_LEN: usize = 12;
/// The first four of them.
const TIMESTAMPS_HEAD: [u8; 4] = [1, 1, 8, 10];

/// A segment of a connection that stands: ACK, perhaps with PSH, FIN and data, and no other flag; no options but
/// timestamps, in the form that nearly everybody sends; behind an IPv4 header without options that is no fragment's, or an
/// IPv6 header without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Type of service, or traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Whether PSH is set.
    pub psh: bool,
    /// Whether FIN is set.
    pub fin: bool,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Receive window as in the header: not scaled.
    pub window: u16,
    /// Timestamps: TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// The segment: header, options and data. What lies behind it in the packet is padding.
    pub segment: &'a [u8],
    /// What its checksum covers in front of the data.
    pub ahead: Ahead,
}

impl<'a> Plain<'a> {
    /// Reads a packet; `None` where it is anything else, or where anything about its IP header is wrong, its checksum
    /// included. The TCP checksum is not looked at: see [`checksum_ok`](Self::checksum_ok).
    ///
    /// What it answers is what [`ip::parse`](crate::ip::parse), [`TcpHeader::parse`](tcp::TcpHeader::parse) and
    /// [`TcpOptions::parse`](crate::tcp_options::TcpOptions::parse) say of the same packet.
    #[inline]
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let h = packet.first_chunk::<{ ipv4::HEADER_LEN }>()?;
                let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
                // DF may be set, MF and an offset may not.
                let whole = h[6] & 0x3f == 0 && h[7] == 0;
                if h[0] != 0x45 || h[9] != protocol::TCP || !whole || !are_ones(words(h)) {
                    return None;
                }
                let (src, dst) = ([h[12], h[13], h[14], h[15]], [h[16], h[17], h[18], h[19]]);
                let ahead = words(&src) + words(&dst);
                let (src, dst) = (IpAddr::V4(Ipv4Addr::from(src)), IpAddr::V4(Ipv4Addr::from(dst)));
                Self::of_segment(src, dst, h[1], packet.get(ipv4::HEADER_LEN..total)?, ahead)
            }
            6 => {
                let h = packet.first_chunk::<{ ipv6::HEADER_LEN }>()?;
                let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
                if h[6] != protocol::TCP {
                    return None;
                }
                let address = |at: usize| h.get(at..)?.first_chunk::<16>();
                let (src, dst) = (address(8)?, address(24)?);
                let ahead = words(src) + words(dst);
                let (src, dst) = (IpAddr::V6(Ipv6Addr::from(*src)), IpAddr::V6(Ipv6Addr::from(*dst)));
                let tos = h[0] << 4 | h[1] >> 4;
                let segment = packet.get(ipv6::HEADER_LEN..ipv6::HEADER_LEN + len)?;
                Self::of_segment(src, dst, tos, segment, ahead)
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn of_segment(src: IpAddr, dst: IpAddr, tos: u8, segment: &'a [u8], addresses: u64) -> Option<Self> {
        // No segment is longer than 16 bits say: its length is a field of its IP header.
        let rest = [u16::from(protocol::TCP), segment.len() as u16].map(|word| u64::from(word.to_be()));
        let h = segment.first_chunk::<{ tcp::HEADER_LEN }>()?;
        // The reserved bits are ignored (RFC 9293 3.1), AE is not.
        let flags = u16::from_be_bytes([h[12] & 1, h[13]]) & !(Flags::PSH.0 | Flags::FIN.0);
        if flags != Flags::ACK.0 {
            return None;
        }
        let mut ahead = addresses + rest[0] + rest[1] + words(h);
        let timestamps = match h[12] >> 4 {
            5 => None,
            8 => {
                let options = segment.get(tcp::HEADER_LEN..)?.first_chunk::<TIMESTAMPS_LEN>()?;
                let [a, b, c, d, e, f, g, h, i, j, k, l] = *options;
                if [a, b, c, d] != TIMESTAMPS_HEAD {
                    return None;
                }
                ahead += words(options);
                Some((u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l])))
            }
            _ => return None,
        };
        Some(Self {
            src,
            dst,
            src_port: u16::from_be_bytes([h[0], h[1]]),
            dst_port: u16::from_be_bytes([h[2], h[3]]),
            tos,
            psh: u16::from(h[13]) & Flags::PSH.0 != 0,
            fin: u16::from(h[13]) & Flags::FIN.0 != 0,
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            window: u16::from_be_bytes([h[14], h[15]]),
            timestamps,
            segment,
            ahead: Ahead(ahead),
        })
    }

    /// The flags: ACK, perhaps with PSH and FIN.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> Flags {
        let psh = if self.psh { Flags::PSH } else { Flags(0) };
        let fin = if self.fin { Flags::FIN } else { Flags(0) };
        Flags::ACK.union(psh).union(fin)
    }

    /// Bytes of TCP header: 20, or 32 with timestamps.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.timestamps.is_some() { tcp::HEADER_LEN + TIMESTAMPS_LEN } else { tcp::HEADER_LEN }
    }

    /// The data.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.segment.get(self.header_len()..).unwrap_or(&[])
    }

    /// The urgent pointer as in the header: of no meaning, for URG is not set.
    #[must_use]
    pub fn urgent(&self) -> u16 {
        crate::bytes::u16_at(self.segment, 18).unwrap_or(0)
    }

    /// Whether the TCP checksum is right (RFC 9293 MUST-3).
    #[inline]
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        self.ahead.is_completed_by(self.payload())
    }
}

/// What the TCP checksum covers in front of the data, added up: the pseudo-header, the header and its options. With the data's
/// sum it comes to 0xffff where the checksum is right (RFC 9293 MUST-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead(
    /// Words of 32 bits in the processor's order of bytes.
    u64,
);

impl Ahead {
    /// The sum so far, for who sums the data while copying it.
    #[inline]
    #[must_use]
    pub fn sum(self) -> Accumulator {
        let mut sum = Accumulator::new();
        sum.add_u16(u16::from_be(fold(self.0)));
        sum
    }

    /// Whether the checksum is right of a segment with this data.
    #[inline]
    #[must_use]
    pub fn is_completed_by(self, data: &[u8]) -> bool {
        are_ones(self.0 + words_of(data))
    }
}

/// Words of 32 bits in the processor's order of bytes, added up.
#[inline(always)]
pub(crate) fn words<const N: usize>(bytes: &[u8; N]) -> u64 {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum()
}

/// Data up to this long is summed at once; what sums longer data quickly takes a while to begin.
const SHORT: usize = 32;

/// Data as such words, with zeros behind it.
#[inline(always)]
pub(crate) fn words_of(data: &[u8]) -> u64 {
    if data.len() > SHORT {
        return u64::from(finack_sum::sum(data).to_be());
    }
    let (words, rest) = data.as_chunks::<4>();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum::<u64>()
        + u64::from(u32::from_ne_bytes(last))
}

/// Folds a sum of such words to 16 bits.
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// Whether a sum of such words folds to all ones: whether it is a multiple of 0xffff, and not zero, which only zeros add up to.
#[inline(always)]
pub(crate) const fn are_ones(sum: u64) -> bool {
    sum != 0 && sum.is_multiple_of(0xffff)
}

#[cfg(test)]
mod tests;

//! SYN and SYN,ACK as nearly all are, read at one go.

use core::net::{IpAddr, Ipv4Addr};

use crate::plain::{are_ones, words, words_of};
use crate::tcp::{self, Flags};
use crate::{ipv4, protocol};

/// A SYN or SYN,ACK with no other flag and no data, behind an IPv4 header without options that is no fragment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Type of service: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// SYN, perhaps with ACK.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Receive window: that of a SYN is never scaled.
    pub window: u16,
    /// The urgent pointer as in the header: of no meaning, for URG is not set.
    pub urgent: u16,
    /// The options, as they stand in the packet.
    pub options: &'a [u8],
    /// The pseudo-header and the TCP header as words of 32 bits in the processor's order of bytes, added up.
    ahead: u64,
}

impl<'a> Opening<'a> {
    /// Reads a packet; `None` where it is anything else, or where anything about its IP header is wrong, its checksum
    /// included. The TCP checksum is not looked at: see [`checksum_ok`](Self::checksum_ok).
    ///
    /// What it answers is what [`ip::parse`](crate::ip::parse) and [`TcpHeader::parse`](tcp::TcpHeader::parse) say of the same
    /// packet.
    #[inline]
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let h = packet.first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        // DF may be set, MF and an offset may not.
        let whole = h[6] & 0x3f == 0 && h[7] == 0;
        let segment = packet.get(ipv4::HEADER_LEN..total)?;
        let t = segment.first_chunk::<{ tcp::HEADER_LEN }>()?;
        // The reserved bits are ignored (RFC 9293 3.1), AE is not.
        let flags = Flags(u16::from_be_bytes([t[12] & 1, t[13]]));
        let opens = flags.without(Flags::ACK) == Flags::SYN;
        // All of it is header.
        let bare = usize::from(t[12] >> 4) * 4 == segment.len();
        if h[0] != 0x45 || h[9] != protocol::TCP || !whole || !opens || !bare || !are_ones(words(h)) {
            return None;
        }
        let (src, dst) = ([h[12], h[13], h[14], h[15]], [h[16], h[17], h[18], h[19]]);
        let rest = [u16::from(protocol::TCP), segment.len() as u16].map(|word| u64::from(word.to_be()));
        Some(Self {
            src: src.into(),
            dst: dst.into(),
            src_port: u16::from_be_bytes([t[0], t[1]]),
            dst_port: u16::from_be_bytes([t[2], t[3]]),
            tos: h[1],
            flags,
            seq: u32::from_be_bytes([t[4], t[5], t[6], t[7]]),
            ack: u32::from_be_bytes([t[8], t[9], t[10], t[11]]),
            window: u16::from_be_bytes([t[14], t[15]]),
            urgent: u16::from_be_bytes([t[18], t[19]]),
            options: segment.get(tcp::HEADER_LEN..)?,
            ahead: words(&src) + words(&dst) + rest[0] + rest[1] + words(t),
        })
    }

    /// Both addresses.
    #[inline]
    #[must_use]
    pub const fn addresses(&self) -> (IpAddr, IpAddr) {
        (IpAddr::V4(self.src), IpAddr::V4(self.dst))
    }

    /// Whether the TCP checksum is right (RFC 9293 MUST-3).
    #[inline]
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        are_ones(self.ahead + words_of(self.options))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ip::{self, IpEmit};
    use crate::tcp::{TcpEmit, TcpHeader};

    const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];

    fn packet(flags: Flags, options: usize, data: usize) -> Vec<u8> {
        let head = TcpEmit {
            src_port: 1234,
            dst_port: 80,
            seq: 0xfedc_ba98,
            ack: 0x1234_5678,
            flags,
            window: 4711,
            urgent: 9,
            options: &OPTIONS[..options],
        };
        let emit = IpEmit {
            src: Ipv4Addr::new(10, 0, 0, 1).into(),
            dst: Ipv4Addr::new(10, 0, 0, 2).into(),
            protocol: protocol::TCP,
            hop_limit: 64,
            tos: 0x2e,
            ident: 7,
            dont_fragment: true,
            payload_len: head.header_len() + data,
        };
        let mut bytes = vec![0x5a; emit.header_len() + emit.payload_len];
        let at = emit.emit(&mut bytes);
        head.emit(&mut bytes[at..]);
        let value = tcp::checksum(emit.pseudo_header_sum(), &bytes[at..]);
        tcp::set_checksum(&mut bytes[at..], value);
        bytes
    }

    /// What the parsers say that go step by step, where the packet is of this kind.
    fn step_by_step(packet: &[u8]) -> Option<(Opening<'_>, bool)> {
        let ip = ip::parse(packet).ok()?;
        let segment = ip.payload(packet);
        let header = TcpHeader::parse(segment).ok().filter(|_| ip.protocol == protocol::TCP)?;
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return None };
        let opens = header.flags == Flags::SYN || header.flags == Flags::SYN | Flags::ACK;
        let bare = tcp::payload(segment, &header).is_empty();
        let opening = Opening {
            src,
            dst,
            src_port: header.src_port,
            dst_port: header.dst_port,
            tos: ip.tos,
            flags: header.flags,
            seq: header.seq,
            ack: header.ack,
            window: header.window,
            urgent: header.urgent,
            options: tcp::options_bytes(segment, &header),
            // What it comes to shows where checksums are verified.
            ahead: Opening::parse(packet).map_or(0, |opening| opening.ahead),
        };
        (opens && bare && ip.fragment.is_none() && !ip.has_options)
            .then(|| (opening, tcp::checksum_ok(&ip, segment)))
    }

    #[track_caller]
    fn compare(packet: &[u8]) -> bool {
        let read = Opening::parse(packet);
        assert_eq!(read.map(|opening| (opening, opening.checksum_ok())), step_by_step(packet), "{packet:?}");
        read.is_some()
    }

    /// What is read at one go is what is read step by step, whichever bit of a packet is another.
    #[test]
    fn read_at_one_go_as_step_by_step() {
        for flags in [Flags::SYN, Flags::SYN | Flags::ACK] {
            for options in [0, 4, 12, 20] {
                let whole = packet(flags, options, 0);
                assert!(compare(&whole));
                assert!(Opening::parse(&whole).is_some_and(|opening| opening.checksum_ok()));
                assert!(!compare(&packet(flags, options, 1)));
                let mut padded = whole.clone();
                padded.extend([0; 6]);
                assert!(compare(&padded));
                for len in 0..whole.len() {
                    compare(&whole[..len]);
                }
                for bit in 0..whole.len() * 8 {
                    let mut other = whole.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    compare(&other);
                    // With the sum of its IP header put right.
                    other[10..12].fill(0);
                    let sum = !finack_sum::sum(&other[..20]);
                    other[10..12].copy_from_slice(&sum.to_be_bytes());
                    compare(&other);
                }
            }
        }
        for flags in [Flags::ACK, Flags::SYN | Flags::FIN, Flags::SYN | Flags::ECE | Flags::CWR, Flags::RST] {
            assert!(!compare(&packet(flags, 20, 0)));
        }
    }
}

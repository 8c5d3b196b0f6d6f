//! Packets as plain values, built and taken apart by code that shares nothing with the engine's.
//!
//! The tests would prove little if they believed the engine's own parser and checksums: this is a
//! second, slow and simple implementation to hold against it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod build;
mod parse;

pub use build::{build, finish_checksum};
pub use parse::{glance, parse};

/// Protocol numbers (RFC 791, RFC 8200).
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flags.
pub mod flag {
    /// FIN.
    pub const FIN: u16 = 0x001;
    /// SYN.
    pub const SYN: u16 = 0x002;
    /// RST.
    pub const RST: u16 = 0x004;
    /// PSH.
    pub const PSH: u16 = 0x008;
    /// ACK.
    pub const ACK: u16 = 0x010;
    /// URG.
    pub const URG: u16 = 0x020;
    /// ECE.
    pub const ECE: u16 = 0x040;
    /// CWR.
    pub const CWR: u16 = 0x080;
    /// AE, once NS.
    pub const AE: u16 = 0x100;
}

/// What an IP header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv4 identification; unused with IPv6.
    pub id: u16,
    /// IPv4: may not be fragmented; always true with IPv6.
    pub df: bool,
}

impl Ip {
    /// A header with the usual values.
    #[must_use]
    pub const fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self { src, dst, ttl: 64, tos: 0, id: 0, df: true }
    }
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opt {
    /// End of list.
    Eol,
    /// Padding.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale shift.
    Wscale(u8),
    /// SACK permitted.
    SackOk,
    /// SACK blocks: left edge, right edge.
    Sack(Vec<(u32, u32)>),
    /// Timestamps.
    Ts {
        /// TSval.
        val: u32,
        /// `TSecr`.
        ecr: u32,
    },
    /// Any other, with what follows its length byte.
    Other(u8, Vec<u8>),
    /// Bytes put there as they are (illegal lengths and the like); never the result of parsing.
    Raw(Vec<u8>),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// The nine flags, see [`flag`].
    pub flags: u16,
    /// The window field as on the wire.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Vec<Opt>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// Sequence space that the segment takes: payload, SYN and FIN.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }

    /// TSval and `TSecr`, where there are any.
    #[must_use]
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.options.iter().find_map(|o| match o {
            Opt::Ts { val, ecr } => Some((*val, *ecr)),
            _ => None,
        })
    }

    /// The SACK blocks, empty where there are none.
    #[must_use]
    pub fn sack(&self) -> &[(u32, u32)] {
        self.options
            .iter()
            .find_map(|o| match o {
                Opt::Sack(blocks) => Some(blocks.as_slice()),
                _ => None,
            })
            .unwrap_or(&[])
    }

    /// The window scale option, where there is one.
    #[must_use]
    pub fn wscale(&self) -> Option<u8> {
        self.options.iter().find_map(|o| match o {
            Opt::Wscale(shift) => Some(*shift),
            _ => None,
        })
    }

    /// The MSS option, where there is one.
    #[must_use]
    pub fn mss(&self) -> Option<u16> {
        self.options.iter().find_map(|o| match o {
            Opt::Mss(mss) => Some(*mss),
            _ => None,
        })
    }
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Payload.
    pub payload: Vec<u8>,
}

/// An ICMP or `ICMPv6` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes after the checksum (identifier and sequence, or unused and MTU).
    pub rest: [u8; 4],
    /// What follows.
    pub payload: Vec<u8>,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP or `ICMPv6`, by the family of the addresses.
    Icmp(Icmp),
    /// Anything else, fragments included.
    Other {
        /// Protocol number; that of the fragment header for an IPv6 fragment.
        protocol: u8,
        /// The bytes after the IP header.
        payload: Vec<u8>,
    },
}

/// An IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkt {
    /// The IP header.
    pub ip: Ip,
    /// What it carries.
    pub body: Body,
}

impl Pkt {
    /// A TCP packet from `from` to `to`; the ports of `tcp` are set from them.
    #[must_use]
    pub fn tcp(from: SocketAddr, to: SocketAddr, tcp: Tcp) -> Self {
        let tcp = Tcp { sport: from.port(), dport: to.port(), ..tcp };
        Self { ip: Ip::new(from.ip(), to.ip()), body: Body::Tcp(tcp) }
    }

    /// A UDP packet.
    #[must_use]
    pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Self {
        let udp = Udp { sport: from.port(), dport: to.port(), payload: payload.to_vec() };
        Self { ip: Ip::new(from.ip(), to.ip()), body: Body::Udp(udp) }
    }

    /// An ICMP packet.
    #[must_use]
    pub fn icmp(from: IpAddr, to: IpAddr, icmp: Icmp) -> Self {
        Self { ip: Ip::new(from, to), body: Body::Icmp(icmp) }
    }

    /// The TCP segment, where it is one.
    #[must_use]
    pub fn as_tcp(&self) -> Option<&Tcp> {
        match &self.body {
            Body::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The UDP datagram, where it is one.
    #[must_use]
    pub fn as_udp(&self) -> Option<&Udp> {
        match &self.body {
            Body::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// The ICMP message, where it is one.
    #[must_use]
    pub fn as_icmp(&self) -> Option<&Icmp> {
        match &self.body {
            Body::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// Sender, with port 0 where there are no ports.
    #[must_use]
    pub fn from(&self) -> SocketAddr {
        SocketAddr::new(self.ip.src, self.ports().0)
    }

    /// Receiver, with port 0 where there are no ports.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.ip.dst, self.ports().1)
    }

    fn ports(&self) -> (u16, u16) {
        match &self.body {
            Body::Tcp(t) => (t.sport, t.dport),
            Body::Udp(u) => (u.sport, u.dport),
            _ => (0, 0),
        }
    }
}

/// The sum of 16-bit words in one's complement (RFC 1071), not inverted, over `parts` laid end to end;
/// every part but the last has an even length.
fn ones_sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        // Two words at a time: 2^16 is 1 in one's complement, so their sum is the same. 64 bits hold 2^32 of them.
        let (pairs, rest) = part.as_chunks::<4>();
        sum += pairs.iter().map(|pair| u64::from(u32::from_be_bytes(*pair))).sum::<u64>();
        for word in rest.chunks(2) {
            sum += u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header of an upper-layer packet of `len` bytes (RFC 9293 3.1, RFC 8200 8.1).
fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            out.extend_from_slice(&s.octets());
            out.extend_from_slice(&d.octets());
            out.extend_from_slice(&[0, protocol]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            out.extend_from_slice(&s.octets());
            out.extend_from_slice(&d.octets());
            out.extend_from_slice(&(len as u32).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, protocol]);
        }
        _ => panic!("addresses of two families in one packet: {src} and {dst}"),
    }
    out
}

/// The addresses that scripts use: the stack has host 1, its peer host 2.
#[must_use]
pub fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
}

/// As [`v4`], in `fd00::/64`.
#[must_use]
pub fn v6(host: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)))
}

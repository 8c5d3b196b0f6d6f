//! Which of several stacks that are one host a packet is for.
//!
//! A keyed hash of both ends decides, whichever of them sent the packet, so that both directions of a connection, and
//! both ends of one within the host, come to the same stack. An ICMP error goes where the packet goes that it quotes;
//! the fragments of one datagram meet somewhere, are put together there, and are steered again as a whole.

use core::net::{IpAddr, SocketAddr};

use finack_wire::icmp::{self, v4, v6};
use finack_wire::ip;
use finack_wire::protocol;

use crate::hash::{Key, scale};

#[cfg(test)]
mod tests;

/// Bytes of the headers that are looked at without more ado.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// Chooses among the shards of a host: equal seeds and equal counts choose alike.
#[derive(Clone, Debug)]
pub struct Steering {
    key: Key,
    shards: u32,
}

impl Steering {
    /// Steering among `shards` stacks (at least 1), keyed by the host's secret: who sends packets can't tell which
    /// of them come to one stack.
    pub fn new(seed: &[u8; 32], shards: usize) -> Self {
        let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
        Self { key: Key::derive(seed, "shards"), shards }
    }

    /// How many there are.
    pub const fn shards(&self) -> usize {
        self.shards as usize
    }

    /// Where a connection, or an exchange of datagrams, between two ends belongs; which of them is named first does
    /// not matter.
    pub fn of_flow(&self, one: SocketAddr, other: SocketAddr) -> usize {
        match (one.ip().to_canonical(), other.ip().to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                self.of_v4((a.to_bits(), one.port()), (b.to_bits(), other.port()))
            }
            (a, b) => self.of_ends((a, one.port()), (b, other.port())),
        }
    }

    /// Where a packet belongs; `None` where any stack will do: for what is answered without a connection or a socket,
    /// and for what makes no sense, which every stack refuses alike. Nothing is verified.
    pub fn of_packet(&self, packet: &[u8]) -> Option<usize> {
        match packet.first()? >> 4 {
            4 => self.of_v4_packet(packet),
            6 => self.of_v6_packet(packet),
            _ => None,
        }
    }

    fn of_v4_packet(&self, packet: &[u8]) -> Option<usize> {
        let h = packet.first_chunk::<V4_HEADER>()?;
        let [src, dst] = [12, 16].map(|at| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
        let (fragment, protocol) = (u16::from_be_bytes([h[6], h[7]]), h[9]);
        if fragment & 0x3fff != 0 {
            let id = u64::from(u16::from_be_bytes([h[4], h[5]]));
            return Some(
                self.scaled(u64::from(src) << 32 | u64::from(dst), 1 << 63 | u64::from(protocol) << 16 | id),
            );
        }
        let payload = packet.get(usize::from(h[0] & 0xf) * 4..)?;
        match protocol {
            protocol::TCP | protocol::UDP => {
                let (from, to) = ports(payload)?;
                Some(self.of_v4((src, from), (dst, to)))
            }
            protocol::ICMP => {
                let reports = [v4::UNREACHABLE, v4::SOURCE_QUENCH, v4::TIME_EXCEEDED, v4::PARAMETER_PROBLEM];
                self.of_report(payload, &reports)
            }
            _ => None,
        }
    }

    fn of_v6_packet(&self, packet: &[u8]) -> Option<usize> {
        let h = packet.first_chunk::<V6_HEADER>()?;
        if matches!(h[6], protocol::TCP | protocol::UDP)
            && let (Some(src), Some(dst)) = (h[8..].first_chunk::<16>(), h[24..].first_chunk::<16>())
        {
            let (from, to) = ports(&packet[V6_HEADER..])?;
            return Some(self.of_ends((IpAddr::from(*src), from), (IpAddr::from(*dst), to)));
        }
        // With extension headers, fragments among them, and ICMP: rare enough to be parsed as a whole.
        let header = ip::parse(packet).ok()?;
        if let Some(fragment) = header.fragment {
            // Its protocol is the first fragment's alone to tell (RFC 8200 4.5).
            let hash = self.key.table().addr(header.src).addr(header.dst).u64(u64::from(fragment.id));
            return Some(self.scale(hash.finish()));
        }
        let payload = header.payload(packet);
        match header.protocol {
            protocol::TCP | protocol::UDP => {
                let (from, to) = ports(payload)?;
                Some(self.of_ends((header.src, from), (header.dst, to)))
            }
            protocol::ICMPV6 => {
                let reports = [v6::UNREACHABLE, v6::PACKET_TOO_BIG, v6::TIME_EXCEEDED, v6::PARAMETER_PROBLEM];
                self.of_report(payload, &reports)
            }
            _ => None,
        }
    }

    /// An ICMP error: the flow that it is about counts, not who sent it.
    fn of_report(&self, message: &[u8], reports: &[u8]) -> Option<usize> {
        if !reports.contains(message.first()?) {
            return None;
        }
        let quoted = icmp::parse_quoted(message.get(icmp::HEADER_LEN..)?)?;
        matches!(quoted.protocol, protocol::TCP | protocol::UDP).then(|| {
            let flow = quoted.flow();
            self.of_flow(flow.local, flow.remote)
        })
    }

    fn of_v4(&self, one: (u32, u16), other: (u32, u16)) -> usize {
        let ((low, low_port), (high, high_port)) = if one <= other { (one, other) } else { (other, one) };
        self.scaled(u64::from(low) << 32 | u64::from(high), u64::from(low_port) << 16 | u64::from(high_port))
    }

    fn of_ends(&self, one: (IpAddr, u16), other: (IpAddr, u16)) -> usize {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let ports = u64::from(low.1) << 16 | u64::from(high.1);
        self.scale(self.key.table().addr(low.0).addr(high.0).u64(ports).finish())
    }

    fn scaled(&self, addresses: u64, rest: u64) -> usize {
        self.scale(self.key.table().u64(addresses).u64(rest).finish())
    }

    fn scale(&self, hash: u64) -> usize {
        scale(hash as u32, self.shards) as usize
    }
}

/// Source and destination port, which TCP and UDP have in the same place.
fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    let p = payload.first_chunk::<4>()?;
    Some((u16::from_be_bytes([p[0], p[1]]), u16::from_be_bytes([p[2], p[3]])))
}

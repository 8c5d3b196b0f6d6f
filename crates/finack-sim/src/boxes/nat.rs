//! Network address and port translation.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use finack_core::Instant;

use super::MOST_FLOWS;
use crate::packet::{Body, Icmp, Pkt, proto};

/// Ports that it gives away.
const FIRST_PORT: u16 = 40_000;

/// A conversation from inside: protocol, inner end, outer end.
type Inner = (u8, SocketAddr, SocketAddr);
/// As it is seen from outside: protocol, the NAT's port, outer end.
type Outer = (u8, u16, SocketAddr);

#[derive(Clone, Copy, Debug)]
struct Mapping {
    port: u16,
    used: Instant,
}

/// A NAT whose mappings and filters depend on the address and the port of both ends (RFC 4787 4.1, 5; RFC 5382).
#[derive(Clone, Debug)]
pub struct Nat {
    address: Ipv4Addr,
    idle: Duration,
    keep_ports: bool,
    out: BTreeMap<Inner, Mapping>,
    back: BTreeMap<Outer, Inner>,
    next_port: u16,
}

impl Nat {
    /// A NAT with this outer address.
    #[must_use]
    pub fn new(address: Ipv4Addr, idle: Duration, keep_ports: bool) -> Self {
        let (out, back) = (BTreeMap::new(), BTreeMap::new());
        Self { address, idle, keep_ports, out, back, next_port: FIRST_PORT }
    }

    /// Its outer address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    /// Mappings that stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether none stands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Who inside a packet from outside to the NAT's own address is for, where anybody is.
    #[must_use]
    pub fn inside(&self, packet: &Pkt) -> Option<IpAddr> {
        let protocol = transport(packet)?;
        let outer = (protocol, packet.to().port(), packet.from());
        self.back.get(&outer).map(|(_, inner, _)| inner.ip())
    }

    pub(super) fn pass(&mut self, now: Instant, outward: bool, mut packet: Pkt, out: &mut Vec<Pkt>) {
        if packet.ip.src.is_ipv6() {
            return out.push(packet);
        }
        let translated = match (&packet.body, outward) {
            (Body::Icmp(_), false) => self.error_in(&mut packet),
            (_, true) => self.outward(now, &mut packet),
            (_, false) => self.inward(now, &mut packet),
        };
        if translated.is_some() {
            out.push(packet);
        }
    }

    fn outward(&mut self, now: Instant, packet: &mut Pkt) -> Option<()> {
        let inner = (transport(packet)?, packet.from(), packet.to());
        let port = match self.out.get_mut(&inner) {
            Some(mapping) if now.since(mapping.used) <= self.idle => {
                mapping.used = now;
                mapping.port
            }
            _ => self.map(now, inner)?,
        };
        packet.ip.src = self.address();
        set_ports(packet, Some(port), None);
        Some(())
    }

    /// A new mapping; an old one of the same conversation has ended, and its port is not given to it again.
    fn map(&mut self, now: Instant, inner: Inner) -> Option<u16> {
        self.forget(inner);
        if self.out.len() >= MOST_FLOWS {
            let oldest = self.out.iter().min_by_key(|(_, m)| m.used).map(|(inner, _)| *inner)?;
            self.forget(oldest);
        }
        let (protocol, from, to) = inner;
        let is_free = |port: u16| !self.back.contains_key(&(protocol, port, to));
        let port = if self.keep_ports && is_free(from.port()) {
            from.port()
        } else {
            let span = u16::MAX - FIRST_PORT;
            let first = self.next_port - FIRST_PORT;
            (0..=span)
                .map(|i| FIRST_PORT + ((u32::from(first) + u32::from(i)) % (u32::from(span) + 1)) as u16)
                .find(|&port| is_free(port))?
        };
        self.next_port = if (FIRST_PORT..u16::MAX).contains(&port) { port + 1 } else { FIRST_PORT };
        self.out.insert(inner, Mapping { port, used: now });
        self.back.insert((protocol, port, to), inner);
        Some(port)
    }

    fn forget(&mut self, inner: Inner) {
        if let Some(mapping) = self.out.remove(&inner) {
            self.back.remove(&(inner.0, mapping.port, inner.2));
        }
    }

    fn inward(&mut self, now: Instant, packet: &mut Pkt) -> Option<()> {
        if packet.ip.dst != self.address() {
            return None;
        }
        let outer = (transport(packet)?, packet.to().port(), packet.from());
        let inner = *self.back.get(&outer)?;
        let mapping = self.out.get_mut(&inner)?;
        if now.since(mapping.used) > self.idle {
            self.forget(inner);
            return None;
        }
        mapping.used = now;
        packet.ip.dst = inner.1.ip();
        set_ports(packet, None, Some(inner.1.port()));
        Some(())
    }

    /// An ICMP error about a packet that went out: the packet that it quotes becomes what its sender knows (RFC 5508 4.2).
    fn error_in(&mut self, packet: &mut Pkt) -> Option<()> {
        let Body::Icmp(Icmp { payload: quoted, .. }) = &mut packet.body else { return None };
        let header = usize::from(quoted.first()? & 15) * 4;
        if quoted.len() < header + 4 || header < 20 {
            return None;
        }
        let to = [quoted[16], quoted[17], quoted[18], quoted[19]];
        let word = |at: usize| u16::from_be_bytes([quoted[at], quoted[at + 1]]);
        let outer = (quoted[9], word(header), SocketAddr::new(to.into(), word(header + 2)));
        let (_, inner, _) = self.back.get(&outer)?;
        let IpAddr::V4(address) = inner.ip() else { return None };
        quoted[12..16].copy_from_slice(&address.octets());
        quoted[header..header + 2].copy_from_slice(&inner.port().to_be_bytes());
        quoted[10..12].fill(0);
        let sum = quoted[..header]
            .chunks_exact(2)
            .fold(0_u32, |s, w| s + u32::from(u16::from_be_bytes([w[0], w[1]])));
        let folded = (sum & 0xffff) + (sum >> 16);
        let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
        quoted[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.ip.dst = inner.ip();
        Some(())
    }
}

fn transport(packet: &Pkt) -> Option<u8> {
    match packet.body {
        Body::Tcp(_) => Some(proto::TCP),
        Body::Udp(_) => Some(proto::UDP),
        _ => None,
    }
}

fn set_ports(packet: &mut Pkt, from: Option<u16>, to: Option<u16>) {
    let (source, dest) = match &mut packet.body {
        Body::Tcp(tcp) => (&mut tcp.sport, &mut tcp.dport),
        Body::Udp(udp) => (&mut udp.sport, &mut udp.dport),
        _ => return,
    };
    *source = from.unwrap_or(*source);
    *dest = to.unwrap_or(*dest);
}

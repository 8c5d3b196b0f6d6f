//! Packets on their way in: IP checks them, puts fragments together and hands on what is for this host.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;
use finack_wire::flow::FourTuple;
use finack_wire::icmp::{ErrorKind, TIME_EXCEEDED_REASSEMBLY, Unreachable};
use finack_wire::ip::{self, IpError, IpHeader};
use finack_wire::protocol;

use super::Stack;
use crate::device::{Packet, PacketMeta};
use crate::ip::reassembly::Limits;
use crate::time::Instant;
use crate::trace::DropReason;
use crate::udp::Cast;

#[cfg(test)]
mod tests;

/// Whether a packet's destination includes this host.
pub(super) enum Destination {
    /// This host alone.
    Local,
    /// Hosts of which this is one.
    Many,
    Elsewhere,
}

impl Stack {
    /// Takes one packet.
    pub(super) fn ip_input(&mut self, now: Instant, packet: &Packet<'_>) {
        self.cx.counters.ip_in_receives += u64::from(packet.meta.segments.max(1));
        let bytes = packet.bytes.as_slice();
        let header = match ip::parse(bytes) {
            Ok(header) => header,
            Err(error) => return self.refuse_header(now, error, bytes),
        };
        self.cx.counters.count_codepoint(header.ecn(), u64::from(packet.meta.segments.max(1)));
        let destination = match self.destination(header.dst) {
            Destination::Elsewhere if !is_housekeeping(&header) => {
                return self.note_drop(now, DropReason::NotForUs, bytes.len(), ends(&header, bytes));
            }
            destination => destination,
        };
        if !self.may_come_from(&header) {
            return self.note_drop(now, DropReason::BadSource, bytes.len(), ends(&header, bytes));
        }
        if header.fragment.is_some() {
            self.fragment_input(now, &header, packet);
        } else {
            self.deliver(now, &header, packet, &destination);
        }
    }

    /// Takes a packet that this host sent to itself.
    pub(super) fn local_input(&mut self, now: Instant, packet: &Packet<'_>) {
        self.cx.counters.ip_in_receives += u64::from(packet.meta.segments.max(1));
        match ip::parse(packet.bytes.as_slice()) {
            Ok(header) if header.fragment.is_some() => self.fragment_input(now, &header, packet),
            Ok(header) => self.deliver(now, &header, packet, &Destination::Local),
            Err(error) => self.refuse_header(now, error, packet.bytes.as_slice()),
        }
    }

    /// What is due: fragments whose others did not come.
    pub(super) fn ip_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.ip.reassembler.expire(now) {
            self.cx.counters.ip_reasm_fails += 1;
            let first = expired.first.as_deref().unwrap_or(&[]);
            let header = ip::parse(first).ok();
            let ends = header.as_ref().and_then(|h| self::ends(h, first));
            self.note_drop(now, DropReason::FragmentTimeout, expired.len, ends);
            if let Some(header) = header {
                // RFC 1122 3.3.2, RFC 8200 4.5.
                let kind = ErrorKind::TimeExceeded { code: TIME_EXCEEDED_REASSEMBLY };
                self.report(now, &header, first, kind, false);
            }
        }
    }

    /// When [`ip_timeout`](Self::ip_timeout) has something to do.
    pub(super) fn ip_next_timeout(&self) -> Option<Instant> {
        self.ip.reassembler.next_timeout()
    }

    /// Moves the next packet that belongs to no connection to where the device can look at it.
    pub(super) fn pop_raw(&mut self) -> bool {
        self.cx.counters.ip_out_discards = self.ip.out.dropped();
        let Some((owner, len)) = self.ip.out.pop() else { return false };
        self.udp.sent(&self.ip, owner, len);
        true
    }

    pub(super) fn destination(&self, dst: IpAddr) -> Destination {
        if self.ip.routes.is_local(dst) {
            Destination::Local
        } else if self.ip.routes.is_broadcast(dst) || self.ip.groups.is_member(dst) {
            Destination::Many
        } else {
            Destination::Elsewhere
        }
    }

    /// Whether the source is one that the packet may have (RFC 1122 3.2.1.3): a host's, or unspecified where a host
    /// without an address speaks (DHCP; neighbour discovery and MLD, RFC 4861 4.3, RFC 3590).
    fn may_come_from(&self, header: &IpHeader) -> bool {
        match header.src {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                header.protocol == protocol::UDP && self.ip.routes.is_broadcast(header.dst)
                    || header.protocol == protocol::IGMP
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => header.protocol == protocol::ICMPV6,
            src => self.ip.routes.is_valid_source(src),
        }
    }

    fn fragment_input(&mut self, now: Instant, header: &IpHeader, packet: &Packet<'_>) {
        let bytes = packet.bytes.as_slice();
        let limits = Limits {
            memory: self.cx.settings.ipfrag_high_thresh as usize,
            timeout: Duration::from_secs(self.cx.settings.ipfrag_time),
        };
        let result = self.ip.reassembler.insert(now, header, bytes, limits);
        for _ in 0..self.ip.reassembler.take_gave_way() {
            self.cx.counters.ip_reasm_fails += 1;
            self.note_drop(now, DropReason::FragmentTimeout, 0, None);
        }
        match result {
            Ok(None) => {}
            Err(reason) => {
                self.cx.counters.ip_reasm_fails += 1;
                self.note_drop(now, reason, bytes.len(), ends(header, bytes));
            }
            Ok(Some(whole)) => {
                self.cx.counters.ip_reasm_oks += 1;
                let whole = Bytes::from(whole);
                let Some(packet) = self.hand_over(now, Packet::shared(whole.clone()), true) else { return };
                match ip::parse(&whole) {
                    Ok(mut header) => {
                        // It was cut already.
                        header.dont_fragment = false;
                        let destination = self.destination(header.dst);
                        self.deliver(now, &header, &packet, &destination);
                    }
                    Err(error) => self.refuse_header(now, error, &whole),
                }
            }
        }
    }

    /// Hands a whole packet to the protocol that it is of.
    pub(super) fn deliver(&mut self, now: Instant, header: &IpHeader, packet: &Packet<'_>, to: &Destination) {
        let bytes = packet.bytes.as_slice();
        match header.protocol {
            protocol::TCP if matches!(to, Destination::Local) => self.tcp_input(now, header, packet),
            protocol::TCP => self.note_drop(now, DropReason::TcpNotUnicast, bytes.len(), ends(header, bytes)),
            protocol::UDP => {
                let cast = if matches!(to, Destination::Local) { Cast::One } else { Cast::Many };
                self.udp_input(now, header, packet, cast);
            }
            protocol::ICMP if !header.is_v6() => self.icmp_input(now, header, packet),
            protocol::ICMPV6 if header.is_v6() => self.icmp_input(now, header, packet),
            // Multicast routers' business.
            protocol::IGMP if !header.is_v6() => {}
            _ => self.unknown_protocol(now, header, bytes),
        }
    }

    fn udp_input(&mut self, now: Instant, header: &IpHeader, packet: &Packet<'_>, cast: Cast) {
        let bytes = packet.bytes.as_slice();
        match self.udp.input(header, packet, cast, self.ip.routes.is_own(header.dst)) {
            Ok(delivered) => {
                self.cx.counters.udp_in_datagrams += u64::from(delivered.taken);
                for _ in 0..delivered.full {
                    self.cx.counters.udp_rcvbuf_errors += 1;
                    self.note_drop(now, DropReason::UdpBufferFull, bytes.len(), ends(header, bytes));
                }
            }
            // Each of its datagrams is told of by itself, as if it had come so.
            Err(DropReason::UdpNoPort) if packet.meta.segments > 1 && packet.meta.segment_size > 0 => {
                for one in crate::udp::cut(header, bytes, usize::from(packet.meta.segment_size)) {
                    if let Ok(header) = ip::parse(&one) {
                        let meta = PacketMeta { segments: 1, segment_size: 0, ..packet.meta };
                        self.udp_input(now, &header, &Packet { meta, ..Packet::shared(one.into()) }, cast);
                    }
                }
            }
            Err(reason) => {
                self.note_drop(now, reason, bytes.len(), ends(header, bytes));
                if reason != DropReason::UdpNoPort {
                    self.cx.counters.udp_in_errors += 1;
                    return;
                }
                self.cx.counters.udp_no_ports += 1;
                // RFC 1122 4.1.3.1.
                self.report(now, header, bytes, ErrorKind::Unreachable(Unreachable::Port), false);
            }
        }
    }

    /// RFC 1122 3.2.2.1, RFC 4443 3.4.
    fn unknown_protocol(&mut self, now: Instant, header: &IpHeader, bytes: &[u8]) {
        self.note_drop(now, DropReason::UnknownProtocol, bytes.len(), ends(header, bytes));
        if header.is_v6() {
            // Nothing follows the header "no next header" (RFC 8200 4.7), so nothing is missing.
            if header.protocol != protocol::NO_NEXT {
                let kind = ErrorKind::ParameterProblem { pointer: header.next_header_offset as u32, code: 1 };
                self.report(now, header, bytes, kind, false);
            }
        } else {
            self.report(now, header, bytes, ErrorKind::Unreachable(Unreachable::Protocol), false);
        }
    }

    /// A packet whose header is wrong: reported where its addresses can be believed.
    pub(super) fn refuse_header(&mut self, now: Instant, error: IpError, bytes: &[u8]) {
        let reason = match error {
            IpError::BadChecksum => DropReason::IpChecksum,
            IpError::BadFragmentLength { .. }
            | IpError::BadFragmentOffset { .. }
            | IpError::IncompleteHeaderChain => DropReason::FragmentRejected,
            _ => DropReason::IpMalformed,
        };
        self.note_drop(now, reason, bytes.len(), None);
        let Some(problem) = error.problem() else { return };
        let Some(header) = addresses(bytes) else { return };
        let for_us = !matches!(self.destination(header.dst), Destination::Elsewhere);
        if for_us && self.may_come_from(&header) {
            let kind = ErrorKind::ParameterProblem { pointer: problem.pointer, code: problem.code };
            self.report(now, &header, bytes, kind, problem.even_if_multicast);
        }
    }
}

/// What a kernel sends on any link without being asked: IGMP, MLD, router and neighbour discovery. It is taken in
/// silence, whichever group it is sent to.
fn is_housekeeping(header: &IpHeader) -> bool {
    match header.dst {
        IpAddr::V4(dst) => header.protocol == protocol::IGMP && dst.is_multicast(),
        IpAddr::V6(dst) => {
            header.protocol == protocol::ICMPV6 && dst.is_multicast() && dst.octets()[1] & 0xf <= 2
        }
    }
}

/// Both ends of a packet: ports are 0 where it shows none.
pub(super) fn ends(header: &IpHeader, bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let flow = FourTuple::from_packet(header, header.payload(bytes));
    let bare = || (SocketAddr::new(header.dst, 0), SocketAddr::new(header.src, 0));
    Some(flow.map_or_else(bare, |f| (f.local, f.remote)))
}

/// The addresses alone of a packet whose header could not be parsed to its end.
fn addresses(bytes: &[u8]) -> Option<IpHeader> {
    let (src, dst): (IpAddr, IpAddr) = match bytes.first()? >> 4 {
        4 => {
            let at = |from: usize| bytes.get(from..)?.first_chunk::<4>().map(|a| IpAddr::from(*a));
            (at(12)?, at(16)?)
        }
        6 => {
            let at = |from: usize| bytes.get(from..)?.first_chunk::<16>().map(|a| IpAddr::from(*a));
            (at(8)?, at(24)?)
        }
        _ => return None,
    };
    Some(IpHeader {
        src,
        dst,
        // Reserved (RFC 3692): no protocol of which errors are not reported.
        protocol: 253,
        hop_limit: 0,
        tos: 0,
        fragment: None,
        dont_fragment: false,
        flow_label: 0,
        header_len: 0,
        payload_len: 0,
        has_options: false,
        source_routed: false,
        router_alert: false,
        next_header_offset: 0,
    })
}

//! ICMP: echoes answered, errors handed to whom they concern, errors sent.

use core::net::IpAddr;
use core::time::Duration;

use finack_wire::icmp::{self as wire, ErrorKind, IcmpMessage, Quoted};
use finack_wire::ip::{IpEmit, IpHeader};
use finack_wire::protocol;

use super::ip_input::ends;
use super::{Stack, UdpReport};
use crate::device::Packet;
use crate::icmp;
use crate::time::Instant;
use crate::trace::{DropReason, TraceKind};

/// Bytes in front of what an ICMP error quotes.
const ICMP_HEADER_LEN: usize = 8;

impl Stack {
    pub(super) fn icmp_input(&mut self, now: Instant, ip: &IpHeader, packet: &Packet<'_>) {
        let bytes = packet.bytes.as_slice();
        self.cx.counters.icmp_in_msgs += 1;
        let Ok(message) = wire::parse(ip, ip.payload(bytes)) else {
            return self.note_drop(now, DropReason::IcmpMalformed, bytes.len(), ends(ip, bytes));
        };
        if let IcmpMessage::EchoRequest { ident, seq, data } = message {
            if !self.ip.routes.is_own(ip.dst)
                && self.ip.routes.is_local(ip.dst)
                && let Some(delivered) = self.udp.take_echo(ip, ident, seq, data)
            {
                if delivered.full > 0 {
                    self.note_drop(now, DropReason::UdpBufferFull, bytes.len(), ends(ip, bytes));
                }
                return;
            }
            return self.answer_echo(now, ip, &IcmpMessage::EchoReply { ident, seq, data });
        }
        let (Some(kind), Some(quoted)) = (icmp::reported(&message), message.quoted()) else { return };
        // The packet in question came from one of our addresses and went to a single host, or never was.
        let ours = wire::parse_quoted(quoted).filter(|q| {
            q.src.is_ipv4() == ip.src.is_ipv4()
                && self.ip.routes.is_local(q.src)
                && self.ip.routes.is_unicast(q.dst)
        });
        match ours {
            Some(quoted) if quoted.protocol == protocol::TCP => self.tcp_icmp_error(now, &quoted, kind),
            Some(quoted) if quoted.protocol == protocol::UDP => {
                self.udp_icmp_error(now, ip, packet, &quoted, kind)
            }
            // Of echoes and the like: nobody here sent any.
            _ => self.note_drop(now, DropReason::IcmpUnproven, bytes.len(), ends(ip, bytes)),
        }
    }

    fn udp_icmp_error(
        &mut self,
        now: Instant,
        ip: &IpHeader,
        packet: &Packet<'_>,
        quoted: &Quoted,
        kind: ErrorKind,
    ) {
        let bytes = packet.bytes.as_slice();
        let (header, rest) = ip.payload(bytes).split_at_checked(ICMP_HEADER_LEN).unwrap_or_default();
        let data = rest.get(quoted.header_len + finack_wire::udp::HEADER_LEN..).unwrap_or_default();
        let flow = quoted.flow();
        let meaning = icmp::meaning(kind, quoted.dst.is_ipv6());
        let report = UdpReport {
            error: meaning.error,
            kind: header.first().copied().unwrap_or(0),
            code: header.get(1).copied().unwrap_or(0),
            mtu: if let ErrorKind::FragNeeded { mtu } = kind { mtu } else { 0 },
            from: ip.src,
            to: flow.remote,
            data: data.to_vec(),
        };
        if !self.udp.icmp_error(flow.local, meaning.hard, &report) {
            let ends = Some((flow.local, flow.remote));
            return self.note_drop(now, DropReason::IcmpUnproven, bytes.len(), ends);
        }
        if let ErrorKind::FragNeeded { mtu } = kind {
            self.learn_mtu(now, quoted.dst, mtu, quoted.total_len as u32);
        }
        let what = TraceKind::Icmp { hard: meaning.hard, error: meaning.error };
        self.cx.trace_stray(now, Some((flow.local, flow.remote)), what);
    }

    /// RFC 1122 3.2.2.6, RFC 4443 4.2. A broadcast is not answered (Linux's `icmp_echo_ignore_broadcasts`).
    fn answer_echo(&mut self, now: Instant, ip: &IpHeader, reply: &IcmpMessage<'_>) {
        let to_one = self.ip.routes.is_local(ip.dst);
        if self.cx.settings.icmp_echo_ignore_all == 1 || !to_one && !ip.is_v6() || ip.src.is_unspecified() {
            return;
        }
        let source = if to_one { Some(ip.dst) } else { self.ip.routes.source_for(ip.src) };
        if let Some(source) = source {
            self.send_icmp(now, source, ip.src, ip.tos & !3, reply);
        }
    }

    /// Reports to the sender of a packet that something is wrong with it, if such may be reported (RFC 1122 3.2.2,
    /// RFC 4443 2.4 (e)) and not too many reports went there before.
    pub(super) fn report(
        &mut self,
        now: Instant,
        ip: &IpHeader,
        packet: &[u8],
        kind: ErrorKind,
        even_if_multicast: bool,
    ) {
        let broadcast = self.ip.routes.is_broadcast(ip.dst);
        if broadcast || !wire::may_report(ip, ip.payload(packet), even_if_multicast) {
            return;
        }
        let local = self.ip.routes.is_local(ip.dst);
        let source = if local { Some(ip.dst) } else { self.ip.routes.source_for(ip.src) };
        self.report_as(now, source, ip, packet, kind);
    }

    /// [`report`](Self::report) by the host that has the address `source`.
    pub(super) fn report_as(
        &mut self,
        now: Instant,
        source: Option<IpAddr>,
        ip: &IpHeader,
        packet: &[u8],
        kind: ErrorKind,
    ) {
        let interval = Duration::from_millis(self.cx.settings.icmp_ratelimit);
        if let Some(source) = source
            && self.ip.icmp_limit.allow(now, ip.src, interval)
        {
            // Network control (RFC 1812 4.3.2.5), as Linux has it.
            let tos = if ip.is_v6() { 0 } else { ip.tos & 0x1e | 0xc0 };
            self.send_icmp(now, source, ip.src, tos, &kind.about(packet));
        }
    }

    fn send_icmp(&mut self, now: Instant, src: IpAddr, dst: IpAddr, tos: u8, message: &IcmpMessage<'_>) {
        let is_v6 = src.is_ipv6();
        let header = IpEmit {
            src,
            dst,
            protocol: if is_v6 { protocol::ICMPV6 } else { protocol::ICMP },
            hop_limit: self.cx.settings.ip_default_ttl as u8,
            tos,
            ident: 0,
            dont_fragment: false,
            payload_len: message.encoded_len(is_v6),
        };
        let queued = self.ip.send(now, header, None, |out| {
            wire::emit(&src, &dst, message, out);
        });
        if queued.is_ok() {
            self.cx.counters.icmp_out_msgs += 1;
        }
    }
}

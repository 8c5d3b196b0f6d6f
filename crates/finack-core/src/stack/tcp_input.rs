//! TCP segments come in: whose they are, and what those get that are nobody's (RFC 9293 3.10.7.1).

use finack_wire::ip::{Ecn, IpHeader};
use finack_wire::tcp::{self, Flags, TcpHeader};
use finack_wire::tcp_options::TcpOptions;

use super::Stack;
use crate::cx::Cx;
use crate::demux::Kind;
use crate::device::{ChecksumState, Packet, PacketBytes};
use crate::ip::Routes;
use crate::options::SocketOptions;
use crate::tcp::emit::Head;
use crate::tcp::input::Segment;
use crate::tcp::{Payload, Tuple, mss};
use crate::time::Instant;
use crate::trace::{Direction, DropReason, ResetReason, SegmentTrace, SendReason, TraceKind};

impl Stack {
    /// A packet whose IP header was checked and whose payload is a TCP segment for this host.
    pub(super) fn tcp_input(&mut self, now: Instant, ip: &IpHeader, packet: &Packet<'_>) {
        let bytes = ip.payload(packet.bytes.as_slice());
        self.cx.counters.tcp_in_segs += u64::from(packet.meta.segments.max(1));
        let Ok(header) = TcpHeader::parse(bytes) else {
            self.note_drop(now, DropReason::TcpMalformed, bytes.len(), None);
            return;
        };
        let tuple = Tuple {
            local: ip.dst,
            remote: ip.src,
            local_port: header.dst_port,
            remote_port: header.src_port,
        };
        if packet.meta.checksum == ChecksumState::Unchecked && !tcp::checksum_ok(ip, bytes) {
            // RFC 9293 MUST-3: silently.
            self.note_drop(now, DropReason::TcpChecksum, bytes.len(), Self::ends(&tuple));
            return;
        }
        let owner = match &packet.bytes {
            PacketBytes::Shared(owner) => Some(owner),
            PacketBytes::Borrowed(_) => None,
        };
        let segment = Segment {
            seq: header.seq,
            ack: header.ack,
            flags: header.flags,
            window: header.window,
            urgent: header.urgent,
            options: TcpOptions::parse(tcp::options_bytes(bytes, &header)),
            payload: Payload { bytes: tcp::payload(bytes, &header), owner },
            segments: packet.meta.segments.max(1),
            segment_size: packet.meta.segment_size,
            ecn: ip.ecn(),
            marks: marks_of(ip.ecn(), packet),
        };
        if self.authentic(now, &tuple, &segment, bytes) {
            self.route_segment(now, &tuple, &segment);
        }
    }

    /// Gives a segment to whom its four-tuple names, else to a listener, else to the rule for CLOSED.
    pub(super) fn route_segment(&mut self, now: Instant, tuple: &Tuple, segment: &Segment<'_>) {
        if self.is_recent(tuple) {
            return self.connection_input(now, self.recent, segment);
        }
        let hash = self.hash(tuple);
        if let Some(slot) = self.find(hash, tuple) {
            match slot.kind() {
                Kind::Connection => self.connection_input(now, slot.index(), segment),
                Kind::Embryo => self.embryo_input(now, slot.index(), hash, segment),
                Kind::TimeWait4 | Kind::TimeWait6 => {
                    let id = self.time_wait(slot).map(|(tw, _)| tw.trace_id.get());
                    self.trace_received(now, id, tuple, segment, 0);
                    self.time_wait_input(now, slot, segment);
                }
            }
            return;
        }
        let listener =
            self.listener_index.find(tuple.local, tuple.local_port, hash, |i| self.listeners.get(i));
        if let Some(listener) = listener {
            self.listen_input(now, listener, (tuple, hash), segment);
            return;
        }
        self.trace_received(now, None, tuple, segment, 0);
        if segment.flags.rst() {
            self.note_drop(now, DropReason::StrayReset, segment.payload.bytes.len(), Self::ends(tuple));
            return;
        }
        let opening = segment.flags.syn() && !segment.flags.ack();
        let reason = if opening { ResetReason::NoListener } else { ResetReason::NoConnection };
        self.refuse(now, None, tuple, segment, reason);
    }

    /// Whether the four-tuple is that of the connection which had to do with segments last.
    fn is_recent(&self, tuple: &Tuple) -> bool {
        self.connections.get(self.recent).is_some_and(|c| c.facts.indexed() && c.tuple == *tuple)
    }

    /// The RST that answers a segment nobody can take (RFC 9293 3.10.7.1).
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        id: Option<u64>,
        tuple: &Tuple,
        segment: &Segment<'_>,
        reason: ResetReason,
    ) {
        if segment.flags.rst() {
            return;
        }
        if segment.flags.ack() {
            self.send_reset(now, id, tuple, segment.ack, None, None, reason);
        } else {
            let ack = segment.seq.wrapping_add(segment.len());
            self.send_reset(now, id, tuple, 0, Some(ack), None, reason);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one segment")]
    pub(super) fn send_reset(
        &mut self,
        now: Instant,
        id: Option<u64>,
        tuple: &Tuple,
        seq: u32,
        ack: Option<u32>,
        stamps: Option<(u32, u32)>,
        reason: ResetReason,
    ) {
        let flags = if ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        let mut head = Head { seq, ack: ack.unwrap_or(0), flags, ..bare_head(&self.cx, tuple) };
        head.options.timestamps = stamps;
        self.cx.counters.count_reset(reason);
        match id {
            Some(id) => self.cx.trace(now, id, tuple, TraceKind::ResetSent(reason)),
            None => self.cx.trace_stray(now, Self::ends(tuple), TraceKind::ResetSent(reason)),
        }
        self.push_bare(now, id, &head, SendReason::Reset(reason));
    }

    /// MTU of the path to the other end, in bytes.
    pub(super) fn path_mtu(&self, now: Instant, tuple: &Tuple) -> u32 {
        self.ip.mtu_towards(now, tuple.remote).unwrap_or_else(|| self.ip.routes.mtu())
    }

    /// What the MSS option of our SYN or SYN,ACK says.
    pub(super) fn offered_mss(&self, tuple: &Tuple, options: &SocketOptions) -> u16 {
        offered_mss(&self.ip.routes, tuple, options)
    }

    /// Records a segment that came in.
    pub(super) fn trace_received(
        &mut self,
        now: Instant,
        id: Option<u64>,
        tuple: &Tuple,
        segment: &Segment<'_>,
        shift: u8,
    ) {
        if !self.cx.tracer.is_on() {
            return;
        }
        self.trace_segment(now, id, tuple, received(segment, shift));
    }

    /// Records a segment that goes out.
    #[allow(clippy::too_many_arguments, reason = "the fields of one observation")]
    pub(super) fn trace_sent(
        &mut self,
        now: Instant,
        id: Option<u64>,
        head: &Head,
        len: usize,
        segments: u16,
        shift: u8,
        reason: SendReason,
    ) {
        if !self.cx.tracer.is_on() {
            return;
        }
        let kind = sent(head, len, segments, shift, reason);
        self.trace_segment(now, id, &head.tuple, kind);
    }

    fn trace_segment(&mut self, now: Instant, id: Option<u64>, tuple: &Tuple, kind: TraceKind) {
        match id {
            Some(id) => self.cx.trace(now, id, tuple, kind),
            None => self.cx.trace_stray(now, Self::ends(tuple), kind),
        }
    }
}

/// What the MSS option of our SYN or SYN,ACK says: what a route says, or else what fits the interface towards the other end,
/// whatever the path takes (RFC 9293 3.7.1).
pub(super) fn offered_mss(routes: &Routes, tuple: &Tuple, options: &SocketOptions) -> u16 {
    let said = routes.advertised_mss(tuple.remote);
    let interface = || routes.lookup(tuple.remote).unwrap_or_else(|| routes.mtu()) as usize;
    let mtu = said.map_or_else(interface, |mss| usize::from(mss) + tuple.ip_header_len() + tcp::HEADER_LEN);
    mss::offered(tuple, mtu, options)
}

/// What is observed of a segment that goes out.
#[cold]
pub(super) fn sent(head: &Head, len: usize, segments: u16, shift: u8, reason: SendReason) -> TraceKind {
    let shift = if head.flags.syn() { 0 } else { shift };
    TraceKind::Segment(SegmentTrace {
        dir: Direction::Out,
        seq: head.seq,
        ack: head.ack,
        flags: head.flags,
        window: u32::from(head.window) << shift,
        len: len as u32,
        segments,
        urgent: head.urgent,
        options: head.options,
        reason,
    })
}

/// What is observed of a segment that came in.
#[cold]
pub(super) fn received(segment: &Segment<'_>, shift: u8) -> TraceKind {
    TraceKind::Segment(SegmentTrace {
        dir: Direction::In,
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        window: u32::from(segment.window) << shift,
        len: segment.payload.bytes.len() as u32,
        segments: segment.segments,
        urgent: segment.urgent,
        options: segment.options,
        reason: SendReason::Received,
    })
}

/// How many wire segments of a packet came with CE: as the device says, or all of them.
pub(super) fn marks_of(ecn: Ecn, packet: &Packet<'_>) -> u16 {
    let segments = packet.meta.segments.max(1);
    match packet.meta.ce_marks {
        0 if ecn == Ecn::Ce => segments,
        marks => marks.min(segments),
    }
}

/// Headers of a segment that belongs to no full connection.
pub(super) fn bare_head(cx: &Cx, tuple: &Tuple) -> Head {
    Head {
        tuple: *tuple,
        seq: 0,
        ack: 0,
        flags: Flags::default(),
        window: 0,
        urgent: 0,
        options: TcpOptions::default(),
        hop_limit: cx.hop_limit(),
        tos: 0,
        ident: 0,
        dont_fragment: true,
    }
}

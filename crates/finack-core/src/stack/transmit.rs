//! What goes out: connections take turns, and units are cut where the device can't take them whole.

use finack_sum::Accumulator;
use finack_wire::protocol;
use finack_wire::tcp::{Flags, HEADER_LEN};
use finack_wire::udp;

use super::Stack;
use super::tcp_input::bare_head;
use crate::device::{MAX_SLICES, Transmit, TxChecksum};
use crate::ip::Ident;
use crate::tcp::State;
use crate::tcp::ecn::Kind;
use crate::tcp::emit::{self, Head};
use crate::tcp::output::{self, Next, Plan};
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::{PacketId, RetransmitReason, SendReason};

/// A unit that is on its way to the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emission {
    connection: u32,
    generation: u32,
    at: Pos,
    end: Pos,
    /// It goes in one segment, whatever the size of the others.
    whole: bool,
    reason: SendReason,
    /// Its last packet carries PSH.
    push: bool,
}

/// A packet that was decided on: what `Transmit` is made from.
pub(super) enum Decided {
    /// The queue of packets that belong to no connection lends it.
    Raw,
    /// Header of `header` bytes, then bytes `from..to` of the connection's stream.
    Segment { connection: u32, header: usize, from: Pos, to: Pos, segment_size: u16, checksum: TxChecksum },
}

/// Whether a segment of a unit has data that goes for the first time, which ECN treats otherwise (RFC 3168 6.1.5).
fn kind_of(reason: SendReason, len: usize) -> Kind {
    let again = matches!(reason, SendReason::Retransmission(_));
    if len > 0 && !again { Kind::New } else { Kind::Again }
}

impl Stack {
    /// The next packet to send, if any; call until `None`. It is lent until the next call on the stack.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        let decided = self.decide_for_device(now);
        self.cx.tracer.packet = None;
        let (decided, number) = decided?;
        self.cx.counters.ip_out_requests += 1;
        let mut payload = [&[][..]; MAX_SLICES];
        match decided {
            Decided::Raw => {
                let lent = self.ip.out.lent();
                let Some(unit) = self.ip.out.lent_unit() else {
                    let checksum = TxChecksum::Complete;
                    return Some(Transmit {
                        header: lent,
                        payload,
                        slices: 0,
                        segment_size: 0,
                        checksum,
                        number,
                    });
                };
                let (header, data) = lent.split_at(usize::from(unit.start) + udp::HEADER_LEN);
                payload[0] = data;
                // Where the checksum stands in a UDP header (RFC 768).
                let checksum = TxChecksum::Partial { start: unit.start, offset: 6 };
                Some(Transmit { header, payload, slices: 1, segment_size: unit.each, checksum, number })
            }
            Decided::Segment { connection, header, from, to, segment_size, checksum } => {
                let c = self.connections.get(connection)?;
                let (slices, _) = c.send.slices(from, to, &mut payload);
                Some(Transmit {
                    header: &self.header[..header],
                    payload,
                    slices,
                    segment_size,
                    checksum,
                    number,
                })
            }
        }
    }

    /// The next packet that leaves the host, and the number under which it was decided on.
    fn decide_for_device(&mut self, now: Instant) -> Option<(Decided, u64)> {
        loop {
            let (decided, number) = self.decide(now)?;
            if !self.stays_here(&decided) {
                return Some((decided, number));
            }
            self.cx.tracer.packet = None;
            self.loop_back(now, &decided);
        }
    }

    fn decide(&mut self, now: Instant) -> Option<(Decided, u64)> {
        loop {
            // What is observed from here on concerns the packet that comes of it, or one that never leaves.
            let number = self.ip.out.next_number();
            self.cx.tracer.packet = Some(PacketId::Out(number));
            if let Some(decided) = self.emit_next(now) {
                return Some((decided, number));
            }
            if self.pop_raw() {
                return Some((Decided::Raw, self.ip.out.lent_number()));
            }
            let (index, generation) = self.ready_to_send.pop_front()?;
            if let Some(decided) = self.next_of(now, index, generation) {
                return Some((decided, number));
            }
        }
    }

    /// The connection's turn: one unit or one control segment, then it queues again if there is more.
    fn next_of(&mut self, now: Instant, index: u32, generation: u32) -> Option<Decided> {
        let c = self.connections.get_mut(index).filter(|c| c.generation == generation)?;
        c.facts.tx_queued = false;
        if !c.facts.indexed {
            return None;
        }
        output::restart_after_idle(c, &self.cx, now);
        // What ICMP once said of the path is believed for a while only.
        if c.path_mtu < self.ip.routes.mtu()
            && let Some(mtu) = self.ip.mtu_towards(now, c.tuple.remote).filter(|&mtu| mtu > c.path_mtu)
        {
            c.raise_path_mtu(&self.cx, mtu);
        }
        if c.search.is_some() {
            c.refresh_search(&self.cx, now);
        }
        let Next::Send(plan) = output::next_segment(c, &self.cx, now) else {
            self.refresh(now, index);
            return None;
        };
        output::commit(c, &mut self.cx, now, &plan);
        let decided = match plan {
            Plan::Data { start, end } | Plan::Resend { start, end } | Plan::MtuProbe { start, end } => {
                let whole = matches!(plan, Plan::MtuProbe { .. });
                let push = if whole { c.rtx.is_pushed(end) } else { c.sends_push(&self.cx, start, end) };
                let reason = match plan {
                    Plan::Resend { .. } => self.resend_reason(index),
                    Plan::MtuProbe { .. } => SendReason::MtuProbe,
                    _ => SendReason::Data,
                };
                self.emission =
                    Some(Emission { connection: index, generation, at: start, end, whole, reason, push });
                self.emit_next(now)
            }
            Plan::Syn => self.emit_syn(now, index),
            Plan::Probe(reason) => {
                let old = self.connections.get(index).map_or(0, |c| c.snd_una - 1);
                self.emit_bare(now, index, old, reason)
            }
            Plan::Ack(reason) => {
                let next = self.connections.get(index).map_or(0, acceptable_seq);
                self.emit_bare(now, index, next, reason)
            }
        };
        self.refresh(now, index);
        decided
    }

    fn resend_reason(&self, index: u32) -> SendReason {
        let why = self.connections.get(index).map(|c| c.recovery.reason);
        SendReason::Retransmission(why.unwrap_or(RetransmitReason::Timeout))
    }

    /// The next packet of the unit under way.
    fn emit_next(&mut self, now: Instant) -> Option<Decided> {
        let emission = self.emission?;
        let live = self
            .connections
            .get_mut(emission.connection)
            .filter(|c| c.generation == emission.generation && c.facts.indexed);
        let Some(c) = live else {
            self.emission = None;
            return None;
        };
        // What was acknowledged meanwhile need not go out any more.
        let from = emission.at.max(c.snd_una);
        if from >= emission.end {
            self.emission = None;
            return None;
        }
        let cut = cut(c, &self.cx.device, from, emission.end, emission.whole);
        let window = c.advertise(&self.cx);
        let (to, segment) = (cut.to, cut.segment);
        let data_end = to.min(c.send.end());
        let len = (data_end - from).max(0) as usize;
        let fin = c.fin_pos().is_some_and(|fin| fin < to);
        // Of a unit that is cut up the last packet carries it.
        let push = len > 0 && emission.push && to == emission.end;
        let (urgent_flag, urgent) = output::urgent(c, &self.cx, from);
        let mut head = head_of(c, &self.cx, &mut self.ip.ident);
        head.seq = c.snd_seq(from);
        head.ack = c.rcv_seq(c.ack_pos());
        head.flags = flags_of(fin, push) | urgent_flag;
        head.window = window;
        head.urgent = urgent;
        let room = if len == 0 { output::ALL_ROOM } else { segment.saturating_sub(len) };
        let told = output::options(c, &self.cx, now, room, &mut head.options);
        if c.ecn.is_some() {
            c.stamp_ecn(&self.cx.settings, now, &mut head, kind_of(emission.reason, len));
        }
        let offload = self.cx.device.checksum_tx;
        let add = |sum: &mut Accumulator| c.send.add_to(from, data_end, sum);
        let signer = self.auth.signer(emission.connection, c, head.flags, from);
        let (header, checksum) = match signer {
            None => emit::headers(&head, len, add, None, offload, &mut self.header),
            Some(signer) => {
                signer.reserve(&mut head.options);
                let mut lent = [&[][..]; MAX_SLICES];
                let (slices, _) = c.send.slices(from, data_end, &mut lent);
                emit::headers(&head, len, add, Some((&signer, &lent[..slices])), offload, &mut self.header)
            }
        };
        let segments = len.div_ceil(segment).max(1) as u16;
        let segment_size = if len > segment { segment as u16 } else { 0 };
        c.stats.note_sent(segments, len > 0);
        self.cx.counters.tcp_out_segs += u64::from(segments);
        output::acknowledged(c, told);
        let (id, shift) = (c.trace_id, c.agreed.rcv_wscale);
        let only_fin = fin && len == 0 && emission.reason == SendReason::Data;
        let reason = if only_fin { SendReason::Fin } else { emission.reason };
        self.emission = (to < emission.end).then_some(Emission { at: to, ..emission });
        self.trace_sent(now, Some(id), &head, len, segments, shift, reason);
        Some(Decided::Segment {
            connection: emission.connection,
            header,
            from,
            to: data_end.max(from),
            segment_size,
            checksum,
        })
    }

    fn emit_syn(&mut self, now: Instant, index: u32) -> Option<Decided> {
        let c = self.connections.get(index)?;
        let our_mss = self.offered_mss(&c.tuple, &c.options);
        let c = self.connections.get_mut(index)?;
        let window = c.syn_window(&self.cx, our_mss);
        let crossed = c.state == State::SynReceived;
        let flags = if crossed { Flags::SYN | Flags::ACK } else { Flags::SYN };
        let mut head = head_of(c, &self.cx, &mut self.ip.ident);
        head.seq = c.iss;
        head.ack = if crossed { c.rcv_seq(c.rcv_nxt()) } else { 0 };
        head.flags = flags;
        head.window = window;
        head.options = output::syn_options(c, now, our_mss);
        head.options.fast_open = c.fast_open_option(&self.cx, now, our_mss);
        c.stamp_syn(&self.cx.settings, &mut head);
        let early = if c.facts.syn_resent || crossed { 1 } else { c.snd_nxt };
        let again = SendReason::Retransmission(RetransmitReason::Handshake);
        let reason = if c.facts.syn_resent { again } else { SendReason::Open };
        if crossed {
            output::acknowledged(c, true);
        }
        if early > 1 {
            return Some(self.finish_early(now, index, &head, early));
        }
        Some(self.finish_bare(now, index, &mut head, 0, reason))
    }

    /// A SYN with data (RFC 7413 4.2.1).
    fn finish_early(&mut self, now: Instant, index: u32, head: &Head, end: Pos) -> Decided {
        let len = (end - 1) as usize;
        let offload = self.cx.device.checksum_tx;
        let connections = &self.connections;
        let add = |sum: &mut Accumulator| {
            if let Some(c) = connections.get(index) {
                c.send.add_to(1, end, sum);
            }
        };
        // Who signs tries no fast open, so that this is never signed.
        let (header, checksum) = emit::headers(head, len, add, None, offload, &mut self.header);
        self.cx.counters.tcp_out_segs += 1;
        if let Some(c) = self.connections.get_mut(index) {
            c.stats.segs_out += 1;
            let id = c.trace_id;
            self.trace_sent(now, Some(id), head, len, 1, 0, SendReason::Open);
        }
        Decided::Segment { connection: index, header, from: 1, to: end, segment_size: 0, checksum }
    }

    fn emit_bare(&mut self, now: Instant, index: u32, pos: Pos, reason: SendReason) -> Option<Decided> {
        let c = self.connections.get_mut(index)?;
        let window = c.advertise(&self.cx);
        let (urgent_flag, urgent) = output::urgent(c, &self.cx, pos);
        let mut head = head_of(c, &self.cx, &mut self.ip.ident);
        head.seq = c.snd_seq(pos);
        head.ack = c.rcv_seq(c.ack_pos());
        head.flags = Flags::ACK | urgent_flag;
        head.window = window;
        head.urgent = urgent;
        let mut told = output::options(c, &self.cx, now, output::ALL_ROOM, &mut head.options);
        if let Some(ecn) = &c.ecn {
            if let Some(prior) = ecn.prior_ack() {
                // What came since has an ACK of its own behind this one.
                head.ack = c.rcv_seq(prior);
                head.window = c.window_from(prior);
                told = false;
            }
            c.stamp_ecn(&self.cx.settings, now, &mut head, Kind::Ack);
        }
        output::acknowledged(c, told);
        Some(self.finish_bare(now, index, &mut head, pos, reason))
    }

    fn finish_bare(
        &mut self,
        now: Instant,
        index: u32,
        head: &mut Head,
        pos: Pos,
        reason: SendReason,
    ) -> Decided {
        let c = self.connections.get(index);
        let signer = c.and_then(|c| self.auth.signer(index, c, head.flags, pos));
        if let Some(signer) = &signer {
            signer.reserve(&mut head.options);
        }
        let sign = signer.as_ref().map(|signer| (signer, &[][..]));
        let offload = self.cx.device.checksum_tx;
        let (header, checksum) = emit::headers(head, 0, |_| {}, sign, offload, &mut self.header);
        self.cx.counters.tcp_out_segs += 1;
        if let Some(c) = self.connections.get_mut(index) {
            c.stats.segs_out += 1;
            let (id, shift) = (c.trace_id, c.agreed.rcv_wscale);
            self.trace_sent(now, Some(id), head, 0, 1, shift, reason);
        }
        Decided::Segment { connection: index, header, from: 0, to: 0, segment_size: 0, checksum }
    }
}

/// The sequence number of a segment without text: SND.NXT, unless the peer took its window back and would
/// not accept that.
fn acceptable_seq(c: &Connection) -> Pos {
    let edge = c.snd_edge().max(c.snd_una);
    if c.snd_nxt > edge { edge } else { c.snd_nxt }
}

/// What all segments of a connection have in common. Whatever else there is to say is filled in where it is known:
/// a `Head` is large, and moving it about costs more than writing it.
fn head_of(c: &Connection, cx: &crate::cx::Cx, ident: &mut Ident) -> Head {
    let mut head = bare_head(cx, &c.tuple);
    if let Some(hop_limit) = c.options.hop_limit {
        head.hop_limit = hop_limit;
    }
    // The other two bits are for congestion (RFC 3168 5).
    head.tos = c.options.tos & !3;
    head.dont_fragment = c.sends_whole(cx);
    if !head.dont_fragment {
        head.ident = ident.next(c.tuple.local, c.tuple.remote, protocol::TCP) as u16;
    }
    head
}

struct Cut {
    to: Pos,
    /// Payload bytes of a full segment.
    segment: usize,
}

/// The flags of a segment with data or with a FIN.
fn flags_of(fin: bool, push: bool) -> Flags {
    let with = |flag, wanted| if wanted { flag } else { Flags::default() };
    Flags::ACK | with(Flags::FIN, fin) | with(Flags::PSH, push)
}

/// How much of `from..end` one packet takes.
fn cut(c: &Connection, device: &crate::device::Capabilities, from: Pos, end: Pos, whole: bool) -> Cut {
    if whole {
        return Cut { to: end, segment: (end - from).max(1) as usize };
    }
    let headers = c.tuple.ip_header_len() + HEADER_LEN + output::data_options_len(c);
    let mtu = device.mtu.min(c.path_mtu as usize);
    let segment = usize::from(c.mss).min(mtu.saturating_sub(headers).max(8)).max(1);
    // An urgent pointer counts from its own segment: no unit can carry it for several.
    let urgent = c.snd_up.is_some_and(|up| up > from);
    // And what is signed is signed segment by segment.
    let alike = c.ecn.as_ref().is_none_or(|ecn| !ecn.forbids_units());
    let whole = !urgent && alike && c.facts.auth_len == 0;
    let most = if device.max_unit > device.mtu && whole {
        (device.max_unit.saturating_sub(headers) / segment).max(1) * segment
    } else {
        segment
    };
    let data = (end.min(c.send.end()) - from).max(0) as usize;
    let lent = c.send.lendable(from, from + data.min(most) as Pos);
    // Where the slices do not suffice, whole segments of what they hold go out.
    let fits = if lent < data && lent > segment { lent / segment * segment } else { lent };
    // A FIN at the end rides with the last byte.
    if fits == data { Cut { to: end, segment } } else { Cut { to: from + fits as Pos, segment } }
}

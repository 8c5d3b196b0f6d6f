//! What goes out: connections take turns, and units are cut where the device can't take them whole.

use finack_sum::Accumulator;
use finack_wire::protocol;
use finack_wire::tcp::{Flags, HEADER_LEN};
use finack_wire::udp;

use super::Stack;
use super::ordinary::Like;
use super::refresh::Agenda;
use super::tcp_input::sent;
use crate::auth::Auth;
use crate::cx::Cx;
use crate::device::{Capabilities, MAX_SLICES, Slices, Transmit, TxChecksum};
use crate::ip::Ident;
use crate::tcp::ecn::Kind;
use crate::tcp::emit::{self, Head, Plain};
use crate::tcp::output::{self, Next, Plan};
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::tcp::{Place, State};
use crate::time::Instant;
use crate::trace::{PacketId, RetransmitReason, SendReason};

/// A unit that is on its way to the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emission {
    pub(super) connection: u32,
    pub(super) generation: u32,
    pub(super) at: Pos,
    pub(super) end: Pos,
    /// It goes in one segment, whatever the size of the others.
    pub(super) whole: bool,
    pub(super) reason: SendReason,
    /// Its last packet carries PSH.
    pub(super) push: bool,
    /// The block of the send buffer in which its next byte may stand.
    pub(super) block: usize,
    /// What its next packet is like.
    pub(super) like: Option<Like>,
}

/// A packet that was decided on: what `Transmit` is made from.
pub(super) enum Decided {
    /// The queue of packets that belong to no connection lends it.
    Raw,
    /// Header of `header` bytes, then bytes `from..to` of the connection's stream.
    Segment {
        connection: u32,
        header: usize,
        from: Pos,
        to: Pos,
        /// Where these stand, if they lie in one piece.
        place: Option<Place>,
        segment_size: u16,
        checksum: TxChecksum,
        /// It is addressed to this host itself.
        stays_here: bool,
    },
}

/// A packet with a payload in one piece, or with none.
#[inline(always)]
pub(super) fn lend<'a>(
    header: &'a [u8],
    slice: &'a [u8],
    segment_size: u16,
    checksum: TxChecksum,
    number: u64,
) -> Transmit<'a> {
    Transmit { header, payload: Slices::one(slice), segment_size, checksum, number }
}

/// Whether a segment of a unit has data that goes for the first time, which ECN treats otherwise (RFC 3168 6.1.5).
fn kind_of(reason: SendReason, len: usize) -> Kind {
    let again = matches!(reason, SendReason::Retransmission(_));
    if len > 0 && !again { Kind::New } else { Kind::Again }
}

impl Stack {
    /// The next packet to send, if any; call until `None`. It is lent until the next call on the stack.
    #[inline]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        // Who asks until there is nothing asks once in vain each time.
        if self.emission.is_none() && self.ready_to_send.is_empty() && self.ip.out.is_empty() {
            return None;
        }
        if let Some(place) = self.goes_on(now) {
            return self.go_on(now, place);
        }
        if let Some(written) = self.ordinary(now) {
            return self.lend_ordinary(&written);
        }
        if let Some(brief) = self.brief(now) {
            return Some(self.lend_brief(&brief));
        }
        self.next_transmit(now)
    }

    fn next_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        let decided = self.decide_for_device(now);
        self.cx.tracer.packet = None;
        let (decided, number) = decided?;
        self.cx.counters.ip_out_requests += 1;
        match decided {
            Decided::Raw => Some(self.lend_raw(number)),
            Decided::Segment { connection, header, from, to, place, segment_size, checksum, .. } => {
                let header = &self.header[..header];
                if to <= from {
                    return Some(lend(header, &[], 0, checksum, number));
                }
                let c = self.connections.get(connection)?;
                if let Some(slice) = place.and_then(|place| c.send.slice(place)) {
                    return Some(lend(header, slice, segment_size, checksum, number));
                }
                let payload = Slices::queued(&c.send, from, to);
                Some(Transmit { header, payload, segment_size, checksum, number })
            }
        }
    }

    /// The packet that the queue of those that belong to no connection lends.
    pub(super) fn lend_raw(&self, number: u64) -> Transmit<'_> {
        let lent = self.ip.out.lent();
        let Some(unit) = self.ip.out.lent_unit() else {
            return lend(lent, &[], 0, TxChecksum::Complete, number);
        };
        let (header, data) = lent.split_at(usize::from(unit.start) + udp::HEADER_LEN);
        // Where the checksum stands in a UDP header (RFC 768).
        let checksum = TxChecksum::Partial { start: unit.start, offset: 6 };
        lend(header, data, unit.each, checksum, number)
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
        let Self { connections, cx, ip, auth, header, emission, wheel, ready_to_send, events, .. } = self;
        let mut agenda = Agenda { wheel, ready_to_send, events };
        let c = connections.get_mut(index).filter(|c| c.generation == generation)?;
        c.facts.set_tx_queued(false);
        if !c.facts.indexed() {
            return None;
        }
        output::restart_after_idle(c, cx, now);
        // What ICMP once said of the path is believed for a while only.
        if c.path_mtu < ip.routes.mtu()
            && let Some(mtu) = ip.mtu_towards(now, c.tuple.remote).filter(|&mtu| mtu > c.path_mtu)
        {
            c.raise_path_mtu(cx, mtu);
        }
        if c.rare().search.is_some() {
            c.refresh_search(cx, now);
        }
        let Next::Send(plan) = output::next_segment(c, cx, now) else {
            agenda.refresh(c, cx, now, index);
            return None;
        };
        output::commit(c, cx, now, &plan);
        let mut desk = Desk { cx, ident: &mut ip.ident, auth, header, index };
        let decided = match plan {
            Plan::Data { start, end } | Plan::Resend { start, end } | Plan::MtuProbe { start, end } => {
                let whole = matches!(plan, Plan::MtuProbe { .. });
                let push = if whole { c.rtx.is_pushed(end) } else { c.sends_push(desk.cx, start, end) };
                let reason = match plan {
                    Plan::Resend { .. } => SendReason::Retransmission(c.recovery.reason),
                    Plan::MtuProbe { .. } => SendReason::MtuProbe,
                    _ => SendReason::Data,
                };
                let (at, block) = (start, 0);
                let mut unit = Emission {
                    connection: index,
                    generation,
                    at,
                    end,
                    whole,
                    reason,
                    push,
                    block,
                    like: None,
                };
                let decided = desk.next_packet(c, now, &mut unit);
                if unit.at < unit.end {
                    *emission = Some(unit);
                }
                decided
            }
            Plan::Syn => {
                let decided = self.emit_syn(now, index);
                self.refresh(now, index);
                return decided;
            }
            Plan::Probe(reason) => Some(desk.bare(c, now, c.snd_una - 1, reason)),
            Plan::Ack(reason) => Some(desk.bare(c, now, acceptable_seq(c), reason)),
        };
        agenda.refresh(c, desk.cx, now, index);
        decided
    }

    /// The next packet of the unit under way.
    fn emit_next(&mut self, now: Instant) -> Option<Decided> {
        let Self { connections, cx, ip, auth, header, emission, .. } = self;
        let unit = emission.as_mut()?;
        let live = connections
            .get_mut(unit.connection)
            .filter(|c| c.generation == unit.generation && c.facts.indexed());
        let decided = live.and_then(|c| {
            Desk { cx, ident: &mut ip.ident, auth, header, index: unit.connection }.next_packet(c, now, unit)
        });
        if decided.is_none() || unit.at >= unit.end {
            *emission = None;
        }
        decided
    }

    fn emit_syn(&mut self, now: Instant, index: u32) -> Option<Decided> {
        let c = self.connections.get(index)?;
        let our_mss = self.offered_mss(&c.tuple, &c.options);
        let Self { connections, cx, ip, auth, header, .. } = self;
        let c = connections.get_mut(index)?;
        Desk { cx, ident: &mut ip.ident, auth, header, index }.syn(c, now, our_mss)
    }
}

/// What writing the packets of a connection takes of its stack.
struct Desk<'a> {
    cx: &'a mut Cx,
    ident: &'a mut Ident,
    auth: &'a mut Auth,
    header: &'a mut [u8; emit::MAX_HEADERS],
    /// The connection's.
    index: u32,
}

/// A segment of a unit.
struct Part {
    from: Pos,
    /// Behind its last byte of payload.
    to: Pos,
    /// Where these bytes stand, if they lie in one piece.
    place: Option<Place>,
    kind: Kind,
    /// What SACK blocks may take beside the data, in bytes.
    room: usize,
}

impl Desk<'_> {
    /// The next packet of a unit, if that is not over, which it is once it stands at its end.
    fn next_packet(&mut self, c: &mut Connection, now: Instant, unit: &mut Emission) -> Option<Decided> {
        // What was acknowledged meanwhile need not go out any more.
        let from = unit.at.max(c.snd_una);
        if from >= unit.end {
            unit.at = unit.end;
            return None;
        }
        let Cut { to, segment } = cut(c, &self.cx.device, from, unit.end, unit.whole);
        unit.at = to;
        let window = c.advertise(self.cx);
        let data_end = to.min(c.send.end());
        let len = (data_end - from).max(0) as usize;
        let fin = c.fin_pos().is_some_and(|fin| fin < to);
        // Of a unit that is cut up the last packet carries it.
        let push = len > 0 && unit.push && to == unit.end;
        let plain = self.plain(c, from, flags_of(fin, push), window);
        let segments = if len <= segment { 1 } else { len.div_ceil(segment) as u16 };
        let segment_size = if len > segment { segment as u16 } else { 0 };
        c.stats.note_sent(segments, len > 0);
        self.cx.counters.tcp_out_segs += u64::from(segments);
        let only_fin = fin && len == 0 && unit.reason == SendReason::Data;
        let reason = if only_fin { SendReason::Fin } else { unit.reason };
        let room = if len == 0 { output::ALL_ROOM } else { segment.saturating_sub(len) };
        let to = data_end.max(from);
        let place = if len > 0 { c.send.find(from, to) } else { None };
        unit.block = place.map_or(0, |place| place.block());
        let part = Part { from, to, place, kind: kind_of(unit.reason, len), room };
        let header = self.write(c, now, plain, &part, (segments, reason));
        Some(Decided::Segment {
            connection: self.index,
            header,
            from,
            to: part.to,
            place: part.place,
            segment_size,
            checksum: self.left_of_checksum(c),
            stays_here: c.facts.loopback(),
        })
    }

    /// What the headers of a segment say that begins at `from`, but for options.
    #[inline]
    fn plain(&mut self, c: &Connection, from: Pos, flags: Flags, window: u16) -> Plain {
        let (urgent_flag, urgent) = output::urgent(c, self.cx, from);
        Plain { urgent, ..plain_of(c, self.cx, self.ident, from, flags | urgent_flag, window) }
    }

    /// Writes the headers of a segment. `told` is for observers: of how many wire segments, and why they go out.
    #[inline]
    fn write(
        &mut self,
        c: &mut Connection,
        now: Instant,
        mut plain: Plain,
        part: &Part,
        told: (u16, SendReason),
    ) -> usize {
        let Some(stamps) = output::plain_options(c, now).filter(|_| self.cx.short_cuts) else {
            let mut head = plain.head(&c.tuple);
            return self.write_with_options(c, now, &mut head, part, told);
        };
        plain.stamps = stamps;
        let len = (part.to - part.from) as usize;
        let payload_sum = || match part.place.and_then(|place| c.send.slice(place)) {
            Some(slice) => finack_sum::sum(slice),
            None => {
                let mut sum = Accumulator::new();
                c.send.add_to(part.from, part.to, &mut sum);
                sum.folded()
            }
        };
        let offload = self.cx.device.checksum_tx;
        let written = plain.write(&c.tuple, len, payload_sum, offload, self.header).len();
        output::acknowledged(c, true);
        if self.cx.tracer.is_on() {
            note_sent(c, self.cx, now, &plain.head(&c.tuple), len, told);
        }
        written
    }

    /// The same for a segment that has more options than timestamps, or may have, or is signed.
    fn write_with_options(
        &mut self,
        c: &mut Connection,
        now: Instant,
        head: &mut Head,
        part: &Part,
        told: (u16, SendReason),
    ) -> usize {
        let mut all = output::options(c, self.cx, now, part.room, &mut head.options);
        if let Some(ecn) = &c.ecn {
            if part.kind == Kind::Ack
                && let Some(prior) = ecn.prior_ack()
            {
                // What came since has an ACK of its own behind this one.
                head.ack = c.rcv_seq(prior);
                head.window = c.window_from(prior);
                all = false;
            }
            c.stamp_ecn(&self.cx.settings, now, head, part.kind);
        }
        let written = self.sign(c, head, part.from, part.to);
        output::acknowledged(c, all);
        note_sent(c, self.cx, now, head, (part.to - part.from) as usize, told);
        written
    }

    /// Writes the headers of a segment with bytes `from..to`, and signs it where it must be signed.
    fn sign(&mut self, c: &Connection, head: &mut Head, from: Pos, to: Pos) -> usize {
        let len = (to - from) as usize;
        let offload = self.cx.device.checksum_tx;
        let add = |sum: &mut Accumulator| c.send.add_to(from, to, sum);
        let (len, _) = match self.auth.signer(self.index, c, head.flags, from) {
            None => emit::headers(head, len, add, None, offload, self.header),
            Some(signer) => {
                signer.reserve(&mut head.options);
                let mut lent = [&[][..]; MAX_SLICES];
                let (slices, _) = c.send.slices(from, to, &mut lent);
                emit::headers(head, len, add, Some((&signer, &lent[..slices])), offload, self.header)
            }
        };
        len
    }

    /// What the device has to do for the checksum of a segment.
    fn left_of_checksum(&self, c: &Connection) -> TxChecksum {
        left_of_checksum(c, &self.cx.device)
    }

    /// A segment without text that begins at `pos`: an ACK or a probe.
    fn bare(&mut self, c: &mut Connection, now: Instant, pos: Pos, reason: SendReason) -> Decided {
        let window = c.advertise(self.cx);
        let plain = self.plain(c, pos, Flags::ACK, window);
        let part = Part { from: pos, to: pos, place: None, kind: Kind::Ack, room: output::ALL_ROOM };
        let header = self.write(c, now, plain, &part, (1, reason));
        self.count_bare(c);
        self.without_text(c, header)
    }

    fn syn(&mut self, c: &mut Connection, now: Instant, our_mss: u16) -> Option<Decided> {
        let window = c.syn_window(self.cx, our_mss);
        let crossed = c.state == State::SynReceived;
        let flags = if crossed { Flags::SYN | Flags::ACK } else { Flags::SYN };
        let mut head = self.plain(c, 0, flags, window).head(&c.tuple);
        head.flags = flags;
        head.urgent = 0;
        head.ack = if crossed { c.rcv_seq(c.rcv_nxt()) } else { 0 };
        head.options = output::syn_options(c, now, our_mss);
        head.options.fast_open = c.fast_open_option(self.cx, now, our_mss);
        c.stamp_syn(&self.cx.settings, &mut head);
        let end = if c.facts.syn_resent() || crossed { 1 } else { c.snd_nxt };
        let again = SendReason::Retransmission(RetransmitReason::Handshake);
        let reason = if c.facts.syn_resent() { again } else { SendReason::Open };
        if crossed {
            output::acknowledged(c, true);
        }
        self.count_bare(c);
        if end <= 1 {
            let header = self.sign(c, &mut head, 0, 0);
            note_sent(c, self.cx, now, &head, 0, (1, reason));
            return Some(self.without_text(c, header));
        }
        // A SYN with data (RFC 7413 4.2.1). Who signs tries no fast open, so that this is never signed.
        let len = (end - 1) as usize;
        let offload = self.cx.device.checksum_tx;
        let add = |sum: &mut Accumulator| c.send.add_to(1, end, sum);
        let (header, checksum) = emit::headers(&head, len, add, None, offload, self.header);
        note_sent(c, self.cx, now, &head, len, (1, SendReason::Open));
        Some(Decided::Segment {
            connection: self.index,
            header,
            from: 1,
            to: end,
            place: c.send.find(1, end),
            segment_size: 0,
            checksum,
            stays_here: c.facts.loopback(),
        })
    }

    fn count_bare(&mut self, c: &mut Connection) {
        self.cx.counters.tcp_out_segs += 1;
        c.stats.segs_out += 1;
    }

    fn without_text(&self, c: &Connection, header: usize) -> Decided {
        Decided::Segment {
            connection: self.index,
            header,
            from: 0,
            to: 0,
            place: None,
            segment_size: 0,
            checksum: self.left_of_checksum(c),
            stays_here: c.facts.loopback(),
        }
    }
}

/// Tells who observes of a segment that goes out: in how many wire segments, and why.
pub(super) fn note_sent(
    c: &Connection,
    cx: &mut Cx,
    now: Instant,
    head: &Head,
    len: usize,
    (segments, reason): (u16, SendReason),
) {
    if cx.tracer.is_on() {
        let kind = sent(head, len, segments, c.agreed.rcv_wscale, reason);
        cx.trace(now, c.trace_id, &head.tuple, kind);
    }
}

/// What the device has to do for the checksum of a segment.
#[inline]
pub(super) fn left_of_checksum(c: &Connection, device: &Capabilities) -> TxChecksum {
    if device.checksum_tx {
        TxChecksum::Partial { start: c.tuple.ip_header_len() as u16, offset: 16 }
    } else {
        TxChecksum::Complete
    }
}

/// What the headers of a segment say that begins at `from`, but for options and urgent data.
#[inline(always)]
pub(super) fn plain_of(
    c: &Connection,
    cx: &Cx,
    ident: &mut Ident,
    from: Pos,
    flags: Flags,
    window: u16,
) -> Plain {
    let dont_fragment = c.sends_whole(cx);
    Plain {
        seq: c.snd_seq(from),
        ack: c.rcv_seq(c.ack_pos()),
        flags,
        window,
        urgent: 0,
        stamps: None,
        hop_limit: hop_limit_of(c, cx),
        // The other two bits are for congestion (RFC 3168 5).
        tos: c.options.tos & !3,
        ident: if dont_fragment { 0 } else { next_ident(c, ident) },
        dont_fragment,
    }
}

/// Payload bytes of a full segment that leaves now.
#[inline(always)]
pub(super) fn segment_of(c: &Connection, device: &Capabilities) -> usize {
    let headers = c.tuple.ip_header_len() + HEADER_LEN + output::data_options_len(c);
    let mtu = device.mtu.min(c.path_mtu as usize);
    usize::from(c.mss).min(mtu.saturating_sub(headers).max(8)).max(1)
}

fn hop_limit_of(c: &Connection, cx: &Cx) -> u8 {
    c.options.hop_limit.unwrap_or(cx.settings.ip_default_ttl.min(255) as u8)
}

/// The identification of a packet that may be fragmented.
fn next_ident(c: &Connection, ident: &mut Ident) -> u16 {
    ident.next(c.tuple.local, c.tuple.remote, protocol::TCP) as u16
}

/// The sequence number of a segment without text: SND.NXT, unless the peer took its window back and would
/// not accept that.
fn acceptable_seq(c: &Connection) -> Pos {
    let edge = c.snd_edge().max(c.snd_una);
    if c.snd_nxt > edge { edge } else { c.snd_nxt }
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
fn cut(c: &Connection, device: &Capabilities, from: Pos, end: Pos, whole: bool) -> Cut {
    if whole {
        return Cut { to: end, segment: (end - from).max(1) as usize };
    }
    let segment = segment_of(c, device);
    // An urgent pointer counts from its own segment: no unit can carry it for several.
    let urgent = c.rare().snd_up.is_some_and(|up| up > from);
    // And what is signed is signed segment by segment.
    let alike = c.ecn.as_ref().is_none_or(|ecn| !ecn.forbids_units());
    let whole = !urgent && alike && c.auth_len == 0;
    let most = if device.max_unit > device.mtu && whole {
        let headers = c.tuple.ip_header_len() + HEADER_LEN + output::data_options_len(c);
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

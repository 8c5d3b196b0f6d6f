//! Packets on their way out, at a glance: a segment that carries data and nothing else that is worth a thought is written at
//! once, everything else goes the long way through `transmit`. Both ways come to the same.

use finack_wire::tcp::Flags;

use super::Stack;
use super::refresh::Agenda;
use super::transmit::{left_of_checksum, note_sent, plain_of, segment_of};
use crate::cx::Cx;
use crate::device::{Slices, Transmit};
use crate::ip::Ident;
use crate::tcp::emit::{self, MAX_HEADERS, Plain};
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::tcp::timers::Timer;
use crate::tcp::{Place, output};
use crate::time::Instant;
use crate::trace::{PacketId, SendReason};

/// A packet whose headers are written.
pub(super) struct Written {
    connection: u32,
    /// Bytes of headers.
    header: usize,
    place: Place,
    number: u64,
}

/// A packet of a unit is like the one before it, whose headers are still there: sequence number, payload and checksum are others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Like {
    /// The table of connections then: neither a connection nor a setting was touched since.
    touched: u64,
    now: Instant,
    /// Where its payload stands.
    place: Place,
    /// Behind the last byte of the unit in the same block.
    until: Pos,
    written: emit::Written,
    plain: Plain,
}

/// A segment with data.
#[derive(Clone, Copy)]
struct Text {
    from: Pos,
    place: Place,
    push: bool,
    reason: SendReason,
}

impl Stack {
    /// Whether the next packet is like the one before it; where its payload stands.
    #[inline]
    pub(super) fn goes_on(&self, now: Instant) -> Option<Place> {
        let unit = self.emission.as_ref()?;
        let like = unit.like.as_ref()?;
        let fits = unit.at + like.place.len() as Pos <= like.until;
        let same = like.touched == self.connections.touched() && like.now == now;
        (fits && same).then(|| like.place.next())
    }

    /// Writes what is different about it, and lends it.
    #[inline]
    pub(super) fn go_on(&mut self, now: Instant, place: Place) -> Option<Transmit<'_>> {
        let Self { connections, cx, ip, header, emission, .. } = self;
        let unit = emission.as_mut()?;
        let like = unit.like.as_mut()?;
        let c = connections.get_to_count(unit.connection)?;
        c.stats.note_sent(1, true);
        cx.counters.tcp_out_segs += 1;
        cx.counters.tcp_ordinary += 1;
        cx.counters.ip_out_requests += 1;
        let number = ip.out.next_number();
        let payload = c.send.slice(place)?;
        let seq = c.snd_seq(unit.at);
        like.place = place;
        unit.at += place.len() as Pos;
        let sum = || finack_sum::sum(payload);
        let push = unit.push && unit.at == unit.end;
        like.written.follow(seq, push, sum, cx.device.checksum_tx, header);
        if cx.tracer.is_on() {
            let flags = if push { like.plain.flags | Flags::PSH } else { like.plain.flags };
            tell(c, cx, now, &Plain { seq, flags, ..like.plain }, place.len(), unit.reason, number);
        }
        let lent = &header[..like.written.len()];
        let checksum = like.written.left_of_checksum(cx.device.checksum_tx);
        if unit.at == unit.end {
            *emission = None;
        }
        Some(Transmit { header: lent, payload: Slices::one(payload), segment_size: 0, checksum, number })
    }

    /// Writes the next packet if it is an ordinary one. `None`: it must be decided on, and nothing has happened.
    #[inline]
    pub(super) fn ordinary(&mut self, now: Instant) -> Option<Written> {
        if !self.cx.short_cuts {
            return None;
        }
        if self.emission.is_some() { self.ordinary_of_unit(now) } else { self.ordinary_write(now) }
    }

    /// Lends it.
    #[inline]
    pub(super) fn lend_ordinary(&mut self, written: &Written) -> Option<Transmit<'_>> {
        self.cx.counters.ip_out_requests += 1;
        let c = self.connections.get(written.connection)?;
        Some(Transmit {
            header: &self.header[..written.header],
            payload: Slices::one(c.send.slice(written.place)?),
            segment_size: 0,
            checksum: left_of_checksum(c, &self.cx.device),
            number: written.number,
        })
    }

    /// The next packet of the unit under way, where the device takes single segments.
    fn ordinary_of_unit(&mut self, now: Instant) -> Option<Written> {
        let Self { connections, cx, ip, header, emission, .. } = self;
        let unit = emission.as_mut()?;
        let connection = unit.connection;
        let c = connections.get_mut(connection)?;
        let live = c.generation == unit.generation && c.facts.indexed();
        if !live || unit.whole || cx.device.max_unit > cx.device.mtu || !is_ordinary(c) {
            return None;
        }
        // Nothing of it is acknowledged yet, and it has no FIN at its end.
        if unit.at < c.snd_una || unit.end > c.send.end() {
            return None;
        }
        let from = unit.at;
        let to = unit.end.min(from + segment_of(c, &cx.device) as Pos);
        let place = c.send.find_near(unit.block, from, to)?;
        let text = Text { from, place, push: unit.push && to == unit.end, reason: unit.reason };
        let number = ip.out.next_number();
        let before = told(c);
        let (plain, written) = write(c, cx, &mut ip.ident, header, now, &text, number);
        (unit.at, unit.block) = (to, place.block());
        if to == unit.end {
            *emission = None;
        } else if plain.dont_fragment && before.is_some() && before == told(c) {
            let until = unit.end.min(c.send.end_of(place));
            unit.like = Some(Like { touched: connections.touched(), now, place, until, written, plain });
        }
        Some(Written { connection, header: written.len(), place, number })
    }

    /// All that the next connection in turn has to send, where that fits a segment.
    fn ordinary_write(&mut self, now: Instant) -> Option<Written> {
        let Self { connections, cx, ip, header, wheel, ready_to_send, events, goes, .. } = self;
        let &(connection, generation) = ready_to_send.front()?;
        let goes = *goes == Some((connection, connections.touched()));
        let c = connections.get_mut(connection)?;
        if c.snd_nxt.max(1) >= c.send.end() {
            return None;
        }
        let fine =
            c.generation == generation && c.facts.indexed() && is_ordinary(c) && !c.facts.keepalive_due();
        if !fine || !ip.out.is_empty() || c.path_mtu < ip.routes.mtu() {
            return None;
        }
        // After a pause less may be allowed.
        let rests = output::restart_after_idle(c, cx, now);
        let from = c.snd_nxt;
        let end = if goes && !rests { c.send.end() } else { output::small_write(c, cx)? };
        debug_assert_eq!(output::small_write(c, cx), Some(end));
        let place = c.send.find_last(from)?;
        if place.len() > segment_of(c, &cx.device) {
            return None;
        }
        ready_to_send.pop_front();
        c.facts.set_tx_queued(false);
        let push = output::commit_small(c, cx, now, end);
        let text = Text { from, place, push, reason: SendReason::Data };
        let number = ip.out.next_number();
        let (_, written) = write(c, cx, &mut ip.ident, header, now, &text, number);
        Agenda { wheel, ready_to_send, events }.refresh_sent(c, cx, now, connection);
        Some(Written { connection, header: written.len(), place, number })
    }
}

/// Whether its segments with data have no option but timestamps, nothing urgent, and nothing about them that has to do with
/// explicit congestion notification or signatures; and leave the host.
#[inline]
pub(super) fn is_ordinary(c: &Connection) -> bool {
    let rare = c.rare.as_deref().is_some_and(|rare| rare.snd_up.is_some() || rare.dsack.is_some());
    let more = c.auth_len > 0 || c.facts.loopback() || c.ecn.is_some() || c.recv.has_gap();
    !rare && !more
}

/// What a segment tells of what was received, and what writing it changes about that. `None` where it changes something in any
/// case: the next one is another then.
fn told(c: &Connection) -> Option<(Pos, u8)> {
    let owed = c.ack.pending || c.ack.now.is_some() || c.ack.pushed > 0;
    let settled = !owed && c.rcv_acked() == c.ack_pos() && !c.timers.is_armed(Timer::DelayedAck);
    settled.then_some((c.rcv_edge(), c.ack.quick))
}

/// Writes the headers of a segment, and what goes with that; answers what they say.
#[inline(always)]
fn write(
    c: &mut Connection,
    cx: &mut Cx,
    ident: &mut Ident,
    header: &mut [u8; MAX_HEADERS],
    now: Instant,
    text: &Text,
    number: u64,
) -> (Plain, emit::Written) {
    let window = c.advertise(cx);
    let flags = if text.push { Flags::ACK | Flags::PSH } else { Flags::ACK };
    let mut plain = plain_of(c, cx, ident, text.from, flags, window);
    plain.stamps = c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent));
    let sum = || finack_sum::sum(c.send.slice(text.place).unwrap_or_default());
    let written = plain.write(&c.tuple, text.place.len(), sum, cx.device.checksum_tx, header);
    output::acknowledged(c, true);
    c.stats.note_sent(1, true);
    cx.counters.tcp_out_segs += 1;
    cx.counters.tcp_ordinary += 1;
    if cx.tracer.is_on() {
        tell(c, cx, now, &plain, text.place.len(), text.reason, number);
    }
    (plain, written)
}

/// Tells who observes of a segment that goes out.
#[cold]
fn tell(
    c: &Connection,
    cx: &mut Cx,
    now: Instant,
    plain: &Plain,
    len: usize,
    reason: SendReason,
    number: u64,
) {
    cx.tracer.packet = Some(PacketId::Out(number));
    note_sent(c, cx, now, &plain.head(&c.tuple), len, (1, reason));
    cx.tracer.packet = None;
}

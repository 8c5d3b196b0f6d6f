//! Packets on their way out, at a glance: a segment that carries data and nothing else that is worth a thought is written at
//! once, everything else goes the long way through `transmit`. Both ways come to the same.

use finack_wire::tcp::Flags;

use super::Stack;
use super::refresh::Agenda;
use super::transmit::{left_of_checksum, plain_of, segment_of};
use crate::cx::Cx;
use crate::device::{Slices, Transmit};
use crate::ip::Ident;
use crate::tcp::emit::MAX_HEADERS;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::tcp::{Place, output};
use crate::time::Instant;

/// A packet whose headers are written.
pub(super) struct Written {
    connection: u32,
    /// Bytes of headers.
    header: usize,
    place: Place,
}

impl Stack {
    /// Writes the next packet if it is an ordinary one. `None`: it must be decided on, and nothing has happened.
    #[inline]
    pub(super) fn ordinary(&mut self, now: Instant) -> Option<Written> {
        if !self.cx.short_cuts || self.cx.tracer.is_on() {
            return None;
        }
        if self.emission.is_some() { self.ordinary_of_unit(now) } else { self.ordinary_write(now) }
    }

    /// Lends it.
    #[inline]
    pub(super) fn lend_ordinary(&mut self, written: &Written) -> Option<Transmit<'_>> {
        let number = self.ip.out.next_number();
        self.cx.counters.ip_out_requests += 1;
        let c = self.connections.get(written.connection)?;
        Some(Transmit {
            header: &self.header[..written.header],
            payload: Slices::one(c.send.slice(written.place)?),
            segment_size: 0,
            checksum: left_of_checksum(c, &self.cx.device),
            number,
        })
    }

    /// The next packet of the unit under way, where the device takes single segments.
    fn ordinary_of_unit(&mut self, now: Instant) -> Option<Written> {
        let Self { connections, cx, ip, header, emission, .. } = self;
        let unit = emission.as_mut()?;
        let c = connections.get_mut(unit.connection).filter(|c| c.generation == unit.generation)?;
        let fine = c.facts.indexed && is_ordinary(c) && unit.at >= c.snd_una && unit.end <= c.send.end();
        if !fine || unit.whole || cx.device.max_unit > cx.device.mtu {
            return None;
        }
        let (from, segment) = (unit.at, segment_of(c, &cx.device));
        let to = unit.end.min(from + segment as Pos);
        let place = c.send.find_near(unit.block, from, to)?;
        let push = unit.push && to == unit.end;
        let written = Written {
            connection: unit.connection,
            header: write(c, cx, &mut ip.ident, header, now, from, place, push),
            place,
        };
        (unit.at, unit.block) = (to, place.block());
        if to == unit.end {
            *emission = None;
        }
        Some(written)
    }

    /// All that the next connection in turn has to send, where that fits a segment.
    fn ordinary_write(&mut self, now: Instant) -> Option<Written> {
        let Self { connections, cx, ip, header, wheel, ready_to_send, events, .. } = self;
        let &(index, generation) = ready_to_send.front()?;
        let c = connections.get_mut(index).filter(|c| c.generation == generation)?;
        let fine = c.facts.indexed && is_ordinary(c) && !c.facts.keepalive_due;
        if !fine || !ip.out.is_empty() || c.path_mtu < ip.routes.mtu() {
            return None;
        }
        output::restart_after_idle(c, cx, now);
        let (from, end) = (c.snd_nxt, output::small_write(c, cx)?);
        let place = c.send.find_last(from).filter(|place| place.len() <= segment_of(c, &cx.device))?;
        ready_to_send.pop_front();
        c.facts.tx_queued = false;
        let push = output::commit_small(c, cx, now, end);
        let written = Written {
            connection: index,
            header: write(c, cx, &mut ip.ident, header, now, from, place, push),
            place,
        };
        Agenda { wheel, ready_to_send, events }.refresh_sent(c, cx, now, index);
        Some(written)
    }
}

/// Whether its segments with data have no option but timestamps, nothing urgent, and nothing about them that has to do with
/// explicit congestion notification or signatures; and leave the host.
#[inline]
fn is_ordinary(c: &Connection) -> bool {
    let rare = c.rare.as_deref().is_some_and(|rare| rare.snd_up.is_some() || rare.dsack.is_some());
    let more = c.facts.auth_len > 0 || c.facts.loopback || c.ecn.is_some() || c.recv.has_gap();
    !rare && !more
}

/// Writes the headers of the segment whose payload stands at `place` and begins at `from`.
#[inline]
#[expect(clippy::too_many_arguments, reason = "parts of a stack that is borrowed elsewhere, and what to write")]
fn write(
    c: &mut Connection,
    cx: &mut Cx,
    ident: &mut Ident,
    header: &mut [u8; MAX_HEADERS],
    now: Instant,
    from: Pos,
    place: Place,
    push: bool,
) -> usize {
    let window = c.advertise(cx);
    let flags = if push { Flags::ACK | Flags::PSH } else { Flags::ACK };
    let mut plain = plain_of(c, cx, ident, from, flags, window);
    plain.stamps = c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent));
    let sum = || finack_sum::sum(c.send.slice(place).unwrap_or_default());
    let written = plain.write(&c.tuple, place.len(), sum, cx.device.checksum_tx, header);
    output::acknowledged(c, true);
    c.stats.note_sent(1, true);
    cx.counters.tcp_out_segs += 1;
    written
}

//! The segment that was expected (header prediction, as Van Jacobson had it in 1988): nearly all are.
//!
//! What is done with it is what [`super::on_segment`] does with it, step by step in its order; left out is what cannot
//! apply to it.

use finack_wire::tcp::Flags;

use super::{Arrival, Segment, ack, fin, syn_sent, text};
use crate::cx::Cx;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::time::Instant;

/// Whether a segment is the next in order on a connection where nothing is out of the ordinary: it lies in the window, it
/// acknowledges what is out or was acknowledged last, but no FIN, its timestamp is no older than the last, and somebody reads.
/// Answers what it acknowledges.
#[inline(always)]
pub(crate) fn is_expected(c: &Connection, arrival: &Arrival<'_>) -> Option<Pos> {
    let next = c.recv.next();
    let len = arrival.text.payload.bytes.len();
    let end = next + len as Pos;
    let stamped = match arrival.text.timestamps {
        Some((value, _)) => c.agreed.timestamps && !seq::before(value, c.ts_recent),
        None => !c.agreed.timestamps,
    };
    let ack = seq::expand(c.iss, c.snd_una, arrival.ack);
    let taken = match c.state {
        State::Established => len == 0 || !c.facts.orphan(),
        // All that was written is not acknowledged yet: servers often close as soon as they have written.
        State::FinWait1 => ack <= c.send.end() && (len == 0 || !c.facts.orphan() && !c.facts.read_shut()),
        _ => false,
    };
    let expected = arrival.seq == c.rcv_seq(next)
        && taken
        && stamped
        && c.snd_una <= ack
        && ack <= c.snd_nxt
        && end <= c.rcv_edge()
        && end <= c.most_unread()
        && !c.recv.has_gap()
        && c.rcv_fin() == Pos::MAX
        && c.rare().urgent.mark.is_none()
        && c.ecn.as_ref().is_none_or(|ecn| ecn.is_quiet(c.congestion.kind(), arrival.ecn, len > 0));
    expected.then_some(ack)
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Text, or nothing: for the sending side there was nothing new, and of all timers only that of delayed ACKs may run now that
    /// did not.
    Text,
    /// Something for the sending side.
    Ack,
}

/// Takes a segment that [`is_expected`], which acknowledges everything before `ack`. The connection goes on.
#[inline(always)]
pub(crate) fn take(c: &mut Connection, cx: &mut Cx, now: Instant, arrival: &Arrival<'_>, ack: Pos) -> Taken {
    let text = &arrival.text;
    c.stats.segs_in += u64::from(text.segments);
    c.times.last_recv_at = now;
    let acknowledges = ack::take_expected(c, cx, now, arrival, ack);
    if !text.payload.bytes.is_empty() {
        c.stats.data_segs_in = c.stats.data_segs_in.wrapping_add(u32::from(text.segments));
        text::take_next(c, cx, now, text);
    }
    c.facts.set_more(false);
    text::schedule_ack(c, cx, now, text.segments);
    if acknowledges { Taken::Ack } else { Taken::Text }
}

/// Takes a segment that has a FIN and no text, and [`is_expected`] but for the FIN, which is the peer's; answers whether it did: it
/// does not where the segment says nothing new of what is out, which counts for recovery where a FIN does not.
pub(crate) fn take_fin(c: &mut Connection, cx: &mut Cx, now: Instant, arrival: &Arrival<'_>) -> bool {
    let fresh = |ack: &Pos| *ack > c.snd_una || c.rtx.is_empty();
    let ack = if c.state == State::Established { is_expected(c, arrival).filter(fresh) } else { None };
    let Some(ack) = ack else { return false };
    c.stats.segs_in += u64::from(arrival.text.segments);
    c.times.last_recv_at = now;
    ack::take_expected(c, cx, now, arrival, ack);
    c.set_rcv_fin(c.recv.next());
    fin::take(c, cx, now);
    c.facts.set_more(false);
    text::schedule_ack(c, cx, now, arrival.text.segments);
    true
}

/// Takes the bare ACK that ends the handshake of a connection which was made for it, where nothing was agreed on that it would
/// have to tell more of; answers whether it did.
pub(crate) fn take_third(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> bool {
    let stamped = segment.options.timestamps.is_some() == c.agreed.timestamps;
    let bare =
        segment.flags == Flags::ACK && segment.payload.bytes.is_empty() && segment.options.sack.is_empty();
    let next =
        segment.seq == c.rcv_seq(1) && segment.ack == c.snd_seq(1) && c.recv.next() == 1 && c.snd_nxt == 1;
    let plain = c.state == State::SynReceived && !c.facts.fast_open() && c.ecn.is_none() && c.rare.is_none();
    if !(stamped && bare && next && plain && cx.short_cuts) {
        return false;
    }
    let Segment { seq, ack, window, ecn, .. } = *segment;
    c.stats.segs_in += u64::from(segment.segments);
    c.times.last_recv_at = now;
    c.snd_wl1 = 1;
    c.enter(cx, now, State::Established);
    c.announce(Ready::WRITABLE);
    syn_sent::after_open(c, cx, now);
    ack::take_expected(c, cx, now, &Arrival { seq, ack, window, ecn, text: segment.text() }, 1);
    syn_sent::after_lost_syn(c, cx);
    c.facts.set_more(false);
    text::schedule_ack(c, cx, now, segment.segments);
    true
}

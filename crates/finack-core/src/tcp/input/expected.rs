//! The segment that was expected (header prediction, as Van Jacobson had it in 1988): nearly all are.
//!
//! What is done with it is what [`super::on_segment`] does with it, step by step in its order; left out is what cannot
//! apply to it.

use super::{Placed, Segment, ack, text};
use crate::cx::Cx;
use crate::tcp::State;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::time::Instant;

/// Whether `segment`, which has no flags but ACK and PSH and no options but timestamps, is the next in order on a
/// connection where nothing is out of the ordinary: it lies in the window, it acknowledges what is out or was acknowledged
/// last, but no FIN, its timestamp is no older than the last, and somebody reads.
pub(crate) fn is_expected(c: &Connection, segment: &Segment<'_>) -> bool {
    let next = c.recv.next();
    let len = segment.payload.bytes.len();
    let end = next + len as Pos;
    let stamped = match segment.options.timestamps {
        Some((value, _)) => c.agreed.timestamps && !seq::before(value, c.ts_recent),
        None => !c.agreed.timestamps,
    };
    let ack = seq::expand(c.iss, c.snd_una, segment.ack);
    let taken = match c.state {
        State::Established => len == 0 || !c.facts.orphan,
        // All that was written is not acknowledged yet: servers often close as soon as they have written.
        State::FinWait1 => ack <= c.send.end() && (len == 0 || !c.facts.orphan && !c.facts.read_shut),
        _ => false,
    };
    segment.seq == c.rcv_seq(next)
        && taken
        && stamped
        && (c.snd_una..=c.snd_nxt).contains(&ack)
        && end <= c.rcv_edge.min(c.most_unread())
        && !c.recv.has_gap()
        && c.rcv_fin == Pos::MAX
        && c.rare().urgent.mark.is_none()
        && c.ecn.is_none()
}

/// Takes a segment that [`is_expected`]. The connection goes on.
pub(crate) fn take(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) {
    let len = segment.payload.bytes.len();
    c.stats.segs_in += u64::from(segment.segments);
    c.times.last_recv_at = now;
    let start = c.recv.next();
    let placed = Placed { segment, start, end: start + len as Pos, scaled: true };
    // It ends nothing: it is in range, and acknowledges no FIN.
    let _ = ack::process(c, cx, now, &placed);
    if len > 0 {
        c.stats.data_segs_in = c.stats.data_segs_in.wrapping_add(u32::from(segment.segments));
        text::take_next(c, cx, now, &placed);
    }
    c.facts.more = false;
    text::schedule_ack(c, cx, now, &placed);
}

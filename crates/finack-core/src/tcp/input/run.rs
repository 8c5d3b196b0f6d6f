//! Segments that go on where one ended that was expected, and say the same: what is to be done for all of them is done once.
//!
//! It comes to what [`super::expected`] comes to, one by one. A run is only begun where nothing but the queue changes with each
//! segment; where anything might, it ends.

use super::{Arrival, ack, text};
use crate::cx::Cx;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::time::Instant;

/// How far a run goes behind `arrival`, which was expected and is taken: each segment is as long, says the same but for PSH and
/// a timestamp that is no older than the last, and ends at this position or before. `None`: what comes next is looked at by
/// itself.
///
/// The caller has seen that nothing is left to do for timers, queues and sender after `arrival`.
#[inline]
pub(crate) fn limit(c: &Connection, cx: &Cx, now: Instant, arrival: &Arrival<'_>) -> Option<Pos> {
    let &Arrival { window, text, .. } = arrival;
    let (next, len) = (c.recv.next(), text.payload.bytes.len());
    // Its ACK was the last one; another of the same says nothing where nothing is out.
    let silent = c.rtx.is_empty() && c.snd_wnd == u32::from(window) << c.agreed.snd_wscale;
    // It is full, and not the first that is; no timestamp behind it is remembered.
    let full = len > 0 && len == usize::from(c.rcv_mss) && text.segment_size == 0 && text.segments == 1;
    let steady = full && silent && c.rcv_acked() < next && c.rare().ack_hold == Pos::MAX;
    if !steady || c.room_to_grow(cx) > 0 || !text::is_settled(c, cx, now, len) {
        return None;
    }
    let tuned = c.rare().tuning.as_ref().map_or(Pos::MAX, |tuning| tuning.window_end() - 1);
    let held = c.recv.read_pos() + Pos::from(c.full_space());
    Some(c.rcv_edge().min(c.most_unread()).min(held).min(tuned))
}

/// What came behind `arrival`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Segments.
    pub(crate) count: u32,
    /// One of them had PSH.
    pub(crate) psh: bool,
}

/// Segments were appended to the receive queue behind `arrival`, within the [`limit`]: what else each of them would have done.
#[inline]
pub(crate) fn take(c: &mut Connection, cx: &mut Cx, now: Instant, arrival: &Arrival<'_>, behind: Behind) {
    c.stats.segs_in += u64::from(behind.count);
    c.stats.data_segs_in = c.stats.data_segs_in.wrapping_add(behind.count);
    let last = c.recv.next() - arrival.text.payload.bytes.len() as Pos;
    ack::take_repeated(c, cx, now, arrival, last);
    text::note_more(c, behind.psh);
}

//! How much is written and sent in one piece, and how much may be queued: Linux's units of writing (its socket
//! buffers), whose sizes show on the wire as bursts and PSH flags and in the calls as what a write takes.

use super::chrono::Chrono;
use super::congestion::Control;
use super::seq::Pos;
use super::tcb::Connection;
use crate::cx::Cx;
use crate::settings::{Profile, Settings};
use crate::time::Instant;

/// Payload bytes of the largest unit: what Linux lets a device segment, less its headers.
pub(crate) const MAX_UNIT: u32 = 65_536 - 321;
/// What a unit counts in the send buffer besides its payload (`SKB_TRUESIZE` of a head without payload).
pub(crate) const UNIT_OVERHEAD: usize = 896;
/// Headers and bookkeeping of a full segment, for the size of a send buffer (`tcp_sndbuf_expand`).
const SEGMENT_OVERHEAD: u64 = 640;
/// Linux's SOCK_MIN_SNDBUF.
const MIN_SEND_BUFFER: usize = 4608;
/// Segments that the least send buffer has room for, whatever the window.
const LEAST_SEGMENTS: u64 = 10;
/// A unit holds what leaves in a 1024th of a second, so that bursts stay short (`sk_pacing_shift`).
const BURST_SHIFT: u32 = 10;

/// Where the application's writes stand among units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    /// Where the unit begins that the next write goes on filling, unless all of it is sent; and behind the last byte that is sent
    /// with PSH in any case. Neither is far before the end of the send buffer, so that 32 bits tell which position it is.
    tail: u32,
    pushed: u32,
    /// Bytes that may be queued, overhead included, where the application set no size; grows with the window.
    pub(super) buffer: u32,
    /// What keeps the sender from sending.
    pub(crate) chrono: Chrono,
}

/// What a write is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that are taken.
    pub(crate) bytes: usize,
    /// Where they begin.
    from: Pos,
    tail: Pos,
    pushed: Pos,
}

/// A peer with a small window gets segments of half of it at most, so that two can be out (`tcp_bound_to_half_wnd`).
pub(crate) const fn within_half_window(size: u32, largest_window: u32) -> u32 {
    let most = if largest_window > 536 { largest_window / 2 } else { largest_window };
    if most == 0 || size <= most {
        size
    } else if most < 48 {
        48
    } else {
        most
    }
}

impl Units {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let buffer = u32::try_from(settings.tcp_wmem_default).unwrap_or(u32::MAX);
        Self { tail: 1, pushed: 1, buffer, chrono: Chrono::new(now) }
    }

    /// Forgets what `tcp_info` tells of the times in which it sent.
    pub(crate) const fn forget_times(&mut self) {
        self.chrono = Chrono::new(Instant::ZERO);
    }
}

impl Connection {
    /// Payload bytes of a full unit of writing (`tcp_xmit_size_goal`).
    pub(crate) fn unit_goal(&self) -> Pos {
        let mss = u32::from(self.mss.max(1));
        Pos::from((self.most_of_unit() / mss * mss).max(mss))
    }

    /// The same, not rounded to segments.
    fn most_of_unit(&self) -> u32 {
        within_half_window(MAX_UNIT, self.snd_max_wnd)
    }

    /// Payload bytes that go out in one burst at most: what the path's rate carries in a millisecond, more where the
    /// round trip is short (`tcp_tso_autosize`), and no more than half of the congestion window.
    pub(crate) fn burst(&self, cx: &Cx) -> Pos {
        let mss = u64::from(self.mss.max(1));
        let settings = &cx.settings;
        let cwnd = self.congestion.cwnd();
        let half = (cwnd / mss / 2).max(1);
        let most = self.unit_goal() as u64 / mss;
        let rate = match self.paced_rate(cx) {
            None if settings.profile == Profile::Rfc => return (most.max(1) * mss) as Pos,
            None => self.nominal_rate(cx),
            paced => paced,
        };
        let Some(rate) = rate else { return (half.min(most).max(1) * mss) as Pos };
        let shift = self.rtt.min_us() >> settings.tcp_tso_rtt_log;
        let near = if shift < 32 { MAX_UNIT >> shift } else { 0 };
        let bytes = (rate >> BURST_SHIFT).saturating_add(u64::from(near)).min(u64::from(MAX_UNIT));
        let segments = (bytes / mss).max(settings.tcp_min_tso_segs).min(half).min(most).max(1);
        (segments * mss) as Pos
    }

    /// Bytes a second that bursts are sized for where the controller names no rate (`tcp_update_pacing_rate`); `None`
    /// before the round trip is known.
    pub(crate) fn nominal_rate(&self, cx: &Cx) -> Option<u64> {
        let srtt_us = Some(self.rtt.srtt_us()).filter(|&us| us > 0)?;
        let cwnd = self.congestion.cwnd();
        let slow_start = cwnd < self.congestion.ssthresh() / 2;
        let ratio =
            if slow_start { cx.settings.tcp_pacing_ss_ratio } else { cx.settings.tcp_pacing_ca_ratio };
        Some(cwnd.saturating_mul(10_000 * ratio) / srtt_us)
    }

    /// The position before the end of the send buffer, or at it, of which these are the lower bits.
    #[inline(always)]
    fn written_at(&self, low: u32) -> Pos {
        let end = self.send.end();
        end - Pos::from((end as u32).wrapping_sub(low))
    }

    /// Where the last unit begins.
    #[inline(always)]
    fn unit_tail(&self) -> Pos {
        self.written_at(self.units.tail)
    }

    /// Behind the last byte that is sent with PSH in any case.
    #[inline(always)]
    fn pushed(&self) -> Pos {
        self.written_at(self.units.pushed)
    }

    /// Bytes from `start`, which was not sent so far, to the end of the unit that it stands in.
    pub(crate) fn rest_of_unit(&self, start: Pos) -> Pos {
        let before_tail = self.unit_tail() - start;
        if before_tail > 0 { (before_tail - 1) % self.unit_goal() + 1 } else { Pos::MAX }
    }

    /// Of `most` bytes that could be appended those that fill the unit that the next byte stands in: the few behind it would
    /// go out alone as soon as an ACK comes. All of them where units are small.
    pub(crate) fn up_to_unit(&self, most: usize) -> usize {
        let goal = self.unit_goal();
        let begun = self.send.end() - self.unit_tail().max(self.snd_nxt);
        let rest = if begun > 0 && begun < goal { goal - begun } else { goal };
        if goal as usize > most / 2 { most.min(rest as usize) } else { most }
    }

    /// Units that wait to be sent for the first time.
    fn units_unsent(&self) -> usize {
        let (next, end) = (self.snd_nxt.max(1), self.send.end());
        if end <= next {
            return 0;
        }
        let goal = self.unit_goal();
        let before_tail = (self.unit_tail() - next).max(0);
        (before_tail + goal - 1).div_euclid(goal) as usize + 1
    }

    /// What the send buffer counts: payload, and what keeping it in units costs (`sk_wmem_queued`).
    pub(crate) fn send_queued(&self) -> usize {
        self.send.footprint() + (self.rtx.units() + self.units_unsent()) * UNIT_OVERHEAD
    }

    /// Bytes that the send buffer may count: twice SO_SNDBUF, or a size that follows the congestion window.
    pub(crate) fn send_limit(&self, cx: &Cx) -> usize {
        if cx.budget.is_spent() {
            // Little enough that all connections together stay near the budget, enough to go on.
            return cx.settings.tcp_wmem_min as usize;
        }
        match self.options.send_buffer {
            Some(bytes) => bytes.saturating_mul(2).max(MIN_SEND_BUFFER),
            None => {
                let share = cx.budget.share().max(cx.settings.tcp_wmem_default);
                u64::from(self.units.buffer).min(share) as usize
            }
        }
    }

    /// A send buffer that the application did not fix grows with the congestion window (`tcp_sndbuf_expand`).
    pub(crate) fn grow_send_buffer(&mut self, cx: &Cx) {
        if self.options.send_buffer.is_some() {
            return;
        }
        let mss = u64::from(self.mss.max(1));
        let segment = u64::from(self.agreed.peer_mss.max(self.mss)) + SEGMENT_OVERHEAD;
        let segments = (self.congestion.cwnd() / mss).max(LEAST_SEGMENTS).max(cx.settings.tcp_reordering + 1);
        let wanted = 2 * segments * (segment.next_power_of_two() + 256);
        if u64::from(self.units.buffer) < wanted {
            let most = cx.settings.tcp_wmem_max.min(cx.budget.share()).max(u64::from(self.units.buffer));
            self.units.buffer = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
        }
    }

    /// TCP_NOTSENT_LOWAT: unsent bytes from which on there is no room.
    fn unsent_limit(&self, cx: &Cx) -> u64 {
        let own = self.options.notsent_lowat.filter(|&mark| mark > 0);
        own.map_or(cx.settings.tcp_notsent_lowat.max(1), |mark| mark as u64)
    }

    /// Whether the application should be told that it may write: a third of the buffer is free, and less than half of
    /// TCP_NOTSENT_LOWAT is unsent (`sk_stream_is_writeable`).
    pub(crate) fn is_writable(&self, cx: &Cx) -> bool {
        let (limit, queued) = (self.send_limit(cx), self.send_queued());
        let unsent = (self.send.end() - self.snd_nxt.clamp(1, self.send.end())) as u64;
        // The overhead of a single byte must not close a buffer for ever.
        (self.send.len() == 0 || limit.saturating_sub(queued) >= queued / 2)
            && unsent * 2 < self.unsent_limit(cx).max(2)
    }

    /// How much of a write of `len` bytes is taken. Room is asked for when a unit is begun, not for each byte: a unit that
    /// is begun is filled (`tcp_sendmsg_locked`). What would go out meanwhile makes room for more in the last unit.
    pub(crate) fn room_for(&self, cx: &Cx, len: usize) -> Room {
        let mut at = self.send.end();
        let (mut tail, mut pushed) = (self.unit_tail(), self.pushed());
        let mut next = self.snd_nxt.max(1).min(at);
        let mut left = len as Pos;
        if at == next && len <= usize::from(self.mss) {
            // It begins a unit, and does not fill it.
            let taken = if self.send_queued() < self.send_limit(cx) { len } else { 0 };
            return Room { bytes: taken, from: at, tail: if taken > 0 { at } else { tail }, pushed };
        }
        let goal = self.unit_goal();
        let mut queued = self.send_queued();
        let (limit, most_unsent) = (self.send_limit(cx), self.unsent_limit(cx));
        let unsent = next;
        while left > 0 {
            let begun = at - tail.max(next);
            let mut room = if at > next && begun > 0 { goal - begun } else { 0 };
            if room <= 0 {
                if queued >= limit || (at - next) as u64 >= most_unsent {
                    break;
                }
                queued += UNIT_OVERHEAD;
                (tail, room) = (at, goal);
            }
            let take = room.min(left);
            at += take;
            left -= take;
            queued += take as usize;
            if left == 0 || take < room {
                break;
            }
            let edge = self.edge_from(unsent);
            let mss = Pos::from(self.mss.max(1));
            let (sent_from, burst) = (next, self.burst(cx));
            if at > pushed + Pos::from(self.snd_max_wnd / 2) {
                pushed = at;
                next += ((edge - next).min(at - next).max(0)) / mss * mss;
            } else if tail <= next {
                next += ((edge - next).min(burst).min(at - next).max(0)) / mss * mss;
            }
            let bursts = ((next - sent_from) + burst - 1).div_euclid(burst) as usize;
            queued += bursts.saturating_sub(usize::from(next == at)) * UNIT_OVERHEAD;
        }
        Room { bytes: (len as Pos - left) as usize, from: self.send.end(), tail, pushed }
    }

    /// Whether everything that was written is sent, and the buffer takes the beginning of another unit.
    #[inline(always)]
    pub(crate) fn begins_unit(&self, cx: &Cx) -> bool {
        let queued = || self.send.len() + self.rtx.units() * UNIT_OVERHEAD;
        self.send.end() == self.snd_nxt && queued() < self.send_limit(cx)
    }

    /// [`took`](Self::took) of a unit of at most a segment, `len` bytes, that was begun where nothing waited.
    #[inline(always)]
    pub(crate) fn took_unit(&mut self, len: Pos) {
        let end = self.send.end();
        self.facts.set_written(true);
        self.note_application_limit(end - len);
        self.units.tail = (end - len) as u32;
        let forced = end > self.pushed() + Pos::from(self.snd_max_wnd / 2);
        self.facts.set_unpushed(self.facts.more() && !forced);
        if !self.facts.unpushed() {
            self.units.pushed = end as u32;
        }
    }

    /// How far the windows let new data go that begins at `next`.
    fn edge_from(&self, next: Pos) -> Pos {
        if !self.state.is_synchronized() {
            return next;
        }
        let room = self.congestion.cwnd().saturating_sub(self.in_flight());
        self.snd_edge().min(next + room as Pos)
    }

    /// What `room` allowed was appended, by a write that has more to come (`more`) or not.
    pub(crate) fn took(&mut self, room: &Room, more: bool) {
        self.facts.set_written(true);
        self.note_application_limit(room.from);
        let end = self.send.end();
        if self.most_of_unit() < 2 * u32::from(self.mss) {
            self.note_pushes_between(room.from, end, self.unit_goal());
        }
        // Less was appended than there was room for, perhaps.
        let mut tail = room.tail;
        if room.tail > end {
            let goal = self.unit_goal();
            tail -= (room.tail - end + goal - 1).div_euclid(goal) * goal;
        }
        self.units.tail = tail as u32;
        self.units.pushed = room.pushed.min(end) as u32;
        let forced = end > self.pushed() + Pos::from(self.snd_max_wnd / 2);
        self.facts.set_unpushed(more && !forced);
        if !self.facts.unpushed() {
            self.units.pushed = end as u32;
        }
    }

    /// Up to `end` something was written before. If all of that but part of a segment was sent, and more might have been,
    /// the application limits the rate until what is out now is acknowledged (draft-ietf-ccwg-bbr 4.1.2.4).
    #[inline(always)]
    fn note_application_limit(&mut self, end: Pos) {
        let in_flight = self.in_flight();
        let ran_dry = end - self.snd_nxt < Pos::from(self.mss) && self.rtx.lost() == 0;
        if ran_dry && in_flight < self.congestion.cwnd() {
            self.mark_app_limited();
        }
    }

    /// The rate of what is sent from now on says nothing of the path (draft-ietf-ccwg-bbr 4.1.2.4).
    pub(crate) fn mark_app_limited(&mut self) {
        self.app_limited_until = ((self.delivered + self.in_flight()) as u32).max(1);
    }

    /// Where the peer's window is small, units are single segments, and it shows which of them are pushed: one for each
    /// half of the window (`forced_push`).
    fn note_pushes_between(&mut self, from: Pos, end: Pos, goal: Pos) {
        let begun = self.unit_tail().max(self.snd_nxt);
        let mut at = if begun < from { begun } else { from } + goal;
        let mut pushed = self.pushed();
        while at < end {
            if at > pushed + Pos::from(self.snd_max_wnd / 2) {
                pushed = at;
                self.send.note_push(at);
            }
            at += goal;
        }
    }

    /// What was written last ends a record: what comes next is a unit of its own.
    pub(crate) fn end_unit(&mut self) {
        self.units.tail = self.send.end() as u32;
    }

    /// Whether a segment that ends at `end` is the last of a write, and is sent with PSH (RFC 9293 MUST-61).
    pub(crate) fn pushes(&self, end: Pos) -> bool {
        end == self.send.end() && !self.facts.unpushed()
            || self.send.is_push(end)
            || self.send.is_record_end(end)
    }

    /// Whether `start..end` is sent with PSH now: all that is more than one segment is, so that it is not held up on its way
    /// (`__tcp_transmit_skb`).
    pub(crate) fn sends_push(&self, cx: &Cx, start: Pos, end: Pos) -> bool {
        let data = end.min(self.send.end()) - start;
        data > Pos::from(self.mss) && cx.settings.profile == Profile::Linux || self.rtx.is_pushed(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux: half of the largest window seen, unless that is smaller than a default segment.
    #[test]
    fn small_windows_make_small_segments() {
        let bound = |window| within_half_window(1460, window);
        assert_eq!([0, 10, 500, 536, 1000, 2000, 65_535].map(bound), [1460, 48, 500, 536, 500, 1000, 1460]);
    }
}

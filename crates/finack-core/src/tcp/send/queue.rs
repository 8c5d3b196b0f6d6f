//! The retransmission queue: what was sent and is not yet acknowledged (RFC 9293 3.8, RFC 6675).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;

use super::sent::{Marks, Sent, SentOrder, SentState};
use crate::tcp::seq::Pos;
use crate::time::Instant;

/// What an ACK did to the queue; recovery and congestion control read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckSummary {
    /// Positions acknowledged cumulatively.
    pub(crate) acked: u64,
    /// Positions reported in SACK blocks for the first time.
    pub(crate) newly_sacked: u64,
    /// When the latest of the units that were sent only once and are now acknowledged was sent.
    pub(crate) rtt_sent_at: Option<Instant>,
    /// Something that was sent again was acknowledged.
    pub(crate) retransmitted_acked: bool,
    /// Of what was newly delivered, the unit sent last: the start of a rate sample.
    pub(crate) latest: Option<SentState>,
    /// Given: who was sent again later than this cannot be what the ACK answers (RFC 8985 6.2 step 2).
    pub(crate) answers_until: Instant,
    /// Of what was newly delivered, the unit sent last (RACK.segment).
    pub(crate) newest: Option<SentOrder>,
    /// When what is acknowledged cumulatively was sent, and what is SACKed: of each the last in sequence (RACK.rtt).
    pub(crate) acked_sent_at: Option<Instant>,
    pub(crate) sacked_sent_at: Option<Instant>,
    /// Of what was newly delivered and sent only once, the least position.
    pub(crate) original_start: Option<Pos>,
    /// The least end of such a unit.
    pub(crate) original_end: Option<Pos>,
    /// The highest end of what SACK blocks reported for the first time.
    pub(crate) highest: Pos,
    /// Units that were newly delivered, in whole or in part.
    pub(crate) units: u32,
    /// A SACK block reported a duplicate (RFC 2883): what was received twice.
    pub(crate) duplicate: Option<(Pos, Pos)>,
}

impl AckSummary {
    /// `unit` up to `end` was delivered.
    fn note_delivered(&mut self, unit: &Sent, end: Pos, cumulatively: bool) {
        self.units += 1;
        if !unit.marks.has(Marks::RETRANSMITTED) {
            self.original_start = Some(self.original_start.map_or(unit.start, |at| at.min(unit.start)));
            self.original_end = Some(self.original_end.map_or(end, |at| at.min(end)));
        }
        let order = SentOrder { end, ..unit.order() };
        let answered = !order.again || unit.sent_at <= self.answers_until;
        if answered {
            let sent_at = if cumulatively { &mut self.acked_sent_at } else { &mut self.sacked_sent_at };
            *sent_at = Some(unit.sent_at);
        }
        if answered && self.newest.is_none_or(|newest| newest < order) {
            self.newest = Some(order);
        }
        if self.latest.is_none_or(|l| (l.delivered, l.sent_at) <= (unit.delivered, unit.sent_at)) {
            self.latest = Some(unit.state());
        }
    }
}

/// So many units are not cut any finer by SACK blocks: with segments of a few bytes a peer could make the queue long and each
/// look at it slow (CVE-2019-11478).
const MOST_UNITS: usize = 16_384;

/// Units in order; the first begins at SND.UNA. No window is larger than a gigabyte, so that 32 bits count its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    units: VecDeque<Sent>,
    sacked: u32,
    lost: u32,
    /// Positions taken for lost since the flight began, modulo 2^32.
    lost_ever: u32,
    /// RACK.xmit_ts and RACK.end_seq (RFC 8985 5.2): of what arrived the unit that was sent last.
    pub(crate) newest: SentOrder,
    /// RACK.fack: behind the highest position that arrived.
    pub(crate) fack: Pos,
    /// SND.NXT when recovery's phase began ("recover" in RFC 6582). What is sent when nothing is out lies behind it.
    pub(crate) point: Pos,
    /// Behind the last segment sent that was not full (Minshall's variant of Nagle).
    pub(crate) small: Pos,
    /// When something was delivered last, and when what was delivered last had been sent; at first, when the flight began.
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
    /// Where to look first; none while nothing was lost.
    repair: Option<Box<Repair>>,
}

/// What spares a search through the whole queue while losses are repaired.
#[derive(Clone, Debug)]
struct Repair {
    /// Before it every unit is SACKed, lost or was sent again: RACK need not look there.
    settled: Pos,
    /// Nothing before it is lost.
    lost_from: Pos,
    /// What was sent again and is neither SACKed nor lost since, in the order of time. Some entries are stale.
    resent: VecDeque<Again>,
}

impl Default for Repair {
    fn default() -> Self {
        Self { settled: Pos::MIN, lost_from: Pos::MIN, resent: VecDeque::new() }
    }
}

/// One retransmission: `start..end` at `sent_at`.
#[derive(Clone, Copy, Debug)]
struct Again {
    sent_at: Instant,
    start: Pos,
    end: Pos,
}

/// What RACK knows of the latest delivery (RFC 8985 5.3), and what it asks of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// RACK.xmit_ts and RACK.end_seq.
    pub(crate) newest: SentOrder,
    /// RACK.rtt + RACK.reo_wnd: so long after it was sent a unit counts as lost.
    pub(crate) patience: Duration,
    pub(crate) now: Instant,
}

/// What RACK found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Positions newly taken for lost.
    pub(crate) lost: u64,
    /// Some of them had been sent again before.
    pub(crate) again: bool,
    /// The time after which all that now seems late will be lost.
    pub(crate) wait: Option<Duration>,
    /// What the last of them remembers of when it was sent.
    pub(crate) last: Option<SentState>,
}

impl Default for Flight {
    fn default() -> Self {
        Self::NONE
    }
}

/// A flight that had more units at a time gives their room back.
const MODEST: usize = 16;

impl Flight {
    /// Nothing is out.
    pub(super) const NONE: Self = Self {
        units: VecDeque::new(),
        sacked: 0,
        lost: 0,
        lost_ever: 0,
        newest: SentOrder { at: Instant::ZERO, again: false, end: 0 },
        fack: 0,
        point: 0,
        small: 0,
        delivered_at: Instant::ZERO,
        first_sent_at: Instant::ZERO,
        repair: None,
    };

    /// As it was at first, all that was out being acknowledged; the room for units stays.
    #[inline]
    pub(super) fn reset(&mut self) {
        let SentOrder { at, again, end } = &mut self.newest;
        (*at, *again, *end) = (Instant::ZERO, false, 0);
        (self.lost_ever, self.fack, self.point, self.small) = (0, 0, 0, 0);
        debug_assert!(self.units.is_empty() && self.repair.is_none() && (self.sacked, self.lost) == (0, 0));
    }

    /// It begins now, or again: what is sent now follows nothing.
    #[inline]
    pub(super) const fn begin(&mut self, at: Instant) {
        self.delivered_at = at;
        self.first_sent_at = at;
    }

    pub(super) fn is_modest(&self) -> bool {
        self.units.capacity() <= MODEST
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Units that are out.
    pub(crate) fn units(&self) -> usize {
        self.units.len()
    }

    #[inline]
    pub(crate) fn prefetch_front(&self) {
        if let Some(unit) = self.units.front() {
            finack_sum::prefetch(unit);
        }
    }

    pub(crate) fn front(&self) -> Option<&Sent> {
        self.units.front()
    }

    /// Positions that are SACKed.
    pub(crate) const fn sacked(&self) -> u64 {
        self.sacked as u64
    }

    /// Positions taken for lost and not sent again.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost as u64
    }

    /// Both.
    #[inline]
    pub(crate) const fn gone(&self) -> u64 {
        self.sacked as u64 + self.lost as u64
    }

    /// Positions ever taken for lost, modulo 2^32.
    pub(crate) const fn lost_ever(&self) -> u32 {
        self.lost_ever
    }

    /// Counts what was just marked as lost.
    const fn count_lost(&mut self, bytes: u64) {
        self.lost += bytes as u32;
        self.lost_ever = self.lost_ever.wrapping_add(bytes as u32);
    }

    #[inline]
    pub(super) fn push(&mut self, unit: Sent) {
        self.units.push_back(unit);
    }

    /// The first positions to send again: a lost unit, and what is lost right behind it while both fit a segment.
    pub(crate) fn first_lost_run(&self, mss: u64) -> Option<core::ops::Range<Pos>> {
        if self.lost == 0 {
            return None;
        }
        let lost_from = self.repair.as_ref().map_or(Pos::MIN, |r| r.lost_from);
        let from = self.units.partition_point(|u| u.end <= lost_from);
        let first = from + self.units.range(from..).position(|u| u.marks.has(Marks::LOST))?;
        let start = self.units[first].start;
        let mut last = &self.units[first];
        for unit in self.units.range(first + 1..).take_while(|u| u.marks.has(Marks::LOST)) {
            if (unit.end - start) as u64 > mss || last.marks.has(Marks::RECORD_END) {
                break;
            }
            last = unit;
        }
        let end = last.end;
        Some(start..end)
    }

    /// Acknowledges everything before `una`.
    pub(super) fn acknowledge(&mut self, una: Pos, summary: &mut AckSummary) {
        while self.units.front().is_some_and(|unit| unit.start < una)
            && let Some(unit) = self.units.front_mut()
        {
            let upto = unit.end.min(una);
            let bytes = (upto - unit.start) as u64;
            summary.acked += bytes;
            if unit.marks.has(Marks::RETRANSMITTED) {
                summary.retransmitted_acked = true;
            } else if !unit.marks.has(Marks::SACKED) {
                summary.rtt_sent_at = Some(unit.sent_at);
            }
            if unit.marks.has(Marks::SACKED) {
                self.sacked -= bytes as u32;
            } else {
                summary.note_delivered(unit, upto, true);
            }
            if unit.marks.has(Marks::LOST) {
                self.lost -= bytes as u32;
            }
            if upto < unit.end {
                unit.start = upto;
                break;
            }
            self.units.pop_front();
        }
        if self.units.is_empty() {
            self.repair = None;
        }
    }

    /// The first unit, where all units were sent once and nothing is known of any: neither SACKed nor lost.
    #[inline]
    pub(crate) fn front_if_calm(&self) -> Option<&Sent> {
        let calm = self.repair.is_none() && self.sacked == 0 && self.lost == 0;
        self.units.front().filter(|unit| calm && !unit.marks.has(Marks::RETRANSMITTED))
    }

    /// [`acknowledge`](Self::acknowledge) of everything before `una`, which is more than nothing, where
    /// [all is calm](Self::front_if_calm): answers what the last unit was that it is about, as far as it is. `None`, and nothing is
    /// done, where not all is calm, or something arrived already that was sent after the first unit. RACK knows of it then.
    #[inline(always)]
    pub(super) fn acknowledge_calmly(&mut self, una: Pos) -> Option<(SentOrder, SentState)> {
        let is_next = |unit: &Sent| unit.start >= self.fack && unit.order() > self.newest;
        if !self.front_if_calm().is_some_and(is_next) {
            return None;
        }
        let units = &mut self.units;
        while units.front().is_some_and(|unit| unit.end < una) {
            units.pop_front();
        }
        let unit = units.front_mut()?;
        let last = (SentOrder { end: una, ..unit.order() }, unit.state());
        if una < unit.end {
            unit.start = una;
        } else {
            units.pop_front();
        }
        (self.newest, self.fack) = (last.0, una);
        Some(last)
    }

    /// Splits the unit that holds `at` so that one begins there; answers the index of the unit that does.
    fn split(&mut self, at: Pos) -> usize {
        let index = self.units.partition_point(|u| u.end <= at);
        let Some(unit) = self.units.get_mut(index) else { return index };
        if unit.start >= at {
            return index;
        }
        let mut tail = unit.clone();
        unit.end = at;
        unit.marks = unit.marks.without(Marks::FIN).without(Marks::RECORD_END).without(Marks::PUSH);
        tail.start = at;
        tail.marks = tail.marks.without(Marks::SYN);
        self.units.insert(index + 1, tail);
        index + 1
    }

    /// Marks `start..end` as SACKed. The caller has checked that it lies within what is out.
    ///
    /// Only whole segments count: a peer that reports parts of one has all of it, or makes it up, and could make the
    /// queue grow with every byte. Where the queue is long already only whole units count: what is not believed is sent
    /// again at worst.
    pub(super) fn sack(&mut self, start: Pos, end: Pos, mss: u64, summary: &mut AckSummary) {
        let whole = if self.units.len() < MOST_UNITS { mss as Pos } else { Pos::MAX };
        let Some((start, end)) = self.whole_segments(start, end, whole) else { return };
        let first = self.units.partition_point(|u| u.end <= start);
        if self.units.range(first..).take_while(|u| u.start < end).all(|u| u.marks.has(Marks::SACKED)) {
            return;
        }
        let mut index = self.split(start);
        self.split(end);
        while let Some(unit) = self.units.get_mut(index) {
            if unit.start >= end {
                break;
            }
            if !unit.marks.has(Marks::SACKED) {
                let bytes = unit.len();
                if unit.marks.has(Marks::LOST) {
                    self.lost -= bytes as u32;
                }
                if !unit.marks.has(Marks::RETRANSMITTED) {
                    summary.rtt_sent_at = Some(unit.sent_at);
                }
                unit.marks = unit.marks.with(Marks::SACKED).without(Marks::LOST);
                self.sacked += bytes as u32;
                summary.newly_sacked += bytes;
                summary.highest = summary.highest.max(unit.end);
                summary.note_delivered(unit, unit.end, false);
            }
            index += 1;
        }
        self.join_sacked(start, end);
    }

    /// The segments of which `start..end` holds all.
    fn whole_segments(&self, start: Pos, end: Pos, mss: Pos) -> Option<(Pos, Pos)> {
        let unit_at = |pos: Pos| self.units.get(self.units.partition_point(|u| u.end <= pos));
        let first = unit_at(start)?;
        let into = (start - first.start).max(0);
        let up = if into == 0 { 0 } else { ((into - 1) / mss + 1).saturating_mul(mss) };
        let start = first.start.saturating_add(up).min(first.end);
        let last = unit_at(end - 1)?;
        let down = if end >= last.end { last.end } else { last.start + (end - last.start) / mss * mss };
        (start < down).then_some((start, down))
    }

    /// SACKed neighbours from `start` to `end` become one, so that the queue does not grow with a peer's invention, and is not
    /// searched for long.
    fn join_sacked(&mut self, start: Pos, end: Pos) {
        let mut kept = self.units.partition_point(|u| u.end < start);
        let mut next = kept + 1;
        while self.units.get(next).is_some_and(|u| u.start <= end) {
            let (unit, other) = (&self.units[kept], &self.units[next]);
            let sacked = unit.marks.has(Marks::SACKED) && other.marks.has(Marks::SACKED);
            if sacked && !unit.marks.has(Marks::RECORD_END) {
                let (until, marks) = (other.end, unit.marks.with(other.marks));
                let unit = &mut self.units[kept];
                (unit.end, unit.marks) = (until, marks);
            } else {
                kept += 1;
                self.units.swap(kept, next);
            }
            next += 1;
        }
        if kept + 1 < next {
            self.units.drain(kept + 1..next);
        }
    }

    /// Marks the first `bytes` of what is out as lost, sent again already or not.
    pub(super) fn mark_front_lost(&mut self, bytes: u64) -> u64 {
        let Some(front) = self.units.front() else { return 0 };
        let limit = front.start + bytes as Pos;
        let limit = limit.min(front.end);
        self.split(limit);
        let Some(front) = self.units.front_mut() else { return 0 };
        if front.marks.has(Marks::SACKED) || front.marks.has(Marks::LOST) {
            return 0;
        }
        front.marks = front.marks.with(Marks::LOST);
        let bytes = front.len();
        if let Some(repair) = &mut self.repair {
            repair.lost_from = Pos::MIN;
        }
        self.count_lost(bytes);
        bytes
    }

    /// Marks all between two positions as lost that is not SACKed.
    pub(super) fn mark_lost_between(&mut self, start: Pos, end: Pos) {
        let first = self.split(start);
        self.split(end);
        if let Some(repair) = &mut self.repair {
            repair.lost_from = repair.lost_from.min(start);
        }
        let mut found = 0;
        for unit in self.units.range_mut(first..).take_while(|u| u.end <= end) {
            if !unit.marks.has(Marks::SACKED) && !unit.marks.has(Marks::LOST) {
                unit.marks = unit.marks.with(Marks::LOST);
                found += unit.len();
            }
        }
        self.count_lost(found);
    }

    /// After a time-out all that is not SACKed counts as lost (RFC 6675 5.1); with `renege` the SACK marks go
    /// too, because the peer threw away what it had reported (RFC 2018 8).
    pub(super) fn mark_all_lost(&mut self, renege: bool) {
        let before = core::mem::take(&mut self.lost);
        self.repair = None;
        for unit in self.units.iter_mut() {
            if renege && unit.marks.has(Marks::SACKED) {
                unit.marks = unit.marks.without(Marks::SACKED);
                self.sacked -= (unit.end - unit.start) as u32;
            }
            if !unit.marks.has(Marks::SACKED) {
                unit.marks = unit.marks.with(Marks::LOST);
                self.lost += (unit.end - unit.start) as u32;
            }
        }
        self.lost_ever = self.lost_ever.wrapping_add(self.lost.saturating_sub(before));
    }

    /// RFC 8985 6.3: after a time-out the first unit counts as lost, and what was sent longer ago than `patience`.
    pub(super) fn mark_late_lost(&mut self, now: Instant, patience: Duration) {
        if let Some(repair) = &mut self.repair {
            repair.lost_from = Pos::MIN;
        }
        let (mut is_first, mut found) = (true, 0);
        for unit in self.units.iter_mut().filter(|u| !u.marks.has(Marks::SACKED)) {
            let late = core::mem::take(&mut is_first) || now.since(unit.sent_at) >= patience;
            if late && !unit.marks.has(Marks::LOST) {
                unit.marks = unit.marks.with(Marks::LOST);
                found += (unit.end - unit.start) as u64;
            }
        }
        self.count_lost(found);
    }

    /// RFC 8985 6.2 step 5: what was sent before something that was delivered, and longer ago than it should take, is
    /// lost.
    pub(super) fn mark_overtaken(&mut self, by: &Deadline) -> Found {
        let mut found = Found::default();
        self.mark_overtaken_originals(by, &mut found);
        self.mark_overtaken_repeats(by, &mut found);
        self.count_lost(found.lost);
        found
    }

    /// What was sent once: in the order of positions, which is that of time.
    fn mark_overtaken_originals(&mut self, by: &Deadline, found: &mut Found) {
        if self.repair.is_none() && self.units.front().is_none_or(|front| front.order() >= by.newest) {
            // The usual case: nothing is late, and nothing need be remembered.
            return;
        }
        let repair = self.repair.get_or_insert_default();
        let first = self.units.partition_point(|u| u.end <= repair.settled);
        let mut settled = true;
        for unit in self.units.range_mut(first..) {
            let is_original = !unit.marks.has(Marks::RETRANSMITTED);
            let pending = is_original && !unit.marks.has(Marks::SACKED) && !unit.marks.has(Marks::LOST);
            if is_original && !by.newest.overtook_original(unit) {
                break;
            }
            if pending {
                let age = by.now.since(unit.sent_at);
                if age < by.patience {
                    settled = false;
                    found.wait = found.wait.max(Some(by.patience - age));
                    continue;
                }
                unit.marks = unit.marks.with(Marks::LOST);
                repair.lost_from = repair.lost_from.min(unit.start);
                found.lost += unit.len();
                found.last = Some(unit.state());
            }
            if settled {
                repair.settled = unit.end;
            }
        }
    }

    /// What was sent again: in the order of time. An entry that its units' time contradicts is stale.
    fn mark_overtaken_repeats(&mut self, by: &Deadline, found: &mut Found) {
        let Some(repair) = &mut self.repair else { return };
        let mut kept = 0;
        while let Some(again) = repair.resent.get(kept).copied() {
            // The first of its bytes; what lies behind that may have been sent too late to tell.
            if (SentOrder { at: again.sent_at, again: true, end: again.start + 1 }) >= by.newest {
                break;
            }
            let age = by.now.since(again.sent_at);
            let late = age >= by.patience;
            let mut waits = false;
            let first = self.units.partition_point(|u| u.end <= again.start);
            for unit in self.units.range_mut(first..).take_while(|u| u.start < again.end) {
                let settled = unit.marks.has(Marks::SACKED) || unit.marks.has(Marks::LOST);
                if settled || unit.sent_at != again.sent_at || !unit.marks.has(Marks::RETRANSMITTED) {
                    continue;
                }
                let overtaken = unit.order() < by.newest;
                waits |= !late || !overtaken;
                if late && overtaken {
                    unit.marks = unit.marks.with(Marks::LOST);
                    repair.lost_from = repair.lost_from.min(unit.start);
                    found.lost += unit.len();
                    found.last = Some(unit.state());
                    found.again = true;
                }
            }
            if waits {
                if !late {
                    found.wait = found.wait.max(Some(by.patience - age));
                }
                kept += 1;
            } else {
                repair.resent.remove(kept);
            }
        }
    }

    /// Nothing was lost after all: what was taken for it is on its way.
    pub(super) fn forget_losses(&mut self) {
        self.lost = 0;
        let mut repair = Repair::default();
        for unit in self.units.iter_mut() {
            unit.marks = unit.marks.without(Marks::LOST);
            if unit.is_repeat_out() {
                repair.resent.push_back(Again { sent_at: unit.sent_at, start: unit.start, end: unit.end });
            }
        }
        repair.resent.make_contiguous().sort_by_key(|again| again.sent_at);
        self.repair = Some(Box::new(repair));
    }

    /// Whether anything that is out was sent again.
    pub(crate) fn may_hold_repeats(&self) -> bool {
        self.repair.is_some() || self.units.front().is_some_and(|u| u.marks.has(Marks::RETRANSMITTED))
    }

    /// Segments that were sent again and are neither SACKed nor lost since.
    pub(crate) fn repeats_out(&self, mss: u64) -> u64 {
        let holds = self.may_hold_repeats();
        self.units.iter().filter(|unit| holds && unit.is_repeat_out()).map(|u| u.len().div_ceil(mss)).sum()
    }

    /// Whether a retransmission is out.
    pub(crate) fn has_repeats_out(&self) -> bool {
        self.repair.is_some() && self.units.iter().any(Sent::is_repeat_out)
    }

    /// The SACKed front of the queue: the peer reported it and yet did not acknowledge it.
    pub(crate) fn front_is_sacked(&self) -> bool {
        self.units.front().is_some_and(|u| u.marks.has(Marks::SACKED))
    }

    /// Whether all that is out was sent at once.
    pub(crate) fn is_one_unit(&self) -> bool {
        self.units.len() == 1
    }

    /// Where the last unit begins.
    pub(crate) fn last_start(&self) -> Option<Pos> {
        self.units.back().map(|u| u.start)
    }

    /// `start..end` was sent again.
    pub(super) fn resent(&mut self, start: Pos, end: Pos, state: &SentState) {
        let first = self.split(start);
        self.split(end);
        let lost_before = self.lost;
        for unit in self.units.range_mut(first..) {
            if unit.start >= end {
                break;
            }
            if unit.marks.has(Marks::LOST) {
                self.lost -= (unit.end - unit.start) as u32;
            }
            unit.marks = unit.marks.without(Marks::LOST).with(Marks::RETRANSMITTED);
            unit.stamp(state);
        }
        let repair = self.repair.get_or_insert_default();
        if self.lost < lost_before {
            // What is lost goes out in order: this was the first of it.
            repair.lost_from = end;
        }
        repair.resent.push_back(Again { sent_at: state.sent_at, start, end });
    }

    /// Whether the last of the positions before `end` was sent with PSH.
    pub(crate) fn is_pushed(&self, end: Pos) -> bool {
        let found = match self.units.back() {
            Some(last) if last.end == end => Some(last),
            _ => self.units.get(self.units.partition_point(|u| u.end < end)),
        };
        found.is_some_and(|u| u.end == end && u.marks.has(Marks::PUSH))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.repair = None;
        (self.sacked, self.lost) = (0, 0);
        self.reset();
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.units.capacity() * size_of::<Sent>()
            + self
                .repair
                .as_ref()
                .map_or(0, |r| size_of::<Repair>() + r.resent.capacity() * size_of::<Again>())
    }

    /// Counters that must equal what they count; `false` names a bug.
    #[cfg(test)]
    pub(crate) fn is_consistent(&self) -> bool {
        let sum = |mark| {
            self.units.iter().filter(|u| u.marks.has(mark)).map(|u| (u.end - u.start) as u64).sum::<u64>()
        };
        let ordered = self.units.iter().zip(self.units.iter().skip(1)).all(|(a, b)| a.end == b.start);
        ordered && sum(Marks::SACKED) == self.sacked() && sum(Marks::LOST) == self.lost()
    }
}

#[cfg(test)]
mod tests;

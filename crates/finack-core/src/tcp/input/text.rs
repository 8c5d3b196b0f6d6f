//! Text (RFC 9293 3.10.7.4 seventh), and when it is acknowledged (3.8.6.3).

use core::time::Duration;

use super::{Outcome, Placed, Text, drop_segment, urgent};
use crate::cx::Cx;
use crate::settings::Profile;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::recv::Inserted;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::{ATO_MAX, ATO_MIN, Connection, ts_clock};
use crate::tcp::timers::Timer;
use crate::time::Instant;
use crate::trace::{DropReason, ResetReason, SendReason};

/// Less than this in a segment does not make the window grow.
const LEAST_GROWTH: u32 = 128;

pub(super) fn process(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Option<Outcome> {
    if placed.segment.payload.bytes.is_empty() {
        return None;
    }
    // In SYN-RECEIVED it is what a fast open brought along (RFC 7413 4.2.2).
    if !c.state.may_receive() && c.state != State::SynReceived {
        // After the peer's FIN there can be no text.
        let reason = DropReason::AfterClose;
        return Some(drop_segment(c, cx, now, placed, reason));
    }
    let text_end = placed.start + placed.segment.payload.bytes.len() as Pos;
    let nobody_reads = c.facts.orphan() || (c.facts.read_shut() && c.state != State::Established);
    if nobody_reads && text_end > c.recv.next() {
        // RFC 9293 3.6.1, RFC 1122 4.2.2.13: the peer must learn that its data is lost.
        return Some(Outcome::ResetSegment(if c.state == State::FinWait2 && c.facts.orphan() {
            ResetReason::FinWait2
        } else {
            ResetReason::DataAfterClose
        }));
    }
    insert(c, cx, now, placed);
    None
}

/// Puts what lies in the window into the queue.
fn insert(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) {
    let linux = cx.settings.profile == Profile::Linux;
    let ends_beyond = placed.start + placed.segment.payload.bytes.len() as Pos > c.rcv_edge();
    if linux && ends_beyond && c.recv.len() > 0 {
        // Linux takes no part of a segment that ends beyond the window (as of 6.16), to the letter of the RFC what lies in
        // the window is taken.
        c.ack_now(SendReason::DuplicateAck);
        drop_segment(c, cx, now, placed, DropReason::OutOfWindow);
        return;
    }
    // It takes all of it where nothing waits to be read. Otherwise nothing lies beyond the window, and nothing behind a FIN.
    let edge = if linux && placed.start < c.rcv_edge() {
        c.most_unread()
    } else {
        c.rcv_edge().min(c.most_unread())
    };
    let end = c.rcv_fin().min(edge);
    let room = (end - placed.start).max(0) as usize;
    let payload = placed.segment.payload.trim(0, room);
    if payload.bytes.is_empty() {
        c.quick_acks();
        c.ack_now(SendReason::DuplicateAck);
        drop_segment(c, cx, now, placed, DropReason::ZeroWindow);
        return;
    }
    urgent::fetch(c, placed);
    let before = c.recv.next();
    let limit = c.reorder_limit(cx);
    let mut duplicate = None;
    let inserted = c.recv.insert(&mut cx.pool, placed.start, payload, limit, &mut duplicate);
    if let Some((start, end)) = duplicate {
        note_duplicate(c, start, end);
    }
    match inserted {
        Inserted::InOrder => note_in_order(c, cx, now, &placed.segment.text()),
        Inserted::FilledGap => {
            note_in_order(c, cx, now, &placed.segment.text());
            // RFC 5681 4.2: at once.
            c.ack_now(SendReason::Ack);
        }
        Inserted::OutOfOrder => {
            cx.counters.tcp_out_of_order += 1;
            let rare = c.rare_mut();
            rare.out_of_order = rare.out_of_order.wrapping_add(1);
            measure(c, cx, &placed.segment.text());
            if c.agreed.sack {
                c.grow_window(cx, placed.segment.payload.bytes.len() as u32);
                c.make_room_behind_gap(cx, placed.end);
            }
            c.quick_acks();
            // RFC 5681 4.2: at once.
            c.ack_now(SendReason::DuplicateAck);
        }
        Inserted::Duplicate => {
            c.quick_acks();
            c.ack_now(SendReason::DuplicateAck);
            drop_segment(c, cx, now, placed, DropReason::Duplicate);
        }
        Inserted::NoRoom => {
            c.ack_now(SendReason::DuplicateAck);
            drop_segment(c, cx, now, placed, DropReason::Memory);
        }
    }
    if c.recv.next() > before {
        note_arrived(c);
    }
}

/// Takes text that is next in order and lies in the window, where nothing is out of order and nothing urgent is awaited.
#[inline(always)]
pub(super) fn take_next(c: &mut Connection, cx: &mut Cx, now: Instant, text: &Text<'_>) {
    c.recv.append(&mut cx.pool, text.payload);
    note_in_order(c, cx, now, text);
    note_arrived(c);
}

/// More can be read.
#[inline]
fn note_arrived(c: &mut Connection) {
    c.ack.pending = true;
    if c.recv.held() as u64 > u64::from(c.full_space()) {
        // More than the buffer holds was taken: the peer must know at once that there is no room.
        c.ack_now(SendReason::Ack);
    }
    if c.has_enough_to_read() {
        c.announce(Ready::READABLE);
    }
}

/// Remembers a duplicate for the next ACK (RFC 2883).
pub(super) fn note_duplicate(c: &mut Connection, start: Pos, end: Pos) {
    // What is held back was not acknowledged: to the peer it is no duplicate.
    let held = end > c.rare().ack_hold;
    if c.agreed.sack && end > start && start >= 1 && !held {
        c.rare_mut().dsack = Some((start, end));
    }
}

/// The receiver's own idea of the round trip, while the receive buffer follows it.
fn measure_round_trip(c: &mut Connection, now: Instant, text: &Text<'_>, full: bool) {
    let (next, edge, offset) = (c.recv.next(), c.rcv_edge(), c.ts_offset);
    let Some(tuning) = c.rare.as_deref_mut().and_then(|rare| rare.tuning.as_mut()) else { return };
    let stamps = text.timestamps.filter(|_| c.agreed.timestamps && full);
    let echo = stamps.filter(|&(_, echo)| echo != 0).map(|(_, echo)| {
        let age = ts_clock(now).wrapping_sub(echo.wrapping_sub(offset));
        (echo, Duration::from_millis(u64::from(age)))
    });
    // An age of nothing says only that the clock did not tick.
    let echo = echo.filter(|(_, age)| !age.is_zero() && age.as_secs() < 3600);
    let drained = c.recv.len() <= text.payload.bytes.len();
    tuning.on_data(now, next, edge, echo, drained);
}

/// Learns the size of the peer's segments, and which of them may end a message (`tcp_measure_rcv_mss`). Answers whether it
/// is as large as any before.
#[inline(always)]
fn measure(c: &mut Connection, cx: &Cx, text: &Text<'_>) -> bool {
    let len = text.payload.bytes.len() as u32;
    let segment = match text.segment_size {
        0 => len.min(u32::from(u16::MAX)) as u16,
        size => size,
    };
    let full = segment >= c.rcv_mss;
    if full {
        c.learn_segment(cx, len, segment);
        if len == u32::from(segment) && text.psh {
            c.ack.pushed = c.ack.pushed.max(1);
        }
    } else {
        c.ack.pushed = (c.ack.pushed + 1).min(2);
    }
    full
}

fn nanos(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())
}

/// How long ACKs are delayed follows how quickly data comes (Linux's `tcp_event_data_recv`).
#[inline(always)]
fn note_in_order(c: &mut Connection, cx: &Cx, now: Instant, text: &Text<'_>) {
    let full = measure(c, cx, text);
    if c.rare.is_some() {
        measure_round_trip(c, now, text, full);
    }
    let pause = now.nanos_since(c.ack.data_at);
    c.ack.data_at = now;
    if c.ack.ato == 0 {
        c.more_quick_acks();
        c.ack.ato = ATO_MIN;
    } else if pause <= ATO_MIN / 2 {
        c.ack.ato = c.ack.ato / 2 + ATO_MIN / 2;
    } else if pause < c.ack.ato {
        c.ack.ato = (c.ack.ato / 2 + pause).min(ATO_MAX);
    } else if pause > nanos(c.rtt.base()) {
        // The sender slept, and has perhaps a small window now.
        c.more_quick_acks();
    }
    let len = text.payload.bytes.len() as u32;
    if len >= LEAST_GROWTH {
        c.grow_window(cx, len);
    }
}

/// Whether more data of so many bytes a segment, at once and until the application reads, changes nothing about when it is
/// acknowledged: at once in any case, or when the delay ends that runs, for the reader is behind.
#[inline]
pub(super) fn is_settled(c: &Connection, cx: &Cx, now: Instant, len: usize) -> bool {
    let steady = c.ack.ato / 2 + ATO_MIN / 2 == c.ack.ato;
    if !steady || c.ack.now.is_some() {
        return steady;
    }
    let quick = c.options.quickack || (c.ack.quick > 0 && !c.ack.interactive);
    let behind = c.recv.len() + len >= c.options.recv_lowat.max(1) && closes(c, c.recv.held() + len);
    let linux = cx.settings.profile == Profile::Linux;
    linux && behind && !quick && c.timers.is_due(Timer::DelayedAck, now.after_nanos(c.ack.ato))
}

/// After more of it came, with PSH or without: [`take_next`] but for the queue, and [`schedule_ack`].
#[inline]
pub(super) fn note_more(c: &mut Connection, psh: bool) {
    if psh {
        c.ack.pushed = c.ack.pushed.max(1);
    }
    if c.ack.now.is_none() {
        slow_down(c);
    }
    if c.has_enough_to_read() {
        c.announce(Ready::READABLE);
    }
}

/// Decides whether what was received is acknowledged now or a little later.
/// The last thing that came were so many wire segments.
#[inline(always)]
pub(super) fn schedule_ack(c: &mut Connection, cx: &Cx, now: Instant, segments: u16) {
    if !c.ack.pending || c.ack.now.is_some() {
        return;
    }
    let unacked = c.ack_pos() - c.rcv_acked();
    if unacked == 0 && c.rare().ack_hold != Pos::MAX && !c.recv.has_gap() {
        // There is nothing that an ACK could say before the application lets it.
        c.ack.pending = false;
        return;
    }
    let two_segments = match cx.settings.profile {
        // More than one full segment, and the window moves or the reader is not behind (tcp_ack_snd_check).
        Profile::Linux => unacked > Pos::from(c.rcv_mss) && window_holds(c, cx),
        // RFC 9293 SHLD-19 in RFC 5681 4.2's words: at least every second full-sized segment.
        Profile::Rfc => unacked >= 2 * Pos::from(c.rcv_mss) || segments > 1,
    };
    let quick = c.options.quickack || (c.ack.quick > 0 && !c.ack.interactive);
    if two_segments || quick || c.recv.has_gap() {
        c.ack_now(SendReason::Ack);
        return;
    }
    if c.ack.ato >= ATO_MIN && c.timers.is_due(Timer::DelayedAck, now.after_nanos(ATO_MIN)) {
        // By then one goes out already; none is delayed for less.
        return;
    }
    let srtt = c.rtt.srtt().map_or(ATO_MAX, nanos);
    let delay = c.ack.ato.min(srtt.max(ATO_MIN));
    c.timers.arm_earlier(Timer::DelayedAck, now.after_nanos(delay.min(ATO_MAX)));
}

/// Whether the reader keeps up, so that an ACK now would not make the window smaller, or waits for more than is here. An
/// ACK that is put off is sent when it reads (`__tcp_ack_snd_check`).
fn window_holds(c: &mut Connection, cx: &Cx) -> bool {
    if c.recv.len() < c.options.recv_lowat.max(1) {
        return true;
    }
    slow_down(c);
    let offered = c.rcv_edge() - c.rcv_acked();
    if closes(c, c.recv.held()) {
        debug_assert!(Pos::from(c.select_window(cx)) < offered);
        return false;
    }
    Pos::from(c.select_window(cx)) >= offered
}

/// Who lets the buffer fill up gets no more quick ACKs.
#[inline(always)]
fn slow_down(c: &mut Connection) {
    let space = c.full_space();
    if c.recv.held() as u32 > space - space / 2 {
        c.ack.quick = 0;
    }
}

/// With so many bytes held less is free than was offered, and no scaled window is larger than what is free.
#[inline(always)]
fn closes(c: &Connection, held: usize) -> bool {
    let free = c.full_space().saturating_sub(held as u32);
    c.agreed.scaling && c.agreed.rcv_wscale > 0 && Pos::from(free) < c.rcv_edge() - c.rcv_acked()
}

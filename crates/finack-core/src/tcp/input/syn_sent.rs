//! SYN-SENT (RFC 9293 3.10.7.3): active open, and both sides at once.

use super::{Outcome, Segment, fail, note_drop};
use crate::cx::Cx;
use crate::error::Error;
use crate::settings::Profile;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::congestion::Control;
use crate::tcp::fast_open;
use crate::tcp::send::AckSummary;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::tcp::timers::Timer;
use crate::time::{Instant, Known};
use crate::trace::{DropReason, EndCause, ResetReason, RetransmitReason, SendReason, TraceKind};

pub(super) fn on_segment(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    let flags = segment.flags;
    let len = segment.payload.bytes.len() as u32;
    if flags.ack() {
        let ack = seq::expand(c.iss, c.snd_una, segment.ack);
        if ack <= c.snd_una || ack > c.snd_nxt {
            if flags.rst() {
                note_drop(c, cx, now, len, DropReason::HandshakeAck);
                return Outcome::Keep;
            }
            return Outcome::RefuseSegment(ResetReason::UnexpectedAck);
        }
    }
    if flags.rst() {
        if !flags.ack() {
            note_drop(c, cx, now, len, DropReason::ResetNotExact);
            return Outcome::Keep;
        }
        cx.trace(now, c.trace_id, &c.tuple, TraceKind::ResetReceived);
        cx.counters.tcp_in_rsts += 1;
        if cx.settings.profile == Profile::Rfc && c.gives_up_ecn(&cx.settings) {
            // RFC 3168 6.1.1.1: the RST may be about the flags.
            c.rtx.mark_all_lost(false);
            c.facts.set_syn_due(true);
            return Outcome::Keep;
        }
        fail(c, Error::ConnectionRefused);
        return Outcome::Closed(EndCause::ResetByPeer);
    }
    if !flags.syn() {
        note_drop(c, cx, now, len, DropReason::NoSynInSynSent);
        return Outcome::Keep;
    }
    if flags.ack() && echo_is_wrong(c, now, segment) {
        // RFC 7323 3.2: the echo proves that it answers an older SYN.
        return Outcome::RefuseSegment(ResetReason::UnexpectedAck);
    }
    c.times.last_recv_at = now;
    agree(c, cx, now, segment);
    if c.facts.fast_open() && flags.ack() {
        // RFC 7413 4.1.3.1: that the data was not taken is a negative response too. Linux does not count it.
        let taken = seq::expand(c.iss, c.snd_una, segment.ack) > 1 || cx.settings.profile == Profile::Linux;
        let lost = c.snd_nxt > 1 && (c.facts.syn_resent() || !taken);
        let mss = segment.options.mss.unwrap_or(0);
        fast_open::learn(cx, now, c.tuple.remote, segment.options.fast_open, mss, lost);
    }
    if flags.ack() { established(c, cx, now, segment) } else { crossed(c, cx, now, segment) }
}

/// TSecr must name something that we sent in this handshake.
fn echo_is_wrong(c: &Connection, now: Instant, segment: &Segment<'_>) -> bool {
    let Some((_, echo)) = segment.options.timestamps else { return false };
    let (first, last) = (c.ts_val(c.created_at), c.ts_val(now));
    c.agreed.timestamps && echo != 0 && (seq::before(echo, first) || seq::after(echo, last))
}

/// Takes over what the peer's SYN says.
fn agree(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) {
    let options = &segment.options;
    c.irs = segment.seq;
    c.set_rcv_acked(0);
    c.agreed.sack &= options.sack_permitted;
    c.agreed.scaling &= options.window_scale.is_some();
    c.agreed.snd_wscale = if c.agreed.scaling { options.window_scale.unwrap_or(0).min(14) } else { 0 };
    if !c.agreed.scaling {
        c.agreed.rcv_wscale = 0;
    }
    match options.timestamps {
        Some((val, _)) if c.agreed.timestamps => {
            c.ts_recent = val;
            c.note_ts_recent(now);
        }
        _ => c.agreed.timestamps = false,
    }
    let marked = c.agree_on_ecn(&cx.settings, segment);
    c.set_peer_mss(cx, options.mss);
    if marked {
        let out = c.congestion.cwnd();
        c.answer_marks(cx, out);
    }
    // RFC 9293 MUST-48 in RFC 7323's words: the window of a SYN is never scaled.
    c.snd_wnd = u32::from(segment.window);
    c.note_largest_window(cx, c.snd_wnd);
    c.snd_wl1 = 0;
}

/// Our SYN was acknowledged by the peer's.
fn established(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    let mut summary = AckSummary::default();
    let ack = seq::expand(c.iss, c.snd_una, segment.ack);
    c.rtx.acknowledge(ack, &mut summary);
    c.rtx.rest(&mut cx.pool);
    c.snd_una = ack;
    c.snd_wl2 = ack as u32;
    if let Some(at) = summary.rtt_sent_at {
        c.rtt.sample(now.nanos_since(at), now, &cx.settings);
    }
    after_lost_syn(c, cx);
    if c.facts.syn_resent() {
        c.note_reduction();
    }
    c.retries = 0;
    c.backoff = 0;
    c.trouble_since = Known::NOT;
    c.timers.stop(Timer::Retransmit);
    c.enter(cx, now, State::Established);
    c.announce(Ready::WRITABLE);
    c.ack_now(SendReason::Ack);
    if c.snd_nxt > 1 {
        settle_early_data(c, cx, now, ack);
    }
    after_open(c, cx, now);
    take_early_data(c, cx, now, segment)
}

/// What became of our SYN's data (RFC 7413 4.2.1): what the SYN,ACK does not acknowledge goes out again at once, and says
/// nothing of congestion.
fn settle_early_data(c: &mut Connection, cx: &mut Cx, now: Instant, ack: Pos) {
    c.send.release(&mut cx.pool, ack);
    c.facts.set_early_data(ack > 1);
    c.delivered += (ack - 1) as u64;
    c.announce_room(cx);
    if ack == c.snd_nxt {
        cx.counters.tcp_fast_open_active += 1;
        return;
    }
    cx.counters.tcp_fast_open_active_fail += 1;
    c.recovery.reason = RetransmitReason::EarlyData;
    c.rtx.mark_all_lost(false);
    c.trouble_since = Known::at(now);
}

/// Both sides open at once (RFC 9293 MUST-10, figure 7).
fn crossed(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    c.enter(cx, now, State::SynReceived);
    // Only a server that knows its client by a cookie may send before the handshake is over (RFC 7413 4.2.2).
    c.facts.set_fast_open(false);
    c.rtx.mark_all_lost(false);
    c.facts.set_syn_due(true);
    c.retries = 0;
    c.backoff = 0;
    c.restart_retransmit(cx, now);
    take_early_data(c, cx, now, segment)
}

/// Text and FIN of a SYN wait for the handshake's end (RFC 9293 3.10.7.3): they are dropped here, and
/// the peer sends them again, unless the handshake has ended with this segment.
fn take_early_data(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    if c.state != State::Established || (segment.payload.bytes.is_empty() && !segment.flags.fin()) {
        return Outcome::Keep;
    }
    let mut rest = *segment;
    rest.flags = rest.flags.without(finack_wire::tcp::Flags::SYN);
    rest.seq = rest.seq.wrapping_add(1);
    let placed = super::Placed { segment: &rest, start: 1, end: 1 + i64::from(rest.len()), scaled: false };
    // The window that our SYN offered holds for it.
    super::on_acceptable(c, cx, now, &placed)
}

/// What the handshake's loss, if any, leaves behind (RFC 6298 5.7, RFC 5681 3.1).
pub(super) fn after_lost_syn(c: &mut Connection, cx: &Cx) {
    if c.facts.syn_resent() {
        c.rtt.after_lost_syn();
        // A lost SYN or SYN,ACK is a sign of congestion. Linux lets one pass, which may only have been late.
        if c.facts.syn_resent_again() || cx.settings.profile == Profile::Rfc {
            c.congestion = c.congestion.anew(u64::from(c.mss));
        }
    }
}

/// Timers that start with ESTABLISHED.
pub(super) fn after_open(c: &mut Connection, cx: &mut Cx, now: Instant) {
    if c.facts.fin_queued() {
        c.enter(cx, now, State::FinWait1);
    }
    if c.ack.ato == 0 {
        c.ack.data_at = now;
    }
    // A scalable controller needs more feedback than this peer may give.
    c.switch_congestion(cx, c.congestion.kind());
    c.grow_send_buffer(cx);
    c.begin_window(cx);
    c.start_keepalive(cx, now);
    c.begin_search(cx, now, c.listener == u32::MAX);
}

//! What to send next (RFC 9293 3.8.6, 3.10): decided purely, then committed.

use core::cmp::Ordering;

use finack_wire::tcp::{Flags, MAX_OPTIONS_LEN};
use finack_wire::tcp_options::TcpOptions;

use super::State;
use super::congestion::Control;
use super::recovery::Phase;
use super::send::{Marks, Sent, SentState};
use super::seq::Pos;
use super::tcb::{Connection, Peak};
use super::timers::Timer;
use crate::cx::Cx;
use crate::settings::Profile;
use crate::time::{Instant, Known};
use crate::trace::{RetransmitReason, SendReason, TraceKind};

/// Linux holds a partial segment back under TCP_CORK for an RTO, for this long at least.
const CORK_LEAST: core::time::Duration = core::time::Duration::from_millis(200);

/// What goes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// SYN, or SYN,ACK once the peer's SYN is here.
    Syn,
    /// Positions that were taken for lost, again.
    Resend { start: Pos, end: Pos },
    /// New data, perhaps with our FIN at its end.
    Data { start: Pos, end: Pos },
    /// New data in a segment that is larger than the others, to see whether the path takes it (RFC 4821).
    MtuProbe { start: Pos, end: Pos },
    /// Something old that the peer must answer: a zero-window or keep-alive probe.
    Probe(SendReason),
    /// A bare ACK.
    Ack(SendReason),
}

/// What is to be done about sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This goes out.
    Send(Plan),
    /// There is something, but its time has not come (see [`super::pacer`]).
    NotBefore(Instant),
    /// Nothing goes until something happens.
    Idle,
}

/// Decides. Nothing is changed.
pub(crate) fn next_segment(c: &Connection, cx: &Cx, now: Instant) -> Next {
    let held = c.held_until(now).filter(|_| c.state.is_synchronized());
    match (data_segment(c, cx), held) {
        (Some(plan), Some(at)) if !goes_at_any_time(c, &plan) => {
            control_segment(c).map_or(Next::NotBefore(at), Next::Send)
        }
        (Some(plan), _) => Next::Send(plan),
        (None, _) => control_segment(c).map_or(Next::Idle, Next::Send),
    }
}

/// Whether all that was written and not sent fits a segment, and nothing has to be said or done before: then
/// [`next_segment`] plans to send just that, up to the position that is answered. `None`: it must look.
#[inline]
pub(crate) fn small_write(c: &Connection, cx: &Cx) -> Option<Pos> {
    let end = c.send.end();
    goes_at_once(c, cx, end - c.snd_nxt, c.facts.more()).then_some(end)
}

/// [`small_write`] of `data` bytes that are written, or are about to be; `more` holds what does not fill a segment back.
#[inline(always)]
pub(crate) fn goes_at_once(c: &Connection, cx: &Cx, data: Pos, more: bool) -> bool {
    let facts = &c.facts;
    let due = facts.syn_due() | facts.loss_probe_due() | facts.fin_queued();
    let held = c.rare.as_deref().is_some_and(|rare| rare.pacer.is_some() || rare.search.is_some());
    if due || data <= 0 || data > Pos::from(c.mss) || held || c.ecn.is_some() {
        return false;
    }
    let calm = c.snd_una > 0 && c.state.is_synchronized() && c.rtx.lost() == 0 && c.send.is_plain();
    let fits = c.snd_nxt + data <= c.snd_edge() && c.in_flight() + data as u64 <= c.congestion.cwnd();
    let goes = || data == Pos::from(c.mss) || facts.push_small() || may_send_small(c, cx, false, more);
    calm && fits && goes()
}

/// Pacing is about data that the window lets go: not about what is sent for want of an answer.
fn goes_at_any_time(c: &Connection, plan: &Plan) -> bool {
    let after_timeout = c.recovery.phase == Phase::Loss && c.backoff > 0;
    match plan {
        Plan::Resend { start, .. } => c.facts.loss_probe_due() || (after_timeout && *start == c.snd_una),
        Plan::Data { .. } => c.facts.loss_probe_due(),
        Plan::MtuProbe { .. } => false,
        _ => true,
    }
}

/// What has data, or a SYN or FIN.
fn data_segment(c: &Connection, cx: &Cx) -> Option<Plan> {
    if c.facts.syn_due() {
        return Some(Plan::Syn);
    }
    if !c.state.is_synchronized() {
        // RFC 7413 4.2.2: who was opened by a good cookie may send before the handshake is over.
        if c.state == State::SynReceived
            && c.facts.fast_open()
            && c.rtx.lost() == 0
            && let Some(Plan::Data { start, end }) = new_data(c, cx)
        {
            return Some(Plan::Data { start, end: end.min(c.send.end()) }).filter(|_| start < c.send.end());
        }
        return None;
    }
    if c.facts.loss_probe_due()
        && let Some(probe) = c.loss_probe()
    {
        let (start, end) = (probe.start, probe.end);
        return Some(if start == c.snd_nxt {
            Plan::Data { start, end }
        } else {
            Plan::Resend { start, end }
        });
    }
    if let Some(reason) = c.ack.now
        && c.ecn.as_ref().is_some_and(|ecn| ecn.wants_pure_ack())
    {
        return Some(Plan::Ack(reason));
    }
    let holds = c.recovery.holds_repeats();
    if !holds && let Some(plan) = resend(c, cx) {
        return Some(plan);
    }
    if holds || c.rtx.lost() == 0 { c.mtu_probe(cx).or_else(|| new_data(c, cx)) } else { None }
}

/// What has none.
fn control_segment(c: &Connection) -> Option<Plan> {
    if !c.state.is_synchronized() {
        // Simultaneous open: an ACK may still be owed (RFC 9293 3.10.7.4).
        return c.ack.now.filter(|_| c.state == State::SynReceived).map(Plan::Ack);
    }
    if c.facts.probe_due() {
        return Some(Plan::Probe(SendReason::WindowProbe));
    }
    if c.facts.keepalive_due() {
        return Some(Plan::Probe(SendReason::KeepAlive));
    }
    c.ack.now.map(Plan::Ack)
}

fn resend(c: &Connection, cx: &Cx) -> Option<Plan> {
    if c.rtx.lost() == 0 {
        return None;
    }
    let unit = c.rtx.first_lost_run(u64::from(c.mss))?;
    let first = unit.start == c.snd_una;
    // RFC 9293 MUST-34: a peer that took its window back gets the first segment again and again, no more.
    if !first && unit.end > c.snd_edge() {
        return None;
    }
    let room = c.congestion.cwnd().saturating_sub(c.in_flight());
    let mss = Pos::from(c.mss);
    // The first segment goes out whatever the window: nothing else can bring news.
    let room = if first { room.max(mss as u64) } else { room } as Pos;
    if room < mss.min(unit.end - unit.start) {
        return None;
    }
    let end = unit.end.min(unit.start + room / mss * mss).min(unit.start + c.burst(cx));
    let end = if end <= unit.start { unit.end.min(unit.start + mss) } else { end };
    Some(Plan::Resend { start: unit.start, end })
}

fn new_data(c: &Connection, cx: &Cx) -> Option<Plan> {
    let (start, end) = (c.snd_nxt, c.snd_end());
    let all = end - start;
    if all <= 0 || c.waits_for_timer() {
        return None;
    }
    let mss = Pos::from(c.mss);
    let window = c.snd_edge() - start;
    // A SYN,ACK that is still out takes no room from the data that a fast open lets go before the handshake is over.
    let in_flight = c.in_flight();
    let in_flight = in_flight - u64::from(c.snd_una == 0 && in_flight > 0);
    let cwnd_room = c.congestion.cwnd().saturating_sub(in_flight) as Pos;
    // What is in front of the end of a record goes alone; the record that others follow need not wait for more.
    let record = c.send.record_end(start).filter(|&end| end < c.send.end());
    let data = record.unwrap_or(c.send.end()) - start;
    if data <= 0 {
        // Only the FIN is left. It occupies a sequence number, so the window counts for it.
        return (window >= 1).then_some(Plan::Data { start, end });
    }
    let mut limit = data.min(window).min(cwnd_room);
    if limit > mss {
        limit = limit.min(c.burst(cx)).min(c.rest_of_unit(start).max(mss));
    }
    if limit <= 0 {
        return None;
    }
    if limit < data {
        // Not all of it goes now: whole segments only, unless the window is small for good.
        let whole = if limit < mss { 0 } else { limit / mss * mss };
        if whole > 0 {
            return Some(Plan::Data { start, end: start + whole });
        }
        let by_window = limit == window && limit < cwnd_room.min(mss);
        let half = by_window && limit >= Pos::from(c.snd_max_wnd / 2) && c.snd_nxt == c.snd_una;
        return (half || (by_window && c.facts.push_small()))
            .then_some(Plan::Data { start, end: start + limit });
    }
    let tail = match data.cmp(&mss) {
        Ordering::Less => data,
        Ordering::Equal => 0,
        Ordering::Greater => data % mss,
    };
    let fin = c.facts.fin_queued() && record.is_none();
    let small = || may_send_small(c, cx, data > tail, c.facts.more());
    if tail == 0 || fin || record.is_some() || c.facts.push_small() || small() {
        let end = if fin && window > data { end } else { start + data };
        return Some(Plan::Data { start, end });
    }
    (data > tail).then_some(Plan::Data { start, end: start + data - tail })
}

/// Nagle's algorithm (RFC 9293 3.7.4), in Minshall's variant as Linux has it: a partial segment waits while an
/// earlier partial one is out; under the RFC's profile while anything is out. CORK and MSG_MORE (`more`) hold it always.
fn may_send_small(c: &Connection, cx: &Cx, follows_full: bool, more: bool) -> bool {
    if c.options.cork || more {
        return false;
    }
    if c.options.nodelay || c.rare().snd_up.is_some_and(|up| up > c.snd_nxt) {
        return true;
    }
    match cx.settings.profile {
        Profile::Linux => c.rtx.small <= c.snd_una,
        Profile::Rfc => c.snd_nxt == c.snd_una && !follows_full,
    }
}

/// [`commit`] of what [`small_write`] found: everything up to `end`. Answers whether it is sent with PSH.
pub(crate) fn commit_small(c: &mut Connection, cx: &mut Cx, now: Instant, end: Pos) -> bool {
    let start = c.snd_nxt;
    debug_assert_eq!(next_segment(c, cx, now), Next::Send(Plan::Data { start, end }));
    // The last byte that was written, in a buffer where nothing else is marked.
    let push = !c.facts.unpushed();
    send_out(c, cx, now, start, end, if push { Marks::PUSH } else { Marks::default() });
    if end - start != Pos::from(c.mss) {
        note_small(c, end);
    }
    c.stats.bytes_sent += (end - start) as u64;
    c.schedule_loss_probe(cx, now);
    c.timers.stop(Timer::Cork);
    c.announce_room(cx);
    c.times.last_send_at = now;
    push
}

/// Carries a plan out, up to the point where headers are written.
pub(crate) fn commit(c: &mut Connection, cx: &mut Cx, now: Instant, plan: &Plan) {
    match *plan {
        Plan::Syn => commit_syn(c, cx, now),
        Plan::Resend { start, end } => commit_resend(c, cx, now, start, end),
        Plan::Data { start, end } => commit_data(c, cx, now, start, end),
        Plan::MtuProbe { start, end } => {
            let small = c.rtx.small;
            commit_data(c, cx, now, start, end);
            note_small(c, small);
            c.mtu_probe_sent(cx, start, end);
        }
        Plan::Probe(reason) => {
            if reason == SendReason::WindowProbe {
                c.facts.set_probe_due(false);
                cx.counters.tcp_window_probes += 1;
            } else {
                c.facts.set_keepalive_due(false);
            }
        }
        Plan::Ack(_) => {}
    }
    if matches!(plan, Plan::Syn | Plan::Resend { .. } | Plan::Data { .. } | Plan::MtuProbe { .. }) {
        c.times.last_send_at = now;
    }
}

fn commit_syn(c: &mut Connection, cx: &mut Cx, now: Instant) {
    c.facts.set_syn_due(false);
    if c.snd_nxt == 0 {
        c.snd_nxt = 1;
        c.rtx.begin(&mut cx.pool, c.created_at);
        c.rtx.push(&mut cx.pool, unit(c, now, 0, 1, Marks::SYN));
        let data = c.early_len(cx, now);
        if data > 0 {
            c.rtx.push(&mut cx.pool, unit(c, now, 1, 1 + data, Marks::PUSH));
            c.snd_nxt = 1 + data;
            c.stats.bytes_sent += data as u64;
        }
    } else {
        let state = sent_state(c, now, c.in_flight());
        c.rtx.resent(0, 1, &state);
        // The first SYN,ACK of a simultaneous open repeats the SYN's number, but nothing was lost.
        if c.state == State::SynSent || c.retries > 0 {
            c.facts.set_syn_resent_again(c.facts.syn_resent());
            c.facts.set_syn_resent(true);
            note_resent(c, cx, now, 0, 1, RetransmitReason::Handshake);
        }
    }
    if !c.timers.is_armed(Timer::Retransmit) {
        c.restart_retransmit(cx, now);
    }
}

fn unit(c: &Connection, now: Instant, start: Pos, end: Pos, marks: Marks) -> Sent {
    let state = sent_state(c, now, c.in_flight() + (end - start) as u64);
    Sent::new(start, end, marks, &state)
}

/// What a unit that is sent now remembers (draft-ietf-ccwg-bbr 4.1.2.2), with which `in_flight` bytes are.
fn sent_state(c: &Connection, now: Instant, in_flight: u64) -> SentState {
    SentState {
        sent_at: now,
        delivered: c.delivered,
        delivered_at: c.rtx.delivered_at,
        first_sent_at: c.rtx.first_sent_at,
        in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
        lost: c.rtx.lost_ever(),
        app_limited: c.app_limited_until != 0,
    }
}

fn commit_data(c: &mut Connection, cx: &mut Cx, now: Instant, start: Pos, end: Pos) {
    let mss = Pos::from(c.mss);
    let has_fin = c.fin_pos().is_some_and(|fin| fin < end);
    let data_end = end.min(c.send.end());
    let data = data_end - start;
    let mut marks = if has_fin { Marks::FIN } else { Marks::default() };
    if c.send.is_record_end(data_end) {
        marks = marks.with(Marks::RECORD_END);
    }
    if c.pushes(data_end) {
        marks = marks.with(Marks::PUSH);
    }
    send_out(c, cx, now, start, end, marks);
    // Divisions are spared where comparing does.
    if data != 0 && data != mss && (data < mss || data % mss != 0) {
        note_small(c, data_end);
    }
    c.stats.bytes_sent += data.max(0) as u64;
    if c.facts.loss_probe_due() {
        c.loss_probe_sent(cx, now, false);
    } else {
        c.schedule_loss_probe(cx, now);
    }
    if end == c.snd_end() {
        c.timers.stop(Timer::Cork);
    }
    // Less is unsent now, which TCP_NOTSENT_LOWAT may have waited for.
    c.announce_room(cx);
}

/// A segment that was not full ends at `end`.
#[inline]
fn note_small(c: &mut Connection, end: Pos) {
    if let Some(flight) = c.rtx.awake() {
        flight.small = end;
    }
}

/// New data is on its way: what recovery, congestion control and the retransmission timer make of that.
#[inline(always)]
fn send_out(c: &mut Connection, cx: &mut Cx, now: Instant, start: Pos, end: Pos, marks: Marks) {
    let in_flight = c.in_flight();
    let bytes = (end - start) as u64;
    let alone = c.rtx.is_empty();
    if alone {
        if c.recovery.phase == Phase::Open {
            c.end_episode();
        }
        c.rtx.begin(&mut cx.pool, now);
        c.trouble_since = Known::at(now);
    }
    let state = sent_state(c, now, in_flight + bytes);
    c.rtx.push(&mut cx.pool, Sent::new(start, end, marks, &state));
    c.snd_nxt = end;
    c.note_sent_in_recovery(bytes, false, now);
    let limited = note_use(c, end, if c.agreed.sack { in_flight + bytes } else { c.in_flight() });
    c.facts.set_push_small(false);
    c.facts.set_probe_due(false);
    c.tell_sending(now, bytes, in_flight, limited);
    c.pace(cx, now, start, end);
    // Answering soon after something came makes the connection interactive (Linux's pingpong mode).
    if now.nanos_since(c.ack.data_at) < c.ack.ato {
        c.ack.interactive = true;
    }
    if alone || !c.timers.is_armed(Timer::Retransmit) {
        c.backoff = 0;
        c.probes = 0;
        c.restart_retransmit(cx, now);
    }
}

/// How much of the window is made use of, now that everything up to `end` is out; answers whether the window keeps the
/// sender from sending more. As on Linux that holds for a whole flight, for ACKs may come in batches.
#[inline]
fn note_use(c: &mut Connection, end: Pos, in_flight: u64) -> bool {
    let out = u32::try_from(end - c.snd_una).unwrap_or(u32::MAX);
    let limited = c.snd_end() > end && c.congestion.cwnd() < in_flight + u64::from(c.mss);
    let is_over = (c.snd_una as u32).wrapping_sub(c.peak.until) as i32 >= 0;
    if limited || is_over || !c.facts.peak_limited() && out > c.peak.bytes {
        c.peak = Peak { bytes: out, until: end as u32 };
        c.facts.set_peak_limited(limited);
    }
    limited
}

/// RFC 5681 4.1: after a pause the window says nothing of the path any more. Called before deciding. As on Linux a pause
/// ends when something is written: data that a closed window held back was no pause. Answers whether the window was reduced.
#[inline]
pub(crate) fn restart_after_idle(c: &mut Connection, cx: &Cx, now: Instant) -> bool {
    c.facts.take_written() && restart(c, cx, now)
}

#[inline]
fn restart(c: &mut Connection, cx: &Cx, now: Instant) -> bool {
    let initial = || super::tcb::initial_cwnd(cx.settings.tcp_initial_cwnd, c.mss);
    if let Some(validation) = c.rare.as_deref_mut().and_then(|rare| rare.validation.as_mut()) {
        // RFC 7661 4.4.3: by half for each five minutes, which is what on_idle does.
        let times = validation.on_resume(now, c.times.last_send_at);
        if times > 0 {
            c.congestion.on_idle(times, initial());
        }
        return times > 0;
    }
    let (rto, idle) = (c.rtt.base_us() * 1_000, now.nanos_since(c.times.last_send_at));
    let starts = c.rtx.is_empty() && c.snd_nxt > 1 && c.send.end() > c.snd_nxt;
    let rests = idle > rto && starts && cx.settings.tcp_slow_start_after_idle == 1;
    if rests {
        // Linux halves the window for each RTO, the RFC takes all of it back at once.
        let rtos = match cx.settings.profile {
            Profile::Linux => idle / rto.max(1),
            Profile::Rfc => u64::from(u32::MAX),
        };
        c.congestion.on_idle(rtos as u32, initial());
    }
    rests
}

fn commit_resend(c: &mut Connection, cx: &mut Cx, now: Instant, start: Pos, end: Pos) {
    if c.facts.loss_probe_due() {
        c.recovery.reason = RetransmitReason::LossProbe;
    }
    let (reason, fast) = (c.recovery.reason, c.recovery.phase == Phase::Recovery);
    let in_flight = c.in_flight();
    let state = sent_state(c, now, in_flight + (end - start) as u64);
    c.rtx.resent(start, end, &state);
    c.tell_sending(now, (end - start) as u64, in_flight, false);
    c.pace(cx, now, start, end);
    c.note_sent_in_recovery((end - start) as u64, true, now);
    note_resent(c, cx, now, start, end, reason);
    if c.facts.loss_probe_due() {
        c.loss_probe_sent(cx, now, true);
    } else if fast && start == c.snd_una || !c.timers.is_armed(Timer::Retransmit) {
        // As Linux, and as RFC 6675 6 allows: the oldest has its whole time again.
        c.restart_retransmit(cx, now);
    }
}

fn note_resent(
    c: &mut Connection,
    cx: &mut Cx,
    now: Instant,
    start: Pos,
    end: Pos,
    reason: RetransmitReason,
) {
    let bytes = (end - start) as u64;
    let segments = bytes.div_ceil(u64::from(c.mss.max(1)));
    // SYN and FIN take a sequence number each, but are no payload.
    let payload = (end.min(c.send.end()) - start.max(1)).max(0) as u64;
    c.stats.bytes_sent += payload;
    let rare = c.rare_mut();
    rare.bytes_retrans += payload;
    rare.retrans_segs = rare.retrans_segs.saturating_add(segments as u32);
    cx.counters.tcp_retrans_segs += segments;
    cx.counters.count_retransmit(reason);
    let kind = TraceKind::Retransmit { reason, seq: c.snd_seq(start), len: bytes as u32 };
    cx.trace(now, c.trace_id, &c.tuple, kind);
}

/// After sending has come to a stop: which timer will bring it on again?
pub(crate) fn after_output(c: &mut Connection, cx: &Cx, now: Instant) {
    c.note_limit(now);
    let unsent = c.snd_end() > c.snd_nxt;
    if !unsent || !c.state.is_synchronized() {
        return;
    }
    let blocked_by_window = c.snd_edge() - c.snd_nxt < Pos::from(c.mss).min(c.snd_end() - c.snd_nxt);
    if c.rtx.is_empty() && (blocked_by_window || c.waits_for_timer()) {
        // RFC 9293 MUST-35 to MUST-37: probe, first after an RTO, then ever more rarely. RFC 3168 6.1.2: or the timer lets a
        // segment go.
        if !c.timers.is_armed(Timer::Retransmit) {
            c.trouble_since.get_or_insert(now);
            let rto = c.rto(cx);
            c.timers.arm(Timer::Retransmit, now + rto);
        }
    } else if c.rtx.is_empty() && (c.options.cork || c.facts.more()) {
        let wait = c.rto(cx).max(CORK_LEAST);
        c.timers.arm_earlier(Timer::Cork, now + wait);
    }
}

/// Room for SACK blocks in a segment without data.
pub(crate) const ALL_ROOM: usize = 40;

/// Fills in the options of a segment, which are none so far; `room` is what SACK blocks may take beside the data, in
/// bytes. Answers whether the segment tells all that there is to tell: a full one has no room for blocks.
pub(crate) fn options(c: &Connection, cx: &Cx, now: Instant, room: usize, options: &mut TcpOptions) -> bool {
    if c.agreed.timestamps {
        options.timestamps = Some((c.ts_val(now), c.ts_recent));
    }
    let told = !c.agreed.sack || add_sack_blocks(c, cx, room, options);
    if c.ecn.is_some() {
        let reserved = ecn_options_len(c);
        let free = (MAX_OPTIONS_LEN - (data_options_len(c) - reserved)).min(room + reserved);
        c.add_byte_counters(cx, now, free, options);
    }
    told
}

/// The timestamps that [`options`] comes to where there is nothing else to tell; `None` where there may be more.
pub(crate) fn plain_options(c: &Connection, now: Instant) -> Option<Option<(u32, u32)>> {
    let more =
        c.auth_len > 0 || c.ecn.is_some() || c.agreed.sack && (c.rare().dsack.is_some() || c.recv.has_gap());
    (!more).then(|| c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent)))
}

/// Bytes that the byte counters of accurate ECN have in each segment.
fn ecn_options_len(c: &Connection) -> usize {
    c.ecn.as_ref().map_or(0, |ecn| ecn.reserve.into())
}

/// Bytes of the options of a segment with data.
pub(crate) fn data_options_len(c: &Connection) -> usize {
    // Two NOPs and the option (RFC 7323 appendix A).
    let timestamps = if c.agreed.timestamps { 12 } else { 0 };
    timestamps + c.auth_len as usize + ecn_options_len(c)
}

/// RFC 2018 4, RFC 2883 4: a duplicate first, then the blocks, the latest first. Three fit beside timestamps.
fn add_sack_blocks(c: &Connection, cx: &Cx, room: usize, options: &mut TcpOptions) -> bool {
    let duplicate = c.rare().dsack.filter(|_| cx.settings.tcp_dsack == 1);
    let blocks = duplicate.into_iter().chain(c.recv.sack_blocks().iter().copied());
    // Two NOPs, kind and length, and eight bytes for each block; a signature may leave no room at all.
    let others = data_options_len(c) - ecn_options_len(c);
    let most = (MAX_OPTIONS_LEN - others).saturating_sub(4) / 8;
    let fit = room.saturating_sub(4) / 8;
    let mut told = true;
    for (start, end) in blocks.take(most) {
        if options.sack.len() == fit {
            told = fit > 0;
            break;
        }
        // A FIN that came with the data occupies the number behind it.
        let end = end + Pos::from(c.rcv_fin() == end && !c.facts.fin_received());
        options.sack.push(c.rcv_seq(start), c.rcv_seq(end));
    }
    told
}

/// The options of our SYN or SYN,ACK.
pub(crate) fn syn_options(c: &Connection, now: Instant, our_mss: u16) -> TcpOptions {
    TcpOptions {
        mss: Some(our_mss),
        window_scale: c.agreed.scaling.then_some(c.agreed.rcv_wscale),
        sack_permitted: c.agreed.sack,
        timestamps: c.agreed.timestamps.then(|| (c.ts_val(now), c.ts_recent)),
        ..TcpOptions::default()
    }
}

/// The URG flag and pointer for a segment that begins at `start` (RFC 9293 3.8.5).
pub(crate) fn urgent(c: &Connection, cx: &Cx, start: Pos) -> (Flags, u16) {
    let Some(up) = c.rare().snd_up.filter(|&up| up > start) else { return (Flags::default(), 0) };
    // Linux points behind the last urgent byte (RFC 6093 3.1), tcp_stdurg=1 at it.
    let distance = up - start - Pos::from(cx.settings.tcp_stdurg == 1);
    (Flags::URG, u16::try_from(distance).unwrap_or(u16::MAX))
}

/// An ACK has just gone out with a segment. Where it had no room for the SACK blocks that were due (`told` is false), a
/// bare one follows (RFC 2018 4).
#[inline(always)]
pub(crate) fn acknowledged(c: &mut Connection, told: bool) {
    c.set_rcv_acked(c.ack_pos());
    if c.ack.pending && c.ack.quick > 0 {
        c.ack.quick -= 1;
        if c.ack.quick == 0 {
            c.ack.ato = super::tcb::ATO_MIN;
        }
    }
    c.ack.pending = false;
    c.ack.pushed = 0;
    if told {
        c.ack.now = None;
        c.forget_duplicate();
    }
    c.timers.stop(Timer::DelayedAck);
}

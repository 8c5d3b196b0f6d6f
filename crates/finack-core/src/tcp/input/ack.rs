//! ACK (RFC 9293 3.10.7.4 fifth): what it acknowledges, and what recovery and congestion control make of it.

use core::time::Duration;

use super::{Arrival, Outcome, Placed, challenge, paws, syn_sent};
use crate::cx::Cx;
use crate::settings::Profile;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::congestion::{Control, Delivery};
use crate::tcp::ecn::Marked;
use crate::tcp::rate::RateSample;
use crate::tcp::recovery::{AckEvent, Phase, Progress, Situation, Verdict};
use crate::tcp::repair::Delivered;
use crate::tcp::send::{AckSummary, SentState};
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::{Connection, ts_clock};
use crate::tcp::timers::Timer;
use crate::time::{Instant, Known};
use crate::trace::{DropReason, EndCause, ResetReason};

/// Whether the rest of the segment is looked at.
pub(super) enum Disposition {
    Go,
    Drop,
    End(Outcome),
}

pub(super) fn process(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Disposition {
    let ack = seq::expand(c.iss, c.snd_una, placed.segment.ack);
    if c.state == State::SynReceived {
        if ack <= c.snd_una || ack > c.snd_nxt {
            return Disposition::End(Outcome::RefuseSegment(ResetReason::HandshakeAck));
        }
        c.snd_wl1 = placed.start as u32;
        c.enter(cx, now, State::Established);
        c.announce(Ready::WRITABLE);
        syn_sent::after_open(c, cx, now);
        let disposition = take(c, cx, now, placed, ack);
        if c.ecn.is_some() && placed.scaled {
            c.take_third_ack(cx, placed.segment);
        }
        if c.reserve_for_counters(&cx.settings) {
            c.resize_segments(cx);
        }
        syn_sent::after_lost_syn(c, cx);
        return disposition;
    }
    take(c, cx, now, placed, ack)
}

fn take(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>, ack: Pos) -> Disposition {
    if ack > c.snd_nxt {
        // RFC 5961 5.2 sharpens RFC 9293's plain ACK; both drop the segment.
        challenge(c, cx, now, DropReason::AckBeyondSent);
        return Disposition::Drop;
    }
    if ack < c.snd_una - Pos::from(c.snd_max_wnd) {
        challenge(c, cx, now, DropReason::AckTooOld);
        return Disposition::Drop;
    }
    c.probes = 0;
    let stamped_later = is_stamped_later(c, placed);
    paws::update(c, now, placed);
    let shift = if placed.scaled { c.agreed.snd_wscale } else { 0 };
    let window = u32::from(placed.segment.window) << shift;
    let window_moved = update_window(c, cx, now, window, placed.start, ack);
    if ack >= c.snd_una {
        acknowledge(c, cx, now, placed, ack, Moved { window: window_moved, stamp: stamped_later });
    } else if c.agreed.sack && !placed.segment.options.sack.is_empty() {
        // It was overtaken, but what it reports is news all the same.
        acknowledge(c, cx, now, placed, c.snd_una, Moved { window: false, stamp: false });
    }
    match after_fin_acked(c, cx, now) {
        Some(outcome) => Disposition::End(outcome),
        None => Disposition::Go,
    }
}

/// [`process`] of a segment that was expected: it begins at RCV.NXT, `ack` lies between SND.UNA and SND.NXT and acknowledges no
/// FIN, it has neither SACK blocks nor anything about marks, and its timestamp is not older than the last. Answers whether there was anything new in it
/// for the sending side.
#[inline(always)]
pub(super) fn take_expected(
    c: &mut Connection,
    cx: &mut Cx,
    now: Instant,
    arrival: &Arrival<'_>,
    ack: Pos,
) -> bool {
    let start = c.recv.next();
    c.probes = 0;
    if let Some((value, _)) = arrival.text.timestamps
        && start <= c.rcv_acked()
    {
        c.ts_recent = value;
        c.note_ts_recent(now);
    }
    let window = u32::from(arrival.window) << c.agreed.snd_wscale;
    let moved = update_window(c, cx, now, window, start, ack);
    if is_idle(c, cx, ack) {
        return moved;
    }
    if !advance(c, cx, now, ack) {
        let segment = arrival.segment();
        let placed = Placed { segment: &segment, start, end: start + Pos::from(segment.len()), scaled: true };
        acknowledge_step_by_step(c, cx, now, &placed, ack, Moved { window: moved, stamp: false });
    }
    true
}

/// [`take_expected`] of segments that repeat the ACK of one that was taken, where nothing is out; the last of them begins at
/// `start`.
#[inline]
pub(super) fn take_repeated(c: &mut Connection, cx: &Cx, now: Instant, arrival: &Arrival<'_>, start: Pos) {
    debug_assert!(arrival.ack == c.snd_seq(c.snd_una) && c.rtx.is_empty());
    let window = u32::from(arrival.window) << c.agreed.snd_wscale;
    let moved = update_window(c, cx, now, window, start, c.snd_una);
    debug_assert!(!moved, "it is what it was");
}

/// SND.WND is `window` from now on, unless the segment, which begins at `start`, is older than the one that set it. Answers
/// whether it changed.
#[inline]
fn update_window(c: &mut Connection, cx: &Cx, now: Instant, window: u32, start: Pos, ack: Pos) -> bool {
    let since = (start as u32).wrapping_sub(c.snd_wl1) as i32;
    let newer = since > 0 || since == 0 && (ack as u32).wrapping_sub(c.snd_wl2) as i32 >= 0;
    if ack < c.snd_una || !(newer || ack > c.snd_una) {
        return false;
    }
    (c.snd_wl1, c.snd_wl2) = (start as u32, ack as u32);
    let changed = window != c.snd_wnd;
    if changed || window > c.snd_max_wnd {
        change_window(c, cx, now, window, changed);
    }
    changed
}

fn change_window(c: &mut Connection, cx: &Cx, now: Instant, window: u32, changed: bool) {
    if window > 0 && changed && c.rtx.is_empty() {
        // The window opened: probing is over.
        c.backoff = 0;
        c.timers.stop(Timer::Retransmit);
    } else if window > 0 && c.snd_wnd == 0 && !c.facts.orphan() {
        // What the peer would not take while its window was closed goes again soon, and R2 counts from now. An orphan
        // has its time, or a peer that opens and closes its window could keep it for ever.
        c.backoff = 0;
        c.retries = 0;
        c.trouble_since = Known::at(now);
        c.restart_retransmit(cx, now);
    }
    c.snd_wnd = window;
    c.note_largest_window(cx, window);
}

/// The send side before an ACK. Bytes.
struct Before {
    in_flight: u64,
    /// FlightSize.
    out: u64,
    sacked: u64,
    left: u64,
}

impl Before {
    fn new(c: &Connection) -> Self {
        Self {
            in_flight: c.in_flight(),
            out: (c.snd_nxt - c.snd_una) as u64,
            sacked: c.rtx.sacked(),
            left: c.recovery.left_network(u64::from(c.mss)),
        }
    }

    /// DeliveredData (RFC 9937 6.2), `acked` positions cumulatively.
    fn delivered(&self, c: &Connection, acked: u64) -> u64 {
        let left = if c.agreed.sack { 0 } else { c.recovery.left_network(u64::from(c.mss)) };
        let before = if c.agreed.sack { self.sacked } else { self.left };
        (acked + c.rtx.sacked() + left).saturating_sub(before)
    }
}

/// What an ACK moved besides SND.UNA.
#[derive(Clone, Copy)]
struct Moved {
    /// SND.WND.
    window: bool,
    /// The peer's clock: the segment was sent after all that came before.
    stamp: bool,
}

/// Whether the segment's timestamp is later than any before.
fn is_stamped_later(c: &Connection, placed: &Placed<'_>) -> bool {
    let stamp = placed.segment.options.timestamps.filter(|_| c.ecn.is_some() && c.agreed.timestamps);
    stamp.is_some_and(|(value, _)| seq::after(value, c.ts_recent))
}

/// Takes an ACK of something new where all that it acknowledges was sent once and arrived in order, and nothing else is
/// known of what is out: the way of nearly all ACKs, by which loss recovery has nothing to look for. Answers false, and has
/// done nothing, where there is more to an ACK or to the connection.
///
/// The caller has seen that `ack` lies between SND.UNA and SND.NXT, that the segment has no SACK blocks, and that it tells of no
/// marks while none are being answered.
#[inline(always)]
fn advance(c: &mut Connection, cx: &mut Cx, now: Instant, ack: Pos) -> bool {
    let calm = ack > c.snd_una && c.recovery.is_calm() && c.rare().search.is_none();
    if !calm || !cx.short_cuts {
        return false;
    }
    let (in_flight, acked) = (c.in_flight(), (ack - c.snd_una) as u64);
    let Some((newest, latest)) = c.rtx.acknowledge_calmly(ack) else { return false };
    c.snd_una = ack;
    c.release_sent(cx, ack);
    c.pass_urgent(ack);
    let rtt = now.nanos_since(newest.at);
    c.recovery.rack.on_next(rtt);
    take_rtt(c, cx, now, rtt);
    if c.facts.reorder_timer() {
        c.timers.stop(Timer::Loss);
    }
    let sample = deliver(c, now, &latest, acked);
    if c.rare.is_some() || !c.congestion.rests_at(u64::from(c.peak.bytes)) {
        let rtt = Some(Duration::from_nanos(rtt));
        let news = News { sample, delivered: acked, in_flight, lost: 0, ce: 0, rtt };
        let delivery = tell_congestion(c, cx, now, &news);
        c.congestion.on_ack(&delivery);
    }
    after_advance(c, cx, now);
    true
}

/// Whether an ACK says nothing, but perhaps of marks: who only receives has nothing out.
#[inline]
fn is_idle(c: &Connection, cx: &Cx, ack: Pos) -> bool {
    ack == c.snd_una && c.rtx.is_empty() && cx.short_cuts
}

fn acknowledge(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>, ack: Pos, moved: Moved) {
    let bare = placed.segment.options.sack.is_empty() && c.ecn.is_none();
    if bare && (is_idle(c, cx, ack) || advance(c, cx, now, ack)) {
        return;
    }
    acknowledge_step_by_step(c, cx, now, placed, ack, moved);
}

fn acknowledge_step_by_step(
    c: &mut Connection,
    cx: &mut Cx,
    now: Instant,
    placed: &Placed<'_>,
    ack: Pos,
    moved: Moved,
) {
    let before = Before::new(c);
    let outstanding = !c.rtx.is_empty();
    let advanced = ack > c.snd_una;
    let mut summary = AckSummary { answers_until: answers_until(c, now, placed), ..AckSummary::default() };
    if advanced {
        c.rtx.acknowledge(ack, &mut summary);
        c.snd_una = ack;
        c.release_sent(cx, ack);
        c.pass_urgent(ack);
    }
    if c.agreed.sack {
        take_sack_blocks(c, cx, placed, &mut summary);
    }
    if let Some((start, end)) = summary.duplicate {
        c.on_reported_duplicate(cx, start, end);
    }
    let marked = if c.ecn.is_some() && placed.scaled && c.state != State::SynReceived {
        read_marks(c, placed, &summary, &before, moved.stamp)
    } else {
        Marked::default()
    };
    if !outstanding && summary.duplicate.is_none() {
        return;
    }
    if advanced && c.rare().search.is_some() {
        c.search_on_ack(cx, now, summary.acked, summary.retransmitted_acked);
    }
    let rtt = sample_rtt(c, cx, now, placed, &summary);
    let duplicate = outstanding && !advanced && !moved.window && placed.end == placed.start;
    let progress = recover(c, cx, now, placed, &summary, &before, duplicate);
    if marked.packets > 0 {
        c.answer_marks(cx, before.out);
    }
    if c.is_reducing() {
        c.reduce_smoothly(before.delivered(c, summary.acked), advanced);
    }
    let delivered = before.delivered(c, summary.acked);
    let sample = summary.latest.and_then(|latest| deliver(c, now, &latest, delivered));
    let news = News {
        sample,
        delivered,
        in_flight: before.in_flight,
        lost: progress.lost,
        ce: marked.bytes,
        // As on Linux: a timestamp's milliseconds are too coarse for this.
        rtt: rtt.filter(|_| !summary.retransmitted_acked),
    };
    let delivery = tell_congestion(c, cx, now, &news);
    if delivered > 0 && may_grow(c, cx, &summary, &progress, &marked) {
        c.congestion.on_ack(&delivery);
    }
    if advanced {
        if rtt.is_none() {
            // RFC 6298 5 (Karn): the backed-off time-out stays until there is a sample.
            c.rtt.keep_backed_off(u32::from(c.backoff), &cx.settings);
        }
        after_advance(c, cx, now);
    }
}

/// SND.UNA went on.
#[inline]
fn after_advance(c: &mut Connection, cx: &mut Cx, now: Instant) {
    c.retries = 0;
    c.backoff = 0;
    c.soft_error = None;
    c.announce_room(cx);
    c.restart_retransmit(cx, now);
    if c.rtx.is_empty() {
        c.rtx.rest(&mut cx.pool);
        c.trouble_since = Known::NOT;
        return;
    }
    c.trouble_since = Known::at(now);
    if !(c.facts.reorder_timer() && c.timers.is_armed(Timer::Loss)) {
        c.schedule_loss_probe(cx, now);
    }
}

/// What the peer reports as marked (RFC 3168 6.1.2, RFC 9768 3.2.2.2).
fn read_marks(
    c: &mut Connection,
    placed: &Placed<'_>,
    summary: &AckSummary,
    before: &Before,
    stamped_later: bool,
) -> Marked {
    let bytes = before.delivered(c, summary.acked);
    let packets = bytes.div_ceil(u64::from(c.mss.max(1))) as u32;
    let news = stamped_later || summary.acked > 0 || summary.newly_sacked > 0;
    c.read_marks(placed.segment, news, packets.max(summary.units), bytes)
}

/// Recovery looks at what arrived, and congestion control hears of it.
fn recover(
    c: &mut Connection,
    cx: &mut Cx,
    now: Instant,
    placed: &Placed<'_>,
    summary: &AckSummary,
    before: &Before,
    duplicate: bool,
) -> Progress {
    let mss = u64::from(c.mss.max(1));
    let rack_advanced = c.recovery.rack.on_delivered(&mut c.rtx, summary, c.snd_una, now, mss);
    let reported = summary.duplicate.map(|(_, end)| end);
    let plain = duplicate && placed.segment.options.sack.is_empty();
    if c.recovery.probe.on_ack(c.snd_una, reported, plain) {
        // RFC 8985 7.4.2: the probe repaired a loss, which is one all the same.
        cx.counters.tcp_loss_probe_recoveries += 1;
        let base = c.reduction_base(cx, before.out);
        c.congestion.on_loss(base, mss);
        c.note_reduction();
    }
    let echo = placed.segment.options.timestamps.filter(|_| c.agreed.timestamps).map(|(_, echo)| echo);
    let event = AckEvent {
        una: c.snd_una,
        nxt: c.snd_nxt,
        acked: summary.acked,
        newly_sacked: summary.newly_sacked,
        duplicate,
        stalls: before.out > 0 && summary.acked == 0 && placed.end == placed.start,
        sack: c.agreed.sack,
        rack_advanced,
        original_end: summary.original_end,
        reported: reported.is_some(),
        echo,
        has_new_data: c.send.end() > c.snd_nxt && c.snd_edge() > c.snd_nxt,
        at: Situation { now, rtt: &c.rtt, settings: &cx.settings, mss },
    };
    let undo = c.rare.as_deref().and_then(|rare| rare.episode.as_ref()).map(|e| &e.undo);
    let progress = c.recovery.on_ack(&mut c.rtx, undo, &event);
    let delivered = Delivered {
        bytes: before.delivered(c, summary.acked),
        advanced: summary.acked > 0,
        flight: before.out - before.sacked,
        out: before.out,
    };
    c.on_progress(cx, now, &progress, &delivered);
    if rack_advanced && c.facts.reorder_timer() {
        c.timers.stop(Timer::Loss);
    }
    c.arm_reorder_timer(now, &progress);
    progress
}

/// RFC 8985 6.2 step 2: what was sent again later than this is not what the ACK answers.
fn answers_until(c: &Connection, now: Instant, placed: &Placed<'_>) -> Instant {
    if !c.rtx.may_hold_repeats() {
        return Instant::FAR_FUTURE;
    }
    let by_rtt = Instant::from_nanos(now.as_nanos().saturating_sub(c.rtt.min().as_nanos() as u64));
    let Some((_, echo)) = placed.segment.options.timestamps.filter(|_| c.agreed.timestamps) else {
        return by_rtt;
    };
    let age_ms = ts_clock(now).wrapping_sub(echo.wrapping_sub(c.ts_offset));
    let behind_ms = now.as_millis().saturating_sub(u64::from(age_ms)) + 1;
    by_rtt.min(Instant::from_nanos(Instant::from_millis(behind_ms).as_nanos() - 1))
}

/// What reached the peer, and how fast (draft-ietf-ccwg-bbr 4.1.2.3).
#[inline(always)]
fn deliver(c: &mut Connection, now: Instant, latest: &SentState, bytes: u64) -> Option<RateSample> {
    c.delivered += bytes;
    if let Some(flight) = c.rtx.awake() {
        (flight.delivered_at, flight.first_sent_at) = (now, latest.sent_at);
    }
    let until = c.app_limited_until;
    if until != 0 && (c.delivered as u32).wrapping_sub(until) as i32 > 0 {
        c.app_limited_until = 0;
    }
    let sample = RateSample::take(c.delivered, c.rtx.lost_ever(), now, latest, c.rtt.min_us())?;
    c.rate.note(&sample);
    Some(sample)
}

/// What congestion control hears of an ACK, in bytes.
struct News {
    /// How fast things arrive, where the ACK tells.
    sample: Option<RateSample>,
    /// DeliveredData (RFC 9937 6.2).
    delivered: u64,
    /// What was in flight before.
    in_flight: u64,
    /// What recovery took for lost.
    lost: u64,
    /// What the peer newly reports as marked.
    ce: u64,
    rtt: Option<Duration>,
}

/// Whether the window may grow by what an ACK delivered, after what recovery made of it.
fn may_grow(c: &Connection, cx: &Cx, summary: &AckSummary, progress: &Progress, marked: &Marked) -> bool {
    // As Linux: where things arrive out of order, what is SACKed counts when it is.
    let shuffled = u64::from(c.recovery.rack.distance()) > cx.settings.tcp_reordering;
    // RFC 3168 6.1.2: an ACK that reports marks does not make it grow.
    let echoes = marked.packets > 0 && !c.congestion.reduces_at_once() && !c.congestion.rules_recovery();
    let quiet = !echoes && progress.verdict == Verdict::Nothing && !progress.undone && !c.is_reducing();
    c.recovery.phase != Phase::Recovery && quiet && (summary.acked > 0 || shuffled)
}

/// Congestion control hears of the ACK, after what recovery made of it. Whether its window grows by that is another question.
fn tell_congestion(c: &mut Connection, cx: &Cx, now: Instant, news: &News) -> Delivery {
    let newly_delivered = news.delivered;
    let mss = u64::from(c.mss);
    let slow_start = c.congestion.cwnd() < c.congestion.ssthresh();
    let acked = match cx.settings.profile {
        // RFC 5681 3.1: a segment for each ACK at most, in slow start. Linux counts all that it acknowledges (RFC 3465).
        Profile::Rfc if slow_start => newly_delivered.min(mss),
        _ => newly_delivered,
    };
    let delivery = Delivery {
        now,
        srtt_us: c.rtt.srtt_us(),
        min_rtt_us: c.rtt.min_us(),
        rtt: news.rtt,
        delivered: c.delivered,
        newly_delivered,
        acked,
        in_flight: news.in_flight,
        still_in_flight: c.in_flight(),
        lost: news.lost,
        ce: news.ce,
        sample: news.sample,
        used: u64::from(c.peak.bytes),
        cwnd_limited: c.facts.peak_limited(),
        repairing: c.recovery.phase != Phase::Open,
        sack: c.agreed.sack,
        mss,
    };
    c.congestion.on_delivery(&delivery);
    if c.congestion.holds_back() {
        c.mark_app_limited();
    }
    if c.recovery.phase != Phase::Recovery
        && let Some(validation) = c.rare.as_deref_mut().and_then(|rare| rare.validation.as_mut())
    {
        let (srtt, cwnd) = (Duration::from_micros(delivery.srtt_us), c.congestion.cwnd());
        validation.on_ack(now, srtt, delivery.delivered, delivery.still_in_flight, cwnd);
    }
    delivery
}

/// SACK blocks that make sense: within what is out, not inverted, above SND.UNA (RFC 2018 5, RFC 2883).
fn take_sack_blocks(c: &mut Connection, cx: &mut Cx, placed: &Placed<'_>, summary: &mut AckSummary) {
    let blocks = &placed.segment.options.sack;
    let at = |(start, end)| (seq::expand(c.iss, c.snd_una, start), seq::expand(c.iss, c.snd_una, end));
    let second = blocks.iter().nth(1).map(at);
    // RFC 2883 5: of this very packet, for SND.UNA may be beyond it where ACKs overtake each other.
    let acknowledged = seq::expand(c.iss, c.snd_una, placed.segment.ack);
    for (index, block) in blocks.iter().enumerate() {
        let (start, end) = at(block);
        if start >= end || end > c.snd_nxt {
            cx.counters.tcp_sack_discarded += 1;
            continue;
        }
        // RFC 2883 4: the first block may report a duplicate: acknowledged already, or within the second block.
        let within = second.is_some_and(|(from, to)| from <= start && end <= to);
        if index == 0 && start >= 1 && (end <= acknowledged || within) {
            summary.duplicate = Some((start, end));
        } else if end > c.snd_una && start >= c.snd_una {
            c.rtx.sack(start, end, u64::from(c.mss), summary);
        }
    }
}

/// RFC 6298 3 (Karn), RFC 7323 4: a timestamp tells also when what was acknowledged had been sent twice. Answers the
/// sample, if there was one.
fn sample_rtt(
    c: &mut Connection,
    cx: &Cx,
    now: Instant,
    placed: &Placed<'_>,
    summary: &AckSummary,
) -> Option<Duration> {
    let rtt = if summary.retransmitted_acked {
        let (_, echo) = placed.segment.options.timestamps.filter(|_| c.agreed.timestamps)?;
        let sent_ms = echo.wrapping_sub(c.ts_offset);
        let age_ms = ts_clock(now).wrapping_sub(sent_ms);
        let plausible = echo != 0 && summary.acked > 0 && age_ms < 1 << 30;
        plausible.then(|| u64::from(age_ms.max(1)) * 1_000_000)?
    } else {
        now.nanos_since(summary.rtt_sent_at?)
    };
    take_rtt(c, cx, now, rtt);
    Some(Duration::from_nanos(rtt))
}

/// A sample of so many nanoseconds.
#[inline]
fn take_rtt(c: &mut Connection, cx: &Cx, now: Instant, nanos: u64) {
    c.rtt.sample(nanos, now, &cx.settings);
    c.recovery.probe.on_sample();
}

/// What the acknowledgement of our FIN changes.
fn after_fin_acked(c: &mut Connection, cx: &mut Cx, now: Instant) -> Option<Outcome> {
    if !c.fin_acked() {
        return None;
    }
    if matches!(c.state, State::FinWait1 | State::Closing | State::LastAck) {
        // What a close with SO_LINGER waits for.
        c.announce(Ready::WRITE_CLOSED);
    }
    match c.state {
        State::FinWait1 => {
            c.enter(cx, now, State::FinWait2);
            c.facts.set_wants_room(false);
            if c.facts.orphan() {
                c.start_fin_wait2(cx, now);
            }
            None
        }
        State::Closing => Some(Outcome::TimeWait),
        State::LastAck => Some(Outcome::Closed(EndCause::Closed)),
        _ => None,
    }
}

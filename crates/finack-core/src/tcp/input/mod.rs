//! A segment arrives (RFC 9293 3.10.7), in the order of its 3.10.7.4: PAWS, acceptability, RST, SYN, ACK, URG,
//! text, FIN.

mod acceptability;
mod ack;
pub(crate) mod expected;
mod fin;
pub(crate) mod last;
mod paws;
pub(crate) mod run;
mod syn_sent;
mod text;
mod urgent;

use finack_wire::ip::Ecn;
use finack_wire::tcp::Flags;
use finack_wire::tcp_options::TcpOptions;

use super::State;
use super::recv::Payload;
use super::seq::{self, Pos};
use super::tcb::Connection;
use crate::cx::Cx;
use crate::error::Error;
use crate::settings::Profile;
use crate::stack::Ready;
use crate::time::Instant;
use crate::trace::{DropReason, EndCause, ResetReason, SendReason, TraceKind};

use paws::Paws;

/// A segment, checked and parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: TcpOptions,
    pub(crate) payload: Payload<'a>,
    /// Wire segments that it stands for.
    pub(crate) segments: u16,
    /// Payload bytes of each of them; 0 where it is one.
    pub(crate) segment_size: u16,
    /// The codepoint of its IP header.
    pub(crate) ecn: Ecn,
    /// Wire segments that came with CE.
    pub(crate) marks: u16,
}

impl<'a> Segment<'a> {
    fn text(&self) -> Text<'a> {
        Text {
            payload: self.payload,
            segments: self.segments,
            segment_size: self.segment_size,
            psh: self.flags.psh(),
            timestamps: self.options.timestamps,
        }
    }

    /// SEG.LEN: SYN and FIN counted.
    pub(crate) fn len(&self) -> u32 {
        self.payload.bytes.len() as u32 + self.flags.sequence_len()
    }
}

/// A segment that may be just what its connection expects: it has no flags but ACK and PSH, and no options but timestamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) text: Text<'a>,
}

/// Text, and what tells how it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) payload: Payload<'a>,
    /// Wire segments.
    pub(crate) segments: u16,
    /// Payload bytes of each of them; 0 where it is one.
    pub(crate) segment_size: u16,
    pub(crate) psh: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
}

impl<'a> Arrival<'a> {
    /// The same as any segment. What it does not say nobody looks at who was told that it was expected.
    pub(crate) fn segment(&self) -> Segment<'a> {
        let Text { payload, segments, segment_size, psh, timestamps } = self.text;
        Segment {
            seq: self.seq,
            ack: self.ack,
            flags: if psh { Flags::ACK | Flags::PSH } else { Flags::ACK },
            window: self.window,
            urgent: 0,
            options: TcpOptions { timestamps, ..TcpOptions::default() },
            payload,
            segments,
            segment_size,
            ecn: Ecn::NotEct,
            marks: 0,
        }
    }
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Keep,
    /// Both FINs are acknowledged and we closed first.
    TimeWait,
    /// It is over.
    Closed(EndCause),
    /// It is over, and the peer gets a RST at SND.NXT for this reason.
    Reset(ResetReason),
    /// It goes on, but this segment gets `<SEQ=SEG.ACK><CTL=RST>`.
    RefuseSegment(ResetReason),
    /// It is over, and this segment gets `<SEQ=SEG.ACK><CTL=RST>`.
    ResetSegment(ResetReason),
}

/// A segment in positions of the receive space.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    segment: &'a Segment<'a>,
    /// SEG.SEQ.
    start: Pos,
    /// SEG.SEQ + SEG.LEN.
    end: Pos,
    /// SEG.WND is scaled: it is none of a SYN's.
    scaled: bool,
}

/// Handles a segment that the four-tuple gave to `c`.
pub(crate) fn on_segment(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    if cx.short_cuts
        && let Some(outcome) = last::take(c, cx, now, segment)
    {
        return outcome;
    }
    c.stats.segs_in += u64::from(segment.segments);
    if !segment.payload.bytes.is_empty() {
        c.stats.data_segs_in = c.stats.data_segs_in.wrapping_add(u32::from(segment.segments));
    }
    if c.state == State::SynSent {
        return syn_sent::on_segment(c, cx, now, segment);
    }
    let repeats_syn = c.state == State::SynReceived
        && c.facts.fast_open()
        && segment.flags.syn()
        && !segment.flags.ack()
        && !segment.flags.rst()
        && segment.seq == c.irs;
    if repeats_syn {
        // The peer did not get our SYN,ACK, as with an embryo.
        let due = c.facts.syn_due() | may_answer(c, cx, now);
        c.facts.set_syn_due(due);
        return Outcome::Keep;
    }
    let start = seq::expand(c.irs, c.rcv_nxt(), segment.seq);
    let placed =
        Placed { segment, start, end: start + Pos::from(segment.len()), scaled: !segment.flags.syn() };
    match paws::check(c, cx, now, &placed) {
        Paws::Fine => {}
        Paws::Rejected => {
            if segment.flags.syn() {
                return challenge_syn(c, cx, now, segment);
            }
            // RFC 2883 4.4: a duplicate is reported whatever its timestamp says.
            if placed.end > placed.start && placed.start < c.rcv_nxt() {
                c.quick_acks();
                text::note_duplicate(c, placed.start, placed.end.min(c.rcv_nxt()));
            }
            return unacceptable(c, cx, now, &placed, DropReason::Paws);
        }
        Paws::Missing => return drop_segment(c, cx, now, &placed, DropReason::Paws),
    }
    if is_crossed_syn_ack(c, &placed) {
        // The peer's SYN,ACK of a simultaneous open acknowledges our SYN; its SYN was processed before.
        c.take_crossed_syn_ack(segment);
        let flags = segment.flags.without(Flags::SYN | Flags::AE | Flags::CWR | Flags::ECE);
        let bare = Segment { flags, marks: 0, ..*segment };
        let placed = Placed { segment: &bare, start: start + 1, ..placed };
        return on_checked(c, cx, now, &placed);
    }
    if !acceptability::is_acceptable(c, &placed) {
        return off_window(c, cx, now, &placed);
    }
    on_checked(c, cx, now, &placed)
}

/// Its sequence numbers will do: RST, SYN, then all that needs an ACK.
fn on_checked(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Outcome {
    if placed.segment.flags.rst() {
        return on_reset(c, cx, now, placed);
    }
    if placed.segment.flags.syn() {
        return challenge_syn(c, cx, now, placed.segment);
    }
    if !placed.segment.flags.ack() {
        return drop_segment(c, cx, now, placed, DropReason::NoAck);
    }
    c.times.last_recv_at = now;
    on_acceptable(c, cx, now, placed)
}

/// Takes the text of the SYN by which a fast open made `c` (RFC 7413 4.2.2). A FIN is left for the peer to send again:
/// before the handshake is over it would end what has not begun.
pub(crate) fn take_syn_data(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) {
    let rest = Segment {
        flags: segment.flags.without(Flags::SYN).without(Flags::FIN),
        seq: segment.seq.wrapping_add(1),
        ..*segment
    };
    let placed = Placed { segment: &rest, start: 1, end: 1 + Pos::from(rest.len()), scaled: false };
    c.facts.set_early_data(!rest.payload.bytes.is_empty());
    // Nobody has closed it yet, and its SYN,ACK acknowledges what is taken.
    let _ = text::process(c, cx, now, &placed);
}

fn on_acceptable(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Outcome {
    match ack::process(c, cx, now, placed) {
        ack::Disposition::Go => {}
        ack::Disposition::Drop => return Outcome::Keep,
        ack::Disposition::End(outcome) => return outcome,
    }
    let before = c.last_codepoint();
    if c.ecn.is_some() {
        c.note_marks(placed.segment);
    }
    if placed.segment.flags.urg() {
        urgent::process(c, placed);
    }
    if let Some(outcome) = text::process(c, cx, now, placed) {
        return outcome;
    }
    let outcome = fin::process(c, cx, now, placed);
    // MSG_MORE holds a partial segment back until the peer is heard (`tcp_data_snd_check`).
    c.facts.set_more(false);
    if c.ecn.is_some() {
        c.schedule_marks(placed.segment, before);
    }
    text::schedule_ack(c, cx, now, placed.segment.segments);
    outcome
}

/// Both SYNs crossed, and this is the peer's SYN,ACK (RFC 9293 figure 7): it counts as the ACK of our SYN.
fn is_crossed_syn_ack(c: &Connection, placed: &Placed<'_>) -> bool {
    let flags = placed.segment.flags;
    c.state == State::SynReceived
        && flags.syn()
        && flags.ack()
        && !flags.rst()
        && placed.start == 0
        && (1..=c.snd_nxt).contains(&seq::expand(c.iss, c.snd_una, placed.segment.ack))
}

/// Outside the window: an ACK tells the peer where we are, unless it sent a RST (RFC 9293 3.10.7.4 first).
fn off_window(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Outcome {
    if placed.segment.flags.rst() {
        return drop_segment(c, cx, now, placed, DropReason::OutOfWindow);
    }
    if placed.segment.flags.syn() {
        return challenge_syn(c, cx, now, placed.segment);
    }
    c.times.last_recv_at = now;
    text::note_duplicate(c, placed.start, placed.end.min(c.rcv_nxt()));
    unacceptable(c, cx, now, placed, DropReason::OutOfWindow)
}

/// Drops the segment and owes its sender an ACK. Answers to segments without payload are limited, so that two
/// stacks that disagree do not answer each other for ever.
fn unacceptable(
    c: &mut Connection,
    cx: &mut Cx,
    now: Instant,
    placed: &Placed<'_>,
    reason: DropReason,
) -> Outcome {
    let bare = placed.segment.payload.bytes.is_empty() && !placed.segment.flags.fin();
    if !bare || may_answer(c, cx, now) {
        c.ack_now(SendReason::DuplicateAck);
    }
    drop_segment(c, cx, now, placed, reason)
}

/// RFC 5961 10, limited per connection: no counter shared with others that an attacker could read.
fn may_answer(c: &mut Connection, cx: &Cx, now: Instant) -> bool {
    let least = core::time::Duration::from_millis(cx.settings.tcp_invalid_ratelimit);
    if c.rare().challenge_at.is_some_and(|at| now.since(at) < least) {
        return false;
    }
    c.rare_mut().challenge_at = Some(now);
    true
}

/// A SYN where there should be none any more (RFC 5961 4.2).
fn challenge_syn(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Outcome {
    c.take_syn_ack_again(segment);
    challenge(c, cx, now, DropReason::SynInWindow)
}

/// Answers with a challenge ACK (RFC 5961 3.2, 4.2, 5.2).
fn challenge(c: &mut Connection, cx: &mut Cx, now: Instant, reason: DropReason) -> Outcome {
    let limited = !may_answer(c, cx, now);
    if !limited {
        cx.counters.tcp_challenge_acks += 1;
        c.ack_now(SendReason::ChallengeAck);
    }
    let reason = if limited { DropReason::RateLimited } else { reason };
    note_drop(c, cx, now, 0, reason);
    Outcome::Keep
}

fn drop_segment(
    c: &Connection,
    cx: &mut Cx,
    now: Instant,
    placed: &Placed<'_>,
    reason: DropReason,
) -> Outcome {
    note_drop(c, cx, now, placed.segment.payload.bytes.len() as u32, reason);
    Outcome::Keep
}

fn note_drop(c: &Connection, cx: &mut Cx, now: Instant, len: u32, reason: DropReason) {
    cx.counters.count_drop(reason);
    cx.trace(now, c.trace_id, &c.tuple, TraceKind::Dropped { reason, len });
}

/// An acceptable RST (RFC 5961 3.2): exactly at RCV.NXT it ends the connection, elsewhere it is challenged.
fn on_reset(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Outcome {
    if placed.start != c.rcv_nxt() {
        return challenge(c, cx, now, DropReason::ResetNotExact);
    }
    cx.trace(now, c.trace_id, &c.tuple, TraceKind::ResetReceived);
    cx.counters.tcp_in_rsts += 1;
    let error = match c.state {
        State::SynReceived if !c.facts.fast_open() => Error::ConnectionRefused,
        // The peer had said its last word; writing more is what failed.
        State::CloseWait => Error::BrokenPipe,
        _ => Error::ConnectionReset,
    };
    if cx.settings.profile == Profile::Rfc {
        // RFC 9293 3.10.7.4: all segment queues are flushed. Linux leaves what was received readable. Who has lost bytes
        // must not be told of the end of the stream instead.
        c.facts.set_fin_received(c.facts.fin_received() && c.recv.len() == 0);
        c.recv.clear(&mut cx.pool);
    }
    fail(c, error);
    Outcome::Closed(EndCause::ResetByPeer)
}

/// The connection failed: the application learns it once, with everything that waits woken.
pub(crate) fn fail(c: &mut Connection, error: Error) {
    c.error = Some(error);
    c.announce(Ready(
        Ready::ERROR.0 | Ready::READABLE.0 | Ready::WRITABLE.0 | Ready::READ_CLOSED.0 | Ready::WRITE_CLOSED.0,
    ));
}

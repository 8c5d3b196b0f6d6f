//! One connection as the trace events tell it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use finack_core::Instant;
use finack_core::tcp::State;
use finack_core::trace::{
    AppCall, Direction, DropReason, EndCause, ResetReason, RetransmitReason, SegmentTrace, TraceEvent,
    TraceKind,
};

use super::Side;
use super::ladder::{Ladder, NoteFor};
use super::note::{Note, NoteAt, Story};
use super::peer::PeerModel;
use super::seq::Line;

/// State changes kept of each side; a connection has no more than ten unless its events are lost.
const MAX_STATES: usize = 16;
/// State changes of each side of nearly every connection.
const USUAL_STATES: usize = 8;
/// Notes kept; a connection has no more than five of different meaning.
const MAX_NOTES: usize = 8;
/// Closing moves kept.
const MAX_CLOSES: usize = 6;

/// A state, and when it was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateAt {
    /// When.
    pub at: Instant,
    /// Which.
    pub state: State,
}

/// How a side lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// FIN: nothing more will be sent this way.
    Fin,
    /// RST: the connection is thrown away.
    Rst,
}

/// A closing move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// When the segment was first seen.
    pub at: Instant,
    /// Whose.
    pub side: Side,
    /// Which.
    pub how: How,
}

/// One direction's traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Payload bytes sent, repetitions not counted.
    pub sent: u64,
    /// Payload bytes that the receiver acknowledged.
    pub acknowledged: u64,
    /// Wire segments.
    pub segments: u64,
    /// Wire segments that carried nothing new, though they carried something.
    pub repeated: u64,
}

/// A connection's life.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Counts from 1 in the order of opening.
    pub number: u64,
    /// finack's end.
    pub finack: SocketAddr,
    /// What its address is called in this run alone: a name for the host.
    pub given_name: Option<String>,
    /// The program's end.
    pub program: SocketAddr,
    /// Who sent the first SYN; `None` where that was not seen.
    pub opened_by: Option<Side>,
    /// Its first event.
    pub first: Instant,
    /// Its last event but the end of TIME-WAIT.
    pub last: Instant,
    /// The states that finack's end went through.
    pub finack_states: Vec<StateAt>,
    /// The states that the program's end went through, as its segments show them (RFC 9293 figure 5).
    pub program_states: Vec<StateAt>,
    /// From the program to finack.
    pub from_program: Flow,
    /// From finack to the program.
    pub to_program: Flow,
    /// Round trip of the handshake as finack saw it.
    pub handshake: Option<Duration>,
    /// What finack sent again, and why.
    pub retransmits: BTreeMap<RetransmitReason, u64>,
    /// What finack dropped, and why; probes are not among it.
    pub drops: BTreeMap<DropReason, u64>,
    /// How often the program's end asked whether finack's closed window has opened (RFC 9293 3.8.6.1).
    pub window_probes: u64,
    /// How often the program's end asked whether finack is still there (RFC 9293 3.8.4).
    pub keep_alives: u64,
    /// FINs and RSTs in order, each side's first of each.
    pub closes: Vec<Close>,
    /// How it ended for finack; `None` while something of it is left.
    pub cause: Option<EndCause>,
    /// Why finack sent a RST.
    pub reset_sent: Option<ResetReason>,
    /// Payload bytes that had been sent to the program, and not been acknowledged, when its RST came.
    pub unacknowledged_at_reset: Option<u64>,
    /// The last ICMP error that reached it, and whether it was fatal.
    pub icmp: Option<(finack_core::Error, bool)>,
    /// What finack's side of the application did to close.
    pub app_close: Option<AppCall>,
    /// What finack's own parts know of it, in order.
    pub notes: Vec<NoteAt>,
    /// The exchange of segments, where it was kept.
    pub ladder: Option<Ladder>,
}

/// A connection that is still being followed.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    pub(super) report: ConnectionReport,
    ours: Line,
    theirs: Line,
    peer: PeerModel,
    syn: SynTimes,
    /// The window that finack's last segment offered.
    window: u32,
    /// The last segment that came in: what follows tells whether finack took it for one of the connection's.
    held: Option<(Instant, SegmentTrace)>,
}

/// When our SYN (or SYN,ACK) went out.
#[derive(Clone, Copy, Debug, Default)]
enum SynTimes {
    #[default]
    NotSent,
    Once(Instant),
    /// Which of several was answered cannot be told (RFC 6298 3, Karn's rule).
    Repeated,
}

impl Follow {
    pub(super) fn new(number: u64, event: &TraceEvent, rows: usize) -> Option<Self> {
        let (finack, program) = (event.local?, event.remote?);
        Some(Self {
            report: ConnectionReport {
                given_name: None,
                number,
                finack,
                program,
                opened_by: None,
                first: event.at,
                last: event.at,
                finack_states: Vec::with_capacity(USUAL_STATES),
                program_states: Vec::with_capacity(USUAL_STATES),
                from_program: Flow::default(),
                to_program: Flow::default(),
                handshake: None,
                retransmits: BTreeMap::new(),
                drops: BTreeMap::new(),
                window_probes: 0,
                keep_alives: 0,
                closes: Vec::new(),
                cause: None,
                reset_sent: None,
                unacknowledged_at_reset: None,
                icmp: None,
                app_close: None,
                notes: Vec::new(),
                ladder: (rows > 0).then(|| Ladder::new(rows)),
            },
            ours: Line::default(),
            theirs: Line::default(),
            peer: PeerModel::default(),
            syn: SynTimes::default(),
            window: 0,
            held: None,
        })
    }

    /// Takes the connection's next event. True where it is a drop that stands for nothing lost: of a probe.
    pub(super) fn observe(&mut self, event: &TraceEvent) -> bool {
        if !matches!(event.kind, TraceKind::Ended(_)) {
            self.report.last = event.at;
        }
        match &event.kind {
            TraceKind::Segment(segment) if segment.dir == Direction::In => {
                self.release();
                self.held = Some((event.at, segment.clone()));
                return false;
            }
            TraceKind::Dropped { reason: DropReason::OutOfWindow, .. } if self.holds_probe() => {
                self.probed();
                return true;
            }
            TraceKind::Dropped { reason, .. } if is_foreign(*reason) => self.show_foreign(),
            _ => self.release(),
        }
        let report = &mut self.report;
        match &event.kind {
            TraceKind::Segment(segment) => self.segment(event.at, segment),
            TraceKind::State { from, to } => self.state(event.at, *from, *to),
            TraceKind::Dropped { reason, .. } => {
                *report.drops.entry(*reason).or_default() += 1;
                report.note(NoteFor::Last, || format!("dropped by finack: {reason}"));
            }
            TraceKind::ResetSent(reason) => {
                report.reset_sent = Some(*reason);
                let whose = Story::of(&report.notes)
                    .reset_by()
                    .unwrap_or_else(|| format!("RST from finack: {reason}"));
                report.note(NoteFor::Reset, || whose);
            }
            TraceKind::ResetReceived => {
                let sent = report.to_program;
                report.unacknowledged_at_reset = Some(sent.sent.saturating_sub(sent.acknowledged));
            }
            TraceKind::Retransmit { reason, .. } => {
                *report.retransmits.entry(*reason).or_default() += 1;
                report.note(NoteFor::Retransmission, || format!("sent again by finack: {reason}"));
            }
            TraceKind::App(call) => self.app(*call),
            TraceKind::Icmp { hard, error } => {
                report.icmp = Some((*error, *hard));
                report.note(NoteFor::Last, || format!("ICMP says: {error}"));
            }
            TraceKind::PathMtu { mtu } => {
                report.note(NoteFor::Last, || format!("the path MTU is {mtu} bytes from now on"));
            }
            TraceKind::Ended(cause) => report.cause = Some(*cause),
            _ => {}
        }
        false
    }

    /// Whether the held segment says nothing new, for an ACK to answer it: it repeats the last number sent, or sends one
    /// byte into a closed window.
    fn holds_probe(&mut self) -> bool {
        let Some((_, segment)) = &self.held else { return false };
        let bare = !segment.flags.syn() && !segment.flags.fin() && !segment.flags.rst();
        let beyond = self.theirs.beyond_last(segment.seq);
        bare && segment.len <= 1 && (beyond == 0 || beyond == 1 && self.window == 0 && segment.len == 1)
    }

    /// The held segment asks whether finack is there, or whether there is room again.
    fn probed(&mut self) {
        self.show_foreign();
        let (count, what) = match self.window {
            0 => (&mut self.report.window_probes, "a probe: has the window opened?"),
            _ => (&mut self.report.keep_alives, "keep-alive: is anybody there?"),
        };
        *count += 1;
        self.report.note(NoteFor::Last, || what.to_owned());
    }

    /// Takes a note. All that was traced before it has been observed, so that the held segment's fate is known.
    pub(super) fn take_note(&mut self, at: Instant, note: Note) {
        self.release();
        self.report.take_note(at, note);
    }

    /// Takes the held segment for what it says.
    pub(super) fn release(&mut self) {
        if let Some((at, segment)) = self.held.take() {
            self.segment(at, &segment);
        }
    }

    /// The held segment was none of the connection's: it is shown, and changes nothing.
    fn show_foreign(&mut self) {
        let Some((at, segment)) = self.held.take() else { return };
        let numbers =
            (self.theirs.offset(segment.seq), segment.flags.ack().then(|| self.ours.offset(segment.ack)));
        self.report.from_program.segments += u64::from(segment.segments.max(1));
        if let Some(ladder) = &mut self.report.ladder {
            ladder.segment(at, &segment, numbers, &[]);
        }
    }

    fn app(&mut self, call: AppCall) {
        if matches!(call, AppCall::Close | AppCall::Abort | AppCall::ShutdownWrite) {
            self.report.app_close = Some(call);
        }
    }

    fn state(&mut self, at: Instant, from: State, to: State) {
        let states = &mut self.report.finack_states;
        if states.is_empty() {
            states.push(StateAt { at, state: from });
        }
        if states.len() < MAX_STATES && states.last().is_none_or(|s| s.state != to) {
            states.push(StateAt { at, state: to });
        }
        if let Some(ladder) = &mut self.report.ladder {
            ladder.finack_state(at, to);
        }
    }

    fn segment(&mut self, at: Instant, segment: &SegmentTrace) {
        let incoming = segment.dir == Direction::In;
        if incoming && segment.flags.syn() && self.report.finack_state() == State::TimeWait {
            // It opens the next connection: its numbers are none of this one's.
            return;
        }
        if !incoming {
            self.window = segment.window;
        }
        if segment.flags.syn() {
            self.syn(incoming, segment);
        }
        let (line, other) =
            if incoming { (&mut self.theirs, &mut self.ours) } else { (&mut self.ours, &mut self.theirs) };
        let seq = line.offset(segment.seq);
        let control = i64::from(segment.flags.syn()) + i64::from(segment.flags.fin());
        let end = seq + i64::from(segment.len) + control;
        if segment.flags.fin() && !segment.flags.rst() {
            line.set_fin(end - 1);
        }
        let new = end > seq && line.advance(end);
        let ack = segment.flags.ack().then(|| other.offset(segment.ack));
        let acknowledged = ack.map_or(0, |a| other.payload_below(a));

        let (flow, back) = if incoming {
            (&mut self.report.from_program, &mut self.report.to_program)
        } else {
            (&mut self.report.to_program, &mut self.report.from_program)
        };
        flow.segments += u64::from(segment.segments.max(1));
        flow.repeated += if end > seq && !new { u64::from(segment.segments.max(1)) } else { 0 };
        flow.sent = line.payload();
        // An ACK of what was never sent proves nothing.
        back.acknowledged = back.acknowledged.max(acknowledged.min(back.sent));

        self.handshake(at, segment, ack);
        self.closing(at, incoming, segment);
        let peer_states = self.peer.segment(segment, ack.unwrap_or(-1), &self.ours, &self.theirs);
        for &state in peer_states.as_slice() {
            if self.report.program_states.len() < MAX_STATES {
                self.report.program_states.push(StateAt { at, state });
            }
        }
        if let Some(ladder) = &mut self.report.ladder {
            ladder.segment(at, segment, (seq, ack), peer_states.as_slice());
        }
    }

    fn syn(&mut self, incoming: bool, segment: &SegmentTrace) {
        let side = if incoming { Side::Program } else { Side::Finack };
        self.report.opened_by.get_or_insert(side);
        let line = if incoming { &mut self.theirs } else { &mut self.ours };
        if line.is_new() {
            line.start(segment.seq);
        }
    }

    /// Our SYN and the first segment that acknowledges it give the round trip.
    fn handshake(&mut self, at: Instant, segment: &SegmentTrace, ack: Option<i64>) {
        match (segment.dir, self.syn) {
            (Direction::Out, SynTimes::NotSent) if segment.flags.syn() => self.syn = SynTimes::Once(at),
            (Direction::Out, SynTimes::Once(_)) if segment.flags.syn() => self.syn = SynTimes::Repeated,
            (Direction::In, SynTimes::Once(sent)) if ack.is_some_and(|a| a >= 1) && !segment.flags.rst() => {
                self.report.handshake.get_or_insert(at.since(sent));
            }
            _ => {}
        }
    }

    fn closing(&mut self, at: Instant, incoming: bool, segment: &SegmentTrace) {
        let side = if incoming { Side::Program } else { Side::Finack };
        let how = if segment.flags.rst() {
            How::Rst
        } else if segment.flags.fin() {
            How::Fin
        } else {
            return;
        };
        let closes = &mut self.report.closes;
        if closes.len() < MAX_CLOSES && !closes.iter().any(|c| c.side == side && c.how == how) {
            closes.push(Close { at, side, how });
        }
    }
}

/// Whether a segment dropped for this reason says nothing about the peer's state: an old duplicate, or a forgery.
fn is_foreign(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Paws
            | DropReason::OutOfWindow
            | DropReason::ResetNotExact
            | DropReason::SynInWindow
            | DropReason::NoAck
            | DropReason::AckBeyondSent
            | DropReason::AckTooOld
            | DropReason::NoSynInSynSent
            | DropReason::TimeWait
            | DropReason::TimeWaitReset
            | DropReason::HandshakeAck
            | DropReason::Undecided
    )
}

impl ConnectionReport {
    /// The name of finack's end, where it has one.
    pub fn name(&self) -> Option<&str> {
        self.given_name.as_deref().or_else(|| crate::plan::name_of(self.finack.ip()))
    }

    /// The end that was asked for: where the connection went.
    pub(super) fn target(&self) -> SocketAddr {
        if self.opened_by == Some(Side::Finack) { self.program } else { self.finack }
    }

    /// The state of finack's end at the last event.
    pub fn finack_state(&self) -> State {
        if self.cause.is_some() {
            return State::Closed;
        }
        self.finack_states.last().map_or(State::Closed, |s| s.state)
    }

    /// The state of the program's end, as far as its segments show it.
    pub fn program_state(&self) -> State {
        self.program_states.last().map_or(State::Closed, |s| s.state)
    }

    /// From the first to the last event.
    pub fn duration(&self) -> Duration {
        self.last.since(self.first)
    }

    /// Who let go first, and how.
    pub fn closed_first(&self) -> Option<Close> {
        self.closes.first().copied()
    }

    /// Whether `side` was in TIME-WAIT at any time.
    pub fn held_time_wait(&self, side: Side) -> bool {
        let states = match side {
            Side::Program => &self.program_states,
            Side::Finack => &self.finack_states,
        };
        states.iter().any(|s| s.state == State::TimeWait)
    }

    /// Takes a note; what is beyond the bound is dropped.
    pub(super) fn take_note(&mut self, at: Instant, note: Note) {
        if self.notes.len() < MAX_NOTES {
            if let Some(ladder) = &mut self.ladder {
                ladder.remark(at, note.to_string());
            }
            self.notes.push(NoteAt { at, note });
        }
    }

    fn note(&mut self, about: NoteFor, text: impl FnOnce() -> String) {
        if let Some(ladder) = &mut self.ladder {
            ladder.note(about, text());
        }
    }
}

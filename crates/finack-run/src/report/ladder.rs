//! The exchange of segments as rows of a ladder diagram, in bounded memory: the first and the last rows are kept.

use std::collections::VecDeque;

use finack_core::Instant;
use finack_core::tcp::State;
use finack_core::trace::{Direction, SegmentTrace, SendReason};
use finack_wire::tcp::Flags;

use super::Side;

/// Notes kept of one row.
const MAX_NOTES: usize = 4;
/// State changes of one side kept of one row.
const MAX_STATES: usize = 4;

/// What a note is about, for it to stand at the right row whether it was told before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoteFor {
    /// What happened last.
    Last,
    /// The RST that finack sends at this moment.
    Reset,
    /// What finack sends again at this moment.
    Retransmission,
}

/// A segment, its numbers relative to the initial ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose.
    pub from: Side,
    /// Its flags.
    pub flags: Flags,
    /// SEG.SEQ, 0 for the SYN.
    pub seq: i64,
    /// SEG.ACK, 1 where it acknowledges the SYN.
    pub ack: Option<i64>,
    /// Payload bytes.
    pub len: u32,
    /// Wire segments that it stands for.
    pub segments: u16,
    /// SEG.WND in bytes.
    pub window: u32,
    /// Maximum segment size, where it says one.
    pub mss: Option<u16>,
    /// Window scale, where it says one.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// It carries timestamps.
    pub timestamps: bool,
    /// SACK blocks it carries.
    pub sack_blocks: u8,
    /// Why finack sent it.
    pub reason: SendReason,
}

/// A row: a segment, or a state change or remark without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at: Instant,
    /// The segment.
    pub segment: Option<Segment>,
    /// What the program's end went through with it.
    pub program: Vec<State>,
    /// What finack's end went through with it.
    pub finack: Vec<State>,
    /// What is to be said about it.
    pub notes: Vec<String>,
}

/// The rows left out of the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Wire segments.
    pub segments: u64,
    /// Payload bytes from the program, and to it.
    pub bytes: (u64, u64),
}

/// A bounded record of an exchange.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    /// Rows kept at each end.
    half: usize,
    head: Vec<Row>,
    tail: VecDeque<Row>,
    skipped: Skipped,
    /// Told before the segment they belong to.
    pending_states: Vec<(Instant, State)>,
    pending_notes: Vec<(NoteFor, String)>,
}

impl Ladder {
    /// Keeps `rows` rows at most.
    pub(super) fn new(rows: usize) -> Self {
        Self { half: (rows / 2).max(1), ..Self::default() }
    }

    /// The first rows.
    pub fn head(&self) -> &[Row] {
        &self.head
    }

    /// The last rows.
    pub fn tail(&self) -> impl Iterator<Item = &Row> {
        self.tail.iter()
    }

    /// What was left out between them.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    pub(super) fn segment(
        &mut self,
        at: Instant,
        segment: &SegmentTrace,
        (seq, ack): (i64, Option<i64>),
        program: &[State],
    ) {
        let own = segment.dir == Direction::Out;
        let segment = Segment {
            from: if own { Side::Finack } else { Side::Program },
            flags: segment.flags,
            seq,
            ack,
            len: segment.len,
            segments: segment.segments,
            window: segment.window,
            mss: segment.options.mss,
            window_scale: segment.options.window_scale,
            sack_permitted: segment.options.sack_permitted,
            timestamps: segment.options.timestamps.is_some(),
            sack_blocks: u8::try_from(segment.options.sack.len()).unwrap_or(u8::MAX),
            reason: segment.reason,
        };
        let mut row =
            Row { at, segment: None, program: program.to_vec(), finack: Vec::new(), notes: Vec::new() };
        for (when, state) in std::mem::take(&mut self.pending_states) {
            if causes(&segment, state) {
                row.finack.push(state);
            } else {
                self.push(Row {
                    at: when,
                    segment: None,
                    program: vec![],
                    finack: vec![state],
                    notes: vec![],
                });
            }
        }
        let (mine, later) = std::mem::take(&mut self.pending_notes)
            .into_iter()
            .partition(|(about, _)| fits(&segment, *about));
        self.pending_notes = later;
        row.notes.extend(mine.into_iter().map(|(_, text): (NoteFor, String)| text));
        row.segment = Some(segment);
        self.push(row);
    }

    /// finack's end entered `state`.
    pub(super) fn finack_state(&mut self, at: Instant, state: State) {
        let waits_for_segment = sent_with(state).is_some();
        if let Some(last) = self.last_mut()
            && last.at == at
            && last.segment.as_ref().is_none_or(|s| !waits_for_segment || causes(s, state))
            && last.finack.len() < MAX_STATES
        {
            last.finack.push(state);
        } else if waits_for_segment && self.pending_states.len() < MAX_STATES {
            self.pending_states.push((at, state));
        } else {
            self.push(Row { at, segment: None, program: vec![], finack: vec![state], notes: vec![] });
        }
    }

    pub(super) fn note(&mut self, about: NoteFor, text: String) {
        if let Some(last) = self.last_mut()
            && last.segment.as_ref().is_some_and(|s| fits(s, about))
        {
            if last.notes.len() < MAX_NOTES {
                last.notes.push(text);
            }
        } else if self.pending_notes.len() < MAX_NOTES {
            self.pending_notes.push((about, text));
        }
    }

    /// Says what happened, at a time of its own.
    pub(super) fn remark(&mut self, at: Instant, text: String) {
        self.push(Row { at, segment: None, program: vec![], finack: vec![], notes: vec![text] });
    }

    fn last_mut(&mut self) -> Option<&mut Row> {
        self.tail.back_mut().or(self.head.last_mut())
    }

    fn push(&mut self, row: Row) {
        if self.head.len() < self.half {
            self.head.push(row);
            return;
        }
        self.tail.push_back(row);
        if self.tail.len() > self.half
            && let Some(Row { segment: Some(old), .. }) = self.tail.pop_front()
        {
            self.skipped.segments += u64::from(old.segments.max(1));
            match old.from {
                Side::Program => self.skipped.bytes.0 += u64::from(old.len),
                Side::Finack => self.skipped.bytes.1 += u64::from(old.len),
            }
        }
    }
}

/// The flag that is sent when `state` is entered, for states that are entered by sending.
fn sent_with(state: State) -> Option<Flags> {
    match state {
        State::SynSent => Some(Flags::SYN),
        State::FinWait1 | State::LastAck => Some(Flags::FIN),
        _ => None,
    }
}

fn causes(segment: &Segment, state: State) -> bool {
    segment.from == Side::Finack && sent_with(state).is_some_and(|flag| segment.flags.intersects(flag))
}

fn fits(segment: &Segment, about: NoteFor) -> bool {
    let own = segment.from == Side::Finack;
    match about {
        NoteFor::Last => true,
        NoteFor::Reset => own && segment.flags.rst(),
        NoteFor::Retransmission => own && matches!(segment.reason, SendReason::Retransmission(_)),
    }
}

//! A unit that was sent, and what was known when it was.

use crate::tcp::seq::Pos;
use crate::time::Instant;

/// What is known of a sent unit, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Marks(u8);

impl Marks {
    /// The peer reported it in a SACK block.
    pub(crate) const SACKED: Self = Self(1);
    /// Taken for lost, and not sent again since.
    pub(crate) const LOST: Self = Self(2);
    /// Sent more than once (Karn: no round-trip sample).
    pub(crate) const RETRANSMITTED: Self = Self(4);
    /// The unit begins with a SYN.
    pub(crate) const SYN: Self = Self(8);
    /// The unit ends with a FIN.
    pub(crate) const FIN: Self = Self(16);
    /// The unit ends a record (MSG_EOR): nothing behind it shares a segment with it.
    pub(crate) const RECORD_END: Self = Self(32);
    /// The unit ends with PSH.
    pub(crate) const PUSH: Self = Self(64);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Times within a flight are kept to this many nanoseconds, which 32 bits count up to 274 s of.
const TICK: u64 = 64;

/// A unit of one or more segments that was sent together.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// First position (the SYN's, a byte's or the FIN's).
    pub(crate) start: Pos,
    /// Behind the last position.
    pub(crate) end: Pos,
    pub(crate) marks: Marks,
    /// When it was sent last.
    pub(crate) sent_at: Instant,
    /// Bytes delivered to the peer by then, and when that was (rate samples).
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    /// How long before that the flight began that it belongs to, in [`TICK`]s.
    sending: u32,
    /// Bytes in flight then, itself included.
    pub(crate) in_flight: u32,
    /// Bytes that had been taken for lost by then, of which 32 bits count.
    pub(crate) lost: u32,
    /// Nothing more was there to send then.
    pub(crate) app_limited: bool,
}

impl Sent {
    pub(crate) const fn new(start: Pos, end: Pos, marks: Marks, state: &SentState) -> Self {
        Self {
            start,
            end,
            marks,
            sent_at: state.sent_at,
            delivered: state.delivered,
            delivered_at: state.delivered_at,
            sending: state.sending(),
            in_flight: state.in_flight,
            lost: state.lost,
            app_limited: state.app_limited,
        }
    }

    pub(crate) const fn state(&self) -> SentState {
        let began = self.sent_at.as_nanos().saturating_sub(self.sending as u64 * TICK);
        SentState {
            sent_at: self.sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: Instant::from_nanos(began),
            in_flight: self.in_flight,
            lost: self.lost,
            app_limited: self.app_limited,
        }
    }

    /// It was sent, for the first time or again.
    pub(super) const fn stamp(&mut self, state: &SentState) {
        self.sent_at = state.sent_at;
        self.delivered = state.delivered;
        self.delivered_at = state.delivered_at;
        self.sending = state.sending();
        self.in_flight = state.in_flight;
        self.lost = state.lost;
        self.app_limited = state.app_limited;
    }

    pub(super) const fn len(&self) -> u64 {
        (self.end - self.start) as u64
    }

    pub(crate) const fn order(&self) -> SentOrder {
        SentOrder { at: self.sent_at, again: self.marks.has(Marks::RETRANSMITTED), end: self.end }
    }

    /// Sent again, and neither SACKed nor lost since.
    pub(super) const fn is_repeat_out(&self) -> bool {
        self.marks.has(Marks::RETRANSMITTED) && !self.marks.has(Marks::SACKED) && !self.marks.has(Marks::LOST)
    }
}

/// What a unit remembers of the connection when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentState {
    pub(crate) sent_at: Instant,
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
    pub(crate) in_flight: u32,
    pub(crate) lost: u32,
    pub(crate) app_limited: bool,
}

impl SentState {
    const fn sending(&self) -> u32 {
        let ticks = self.sent_at.nanos_since(self.first_sent_at) / TICK;
        if ticks > u32::MAX as u64 { u32::MAX } else { ticks as u32 }
    }
}

/// The order in which units were sent (RFC 8985 6.2 step 2).
///
/// What was sent again is sent after what it was sent for, also where the clock saw no time go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SentOrder {
    pub(crate) at: Instant,
    /// It was sent before.
    pub(crate) again: bool,
    pub(crate) end: Pos,
}

impl SentOrder {
    /// Whether what was sent first as `unit` had left before. At one instant new data follows what is sent again: which of
    /// the two was first does not show then.
    pub(super) fn overtook_original(&self, unit: &Sent) -> bool {
        let (at, end) = (unit.sent_at, unit.end);
        at < self.at || (at == self.at && !self.again && end < self.end)
    }
}

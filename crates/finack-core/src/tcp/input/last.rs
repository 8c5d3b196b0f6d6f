//! The segment that a connection which nobody owns any more waits for as its last.
//!
//! Both sides are done then, and what an ACK says of round trips, losses and the path is of no use to anybody. What is left
//! out here is what [`super::on_segment`] would find out for a record that is about to go.

use finack_wire::tcp::Flags;

use super::{Outcome, Segment};
use crate::cx::Cx;
use crate::tcp::State;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::{EndCause, SendReason};

/// A segment with no payload and no flags but ACK, PSH and FIN, and no options but timestamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) fin: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
}

/// [`take_bare`] of any segment.
pub(super) fn take(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Option<Outcome> {
    if !awaits_last(c) || !is_bare(segment) {
        return None;
    }
    let Segment { seq, ack, flags, .. } = *segment;
    take_bare(c, cx, now, Bare { seq, ack, fin: flags.fin(), timestamps: segment.options.timestamps })
}

/// What a segment makes of an orphan where it is the last that it waits for, in order and with nothing special about it: in
/// LAST-ACK the ACK of our FIN, in FIN-WAIT the peer's FIN, ours being acknowledged. `None`: it must be looked at as any
/// other, and nothing has happened.
#[inline]
pub(crate) fn take_bare(c: &mut Connection, cx: &mut Cx, now: Instant, bare: Bare) -> Option<Outcome> {
    if !awaits_last(c) || !is_stamped(c, bare) || !is_calm(c) {
        return None;
    }
    let start = c.rcv_nxt();
    let acked = seq::expand(c.iss, c.snd_una, bare.ack);
    if bare.seq != c.rcv_seq(start) || acked != c.snd_nxt || acked <= c.send.end() {
        return None;
    }
    if c.state == State::LastAck {
        return (!bare.fin).then_some(Outcome::Closed(EndCause::Closed));
    }
    if !bare.fin || c.rcv_edge() <= start || c.rcv_fin() != Pos::MAX {
        return None;
    }
    if let Some((value, _)) = bare.timestamps
        && start <= c.rcv_acked()
    {
        c.ts_recent = value;
        c.note_ts_recent(now);
    }
    if c.state == State::FinWait1 {
        c.enter(cx, now, State::FinWait2);
    }
    c.facts.set_fin_received(true);
    c.ack_now(SendReason::Ack);
    Some(Outcome::TimeWait)
}

fn awaits_last(c: &Connection) -> bool {
    matches!(c.state, State::LastAck | State::FinWait1 | State::FinWait2) && c.facts.orphan()
}

fn is_bare(segment: &Segment<'_>) -> bool {
    let flags = segment.flags.without(Flags::PSH).without(Flags::FIN);
    flags == Flags::ACK && segment.payload.bytes.is_empty() && segment.options.sack.is_empty()
}

/// Its timestamps are those that were agreed on, and no older than the last.
fn is_stamped(c: &Connection, bare: Bare) -> bool {
    match bare.timestamps {
        Some((value, _)) => c.agreed.timestamps && !seq::before(value, c.ts_recent),
        None => !c.agreed.timestamps,
    }
}

/// Nothing is missing, lost or probed for, and nothing rare is under way.
fn is_calm(c: &Connection) -> bool {
    let sent_once = c.rtx.is_empty() || c.rtx.front_if_calm().is_some();
    sent_once && c.recovery.is_calm() && c.ecn.is_none() && c.rare.is_none() && !c.recv.has_gap()
}

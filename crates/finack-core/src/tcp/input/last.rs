//! The segment that a connection which nobody owns any more waits for as its last.
//!
//! Both sides are done then, and what an ACK says of round trips, losses and the path is of no use to anybody. What is left
//! out here is what [`super::on_segment`] would find out for a record that is about to go.

use finack_wire::tcp::Flags;

use super::{Outcome, Placed, Segment, paws};
use crate::cx::Cx;
use crate::tcp::State;
use crate::tcp::seq::{self, Pos};
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::{EndCause, SendReason};

/// What `segment` makes of an orphan where it is the last that it waits for, in order and with nothing special about it: in
/// LAST-ACK the ACK of our FIN, in FIN-WAIT the peer's FIN, ours being acknowledged. `None`: it must be looked at as any
/// other, and nothing has happened.
pub(super) fn take(c: &mut Connection, cx: &mut Cx, now: Instant, segment: &Segment<'_>) -> Option<Outcome> {
    let closing = matches!(c.state, State::LastAck | State::FinWait1 | State::FinWait2);
    if !closing || !c.facts.orphan() || !is_plain(c, segment) || !is_calm(c) {
        return None;
    }
    let start = c.rcv_nxt();
    let acked = seq::expand(c.iss, c.snd_una, segment.ack);
    if segment.seq != c.rcv_seq(start) || acked != c.snd_nxt || acked <= c.send.end() {
        return None;
    }
    let fin = segment.flags.fin();
    if c.state == State::LastAck {
        return (!fin).then_some(Outcome::Closed(EndCause::Closed));
    }
    if !fin || c.rcv_edge() <= start || c.rcv_fin() != Pos::MAX {
        return None;
    }
    paws::update(c, now, &Placed { segment, start, end: start + 1, scaled: true });
    if c.state == State::FinWait1 {
        c.enter(cx, now, State::FinWait2);
    }
    c.facts.set_fin_received(true);
    c.ack_now(SendReason::Ack);
    Some(Outcome::TimeWait)
}

/// No payload, no flags but ACK, PSH and FIN, no options but the timestamps that were agreed on, and these no older than the
/// last.
fn is_plain(c: &Connection, segment: &Segment<'_>) -> bool {
    let stamped = match segment.options.timestamps {
        Some((value, _)) => c.agreed.timestamps && !seq::before(value, c.ts_recent),
        None => !c.agreed.timestamps,
    };
    let flags = segment.flags.without(Flags::PSH).without(Flags::FIN);
    stamped && flags == Flags::ACK && segment.payload.bytes.is_empty() && segment.options.sack.is_empty()
}

/// Nothing is missing, lost or probed for, and nothing rare is under way.
fn is_calm(c: &Connection) -> bool {
    let sent_once = c.rtx.is_empty() || c.rtx.front_if_calm().is_some();
    sent_once && c.recovery.is_calm() && c.ecn.is_none() && c.rare.is_none() && !c.recv.has_gap()
}

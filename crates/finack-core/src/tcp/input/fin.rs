//! FIN (RFC 9293 3.10.7.4 eighth).

use super::{Outcome, Placed};
use crate::cx::Cx;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::Connection;
use crate::time::Instant;
use crate::trace::SendReason;

pub(super) fn process(c: &mut Connection, cx: &mut Cx, now: Instant, placed: &Placed<'_>) -> Outcome {
    if placed.segment.flags.fin() && c.state.may_receive() {
        let at = placed.start + placed.segment.payload.bytes.len() as Pos;
        // A FIN beyond the window is not taken; the first one seen counts.
        // At a closed window it is taken too, or its sender would repeat it until the window opens (as on Linux).
        if at <= c.rcv_edge().max(c.recv.next()) && at >= c.recv.next() && c.rcv_fin() == Pos::MAX {
            c.set_rcv_fin(at);
        }
    }
    // It counts only once everything before it is here.
    if c.facts.fin_received() || c.rcv_fin() != c.recv.next() {
        if placed.segment.flags.fin() {
            c.ack_now(SendReason::DuplicateAck);
        }
        return Outcome::Keep;
    }
    take(c, cx, now)
}

/// The peer's FIN counts: everything before it is here.
pub(super) fn take(c: &mut Connection, cx: &mut Cx, now: Instant) -> Outcome {
    c.facts.set_fin_received(true);
    c.recv.drop_reorder(&mut cx.pool);
    c.ack.pending = true;
    // Nothing is missing any more, and nobody cares what came twice (`tcp_sack_reset`).
    c.forget_duplicate();
    if c.rcv_edge() <= c.recv.next() {
        c.ack_now(SendReason::Ack);
    }
    c.announce(Ready::READABLE | Ready::READ_CLOSED);
    match c.state {
        State::Established | State::SynReceived => {
            c.enter(cx, now, State::CloseWait);
            // The application's own FIN may soon carry the ACK: three segments instead of four.
            c.ack.interactive = true;
        }
        State::FinWait1 => {
            c.ack_now(SendReason::Ack);
            c.enter(cx, now, State::Closing);
        }
        State::FinWait2 => {
            c.ack_now(SendReason::Ack);
            return Outcome::TimeWait;
        }
        _ => {}
    }
    Outcome::Keep
}

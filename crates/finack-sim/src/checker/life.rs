//! What a host says of its connections, held against what its packets showed.

use finack_core::Instant;
use finack_core::Stack;
use finack_core::stack::TcpSocket;
use finack_core::tcp::{LossState, State, TcpInfo};
use finack_core::trace::ResetReason;

use super::Rule;
use super::flow::{Flow, Verdict};

/// Bytes of options that a segment has at most.
const MOST_OPTIONS: u64 = 40;

/// Whether a connection may go from one state to the other: RFC 9293 figure 5, with what its text adds.
pub(super) const fn may_follow(from: State, to: State) -> bool {
    use State::{
        CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent,
        TimeWait,
    };
    matches!(
        (from, to),
        // Any connection can be reset, aborted or given up (3.10.4, 3.10.5, 3.10.7, 3.8.3).
        (_, Closed)
            | (Closed | Listen, SynSent | SynReceived)
            | (SynSent, SynReceived | Established)
            // A FIN may come with, or right behind, what ends the handshake (3.10.7.4, eighth).
            | (SynReceived, Established | FinWait1 | CloseWait | Listen)
            | (Established, FinWait1 | CloseWait)
            | (FinWait1, FinWait2 | Closing | TimeWait)
            | (FinWait2, TimeWait)
            | (CloseWait, LastAck)
            | (Closing, TimeWait)
            // 3.6.1, MAY-2: a new SYN may open from TIME-WAIT; where it proves to be old, TIME-WAIT goes on.
            | (TimeWait, SynReceived)
            | (SynReceived, TimeWait)
    )
}

/// Looks at one connection after the host did something.
pub(super) fn look(flow: &mut Flow, stack: &Stack, now: Instant, socket: &TcpSocket) -> Verdict {
    let (fresh, heard) = (core::mem::take(&mut flow.fresh), core::mem::take(&mut flow.heard));
    let Some(info) = &socket.info else { return Ok(()) };
    if !info.state.is_synchronized() {
        return Ok(());
    }
    let mss = u64::from(info.snd_mss);
    // During recovery, and while marks take the window down, it is what is in flight and what PRR lets out, which may be
    // less (RFC 9937 6.2).
    // What options leave of a segment changes from one to the next.
    let reducing = matches!(info.loss_state, LossState::Recovery | LossState::Marked);
    if info.cwnd + MOST_OPTIONS < mss && !reducing {
        return Err((Rule::SmallCwnd, format!("cwnd is {}, a segment {mss}", info.cwnd)));
    }
    let segment = mss.max(flow.largest as u64);
    // A timer may send one segment of new data whatever the window: a tail loss probe (RFC 8985 7.3).
    let is_probe = !heard && fresh <= segment;
    // Limited transmit (RFC 3042) goes beyond it, and the segment that reaches its edge need not end there.
    if fresh > 0 && !is_probe && info.in_flight > info.cwnd + 4 * segment {
        return Err((
            Rule::InFlight,
            format!("{} bytes in flight after new data, cwnd is {}", info.in_flight, info.cwnd),
        ));
    }
    accounting(flow, info)?;
    if info.in_flight > 0 && flow.una < flow.nxt && socket.timer.is_none() {
        let due = stack.poll_timeout().map(|t| t.since(now));
        return Err((
            Rule::NoTimer,
            format!("{} bytes in flight, the stack's next timer is {due:?}", info.in_flight),
        ));
    }
    Ok(())
}

fn accounting(flow: &Flow, info: &TcpInfo) -> Verdict {
    let (acked, received) = (info.bytes_acked as i64, info.bytes_received as i64);
    if acked > flow.una {
        return Err((
            Rule::Accounting,
            format!("{acked} bytes acknowledged, the highest ACK that came is {}", flow.una),
        ));
    }
    if !flow.has(received) {
        return Err((Rule::Accounting, format!("{received} bytes received, but not all of them came")));
    }
    Ok(())
}

/// RSTs that the host counted, and whether their reasons add up.
pub(super) fn resets(stack: &Stack) -> (u64, u64) {
    let counters = stack.counters();
    let reasons = ResetReason::ALL.iter().map(|&r| counters.resets_sent(r)).sum();
    (counters.tcp_out_rsts, reasons)
}

//! Is it in the window? (RFC 9293 3.10.7.4, first; 3.4)

use super::Placed;
use crate::tcp::tcb::Connection;

/// Whether the segment is processed at all.
///
/// What begins beyond the window is not; what begins in it and ends beyond is looked at later. On the left, what
/// ends at or after the last ACK that we sent still carries a valid acknowledgement (as on Linux). At the right
/// edge itself RST, URG and ACK are processed although no text is taken (RFC 9293 MUST-66).
pub(super) fn is_acceptable(c: &Connection, placed: &Placed<'_>) -> bool {
    let next = c.rcv_nxt();
    let edge = c.rcv_edge().max(next);
    let left = c.rcv_acked().min(next);
    if placed.end > placed.start && placed.end <= left {
        return false;
    }
    placed.end >= left && placed.start <= edge
}

//! URG (RFC 9293 3.10.7.4 sixth, 3.8.5; RFC 6093).

use super::Placed;
use crate::stack::Ready;
use crate::tcp::State;
use crate::tcp::seq::Pos;
use crate::tcp::tcb::{Connection, Urgent};

/// Notes where the urgent byte stands. As on Linux it is the one in front of where the pointer points.
pub(super) fn process(c: &mut Connection, placed: &Placed<'_>) {
    if !matches!(c.state, State::Established | State::FinWait1 | State::FinWait2)
        || placed.segment.urgent == 0
    {
        return;
    }
    let mark = placed.start + Pos::from(placed.segment.urgent) - 1;
    // Behind what was read, and behind the last mark (RFC 9293: RCV.UP <- max(RCV.UP, SEG.UP)).
    if mark < c.recv.read_pos() || c.rare().urgent.mark.is_some_and(|old| mark <= old) {
        return;
    }
    // The byte may have come before the segment that points at it.
    let byte = c.recv.byte(mark);
    c.rare_mut().urgent = Urgent { mark: Some(mark), byte, taken: false };
    c.announce(Ready::PRIORITY);
}

/// Takes a copy of the urgent byte once it is here.
pub(super) fn fetch(c: &mut Connection, placed: &Placed<'_>) {
    let urgent = c.rare().urgent;
    let Some(mark) = urgent.mark.filter(|_| urgent.byte.is_none() && !urgent.taken) else { return };
    let offset = mark - placed.start;
    if let Some(&byte) = usize::try_from(offset).ok().and_then(|o| placed.segment.payload.bytes.get(o)) {
        c.rare_mut().urgent.byte = Some(byte);
        c.announce(Ready::PRIORITY);
    }
}

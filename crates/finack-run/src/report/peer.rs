//! The other end's states, inferred from what it sends and what it was sent (RFC 9293 figure 5).

use finack_core::tcp::State;
use finack_core::trace::{Direction, SegmentTrace};

use super::seq::Line;

/// States that one segment leads through, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    states: [State; 4],
    len: usize,
}

impl Steps {
    const NONE: Self = Self { states: [State::Closed; 4], len: 0 };

    pub(super) fn as_slice(&self) -> &[State] {
        &self.states[..self.len]
    }
}

/// What is known of the program's end. What finack sends is taken for received: on the link between the two nothing
/// is lost unless finack drops it, and a state that is shown a little early does no harm.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeerModel {
    state: Option<State>,
    our_fin_sent: bool,
}

impl PeerModel {
    /// Takes a segment in either direction. `ack` is the offset that it acknowledges, -1 without one; `ours` and
    /// `theirs` have seen the segment already.
    pub(super) fn segment(&mut self, segment: &SegmentTrace, ack: i64, ours: &Line, theirs: &Line) -> Steps {
        let mut steps = Steps::NONE;
        if segment.flags.rst() {
            self.enter(State::Closed, &mut steps);
        } else if segment.dir == Direction::In {
            self.sent_by_peer(segment, ack, ours, &mut steps);
        } else {
            self.sent_to_peer(segment, ack, theirs, &mut steps);
            self.our_fin_sent |= ours.has_fin();
        }
        steps
    }

    fn enter(&mut self, state: State, steps: &mut Steps) {
        if self.state == Some(state) {
            return;
        }
        self.state = Some(state);
        if let Some(slot) = steps.states.get_mut(steps.len) {
            *slot = state;
            steps.len += 1;
        }
    }

    fn sent_by_peer(&mut self, segment: &SegmentTrace, ack: i64, ours: &Line, steps: &mut Steps) {
        use State::*;
        let flags = segment.flags;
        match (self.state, flags.syn(), flags.ack()) {
            (None, true, false) => {
                self.enter(Closed, steps);
                self.enter(SynSent, steps);
            }
            // Both ends opened at once.
            (Some(Listen), true, false) => self.enter(SynSent, steps),
            (Some(SynSent | Listen), true, true) => self.enter(SynReceived, steps),
            (None, true, true) => {
                self.enter(Listen, steps);
                self.enter(SynReceived, steps);
            }
            (Some(SynSent), false, true) if ack >= 1 => self.enter(Established, steps),
            (None, false, _) => self.enter(Established, steps),
            _ => {}
        }
        if flags.ack() && ours.covers_fin(ack) {
            match self.state {
                Some(Established) => self.enter(CloseWait, steps),
                Some(FinWait1) => self.enter(Closing, steps),
                Some(FinWait2) => self.enter(TimeWait, steps),
                _ => {}
            }
        }
        if flags.fin() {
            match self.state {
                Some(Established | SynReceived | SynSent) => self.enter(FinWait1, steps),
                Some(CloseWait) => self.enter(LastAck, steps),
                _ => {}
            }
        }
    }

    fn sent_to_peer(&mut self, segment: &SegmentTrace, ack: i64, theirs: &Line, steps: &mut Steps) {
        use State::*;
        let flags = segment.flags;
        if flags.syn() && !flags.ack() && self.state.is_none() {
            self.enter(Listen, steps);
        }
        if !flags.ack() {
            return;
        }
        if self.state == Some(SynReceived) && ack >= 1 {
            self.enter(Established, steps);
        }
        if !theirs.covers_fin(ack) {
            return;
        }
        match self.state {
            // Our FIN went ahead of this ACK: the two FINs crossed.
            Some(FinWait1) if self.our_fin_sent => {
                self.enter(Closing, steps);
                self.enter(TimeWait, steps);
            }
            Some(FinWait1) => self.enter(FinWait2, steps),
            Some(Closing) => self.enter(TimeWait, steps),
            Some(LastAck) => self.enter(Closed, steps),
            _ => {}
        }
    }
}

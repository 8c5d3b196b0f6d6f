//! The segments by which connections end, on their way in: a FIN that its connection expects next, and the last segment that one
//! which nobody owns any more waits for. Everything else goes the long way through `tcp_input`. Both ways come to the same.

use finack_wire::ip::Ecn;
use finack_wire::plain::Plain;

use super::Stack;
use super::refresh::Agenda;
use crate::device::{ChecksumState, Packet};
use crate::tcp::Payload;
use crate::tcp::input::last::{self, Bare};
use crate::tcp::input::{Arrival, Outcome, Text, expected};
use crate::time::Instant;

impl Stack {
    /// Takes a segment without text, if it is one of these and nobody observes; answers whether it did.
    pub(super) fn take_ending(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        plain: &Plain<'_>,
        index: u32,
    ) -> bool {
        let Self { connections, cx, wheel, ready_to_send, events, .. } = self;
        let Some(c) = connections.get_mut(index).filter(|c| c.facts.admits_afar()) else { return false };
        if !(plain.fin || c.facts.orphan()) || !plain.payload().is_empty() || cx.tracer.is_on() {
            return false;
        }
        if packet.meta.checksum != ChecksumState::Valid && !plain.checksum_ok() {
            return false;
        }
        let Plain { seq, ack, window, fin, timestamps, .. } = *plain;
        let (segments, segment_size) = (packet.meta.segments.max(1), packet.meta.segment_size);
        let outcome = if c.facts.orphan() {
            last::take_bare(c, cx, now, Bare { seq, ack, fin, timestamps })
        } else {
            let payload = Payload { bytes: &[], owner: None };
            let text = Text { payload, segments, segment_size, psh: plain.psh, timestamps };
            expected::take_fin(c, cx, now, Arrival { seq, ack, window, text }).then_some(Outcome::Keep)
        };
        let Some(outcome) = outcome else { return false };
        let count = u64::from(segments);
        cx.counters.ip_in_receives += count;
        cx.counters.count_codepoint(Ecn::from_bits(plain.tos), count);
        cx.counters.tcp_in_segs += count;
        if outcome == Outcome::Keep {
            Agenda { wheel, ready_to_send, events }.refresh(c, cx, now, index);
        } else {
            self.settle(now, index, outcome);
        }
        true
    }
}

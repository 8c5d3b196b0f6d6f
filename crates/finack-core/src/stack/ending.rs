//! The segments by which connections end, on their way in: a FIN that its connection expects next, and the last segment that one
//! which nobody owns any more waits for. Everything else goes the long way through `tcp_input`. Both ways come to the same.

use finack_wire::ip::Ecn;
use finack_wire::plain::Plain;

use super::Stack;
use super::expected::arrival_of;
use super::refresh::Agenda;
use crate::device::{ChecksumState, Packet};
use crate::tcp::input::last::{self, Bare};
use crate::tcp::input::{Outcome, expected};
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
        let Plain { seq, ack, fin, timestamps, .. } = *plain;
        let outcome = if c.facts.orphan() {
            last::take_bare(c, cx, now, Bare { seq, ack, fin, timestamps })
        } else {
            expected::take_fin(c, cx, now, &arrival_of(plain, packet)).then_some(Outcome::Keep)
        };
        let Some(outcome) = outcome else { return false };
        let count = u64::from(packet.meta.segments.max(1));
        cx.counters.count_segments_in(Ecn::from_bits(plain.tos), count);
        if outcome == Outcome::Keep {
            Agenda { wheel, ready_to_send, events }.refresh(c, cx, now, index);
        } else {
            self.settle(now, index, outcome);
        }
        true
    }
}

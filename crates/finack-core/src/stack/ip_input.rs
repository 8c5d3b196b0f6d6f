//! Packets come in: whose they are (RFC 1122 3.2).

use finack_wire::{ip, protocol};

use super::Stack;
use crate::device::Packet;
use crate::time::Instant;
use crate::trace::DropReason;

impl Stack {
    pub(super) fn ip_input(&mut self, now: Instant, packet: &Packet<'_>) {
        let bytes = packet.bytes.as_slice();
        self.cx.counters.ip_in_receives += 1;
        let Ok(header) = ip::parse(bytes) else {
            self.note_drop(now, DropReason::IpMalformed, bytes.len(), None);
            return;
        };
        if !self.ip.routes.is_local(header.dst) {
            self.note_drop(now, DropReason::NotForUs, bytes.len(), None);
            return;
        }
        if header.protocol == protocol::TCP {
            self.tcp_input(now, &header, packet);
        }
    }

    pub(super) fn pop_raw(&mut self) -> bool {
        self.ip.out.pop().is_some()
    }

    pub(super) fn ip_timeout(&mut self, _now: Instant) {}

    pub(super) fn ip_next_timeout(&self) -> Option<Instant> {
        self.ip.reassembler.next_timeout()
    }
}

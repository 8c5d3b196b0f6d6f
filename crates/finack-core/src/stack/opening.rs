//! SYN and SYN,ACK on their way in, at a glance: those that nothing is special about are read at one go and given to whom their
//! four-tuple names; everything else goes the long way through `ip_input`. Both ways come to the same.

use finack_wire::ip::Ecn;
use finack_wire::opening::Opening;
use finack_wire::tcp_options::TcpOptions;

use super::Stack;
use super::tcp_input::marks_of;
use crate::device::{ChecksumState, Packet};
use crate::tcp::input::Segment;
use crate::tcp::{Payload, Tuple};
use crate::time::Instant;

impl Stack {
    /// Takes a SYN or a SYN,ACK; answers whether it did.
    #[inline(never)]
    pub(super) fn take_opening(&mut self, now: Instant, packet: &Packet<'_>) -> bool {
        if !self.cx.short_cuts || !self.auth.is_empty() {
            return false;
        }
        let Some(opening) = Opening::parse(packet.bytes.as_slice()) else { return false };
        let (remote, local) = opening.addresses();
        if !self.ip.routes.is_local(local) || !self.ip.routes.is_valid_source(remote) {
            return false;
        }
        if packet.meta.checksum != ChecksumState::Valid && !opening.checksum_ok() {
            return false;
        }
        let options = TcpOptions::parse(opening.options);
        if options.md5.is_some() || options.ao.is_some() {
            // Who has no keys takes nothing that is signed.
            return false;
        }
        let tuple = Tuple { local, remote, local_port: opening.dst_port, remote_port: opening.src_port };
        let ecn = Ecn::from_bits(opening.tos);
        let segment = Segment {
            seq: opening.seq,
            ack: opening.ack,
            flags: opening.flags,
            window: opening.window,
            urgent: opening.urgent,
            options,
            payload: Payload { bytes: &[], owner: None },
            segments: packet.meta.segments.max(1),
            segment_size: packet.meta.segment_size,
            ecn,
            marks: marks_of(ecn, packet),
        };
        self.count_segment(&segment);
        self.route_segment(now, &tuple, &segment);
        true
    }
}

//! What a receiving device may do: hand over all that came at once, neighbours of one stream joined (GRO).

use finack_core::device::{ChecksumState, PacketMeta};

use super::carry::{Carried, Frame};
use super::cut::{be16, be32, finish_ip, transport};
use crate::packet::{flag, proto};

/// Largest packet that segments are joined to, in bytes.
const MOST: usize = 65_535;

/// Joins each run of packets that are one stream's full segments in order; what cannot be joined stays as it is. What is
/// not needed any more goes to `spare`.
pub(super) fn join(
    packets: &mut Vec<Carried>,
    out: &mut Vec<(Carried, PacketMeta)>,
    spare: &mut Vec<Carried>,
) {
    let mut last: Option<Joined> = None;
    for frame in packets.drain(..) {
        let shape = Shape::of(&frame);
        if let (Some(joined), Some(shape)) = (&mut last, &shape)
            && joined.take(&frame.bytes, shape)
        {
            spare.push(frame);
            continue;
        }
        out.extend(last.take().map(Joined::finish));
        last = Some(Joined { frame, shape, segments: 1, segment_size: 0 });
    }
    out.extend(last.map(Joined::finish));
}

/// Where things are in a segment that may be joined.
struct Shape {
    tcp: usize,
    payload: usize,
}

impl Shape {
    fn of(frame: &Frame) -> Option<Self> {
        let bytes = &frame.bytes;
        if frame.damaged {
            return None;
        }
        let (tcp, protocol) = transport(bytes)?;
        if protocol != proto::TCP || bytes.len() < tcp + 20 {
            return None;
        }
        let payload = tcp + usize::from(bytes[tcp + 12] >> 4) * 4;
        let plain = bytes[tcp + 13] & !(flag::PSH as u8) == flag::ACK as u8 && bytes[tcp + 12] & 1 == 0;
        (plain && payload < bytes.len()).then_some(Self { tcp, payload })
    }
}

struct Joined {
    frame: Carried,
    shape: Option<Shape>,
    segments: u16,
    segment_size: usize,
}

impl Joined {
    /// Appends `next` if it continues what is here.
    fn take(&mut self, next: &[u8], theirs: &Shape) -> bool {
        let Some(Shape { tcp, payload }) = self.shape else { return false };
        let mine = &mut self.frame.bytes;
        if (theirs.tcp, theirs.payload) != (tcp, payload) || !alike(mine, next, tcp, payload) {
            return false;
        }
        let (here, more) = (mine.len() - payload, next.len() - payload);
        let size = if self.segments == 1 { here } else { self.segment_size };
        let continues = be32(next, tcp + 4) == be32(mine, tcp + 4).wrapping_add(here as u32);
        let pushed = mine[tcp + 13] & flag::PSH as u8 != 0;
        if !continues || pushed || here % size != 0 || more > size || mine.len() + more > MOST {
            return false;
        }
        mine.extend_from_slice(&next[payload..]);
        mine[tcp + 13] |= next[tcp + 13];
        self.segments += 1;
        self.segment_size = size;
        true
    }

    fn finish(mut self) -> (Carried, PacketMeta) {
        let ce = self.frame.ecn_bits() == 3;
        let meta = PacketMeta {
            checksum: self.frame.checksum_state(self.segments > 1),
            segments: self.segments,
            segment_size: self.segment_size as u16,
            ce_marks: if ce { self.segments } else { 0 },
            ..PacketMeta::default()
        };
        if self.segments > 1 {
            finish_ip(&mut self.frame.bytes);
        }
        (self.frame, meta)
    }
}

/// Whether two segments differ in nothing but their number, length, checksum and PSH.
fn alike(a: &[u8], b: &[u8], tcp: usize, payload: usize) -> bool {
    let ip = if a[0] >> 4 == 4 {
        a[..2] == b[..2] && a[6..10] == b[6..10] && a[12..tcp] == b[12..tcp]
    } else {
        a[..4] == b[..4] && a[6..tcp] == b[6..tcp]
    };
    // Ports, acknowledgement, window, options.
    ip && a[tcp..tcp + 4] == b[tcp..tcp + 4]
        && a[tcp + 8..tcp + 12] == b[tcp + 8..tcp + 12]
        && be16(a, tcp + 14) == be16(b, tcp + 14)
        && a[tcp + 20..payload] == b[tcp + 20..payload]
}

impl Frame {
    /// What the receiving device says of the checksum; joined packets' have been verified.
    pub(super) fn checksum_state(&self, joined: bool) -> ChecksumState {
        if joined || !self.summed && !self.damaged { ChecksumState::Valid } else { ChecksumState::Unchecked }
    }

    /// The ECN field.
    pub(super) fn ecn_bits(&self) -> u8 {
        match self.bytes.first().map(|b| b >> 4) {
            Some(4) => self.bytes.get(1).copied().unwrap_or(0) & 3,
            Some(6) => (self.bytes.get(1).copied().unwrap_or(0) >> 4) & 3,
            _ => 0,
        }
    }
}

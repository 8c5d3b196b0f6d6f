//! What a receiving device may do: hand over all that came at once, neighbours of one stream joined (GRO).

use finack_core::device::{ChecksumState, PacketMeta};

use crate::packet::{Body, Pkt, Tcp, build, flag, parse};

/// Largest packet that segments are joined to, in bytes.
const MOST: usize = 65_535;

/// Joins each run of packets that are one stream's full segments in order; what cannot be joined stays as it is.
pub(super) fn join(packets: Vec<Vec<u8>>) -> Vec<(Vec<u8>, PacketMeta)> {
    let mut out: Vec<Joined> = Vec::new();
    for bytes in packets {
        let packet = parse(&bytes).ok();
        if let (Some(last), Some(packet)) = (out.last_mut(), &packet)
            && last.take(packet)
        {
            continue;
        }
        out.push(Joined { bytes, packet, segments: 1, segment_size: 0 });
    }
    out.into_iter().map(Joined::finish).collect()
}

struct Joined {
    bytes: Vec<u8>,
    packet: Option<Pkt>,
    segments: u16,
    segment_size: usize,
}

fn joinable(tcp: &Tcp) -> bool {
    !tcp.payload.is_empty() && tcp.flags & !flag::PSH == flag::ACK
}

impl Joined {
    /// Appends `next` if it continues what is here.
    fn take(&mut self, next: &Pkt) -> bool {
        let Some(mine) = &mut self.packet else { return false };
        if (mine.from(), mine.to(), mine.ip.tos, mine.ip.ttl)
            != (next.from(), next.to(), next.ip.tos, next.ip.ttl)
        {
            return false;
        }
        let (Body::Tcp(a), Body::Tcp(b)) = (&mut mine.body, &next.body) else { return false };
        let size = if self.segments == 1 { a.payload.len() } else { self.segment_size };
        let continues =
            b.seq == a.seq.wrapping_add(a.payload.len() as u32) && a.payload.len() % size.max(1) == 0;
        let alike = a.options == b.options && a.ack == b.ack && a.window == b.window;
        let fits = b.payload.len() <= size && a.payload.len() + b.payload.len() + 100 <= MOST;
        if !joinable(a) || !joinable(b) || a.has(flag::PSH) || !continues || !alike || !fits {
            return false;
        }
        a.payload.extend_from_slice(&b.payload);
        a.flags |= b.flags;
        self.segments += 1;
        self.segment_size = size;
        true
    }

    fn finish(self) -> (Vec<u8>, PacketMeta) {
        match &self.packet {
            Some(packet) if self.segments > 1 => {
                let meta = PacketMeta {
                    checksum: ChecksumState::Valid,
                    segments: self.segments,
                    segment_size: self.segment_size as u16,
                    ..PacketMeta::default()
                };
                (build(packet), meta)
            }
            _ => (self.bytes, PacketMeta::default()),
        }
    }
}

//! What a device does with a unit: cut it into wire segments and finish their checksums.

use finack_core::device::{Transmit, TxChecksum};

use crate::packet::{Body, Pkt, build, finish_checksum, flag, parse};

/// The wire packets that `transmit` stands for, in order, with finished checksums.
///
/// A unit is cut as TSO does: FIN and PSH belong to the last segment, CWR to the first, the IPv4
/// identification counts up.
///
/// # Errors
/// What is wrong with the packet: see [`parse`], or a `segment_size` that makes no sense.
pub fn wire_packets(transmit: &Transmit<'_>) -> Result<Vec<Vec<u8>>, String> {
    let mut whole = Vec::with_capacity(transmit.len());
    transmit.write_to(&mut whole);
    if let TxChecksum::Partial { start, offset } = transmit.checksum {
        finish_checksum(&mut whole, usize::from(start), usize::from(offset))?;
    }
    let size = usize::from(transmit.segment_size);
    if size == 0 {
        return Ok(vec![whole]);
    }
    if transmit.checksum == TxChecksum::Complete {
        return Err("a unit with a complete checksum: the device must finish each segment's".into());
    }
    let packet = parse(&whole)?;
    let payload = match &packet.body {
        Body::Tcp(tcp) => tcp.payload.clone(),
        Body::Udp(udp) => udp.payload.clone(),
        _ => return Err("a unit that is neither TCP nor UDP".into()),
    };
    if payload.len() <= size {
        return Err(format!("a unit of {} bytes with segments of {size}: it is no unit", payload.len()));
    }
    Ok(cut(&packet, &payload, size))
}

fn cut(packet: &Pkt, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size);
    let mut out = Vec::with_capacity(count);
    for (i, chunk) in payload.chunks(size).enumerate() {
        let mut segment = packet.clone();
        segment.ip.id = packet.ip.id.wrapping_add(i as u16);
        match &mut segment.body {
            Body::Tcp(tcp) => {
                tcp.seq = tcp.seq.wrapping_add((i * size) as u32);
                tcp.payload = chunk.to_vec();
                if i + 1 < count {
                    tcp.flags &= !(flag::FIN | flag::PSH);
                }
                if i > 0 {
                    tcp.flags &= !flag::CWR;
                }
            }
            Body::Udp(udp) => udp.payload = chunk.to_vec(),
            Body::Icmp(_) | Body::Other { .. } => {}
        }
        out.push(build(&segment));
    }
    out
}

//! What a device does with a unit, without taking it apart: segments are cut by their headers' offsets.

use finack_core::device::{Transmit, TxChecksum};

use super::carry::Carried;
use crate::packet::{finish_checksum, flag, proto};

/// Offset of the transport header; `None` where this is neither IPv4 nor IPv6 without extension headers.
pub(super) fn transport(bytes: &[u8]) -> Option<(usize, u8)> {
    match bytes.first()? >> 4 {
        4 if bytes.len() >= 20 => Some((usize::from(bytes[0] & 15) * 4, bytes[9])),
        6 if bytes.len() >= 40 => Some((40, bytes[6])),
        _ => None,
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes the IP header's length for the bytes that are there, and an IPv4 header's checksum.
pub(super) fn finish_ip(bytes: &mut [u8]) {
    let len = bytes.len();
    if bytes[0] >> 4 == 6 {
        put16(bytes, 4, (len - 40) as u16);
        return;
    }
    put16(bytes, 2, len as u16);
    put16(bytes, 10, 0);
    let header = usize::from(bytes[0] & 15) * 4;
    let mut sum: u32 = bytes[..header].chunks_exact(2).map(|w| u32::from(be16(w, 0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    put16(bytes, 10, !(sum as u16));
}

/// Calls `each` with every wire packet of `transmit`, written into a frame from `fresh`. With `finish` their checksums
/// are right; else the transport's is left as it is, for a receiver that is told so.
///
/// # Errors
/// What is wrong with the unit.
pub(super) fn cut(
    transmit: &Transmit<'_>,
    finish: bool,
    fresh: &mut impl FnMut() -> Carried,
    each: &mut impl FnMut(Carried),
) -> Result<(), String> {
    let size = usize::from(transmit.segment_size);
    if size == 0 {
        let mut frame = fresh();
        transmit.write_to(&mut frame.bytes);
        if let (true, TxChecksum::Partial { start, offset }) = (finish, transmit.checksum) {
            finish_checksum(&mut frame.bytes, usize::from(start), usize::from(offset))?;
        }
        each(frame);
        return Ok(());
    }
    let TxChecksum::Partial { start, offset } = transmit.checksum else {
        return Err("a unit with a complete checksum: the device must finish each segment's".into());
    };
    let total = transmit.payload_len();
    if total <= size {
        return Err(format!("a unit of {total} bytes with segments of {size}: it is no unit"));
    }
    let mut rest = transmit.payload();
    let (mut slice, mut done, mut index) = (&[][..], 0, 0_u16);
    while done < total {
        let mut frame = fresh();
        let bytes = &mut frame.bytes;
        bytes.extend_from_slice(transmit.header);
        let mut wanted = size.min(total - done);
        done += wanted;
        while wanted > 0 {
            if slice.is_empty() {
                let Some(next) = rest.next() else { break };
                slice = next;
            }
            let (now, later) = slice.split_at(wanted.min(slice.len()));
            bytes.extend_from_slice(now);
            wanted -= now.len();
            slice = later;
        }
        head(bytes, index, size, done == total);
        if finish {
            let (start, offset) = (usize::from(start), usize::from(offset));
            repair_pseudo(bytes, transmit.len(), start, start + offset);
            finish_checksum(bytes, start, offset)?;
        }
        index += 1;
        each(frame);
    }
    Ok(())
}

/// Makes the unit's header that of its segment `index`.
fn head(bytes: &mut [u8], index: u16, size: usize, last: bool) {
    let Some((at, protocol)) = transport(bytes) else { return };
    if bytes[0] >> 4 == 4 {
        let id = be16(bytes, 4).wrapping_add(index);
        put16(bytes, 4, id);
    }
    finish_ip(bytes);
    if protocol == proto::UDP {
        let len = (bytes.len() - at) as u16;
        put16(bytes, at + 4, len);
        return;
    }
    let seq = be32(bytes, at + 4).wrapping_add(u32::from(index) * size as u32);
    bytes[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
    if !last {
        bytes[at + 13] &= !((flag::FIN | flag::PSH) as u8);
    }
    if index > 0 {
        bytes[at + 13] &= !(flag::CWR as u8);
    }
}

/// The pseudo-header's sum at `at` is that of the unit's length: makes it that of the segment's.
fn repair_pseudo(bytes: &mut [u8], unit_len: usize, start: usize, at: usize) {
    let (old, new) = ((unit_len - start) as u32, (bytes.len() - start) as u32);
    // A difference in one's complement; the lengths fit 16 bits.
    let mut sum = u32::from(be16(bytes, at)) + (0xffff - old % 0xffff) + new % 0xffff;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    put16(bytes, at, sum as u16);
}

//! Payload that says whose it is: which talk, which incarnation, which side, which byte.

/// What the bytes of one direction of one incarnation are made from.
pub(super) type Key = u64;

/// A key of `parts`.
pub(super) fn key(parts: [u64; 4]) -> Key {
    parts.iter().fold(0, |k, &part| mix(k ^ part))
}

const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number that depends on all of `parts` and on nothing else.
pub(super) fn dice(parts: [u64; 4]) -> u64 {
    key(parts)
}

const fn byte(key: Key, offset: u64) -> u8 {
    (mix(key ^ (offset >> 3)) >> (8 * (offset & 7))) as u8
}

/// `len` bytes from `offset` on.
pub(super) fn bytes(key: Key, offset: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    let mut at = offset;
    while out.len() < len && at & 7 != 0 {
        out.push(byte(key, at));
        at += 1;
    }
    while len - out.len() >= 8 {
        out.extend_from_slice(&mix(key ^ (at >> 3)).to_le_bytes());
        at += 8;
    }
    while out.len() < len {
        out.push(byte(key, at));
        at += 1;
    }
    out
}

/// The first place in `data` that does not belong at `offset`.
pub(super) fn mismatch(key: Key, offset: u64, data: &[u8]) -> Option<usize> {
    let right = bytes(key, offset, data.len());
    if right == data { None } else { right.iter().zip(data).position(|(a, b)| a != b) }
}

#[cfg(test)]
mod tests {
    use super::{byte, bytes, key, mismatch};

    #[test]
    fn every_slice_of_a_stream_is_the_streams() {
        let k = key([1, 2, 3, 4]);
        for (offset, len) in [(0, 20), (3, 2), (5, 40), (8, 8), (1 << 40, 17)] {
            let slice = bytes(k, offset, len);
            assert!(slice.iter().zip(offset..).all(|(&b, o)| b == byte(k, o)));
            assert_eq!(mismatch(k, offset, &slice), None);
            assert_eq!(mismatch(k, offset + 1, &slice), Some(0));
        }
    }
}

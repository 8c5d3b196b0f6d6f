//! Content that both ends can compute: the same bytes for the same offset, always.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes made at a time.
const CHUNK: usize = 64 * 1024;

/// The first `len` bytes of the endless, deterministic content that `/bytes/N` serves, chunk by chunk.
///
/// Eight bytes at a time, little-endian: word `i` is the SplitMix64 mix of `i`. Nothing in it repeats, so that a
/// stretch that is lost, doubled or swapped changes the hash.
#[derive(Clone, Debug)]
pub struct Content {
    word: u64,
    left: u64,
}

impl Content {
    /// The first `len` bytes.
    pub fn new(len: u64) -> Self {
        Self { word: 0, left: len }
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

impl Iterator for Content {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let want = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; want.next_multiple_of(8)];
        for word in chunk.chunks_exact_mut(8) {
            word.copy_from_slice(&mix(self.word).to_le_bytes());
            self.word += 1;
        }
        chunk.truncate(want);
        self.left -= want as u64;
        Some(chunk.into())
    }
}

fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A SHA-256 that grows, written as 64 hexadecimal digits in the end.
#[derive(Clone, Debug, Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digits.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads a count of bytes: a decimal number, perhaps with one of the suffixes K, M, G (powers of 1024).
/// At most 1 TiB.
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|n| *n <= 1 << 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_content_is_the_beginning_of_a_longer_one() {
        let long: Vec<u8> = Content::new(200_003).flatten().collect();
        let short: Vec<u8> = Content::new(70_001).flatten().collect();
        assert_eq!(long.len(), 200_003);
        assert_eq!(short[..], long[..70_001]);
    }

    #[test]
    fn the_hash_is_sha_256() {
        let mut hash = Hash::default();
        hash.update(b"ab");
        hash.update(b"c");
        // FIPS 180-2, B.1
        assert_eq!(hash.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn sizes_have_suffixes_and_bounds() {
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(parse_size("10k"), Some(10_240));
        assert_eq!(parse_size("1G"), Some(1 << 30));
        assert_eq!(parse_size("1024G"), Some(1 << 40));
        for bad in ["", "K", "-1", "+1", "1.5M", "1025G", "99999999999999999999", "1T", "é"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}

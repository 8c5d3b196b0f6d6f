//! Payload whose every byte says where in its stream it belongs.

/// The byte at `offset` of the stream of `side` (any number that tells streams apart).
#[must_use]
pub const fn byte(side: u8, offset: u64) -> u8 {
    let mixed = (offset ^ (side as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// `len` bytes of the stream of `side` from `offset` on.
#[must_use]
pub fn bytes(side: u8, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(|o| byte(side, o)).collect()
}

/// The first place in `data` that does not belong at `offset` of the stream of `side`.
#[must_use]
pub fn mismatch(side: u8, offset: u64, data: &[u8]) -> Option<usize> {
    (offset..).zip(data).position(|(o, b)| byte(side, o) != *b)
}

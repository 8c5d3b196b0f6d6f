//! Summing what does not lie in one slice.

use crate::fold;

/// Accumulates a sum over slices one after another, any of which may have an odd length.
///
/// ```
/// let mut acc = finack_sum::Accumulator::new();
/// acc.add(&[0x00, 0x01, 0xf2]);
/// acc.add(&[0x03]);
/// acc.add_u16(0xf4f5);
/// acc.add_u16(0xf6f7);
/// assert_eq!(acc.folded(), 0xddf2);
/// assert_eq!(acc.finish(), !0xddf2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Accumulator {
    /// The sum so far, of terms of 16 bits each: no number of packets can make it overflow.
    sum: u64,
    /// Whether an odd number of bytes has been added, so that the next byte is a low one.
    odd: bool,
}

impl Accumulator {
    /// An accumulator to which nothing has been added.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Adds the bytes of `data`, which follow those added so far.
    #[inline]
    pub fn add(&mut self, data: &[u8]) {
        self.add_sum(crate::sum(data), data.len());
    }

    /// Adds the two bytes of `word`, the high one first.
    #[inline]
    pub fn add_u16(&mut self, word: u16) {
        self.add_sum(word, 2);
    }

    /// Adds the four bytes of `word`, the highest first.
    #[inline]
    pub fn add_u32(&mut self, word: u32) {
        self.add_sum(crate::add((word >> 16) as u16, word as u16), 4);
    }

    /// Adds `len` bytes of which `sum` is the [`sum`](crate::sum) as if they began at an even offset.
    ///
    /// Where they begin at an odd one, the bytes of the sum are swapped (RFC 1071 section 2 (B)).
    #[inline]
    pub fn add_sum(&mut self, sum: u16, len: usize) {
        let sum = if self.odd { sum.swap_bytes() } else { sum };
        self.sum += u64::from(sum);
        self.odd ^= len % 2 == 1;
    }

    /// The sum of all that was added, folded to 16 bits, not inverted.
    #[inline]
    #[must_use]
    pub fn folded(&self) -> u16 {
        fold(self.sum)
    }

    /// The sum inverted: ready for a header's checksum field.
    #[inline]
    #[must_use]
    pub fn finish(&self) -> u16 {
        !self.folded()
    }
}

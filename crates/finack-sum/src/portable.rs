//! Summing without anything special to a processor, written so that the compiler can put the lanes
//! in vector registers.

use core::mem::MaybeUninit;

/// Lanes of 64 bits summed side by side.
const LANES: usize = 8;
const BLOCK: usize = LANES * 8;
/// Slices at least this long are summed in lanes: adding the lanes together takes a while too.
const LANES_MIN: usize = 256;
/// What is copied and then summed at a time: even, so that words do not shift, and small against the
/// nearest cache.
const PIECE: usize = 4096;

/// Partial sums of a run of 64-bit words.
///
/// What is wanted is the sum of both 32-bit halves of every word, without losing carries.
/// `words` wraps, but with `highs`, the sum of the upper halves, that of the lower halves can be had
/// back from it: one operation per word fewer than masking out each lower half.
struct Lanes {
    words: [u64; LANES],
    highs: [u64; LANES],
}

impl Lanes {
    const fn new() -> Self {
        Self { words: [0; LANES], highs: [0; LANES] }
    }

    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in words.iter().enumerate().take(LANES) {
            let word = u64::from_ne_bytes(*word);
            self.words[lane] = self.words[lane].wrapping_add(word);
            self.highs[lane] += word >> 32;
        }
    }

    /// The sum of all 32-bit halves, with room for more to be added.
    #[inline]
    fn total(&self) -> u64 {
        let (mut words, mut highs) = (0u64, 0u64);
        for lane in 0..LANES {
            words = words.wrapping_add(self.words[lane]);
            highs += self.highs[lane];
        }
        halves(words, highs)
    }
}

/// The sum of the lower and the upper halves of words, from their wrapped sum and the sum of their
/// upper halves, each folded to below 2^33.
#[inline]
pub(crate) const fn halves(words: u64, highs: u64) -> u64 {
    let lows = words.wrapping_sub(highs << 32);
    (lows & 0xffff_ffff) + (lows >> 32) + (highs & 0xffff_ffff) + (highs >> 32)
}

/// A sum of the native-endian words of `data`, not folded.
#[inline]
pub(crate) fn sum(data: &[u8]) -> u64 {
    if data.len() < LANES_MIN {
        return short(data);
    }
    long(data)
}

fn long(data: &[u8]) -> u64 {
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    let mut lanes = Lanes::new();
    for block in blocks {
        lanes.add(block);
    }
    lanes.total() + short(rest)
}

/// Copies `src` to `dst`, which must be as long, and sums it like [`sum`]. All of `dst` is written.
///
/// What has just been copied is in the nearest cache: piece by piece, summing it costs no memory
/// traffic, and copying can be left to the system's own code for it.
#[inline]
pub(crate) fn copy_and_sum(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> u64 {
    let mut total = 0;
    for (dst, src) in dst.chunks_mut(PIECE).zip(src.chunks(PIECE)) {
        write(dst, src);
        total += sum(src);
    }
    total
}

/// Copies `src` to `dst`, which must be as long: the compiler makes a call of `memcpy` of this.
#[inline]
pub(crate) fn write(dst: &mut [MaybeUninit<u8>], src: &[u8]) {
    for (dst, src) in dst.iter_mut().zip(src) {
        dst.write(*src);
    }
}

/// [`sum`] for what is left after the blocks, and for slices too short for them.
#[inline]
pub(crate) fn short(data: &[u8]) -> u64 {
    let mut total = 0u64;
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let (sum, carry) = total.overflowing_add(u64::from_ne_bytes(*word));
        // After a carry there is room for it.
        total = sum + u64::from(carry);
    }
    // What is left is under a word: as if zeros followed it, which add nothing.
    let mut last = 0;
    let (fours, rest) = rest.as_chunks::<4>();
    if let [four] = fours {
        last = u64::from(u32::from_ne_bytes(*four));
    }
    let (twos, rest) = rest.as_chunks::<2>();
    if let [two] = twos {
        last += u64::from(u16::from_ne_bytes(*two));
    }
    if let [byte] = rest {
        last += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    (total & 0xffff_ffff) + (total >> 32) + last
}

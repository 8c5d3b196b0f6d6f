//! Summing with AVX2: 32 bytes to a register, four registers in flight.

use crate::portable::{halves, short, write};
use core::arch::asm;
use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_setzero_si256, _mm256_srli_epi64,
    _mm256_storeu_si256,
};
use core::mem::MaybeUninit;

const REGISTER: usize = 32;
const BLOCK: usize = 4 * REGISTER;

/// Whether this processor, and the system under it, can run the code of this module.
pub(super) fn available() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "avx2");
}

/// A sum of the native-endian words of `data`, not folded.
#[target_feature(enable = "avx2")]
pub(super) fn sum(data: &[u8]) -> u64 {
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    let mut lanes = [Lanes::new(); 4];
    for block in blocks {
        let (registers, _) = block.as_chunks::<REGISTER>();
        for (lanes, bytes) in lanes.iter_mut().zip(registers) {
            lanes.add(load(bytes));
        }
    }
    let (registers, rest) = rest.as_chunks::<REGISTER>();
    for (lanes, bytes) in lanes.iter_mut().zip(registers) {
        lanes.add(load(bytes));
    }
    total(&lanes) + short(rest)
}

/// Copies `src` to `dst`, which must be as long, and sums it. All of `dst` is written.
#[target_feature(enable = "avx2")]
pub(super) fn copy_and_sum(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> u64 {
    let (to, to_rest) = dst.as_chunks_mut::<BLOCK>();
    let (from, from_rest) = src.as_chunks::<BLOCK>();
    let mut lanes = [Lanes::new(); 4];
    for (to, from) in to.iter_mut().zip(from) {
        let (to, _) = to.as_chunks_mut::<REGISTER>();
        let (from, _) = from.as_chunks::<REGISTER>();
        for ((lanes, to), from) in lanes.iter_mut().zip(to).zip(from) {
            let value = opaque(load(from));
            store(to, value);
            lanes.add(value);
        }
    }
    let (to, to_rest) = to_rest.as_chunks_mut::<REGISTER>();
    let (from, from_rest) = from_rest.as_chunks::<REGISTER>();
    for ((lanes, to), from) in lanes.iter_mut().zip(to).zip(from) {
        let value = opaque(load(from));
        store(to, value);
        lanes.add(value);
    }
    write(to_rest, from_rest);
    total(&lanes) + short(from_rest)
}

/// Four 64-bit words' wrapping sums, and the sums of their upper halves: see `portable::Lanes`.
#[derive(Clone, Copy)]
struct Lanes {
    words: __m256i,
    highs: __m256i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Self { words: _mm256_setzero_si256(), highs: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, value: __m256i) {
        self.words = _mm256_add_epi64(self.words, value);
        self.highs = _mm256_add_epi64(self.highs, _mm256_srli_epi64::<32>(value));
    }
}

/// The sum of every lane's lower and upper halves, each lane's folded to below 2^34.
#[inline]
#[target_feature(enable = "avx2")]
fn total(lanes: &[Lanes; 4]) -> u64 {
    // The upper halves' sums are below 2^32 times the number of words, and the words' wrap as they
    // did within a lane: both can be added across lanes before the halves are taken apart.
    let words = _mm256_add_epi64(
        _mm256_add_epi64(lanes[0].words, lanes[1].words),
        _mm256_add_epi64(lanes[2].words, lanes[3].words),
    );
    let highs = _mm256_add_epi64(
        _mm256_add_epi64(lanes[0].highs, lanes[1].highs),
        _mm256_add_epi64(lanes[2].highs, lanes[3].highs),
    );
    let (words, highs) = (spill(words), spill(highs));
    let mut total = 0;
    for (words, highs) in words.iter().zip(highs) {
        total += halves(*words, highs);
    }
    total
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; REGISTER]) -> __m256i {
    // SAFETY: the array is of exactly the 32 bytes read, and `loadu` asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The same value, but the compiler does not know that. Where it sees that all that is loaded is
/// stored, it makes one loop for summing and a call of `memcpy` out of the loop for both.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut value: __m256i) -> __m256i {
    // SAFETY: there is not a single instruction in this.
    unsafe { asm!("/* {0} */", inout(ymm_reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [MaybeUninit<u8>; REGISTER], value: __m256i) {
    // SAFETY: the array is of exactly the 32 bytes written, and `storeu` asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn spill(value: __m256i) -> [u64; 4] {
    let mut words = [0; 4];
    // SAFETY: the array is of exactly the 32 bytes written, and `storeu` asks for no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), value) };
    words
}

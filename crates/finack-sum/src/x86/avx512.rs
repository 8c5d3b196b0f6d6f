//! Summing with AVX-512: 64 bytes to a register, four registers in flight, and the end of a slice in one step, by a load that
//! leaves out what lies behind it.

use crate::fold;
use crate::portable::halves;
use core::arch::asm;
use core::arch::x86_64::{
    __m512i, _MM_HINT_ET0, _mm_prefetch, _mm512_add_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_reduce_add_epi64, _mm512_setzero_si512, _mm512_srli_epi64,
    _mm512_storeu_si512,
};
use core::mem::MaybeUninit;

pub(super) const REGISTER: usize = 64;
const BLOCK: usize = 4 * REGISTER;
/// How far ahead of its writing memory is asked for: what copying takes longer for than a fetch from the second cache.
const AHEAD: usize = 512;

/// Whether this processor, and the system under it, can run the code of this module.
pub(super) fn available() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw");
    #[cfg(not(feature = "std"))]
    return cfg!(all(target_feature = "avx512f", target_feature = "avx512bw"));
}

/// A sum of the native-endian words of `data`, not folded.
#[target_feature(enable = "avx512f,avx512bw")]
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
    lanes[3].add(load_part(rest));
    total(&lanes)
}

/// Copies `src` to `dst`, which must be as long, and sums it. All of `dst` is written.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn copy_and_sum(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> u64 {
    copy_behind(dst, src, Lanes::new())
}

/// Copies fewer than 64 bytes of `header` and all of `payload` to places of their sizes; sums what stands in the header from
/// `start` on, which must be an even number of bytes, and the payload. All of both places is written.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn copy_packet_and_sum(
    (to_header, to_payload): (&mut [MaybeUninit<u8>], &mut [MaybeUninit<u8>]),
    (header, start): (&[u8], usize),
    payload: &[u8],
) -> u64 {
    let value = load_part(header);
    store_part(to_header, value);
    let mut first = Lanes::new();
    first.add(load_part(&header[start..]));
    copy_behind(to_payload, payload, first)
}

/// [`copy_and_sum`] behind an even number of bytes of which `first` is the sum.
///
/// A store that lies across two lines of the cache takes twice as long as one that does not: what comes before the first line of
/// `dst` goes by itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn copy_behind(dst: &mut [MaybeUninit<u8>], src: &[u8], mut first: Lanes) -> u64 {
    let ahead = dst.as_ptr().align_offset(REGISTER).min(dst.len());
    let (to, to_rest) = dst.split_at_mut(ahead);
    let (from, from_rest) = src.split_at(ahead);
    let value = load_part(from);
    store_part(to, value);
    first.add(value);
    let mut lanes = copy_lines(to_rest, from_rest);
    if ahead.is_multiple_of(2) {
        lanes[0].add_all(&first);
        return total(&lanes);
    }
    // Behind an odd number of bytes every word is the other way round (RFC 1071 section 2 (B)).
    let lines = u64::from(fold(total(&lanes)).swap_bytes());
    total(&[first, Lanes::new(), Lanes::new(), Lanes::new()]) + lines
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn copy_lines(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> [Lanes; 4] {
    let (to, to_rest) = dst.as_chunks_mut::<BLOCK>();
    let (from, from_rest) = src.as_chunks::<BLOCK>();
    let mut lanes = [Lanes::new(); 4];
    for (to, from) in to.iter_mut().zip(from) {
        own_ahead(to);
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
    let value = load_part(from_rest);
    store_part(to_rest, value);
    lanes[3].add(value);
    lanes
}

/// Has the processor fetch what is written a little later: unlike for what is read, it does not do so by itself, and a store that
/// waits holds up those behind it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn own_ahead(block: &[MaybeUninit<u8>; BLOCK]) {
    for line in 0..BLOCK / REGISTER {
        let at = block.as_ptr().wrapping_add(AHEAD + line * REGISTER);
        // SAFETY: this is a hint, which touches nothing, wherever it points.
        #[allow(unused_unsafe, reason = "older compilers than 1.95 ask for it")]
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(at.cast());
        }
    }
}

/// Eight 64-bit words' wrapping sums, and the sums of their upper halves: see `portable::Lanes`.
#[derive(Clone, Copy)]
struct Lanes {
    words: __m512i,
    highs: __m512i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new() -> Self {
        Self { words: _mm512_setzero_si512(), highs: _mm512_setzero_si512() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(&mut self, value: __m512i) {
        self.words = _mm512_add_epi64(self.words, value);
        self.highs = _mm512_add_epi64(self.highs, _mm512_srli_epi64::<32>(value));
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add_all(&mut self, other: &Self) {
        self.words = _mm512_add_epi64(self.words, other.words);
        self.highs = _mm512_add_epi64(self.highs, other.highs);
    }
}

/// The sum of every lane's lower and upper halves, folded to below 2^34.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn total(lanes: &[Lanes; 4]) -> u64 {
    // The upper halves' sums are below 2^32 times the number of words, and the words' wrap as they
    // did within a lane: both can be added across lanes before the halves are taken apart.
    let words = _mm512_add_epi64(
        _mm512_add_epi64(lanes[0].words, lanes[1].words),
        _mm512_add_epi64(lanes[2].words, lanes[3].words),
    );
    let highs = _mm512_add_epi64(
        _mm512_add_epi64(lanes[0].highs, lanes[1].highs),
        _mm512_add_epi64(lanes[2].highs, lanes[3].highs),
    );
    halves(_mm512_reduce_add_epi64(words) as u64, _mm512_reduce_add_epi64(highs) as u64)
}

/// A bit for each of the first `len` bytes of a register, fewer than 64.
#[inline]
const fn first(len: usize) -> u64 {
    (1 << len) - 1
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8; REGISTER]) -> __m512i {
    // SAFETY: the array is of exactly the 64 bytes read, and `loadu` asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Fewer than 64 bytes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_part(bytes: &[u8]) -> __m512i {
    debug_assert!(bytes.len() < REGISTER);
    // SAFETY: only bytes whose bit is set are read, which are those of the slice.
    unsafe { _mm512_maskz_loadu_epi8(first(bytes.len()), bytes.as_ptr().cast()) }
}

/// The same value, but the compiler does not know that. Where it sees that all that is loaded is
/// stored, it makes one loop for summing and a call of `memcpy` out of the loop for both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn opaque(mut value: __m512i) -> __m512i {
    // SAFETY: there is not a single instruction in this.
    unsafe { asm!("/* {0} */", inout(zmm_reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(bytes: &mut [MaybeUninit<u8>; REGISTER], value: __m512i) {
    // SAFETY: the array is of exactly the 64 bytes written, and `storeu` asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

/// Writes the first bytes of `value`, as many as fit, which are fewer than 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_part(bytes: &mut [MaybeUninit<u8>], value: __m512i) {
    debug_assert!(bytes.len() < REGISTER);
    // SAFETY: only bytes whose bit is set are written, which are those of the slice.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), first(bytes.len()), value) }
}

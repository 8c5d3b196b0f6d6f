//! The Internet checksum (RFC 1071): the 16-bit one's-complement sum that IPv4, TCP, UDP and ICMP
//! carry, over slices, over scattered slices, fused with a copy, and updated in place (RFC 1624).
//!
//! Sums are handled as numbers, as if the data were a row of big-endian 16-bit words: the value that
//! [`sum`] returns, inverted, is what [`u16::to_be_bytes`] puts on the wire.
//!
//! Long slices are summed with AVX-512 or AVX2 where the processor has it, found out at run time with the
//! feature `std` (on by default); all else uses portable code, and all give the same numbers.
//!
//! Beside sums there is [`prefetch`], because it needs `unsafe` too.
//!
//! # Zero has two forms
//!
//! In one's complement 0x0000 and 0xffff are both zero. A sum is 0 only where every byte summed was
//! zero; it is 0xffff where bytes that are not all zero sum to a multiple of 0xffff.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod accumulator;
mod portable;
#[allow(unsafe_code)]
mod prefetch;
#[allow(unsafe_code)]
mod uninit;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86;

#[cfg(test)]
mod tests;

pub use accumulator::Accumulator;
pub use prefetch::prefetch;
#[cfg(any(feature = "alloc", test))]
pub use uninit::{append_and_sum, append_packet_and_sum};

/// Slices at least this long go to the SIMD code: below it, setting up and adding together the
/// vector lanes costs more than they save.
#[cfg(target_arch = "x86_64")]
const SIMD_MIN: usize = 64;

/// The one's-complement sum of `data` as if it began at an even offset, folded to 16 bits, of
/// big-endian words, not inverted (RFC 1071 section 1).
///
/// An odd last byte counts as the high byte of a word whose low byte is zero.
#[inline]
#[must_use]
pub fn sum(data: &[u8]) -> u16 {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= SIMD_MIN
        && let Some(sum) = x86::sum(data)
    {
        return to_network(fold(sum));
    }
    to_network(fold(portable::sum(data)))
}

/// Copies `src` to the start of `dst` and returns [`sum`] of what was copied, reading it once.
///
/// Where the lengths differ, the shorter of the two is what is copied and summed.
#[inline]
pub fn copy_and_sum(dst: &mut [u8], src: &[u8]) -> u16 {
    let len = dst.len().min(src.len());
    uninit::copy_and_sum(uninit::of(&mut dst[..len]), &src[..len])
}

/// The one's-complement sum of two sums (RFC 1071 section 2): a carry out of the top goes in at the
/// bottom.
#[inline]
#[must_use]
pub const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // After a carry the sum is at most 0xfffe, so this cannot overflow again.
    sum + carry as u16
}

/// The header checksum (the inverted form) after one 16-bit word under it changed from `old` to
/// `new`: RFC 1624 equation 3, `HC' = ~(~HC + ~m + m')`.
///
/// The word must lie at an even offset from the start of what the checksum covers. This is the form
/// that agrees with summing afresh also where the result is zero, unlike that of RFC 1141.
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// [`update`] for a 32-bit field, such as an IPv4 address or a sequence number.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

/// The name of the code that long slices are summed with on this machine: `"avx512"`, `"avx2"` or `"portable"`.
#[must_use]
pub fn backend() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match x86::width() {
        x86::Width::Avx512 => return "avx512",
        x86::Width::Avx2 => return "avx2",
        x86::Width::None => {}
    }
    "portable"
}

/// Folds a sum of words to 16 bits, adding carries back in. Words may be of 16 or 32 bits, since
/// 2^16 and 2^32 both leave 1 when divided by 2^16 - 1.
#[inline]
const fn fold(sum: u64) -> u16 {
    // A carry out of the top goes in at the bottom, after which nothing is left to carry.
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + carry as u32;
    add(sum as u16, (sum >> 16) as u16)
}

/// From a sum of native-endian words to that of big-endian words: swapping the bytes of every word
/// swaps those of the sum (RFC 1071 section 2 (B)).
#[inline]
const fn to_network(sum: u16) -> u16 {
    u16::from_be(sum)
}

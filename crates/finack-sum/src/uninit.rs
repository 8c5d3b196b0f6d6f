//! Copying to where nothing was written yet, and summing meanwhile.

#[cfg(any(feature = "alloc", test))]
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::slice;

use crate::{fold, portable, to_network};

/// A slice, to be written only.
///
/// Nothing may be written to it that is not initialized, which nobody in this crate does.
#[inline]
pub(crate) fn of(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the layouts are the same, the borrow is exclusive, and what is written through it is always a copy of initialized
    // bytes: this function is the crate's own.
    unsafe { slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Copies `src` to `dst`, which must be as long and of which all is written, and returns [`sum`](crate::sum) of it.
#[inline]
pub(crate) fn copy_and_sum(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> u16 {
    debug_assert_eq!(dst.len(), src.len());
    #[cfg(target_arch = "x86_64")]
    if src.len() >= crate::SIMD_MIN
        && let Some(sum) = crate::x86::copy_and_sum(dst, src)
    {
        return to_network(fold(sum));
    }
    to_network(fold(portable::copy_and_sum(dst, src)))
}

/// Appends `src` to `out` and returns [`sum`](crate::sum) of it, reading it once. Room is made where there is none.
///
/// ```
/// let mut out = vec![1];
/// assert_eq!(finack_sum::append_and_sum(&mut out, &[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
/// assert_eq!(out, [1, 0x12, 0x34, 0x56]);
/// ```
#[cfg(any(feature = "alloc", test))]
#[inline]
pub fn append_and_sum(out: &mut Vec<u8>, src: &[u8]) -> u16 {
    out.reserve(src.len());
    let sum = copy_and_sum(&mut out.spare_capacity_mut()[..src.len()], src);
    // SAFETY: `copy_and_sum` has written as many bytes behind the vector's end, within its capacity.
    unsafe { out.set_len(out.len() + src.len()) };
    sum
}

/// Appends `header` and `payload` to `out`, and returns the [`sum`](crate::sum) of what stands behind the first `start` bytes of the
/// header, the payload included, reading it once: what a packet's checksum is made of, where its transport header begins at `start`.
/// Room is made where there is none. Of a `start` behind the header's end nothing but the payload is summed.
///
/// ```
/// let mut out = vec![];
/// let sum = finack_sum::append_packet_and_sum(&mut out, &[9, 9, 0x12, 0x34], 2, &[0x56]);
/// assert_eq!(sum, 0x1234 + 0x5600);
/// assert_eq!(out, [9, 9, 0x12, 0x34, 0x56]);
/// ```
#[cfg(any(feature = "alloc", test))]
#[inline]
pub fn append_packet_and_sum(out: &mut Vec<u8>, header: &[u8], start: usize, payload: &[u8]) -> u16 {
    let len = header.len() + payload.len();
    out.reserve(len);
    let to = out.spare_capacity_mut()[..len].split_at_mut(header.len());
    let sum = copy_packet_and_sum(to, (header, start.min(header.len())), payload);
    // SAFETY: `copy_packet_and_sum` has written as many bytes behind the vector's end, within its capacity.
    unsafe { out.set_len(out.len() + len) };
    sum
}

/// Copies header and payload to places of their sizes, of which all is written, and returns the sum of what stands behind the
/// first `start` bytes.
#[cfg(any(feature = "alloc", test))]
#[inline]
fn copy_packet_and_sum(
    (to_header, to_payload): (&mut [MaybeUninit<u8>], &mut [MaybeUninit<u8>]),
    (header, start): (&[u8], usize),
    payload: &[u8],
) -> u16 {
    #[cfg(target_arch = "x86_64")]
    if let Some(sum) = crate::x86::copy_packet_and_sum((to_header, to_payload), (header, start), payload) {
        return to_network(fold(sum));
    }
    portable::write(to_header, header);
    let mut sum = crate::Accumulator::new();
    sum.add(&header[start..]);
    sum.add_sum(copy_and_sum(to_payload, payload), payload.len());
    sum.folded()
}

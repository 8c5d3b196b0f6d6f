//! Summing with the vector instructions of x86-64, as wide as the processor has them.

mod avx2;
mod avx512;

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

/// How wide the registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    /// No vector code can be run.
    None = 1,
    /// 32 bytes.
    Avx2 = 2,
    /// 64 bytes, any part of which can be left out of a load or store.
    Avx512 = 3,
}

/// The width that was found, 0 before anybody asked: asking the processor takes longer than a short sum.
static FOUND: AtomicU8 = AtomicU8::new(0);

/// What this processor, and the system under it, can run.
#[inline]
pub(crate) fn width() -> Width {
    match FOUND.load(Ordering::Relaxed) {
        2 => Width::Avx2,
        3 => Width::Avx512,
        1 => Width::None,
        _ => find(),
    }
}

#[cold]
fn find() -> Width {
    let width = if avx512::available() {
        Width::Avx512
    } else if avx2::available() {
        Width::Avx2
    } else {
        Width::None
    };
    FOUND.store(width as u8, Ordering::Relaxed);
    width
}

/// A sum of the native-endian words of `data`, not folded; `None` where there is no vector code to run.
#[inline]
pub(crate) fn sum(data: &[u8]) -> Option<u64> {
    match width() {
        // SAFETY: `width` has said that the processor can run this.
        Width::Avx512 => Some(unsafe { avx512::sum(data) }),
        // SAFETY: as above.
        Width::Avx2 => Some(unsafe { avx2::sum(data) }),
        Width::None => None,
    }
}

/// Copies `src` to `dst`, which must be as long and of which all is written, and sums it; `None`, with nothing done, where
/// there is no vector code to run.
#[inline]
pub(crate) fn copy_and_sum(dst: &mut [MaybeUninit<u8>], src: &[u8]) -> Option<u64> {
    match width() {
        // SAFETY: `width` has said that the processor can run this.
        Width::Avx512 => Some(unsafe { avx512::copy_and_sum(dst, src) }),
        // SAFETY: as above.
        Width::Avx2 => Some(unsafe { avx2::copy_and_sum(dst, src) }),
        Width::None => None,
    }
}

/// Copies `header`, which is short, and `payload` to places of their sizes, of which all is written; sums what stands in the header
/// from `start` on, and the payload. `None`, with nothing done, where it takes other code than for each by itself.
#[inline]
pub(crate) fn copy_packet_and_sum(
    to: (&mut [MaybeUninit<u8>], &mut [MaybeUninit<u8>]),
    (header, start): (&[u8], usize),
    payload: &[u8],
) -> Option<u64> {
    let fits = header.len() < avx512::REGISTER && (header.len() - start).is_multiple_of(2);
    // SAFETY: `width` has said that the processor can run this.
    let wide = || unsafe { avx512::copy_packet_and_sum(to, (header, start), payload) };
    (fits && width() == Width::Avx512).then(wide)
}

/// Vector code by name.
#[cfg(test)]
pub(crate) struct Code {
    pub(crate) name: &'static str,
    pub(crate) sum: fn(&[u8]) -> u64,
    pub(crate) copy_and_sum: fn(&mut [MaybeUninit<u8>], &[u8]) -> u64,
}

/// All code that this machine can run, whichever is chosen: for tests that compare them.
#[cfg(test)]
pub(crate) fn runnable() -> impl Iterator<Item = Code> {
    let wide = avx512::available().then_some(Code {
        name: "avx512",
        // SAFETY: this is made only where the processor can run it.
        sum: |data| unsafe { avx512::sum(data) },
        // SAFETY: as above.
        copy_and_sum: |to, from| unsafe { avx512::copy_and_sum(to, from) },
    });
    let narrow = avx2::available().then_some(Code {
        name: "avx2",
        // SAFETY: this is made only where the processor can run it.
        sum: |data| unsafe { avx2::sum(data) },
        // SAFETY: as above.
        copy_and_sum: |to, from| unsafe { avx2::copy_and_sum(to, from) },
    });
    [wide, narrow].into_iter().flatten()
}

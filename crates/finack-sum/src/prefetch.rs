//! Having the processor fetch memory before somebody waits for it.

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

/// Asks for all of `value` to be brought into the processor's cache, and waits for nothing. A hint: nothing depends on it
/// but time, and where there is no code for it nothing is done.
///
/// What `value` points to is not fetched with it.
///
/// ```
/// let record = [7_u64; 100];
/// finack_sum::prefetch(&record);
/// assert_eq!(record[99], 7);
/// ```
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    let (start, bytes) = (core::ptr::from_ref(value).cast::<u8>(), size_of_val(value));
    let mut at = 0;
    while at < bytes {
        line(start.wrapping_add(at));
        at += LINE;
    }
    // It may begin in the middle of a line, and then ends in one more.
    if bytes > 1 {
        line(start.wrapping_add(bytes - 1));
    }
}

#[inline(always)]
fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch does nothing that a program can observe, whatever the address: it reads
    // nothing into the program, writes nothing and never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

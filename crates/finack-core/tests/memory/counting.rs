//! An allocator that counts, for tests that assert what the engine allocates.
//!
//! The counts are of the whole process: a test that reads them must be alone in its binary.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::alloc::{GlobalAlloc, Layout, System};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
#[derive(Debug)]
pub(crate) struct Counting;

/// How many allocations (and reallocations) were made since the process began.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// How many bytes are allocated now.
pub(crate) fn live_bytes() -> i64 {
    LIVE.load(Relaxed)
}

// SAFETY: every call is passed on unchanged to `System`, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller upholds `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: `at` came from `System` with this layout, as all of this allocator's do.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(new_size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: as in `dealloc`; the caller upholds what is asked of `new_size`.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

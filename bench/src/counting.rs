//! A counting allocator: switched on it knows how many bytes are allocated, switched off it costs a branch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

static ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
pub struct Counting;

/// Counts from here on.
pub fn start() {
    ON.store(true, Relaxed);
}

/// Bytes allocated since [`start`] and not freed.
pub fn live_bytes() -> i64 {
    LIVE.load(Relaxed)
}

/// Allocations since [`start`].
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

fn count(bytes: i64, allocations: u64) {
    if ON.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
        ALLOCATIONS.fetch_add(allocations, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to `System`, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: the caller upholds `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: `at` came from `System` with this layout, as all of this allocator's do.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64, 1);
        // SAFETY: as in `dealloc`; the caller upholds what is asked of `new_size`.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

//! Receive buffers that are handed to the engine without a copy and come back by themselves.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};

/// Bytes of one buffer: several packets of 64 KiB, or hundreds of small ones, and still within
/// a core's second-level cache.
const BUFFER: usize = 256 * 1024;

/// Buffers waiting for the engine to let go of them; beyond that the oldest is left to its users.
const MAX_WAITING: usize = 16;

/// Cuts packets out of large buffers and reuses a buffer once all its packets are gone.
///
/// The allocator would otherwise be asked for 256 KiB many thousand times a second, which
/// glibc answers with `mmap` and a page fault for each 4 KiB.
pub(super) struct BufferPool {
    current: BytesMut,
    waiting: VecDeque<BytesMut>,
}

impl BufferPool {
    pub(super) fn new() -> Self {
        Self { current: BytesMut::new(), waiting: VecDeque::new() }
    }

    /// At least `need` bytes to read into, at most [`BUFFER`].
    pub(super) fn room(&mut self, need: usize) -> &mut [MaybeUninit<u8>] {
        debug_assert!(need <= BUFFER);
        if self.current.capacity() < need && !self.current.try_reclaim(BUFFER) {
            self.rotate();
        }
        self.current.spare_capacity_mut()
    }

    /// Takes the oldest waiting buffer if its packets are gone, else a new one.
    fn rotate(&mut self) {
        let reused = self.waiting.pop_front().and_then(|mut oldest| {
            if oldest.try_reclaim(BUFFER) {
                return Some(oldest);
            }
            if self.waiting.len() + 1 < MAX_WAITING {
                self.waiting.push_front(oldest);
            }
            None
        });
        let fresh = reused.unwrap_or_else(|| BytesMut::with_capacity(BUFFER));
        let full = std::mem::replace(&mut self.current, fresh);
        if full.capacity() > 0 {
            self.waiting.push_back(full);
        }
    }

    /// The first `len` bytes of the room last given.
    ///
    /// # Safety
    /// They were written since [`room`](Self::room) was called.
    pub(super) unsafe fn take(&mut self, len: usize) -> Bytes {
        assert!(len <= self.current.capacity(), "more bytes than there was room for");
        // SAFETY: within the capacity (checked above) and written, as the caller promises.
        unsafe { self.current.set_len(len) };
        self.current.split().freeze()
    }
}

//! The rings of an AF_XDP socket, each with one producer and one consumer, of which the kernel is one.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::{XdpDesc, XdpRingOffset};

/// The kernel must be called: it looks at the ring no more by itself.
const NEED_WAKEUP: u32 = 1;

/// What stands in a ring: plain integers, of which every bit pattern is a value.
pub(super) trait Entry: Copy {}
/// A frame's address in the UMEM, in the fill and completion rings.
impl Entry for u64 {}
/// A frame's address and length, in the receive and transmit rings.
impl Entry for XdpDesc {}

/// A ring that is shared with the kernel.
struct Shared<T> {
    base: NonNull<u8>,
    len: usize,
    offsets: XdpRingOffset,
    mask: u32,
    entries: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value alone; the kernel, its only other user, takes turns with it entry by entry
// through the two indexes.
unsafe impl<T> Send for Shared<T> {}

impl<T: Entry> Shared<T> {
    /// Maps a ring of `entries` entries, a power of two, which the socket has at `at`.
    fn map(fd: BorrowedFd<'_>, at: u64, offsets: XdpRingOffset, entries: u32) -> io::Result<Self> {
        let len = offsets.desc as usize + entries as usize * size_of::<T>();
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, flags, fd, at)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, offsets, mask: entries - 1, entries: PhantomData })
    }

    fn index(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel told the offset of an aligned `u32` within the mapping, which both sides access atomically
        // only, and which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).cast().as_ptr()) }
    }

    fn producer(&self) -> &AtomicU32 {
        self.index(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.offsets.consumer)
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: masked, the index is below the number of entries, all of which lie within the mapping.
        unsafe { self.base.add(self.offsets.desc as usize).cast::<T>().add((index & self.mask) as usize) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, of that length, and no reference to it is left. A failure would only
        // mean that it stays mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A ring that is written here and read by the kernel: fill, transmit.
pub(super) struct Producer<T> {
    ring: Shared<T>,
    /// The next entry to be written; the kernel sees it with `submit`.
    next: u32,
    /// Up to where the kernel had read when this was last looked at.
    read: u32,
}

impl<T: Entry> Producer<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, at: u64, offsets: XdpRingOffset, entries: u32) -> io::Result<Self> {
        let ring = Shared::map(fd, at, offsets, entries)?;
        let (next, read) = (ring.producer().load(Ordering::Relaxed), ring.consumer().load(Ordering::Relaxed));
        Ok(Self { ring, next, read })
    }

    /// How many entries have room.
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let entries = self.ring.mask + 1;
        if entries - self.next.wrapping_sub(self.read) < wanted {
            self.read = self.ring.consumer().load(Ordering::Acquire);
        }
        entries.saturating_sub(self.next.wrapping_sub(self.read))
    }

    /// Writes an entry; whether there was room for it.
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: the entry is ours until the producer's index passes it, for the kernel has read what stood there.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Lets the kernel see what was written.
    pub(super) fn submit(&mut self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not read yet.
    pub(super) fn unread(&mut self) -> u32 {
        self.read = self.ring.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.read)
    }

    /// Whether the kernel must be called to read on.
    pub(super) fn needs_wakeup(&self) -> bool {
        // Without the field (before Linux 5.4) it must be.
        self.ring
            .offsets
            .flags
            .is_none_or(|flags| self.ring.index(flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }
}

/// A ring that is written by the kernel and read here: receive, completion.
pub(super) struct Consumer<T> {
    ring: Shared<T>,
    next: u32,
    /// Up to where the kernel had written when this was last looked at.
    written: u32,
}

impl<T: Entry> Consumer<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, at: u64, offsets: XdpRingOffset, entries: u32) -> io::Result<Self> {
        let ring = Shared::map(fd, at, offsets, entries)?;
        let next = ring.consumer().load(Ordering::Relaxed);
        Ok(Self { ring, next, written: next })
    }

    /// The next entry, if there is one; it stays the kernel's to see until `release`.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.written {
            self.written = self.ring.producer().load(Ordering::Acquire);
            if self.next == self.written {
                return None;
            }
        }
        // SAFETY: the kernel has written it, as its index says, and does not touch it until ours passes it; every bit
        // pattern is a value.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the entries that were read back to the kernel.
    pub(super) fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

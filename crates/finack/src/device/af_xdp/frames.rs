//! The memory that is shared with the kernel (UMEM), cut into frames of one size, and who has which of them.
//!
//! Frames to receive into go to the kernel in blocks. What arrives is lent to the engine where it lies; once all frames of
//! a block have arrived and the engine has let go of all that was lent of it, the block goes to the kernel again. So a
//! packet costs a count up and a count down, and only a block an allocation.

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags};

/// Frames of a block.
pub(super) const BLOCK: u32 = 32;

/// The mapping.
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
    frame: usize,
}

// SAFETY: it is an address and lengths; who may touch which frame is kept apart by `Receiving` and `Sending`.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

impl Region {
    /// `frames` frames of `frame` bytes each.
    pub(super) fn map(frames: u32, frame: usize) -> io::Result<Self> {
        let len = frames as usize * frame;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, prot, flags)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, frame })
    }

    pub(super) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn frame_size(&self) -> usize {
        self.frame
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, of that length; whoever lends from it holds the region. A failure
        // would only mean that it stays mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A block while something of it may be lent; when the last loan is gone, it comes back by its number.
struct Loan {
    region: Arc<Region>,
    returned: Arc<Mutex<Vec<u32>>>,
    block: u32,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        let len = BLOCK as usize * self.region.frame;
        // SAFETY: `Receiving` makes no loan of a block beyond the region. This is called once, by `Bytes::from_owner`,
        // before the kernel is given any frame of the block; what is lent later are slices of single frames, which the
        // kernel has finished and does not get again before the last of them is gone.
        unsafe { std::slice::from_raw_parts(self.region.base.as_ptr().add(self.block as usize * len), len) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push(self.block);
    }
}

/// A block on its way: all of it to be lent from, and how many frames the kernel still has.
struct Tour {
    bytes: Bytes,
    missing: u32,
}

/// Frames to receive into: the first `blocks` blocks of the region.
pub(super) struct Receiving {
    region: Arc<Region>,
    tours: Vec<Option<Tour>>,
    returned: Arc<Mutex<Vec<u32>>>,
    /// Blocks that nobody has.
    free: Vec<u32>,
    /// Blocks that the kernel has not, and that wait for the engine to let go.
    lent: u32,
}

impl Receiving {
    pub(super) fn new(region: Arc<Region>, blocks: u32) -> Self {
        debug_assert!((blocks * BLOCK) as usize * region.frame <= region.len);
        let free = (0..blocks).rev().collect();
        let tours = (0..blocks).map(|_| None).collect();
        Self { region, tours, returned: Arc::default(), free, lent: 0 }
    }

    /// Takes a free block, all of whose frames go to the kernel now: their addresses in the region.
    pub(super) fn start(&mut self) -> Option<impl Iterator<Item = u64> + use<>> {
        if self.lent > 0 {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            self.lent -= returned.len() as u32;
            self.free.append(&mut returned);
        }
        let block = self.free.pop()?;
        let (region, returned) = (Arc::clone(&self.region), Arc::clone(&self.returned));
        let bytes = Bytes::from_owner(Loan { region, returned, block });
        *self.tours.get_mut(block as usize)? = Some(Tour { bytes, missing: BLOCK });
        let size = self.region.frame as u64;
        Some((0..BLOCK).map(move |i| u64::from(block * BLOCK + i) * size))
    }

    /// Takes back from the kernel the frame in which `len` bytes begin at `address`, and lends them; `None` where the
    /// kernel had no such frame.
    pub(super) fn arrived(&mut self, address: u64, len: usize) -> Option<Bytes> {
        let (size, address) = (self.region.frame, usize::try_from(address).ok()?);
        let block_len = size * BLOCK as usize;
        let (block, within) = (address / block_len, address % block_len);
        let slot = self.tours.get_mut(block)?;
        let tour = slot.as_mut()?;
        let inside = within % size + len <= size;
        let bytes = inside.then(|| tour.bytes.slice(within..within + len));
        tour.missing -= 1;
        if tour.missing == 0 {
            // Comes back through `returned`, at once if nothing of it is lent.
            self.lent += 1;
            *slot = None;
        }
        bytes
    }

    /// Whether so much is lent that the kernel could soon be short of frames: then a packet is better copied. The other
    /// half and a block more are left, so that while the last frames of one block arrive another is with the kernel.
    pub(super) fn is_scarce(&self) -> bool {
        (self.lent as usize + 1) * 2 >= self.tours.len()
    }
}

/// Frames to send from: the last `count` of the region.
pub(super) struct Sending {
    region: Arc<Region>,
    first: u32,
    free: Vec<u32>,
}

impl Sending {
    pub(super) fn new(region: Arc<Region>, first: u32, count: u32) -> Self {
        debug_assert!((first + count) as usize * region.frame <= region.len);
        Self { region, first, free: (first..first + count).rev().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Has a free frame written by `write`, which gets it whole; its address, to be handed to the kernel.
    pub(super) fn fill(&mut self, write: impl FnOnce(&mut [u8])) -> Option<u64> {
        let index = self.free.pop()?;
        let size = self.region.frame;
        // SAFETY: the frame lies within the region, belongs to no block to receive into, and is neither the kernel's nor
        // anybody else's while it is in the free list, from which it has just been taken.
        let frame = unsafe {
            std::slice::from_raw_parts_mut(self.region.base.as_ptr().add(index as usize * size), size)
        };
        write(frame);
        Some(u64::from(index) * size as u64)
    }

    /// Takes back a frame that the kernel has sent, or that was not handed to it.
    pub(super) fn done(&mut self, address: u64) {
        let index = (address / self.region.frame as u64) as u32;
        debug_assert!(index >= self.first);
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiving(blocks: u32) -> Receiving {
        Receiving::new(Arc::new(Region::map(blocks * BLOCK, 2048).unwrap()), blocks)
    }

    #[test]
    fn a_block_goes_out_again_only_when_all_that_was_lent_of_it_is_back() {
        let mut frames = receiving(1);
        let addresses: Vec<u64> = frames.start().unwrap().collect();
        assert_eq!(addresses.len(), BLOCK as usize);
        assert!(frames.start().is_none(), "the kernel has the only block");
        let mut kept = None;
        for (i, address) in addresses.into_iter().enumerate() {
            assert!(frames.start().is_none(), "frames of the block are missing");
            let packet = frames.arrived(address + 256, 100).unwrap();
            assert_eq!(packet.len(), 100);
            if i == 7 {
                kept = Some(packet);
            }
        }
        assert!(frames.start().is_none(), "one packet is still lent");
        drop(kept);
        assert_eq!(frames.start().map(Iterator::count), Some(BLOCK as usize));
    }

    #[test]
    fn less_than_half_of_the_blocks_is_lent_before_it_is_told() {
        let mut frames = receiving(4);
        let mut kept = Vec::new();
        assert!(!frames.is_scarce());
        for address in frames.start().unwrap() {
            assert!(!frames.is_scarce());
            kept.push(frames.arrived(address, 100).unwrap());
        }
        assert!(frames.is_scarce(), "three of four are left to go to and fro");
        drop(kept);
        assert_eq!(frames.start().map(Iterator::count), Some(BLOCK as usize));
        assert!(!frames.is_scarce());
    }

    #[test]
    fn what_is_lent_outlives_the_device() {
        let mut frames = receiving(1);
        let address = frames.start().unwrap().next().unwrap();
        let packet = frames.arrived(address, 64).unwrap();
        drop(frames);
        assert_eq!(&packet[..], &[0; 64]);
    }

    #[test]
    fn a_descriptor_that_makes_no_sense_lends_nothing() {
        let mut frames = receiving(2);
        let first = frames.start().unwrap().next().unwrap();
        assert!(frames.arrived(first + 2000, 100).is_none(), "beyond its frame");
        assert!(frames.arrived(u64::MAX, 100).is_none(), "beyond the region");
        assert!(frames.arrived(u64::from(BLOCK) * 2048 * 2, 10).is_none(), "a block that does not exist");
    }

    #[test]
    fn a_frame_to_send_from_comes_back_when_it_was_sent() {
        let region = Arc::new(Region::map(2 * BLOCK, 2048).unwrap());
        let mut frames = Sending::new(region, BLOCK, 1);
        let address = frames.fill(|frame| frame.fill(7)).unwrap();
        assert_eq!(address, u64::from(BLOCK) * 2048);
        assert!(frames.is_empty() && frames.fill(|_| ()).is_none());
        frames.done(address);
        assert!(!frames.is_empty());
    }
}

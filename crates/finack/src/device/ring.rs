//! The receive ring of a packet socket (`PACKET_RX_RING`, version 2), shared with the kernel.
//!
//! Version 2 and not 3: version 3 hands over whole blocks of packets, and a block that is not
//! full only after a time-out of at least a millisecond, which is many round trips here.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use super::vnet;

/// Bytes of one slot: the slot's header, the device header, and a unit of 64 KiB with its link header.
pub(super) const SLOT: usize = 68 * 1024;
/// Slots that stand side by side: as many as fit 1 MiB, which the kernel allocates in one piece.
const SLOTS_PER_BLOCK: usize = 15;
const BLOCK: usize = SLOT * SLOTS_PER_BLOCK;

/// `tp_status` values and bits of `struct tpacket2_hdr`.
const STATUS_KERNEL: u32 = 0;
const STATUS_USER: u32 = 1;
const STATUS_CHECKSUM_NOT_READY: u32 = 1 << 3;
const STATUS_CHECKSUM_VALID: u32 = 1 << 7;

/// A frame in the ring.
pub(super) struct Frame<'a> {
    /// From the link header on.
    pub(super) bytes: &'a [u8],
    /// What the kernel says of it.
    pub(super) header: vnet::VnetHeader,
    /// The kernel vouches for the transport checksum, or never computed it.
    pub(super) checksum_valid: bool,
    /// The frame was longer than what was kept of it.
    pub(super) cut: bool,
}

/// The mapping, and the slot to be read next.
pub(super) struct Ring {
    base: NonNull<u8>,
    slots: usize,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone; the kernel, its only other user, takes turns
// with it slot by slot through `tp_status`.
unsafe impl Send for Ring {}

impl Ring {
    /// Asks for a ring of about `slots` slots and maps it. The socket must speak TPACKET_V2 with
    /// `PACKET_VNET_HDR` already.
    pub(super) fn map(fd: BorrowedFd<'_>, slots: usize) -> io::Result<Self> {
        let blocks = slots.div_ceil(SLOTS_PER_BLOCK).clamp(1, 1024);
        let slots = blocks * SLOTS_PER_BLOCK;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as _,
            tp_block_nr: blocks as _,
            tp_frame_size: SLOT as _,
            tp_frame_nr: slots as _,
        };
        super::af_packet::set_option(fd, libc::PACKET_RX_RING, &request)?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), blocks * BLOCK, prot, flags, fd, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, slots, next: 0 })
    }

    /// The oldest frame that the kernel has finished, if there is one.
    pub(super) fn frame(&self) -> Option<Frame<'_>> {
        let slot = self.slot();
        let status = self.status().load(Ordering::Acquire);
        if status & STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the slot is ours until its status says otherwise, it lies within the mapping,
        // and is aligned to 16 bytes, which suffices for `tpacket2_hdr`.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let (mac, len) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let within = mac >= vnet::LEN && mac.checked_add(len).is_some_and(|end| end <= SLOT);
        let (start, len) = if within { (mac, len) } else { (vnet::LEN, 0) };
        // SAFETY: `start - LEN .. start + len` lies within the slot, as just checked, which the
        // kernel filled and leaves alone until the status is given back.
        let (prefix, bytes) = unsafe {
            let frame = slot.add(start);
            (
                *frame.sub(vnet::LEN).cast::<[u8; vnet::LEN]>().as_ref(),
                std::slice::from_raw_parts(frame.as_ptr(), len),
            )
        };
        Some(Frame {
            bytes,
            header: vnet::VnetHeader::parse(&prefix),
            checksum_valid: status & (STATUS_CHECKSUM_NOT_READY | STATUS_CHECKSUM_VALID) != 0,
            cut: !within || header.tp_len != header.tp_snaplen,
        })
    }

    /// Gives the slot of the frame last read back to the kernel.
    pub(super) fn advance(&mut self) {
        self.status().store(STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
    }

    fn slot(&self) -> NonNull<u8> {
        // SAFETY: `next < slots`, and slots stand side by side without gaps, for a block is a
        // whole number of them.
        unsafe { self.base.add(self.next * SLOT) }
    }

    fn status(&self) -> &AtomicU32 {
        // SAFETY: `tp_status` is the first field of the slot, aligned, and lives as long as the
        // mapping; both sides access it atomically only.
        unsafe { AtomicU32::from_ptr(self.slot().cast::<u32>().as_ptr()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, of that length, and no reference to it is left.
        // A failure would only mean that it stays mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.slots * SLOT) };
    }
}

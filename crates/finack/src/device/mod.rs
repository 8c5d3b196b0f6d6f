//! Devices: where IP packets come from and go to.
//!
//! A [`Device`] is synchronous and never blocks. Its descriptor tells when it is worth calling
//! again, so that any runtime can wait for it: readable, call [`Device::recv_batch`] until it
//! returns 0; writable, try the packet again that [`Device::send`] answered with
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock).
//!
//! | device | where | units of 64 KiB | checksums |
//! |---|---|---|---|
//! | [`TunDevice`] | `/dev/net/tun` | both ways, of UDP from Linux 6.2 on | left to the device |
//! | [`AfPacketDevice`] | one end of a veth pair | both ways, of UDP from Linux 6.2 on | left to the device |
//! | `AfXdpDevice` (feature `af-xdp`) | a queue of a network card | none | computed and verified here |
//! | [`MemoryDevice`] | a pair inside the machine | as configured | as configured |

use std::io;
use std::os::fd::AsFd;

use finack_core::device::{Capabilities, Packet, Transmit};

mod af_packet;
#[cfg(feature = "af-xdp")]
mod af_xdp;
mod buffers;
mod capture;
mod memory;
mod ring;
mod tun;
mod vnet;

pub use af_packet::{AfPacketDevice, AfPacketOptions, packet_sockets_know_udp_units};
#[cfg(feature = "af-xdp")]
pub use af_xdp::{AfXdpAttach, AfXdpDevice, AfXdpMode, AfXdpOptions};
pub use capture::{Capture, CaptureHandle, CaptureOptions, CaptureSummary, View};
pub use memory::{MemoryDevice, pair, queues};
pub use tun::{TunDevice, TunOptions};

/// Something that carries IP packets and has a descriptor to wait on.
///
/// The descriptor is in non-blocking mode, and its readiness may be watched level- or
/// edge-triggered.
pub trait Device: Send + AsFd {
    /// What the engine may leave to this device, and how large its packets may be.
    fn capabilities(&self) -> Capabilities;

    /// Appends up to `max` packets that have already arrived to `batch` and returns how many.
    /// A batch of large units ends sooner, at some 200 KiB, and may end behind joined datagrams.
    ///
    /// Only 0 means that nothing was waiting: wait until the descriptor is readable. A packet that
    /// is malformed is counted in [`DeviceCounters::malformed`] and not handed over.
    ///
    /// # Errors
    /// [`Interrupted`](io::ErrorKind::Interrupted) where all that was looked through was for others
    /// and more may wait: call again. Else what the kernel says where the device can carry nothing
    /// any more, for instance because its interface was removed.
    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize>;

    /// Whether the last [`recv_batch`](Device::recv_batch) came to the end of what had arrived, though it handed
    /// something over: another call before the descriptor is readable again would only find nothing. A device that can't
    /// tell says no.
    fn is_drained(&self) -> bool {
        false
    }

    /// Hands one packet or unit to the device, whole: nothing of it is kept after the call.
    ///
    /// A packet that the kernel refuses by itself (too long, no buffers, interface down) is lost
    /// as on any link: it is counted in [`DeviceCounters::refused`] and the call succeeds.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where there is no room now: send the same
    /// packet again once the descriptor is writable. Any other error is the device's end.
    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()>;

    /// Pushes out what `send` may have gathered. Call it at the end of a batch.
    ///
    /// # Errors
    /// As for [`send`](Device::send).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What the device has carried and lost since it was made.
    fn counters(&mut self) -> DeviceCounters;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        (**self).recv_batch(batch, max)
    }

    fn is_drained(&self) -> bool {
        (**self).is_drained()
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        (**self).send(packet)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn counters(&mut self) -> DeviceCounters {
        (**self).counters()
    }
}

/// What a device has carried and lost. A unit counts as one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Packets handed to the engine.
    pub received: u64,
    /// Packets that the kernel took.
    pub sent: u64,
    /// Outgoing packets that the kernel refused; they are lost as on any link.
    pub refused: u64,
    /// Arrived packets that were cut short or contradicted their own header; not handed over.
    pub malformed: u64,
    /// Packets that the kernel dropped because the receive buffer was full.
    pub overruns: u64,
}

impl DeviceCounters {
    /// Adds what another queue of the device has carried and lost.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.refused += other.refused;
        self.malformed += other.malformed;
        self.overruns += other.overruns;
    }
}

/// Most slices of one outgoing packet: device header, link header, IP header and the payload.
const MAX_IOVECS: usize = finack_core::device::MAX_SLICES + 3;

/// Whether an error concerns the one packet that was being sent rather than the device.
fn refuses_packet(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::INVAL | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE | Errno::IO | Errno::NETDOWN)
}

/// Bytes after which a batch ends, though more packets wait: with several units of 64 KiB at
/// once, what was received first would have left the core's cache before it is looked at.
const BATCH_BYTES: usize = 192 * 1024;

/// Bytes of the last `count` packets of a batch.
fn bytes_of_last(batch: &[Packet<'_>], count: usize) -> usize {
    batch[batch.len() - count..].iter().map(|p| p.bytes.as_slice().len()).sum()
}

/// One packet as slices: `front`, IP header and payload.
struct Gathered<'a> {
    slices: [io::IoSlice<'a>; MAX_IOVECS],
    used: usize,
}

impl<'a> Gathered<'a> {
    #[inline]
    fn new(front: &[&'a [u8]], packet: &'a Transmit<'_>) -> Self {
        let mut slices = [io::IoSlice::new(&[]); MAX_IOVECS];
        let parts = front.iter().copied().chain(std::iter::once(packet.header)).chain(packet.payload());
        let mut used = 0;
        for (slot, part) in slices.iter_mut().zip(parts) {
            *slot = io::IoSlice::new(part);
            used += 1;
        }
        Self { slices, used }
    }

    /// Has `write` take the packet in a single call, and counts what becomes of it.
    #[inline]
    fn send(
        &self,
        counters: &mut DeviceCounters,
        write: impl Fn(&[io::IoSlice<'a>]) -> rustix::io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            return match write(&self.slices[..self.used]) {
                Ok(_) => {
                    counters.sent += 1;
                    Ok(())
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) if refuses_packet(e) => {
                    counters.refused += 1;
                    Ok(())
                }
                Err(e) => Err(e.into()),
            };
        }
    }
}

#[cfg(test)]
mod tests;

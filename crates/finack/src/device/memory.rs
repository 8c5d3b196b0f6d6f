//! A pair of devices wired to each other inside the machine, for tests and embedding.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use finack_core::device::{
    Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta, Transmit, TxChecksum,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType};

use super::buffers::BufferPool;
use super::{Device, DeviceCounters, Gathered};

/// Bytes in front of each packet: checksum state, and segment size.
const PREFIX: usize = 4;
const MAX_PACKET: usize = 65535;

/// One end of a pair; see [`pair`].
pub struct MemoryDevice {
    fd: OwnedFd,
    capabilities: Capabilities,
    buffers: BufferPool,
    counters: DeviceCounters,
}

/// Two devices of which each receives what the other sends, in order and without loss.
///
/// What stands between them is bounded by the kernel's socket buffer (`net.core.wmem_default`,
/// some 200 KiB): beyond that [`Device::send`] answers `WouldBlock` until the other end has read.
/// A partial checksum arrives as [`ChecksumState::Valid`], as from a TUN device. When one end is
/// dropped, the other's `recv_batch` fails with `BrokenPipe` once it has read everything.
///
/// # Errors
/// Where the process may open no more descriptors.
pub fn pair(capabilities: Capabilities) -> io::Result<(MemoryDevice, MemoryDevice)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let end = |fd| MemoryDevice {
        fd,
        capabilities,
        buffers: BufferPool::new(),
        counters: DeviceCounters::default(),
    };
    Ok((end(a), end(b)))
}

/// Two devices of `count` queues each: what goes into one of one side comes out of the same one of the other. Each is a
/// [`pair`] of its own, so that queues share nothing.
///
/// # Errors
/// As [`pair`].
pub fn queues(
    capabilities: Capabilities,
    count: usize,
) -> io::Result<(Vec<MemoryDevice>, Vec<MemoryDevice>)> {
    (0..count).map(|_| pair(capabilities)).collect()
}

impl MemoryDevice {
    fn recv(&mut self, batch: &mut Vec<Packet<'static>>) -> io::Result<Option<()>> {
        let room = self.buffers.room(PREFIX + MAX_PACKET);
        let len = loop {
            match rustix::io::read(&self.fd, &mut *room) {
                // No packet is empty, so this is the end of the connection.
                Ok(([], _)) => return Err(io::ErrorKind::BrokenPipe.into()),
                Ok((filled, _)) => break filled.len(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        };
        // SAFETY: `read` filled `len` bytes of the room.
        let mut bytes = unsafe { self.buffers.take(len) };
        let prefix = bytes.split_to(PREFIX.min(bytes.len()));
        let &[checksum, headers, size_high, size_low] = &prefix[..] else {
            self.counters.malformed += 1;
            return Ok(Some(()));
        };
        let segment_size = u16::from_be_bytes([size_high, size_low]);
        let mut meta = PacketMeta::default();
        if checksum != 0 {
            meta.checksum = ChecksumState::Valid;
        }
        let payload = bytes.len().saturating_sub(usize::from(headers));
        if segment_size != 0 && payload > usize::from(segment_size) {
            meta.segment_size = segment_size;
            meta.segments = payload.div_ceil(usize::from(segment_size)) as u16;
        }
        self.counters.received += 1;
        batch.push(Packet { bytes: PacketBytes::Shared(bytes), meta });
        Ok(Some(()))
    }
}

impl AsFd for MemoryDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for MemoryDevice {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        let before = batch.len();
        while batch.len() - before < max {
            match self.recv(batch) {
                Ok(Some(())) => {}
                Ok(None) => break,
                // What was read counts; the error comes again with the next call.
                Err(_) if batch.len() > before => break,
                Err(e) => return Err(e),
            }
        }
        Ok(batch.len() - before)
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        let [high, low] = packet.segment_size.to_be_bytes();
        let partial = matches!(packet.checksum, TxChecksum::Partial { .. });
        let headers = u8::try_from(packet.header.len()).unwrap_or(u8::MAX);
        let prefix = [u8::from(partial), headers, high, low];
        // No SIGPIPE where the other end is gone: a library must not end its program.
        Gathered::new(&[&prefix], packet).send(&mut self.counters, |slices| {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(&self.fd, slices, &mut control, SendFlags::NOSIGNAL)
        })
    }

    fn counters(&mut self) -> DeviceCounters {
        self.counters
    }
}

//! A packet socket on an Ethernet interface that has no address of its own: the way in where
//! `/dev/net/tun` can't be opened.
//!
//! Nothing on this interface speaks ARP or neighbour discovery: the other end is told not to
//! (`IFF_NOARP`), and both link addresses are known beforehand. So the kernel at this end must
//! have no address there, or it would answer the packets too, with RST.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use finack_core::device::{Capabilities, ChecksumState, Packet, Transmit};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::buffers::BufferPool;
use super::ring::Ring;
use super::{BATCH_BYTES, Device, DeviceCounters, Gathered, bytes_of_last, vnet};

/// Bytes of an Ethernet header: destination, source, type.
const ETHERNET: usize = 14;
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Largest IP packet or unit that the kernel hands over.
const MAX_UNIT: usize = 65535;
/// What is asked for where there is no ring, and for sending: the kernel gives what it allows.
const SOCKET_BUFFER: usize = 8 << 20;

/// How to take packets from an Ethernet interface.
#[derive(Clone, Debug)]
pub struct AfPacketOptions {
    /// The interface's index in the socket's network namespace.
    pub interface: u32,
    /// Largest IP packet on the wire, in bytes, 1280 to 65535: the interface's MTU.
    pub mtu: usize,
    /// Link address of this end: the source of what is sent.
    pub local: [u8; 6],
    /// Link address of the other end: the destination of all that is sent.
    pub peer: [u8; 6],
    /// Hand units of up to 64 KiB to the kernel, which cuts them.
    pub offload: bool,
    /// Slots of the receive ring, 68 KiB each and one packet each; rounded up to a multiple
    /// of 15. With 0, and where the kernel has no memory for the ring, packets are read from the
    /// socket's buffer, which is small.
    pub ring_slots: usize,
}

impl Default for AfPacketOptions {
    fn default() -> Self {
        Self { interface: 0, mtu: 1500, local: [0; 6], peer: [0; 6], offload: true, ring_slots: 510 }
    }
}

/// A packet socket bound to one interface.
pub struct AfPacketDevice {
    fd: OwnedFd,
    ring: Option<Ring>,
    capabilities: Capabilities,
    /// The link header, but for the type.
    link: [u8; 12],
    buffers: BufferPool,
    counters: DeviceCounters,
    /// The last look found nothing more.
    drained: bool,
}

impl AfPacketDevice {
    /// Opens a packet socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW in that namespace; otherwise as
    /// [`from_fd`](Self::from_fd).
    pub fn open(options: &AfPacketOptions) -> io::Result<Self> {
        Self::from_fd(socket()?, options)
    }

    /// Takes over a packet socket (`AF_PACKET`, `SOCK_RAW`) that is not bound yet, for instance
    /// one that another process opened in its network namespace.
    ///
    /// # Errors
    /// `InvalidInput` or `ENOTSOCK` where it is no such socket; `ENODEV` where the interface is
    /// not there; `Unsupported` where the kernel lacks `PACKET_VNET_HDR`.
    pub fn from_fd(fd: OwnedFd, options: &AfPacketOptions) -> io::Result<Self> {
        let sock = fd.as_fd();
        set_option(sock, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as libc::c_int))?;
        set_option(sock, libc::PACKET_VNET_HDR, &1_i32).map_err(|e| {
            io::Error::new(io::ErrorKind::Unsupported, format!("PACKET_VNET_HDR refused: {e}"))
        })?;
        // Linux 4.20. Without it our own packets come back and are told apart by their address.
        let _ = set_option(sock, libc::PACKET_IGNORE_OUTGOING, &1_i32);
        let ring = match options.ring_slots {
            0 => None,
            // A ring of 34 MB may be refused; a smaller one is still far better than none.
            n => Ring::map(sock, n).or_else(|_| Ring::map(sock, n / 4)).ok(),
        };
        if ring.is_none() {
            let forced = sockopt::set_socket_recv_buffer_size_force(sock, SOCKET_BUFFER);
            let _ = forced.or_else(|_| sockopt::set_socket_recv_buffer_size(sock, SOCKET_BUFFER));
        }
        let _ = sockopt::set_socket_send_buffer_size(sock, SOCKET_BUFFER);
        rustix::io::ioctl_fionbio(sock, true)?;
        bind(sock, options.interface)?;
        let mtu = options.mtu.clamp(1280, MAX_UNIT);
        let capabilities = Capabilities {
            mtu,
            max_unit: if options.offload { MAX_UNIT } else { mtu },
            checksum_tx: true,
            udp_units: options.offload && packet_sockets_know_udp_units(),
        };
        let mut link = [0; 12];
        link[..6].copy_from_slice(&options.peer);
        link[6..].copy_from_slice(&options.local);
        let (buffers, counters) = (BufferPool::new(), DeviceCounters::default());
        Ok(Self { fd, ring, capabilities, link, buffers, counters, drained: false })
    }

    /// Whether packets come through a ring shared with the kernel. Where they don't, the
    /// socket's buffer of a few hundred KiB bounds what a fast sender can have on its way.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Takes the next frame out of the ring; `None` where there is none.
    fn recv_ring(&mut self, batch: &mut Vec<Packet<'static>>) -> Option<usize> {
        let ring = self.ring.as_mut()?;
        let frame = ring.frame()?;
        let mut delivered = 0;
        let foreign = frame.bytes.get(6..12).is_some_and(|source| source != &self.link[6..]);
        if frame.cut {
            self.counters.malformed += 1;
        } else if foreign && is_ip(frame.bytes) {
            // A copy, for a slot that the application keeps would stop the whole ring: the
            // kernel fills the slots strictly in turn.
            let ip = &frame.bytes[ETHERNET..];
            let packet = copy(&mut self.buffers, ip);
            delivered = frame.header.deliver(packet, ETHERNET as u16, batch);
            match batch.last_mut() {
                Some(last) if delivered == 1 && frame.checksum_valid => {
                    last.meta.checksum = ChecksumState::Valid;
                }
                _ => {}
            }
            self.counters.malformed += u64::from(delivered == 0);
        }
        ring.advance();
        Some(delivered)
    }

    /// Reads the next frame from the socket; `None` where there is none.
    fn recv_socket(&mut self, batch: &mut Vec<Packet<'static>>) -> io::Result<Option<usize>> {
        const FRONT: usize = vnet::LEN + ETHERNET;
        let room = self.buffers.room(FRONT + MAX_UNIT);
        let len = loop {
            match rustix::io::read(&self.fd, &mut *room) {
                Ok((filled, _)) => break filled.len(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        };
        // SAFETY: `read` filled `len` bytes of the room.
        let mut bytes = unsafe { self.buffers.take(len) };
        let Some(header) = bytes.first_chunk::<{ vnet::LEN }>() else { return Ok(Some(0)) };
        let header = vnet::VnetHeader::parse(header);
        let frame = bytes.split_off(vnet::LEN);
        let foreign = frame.get(6..12).is_some_and(|source| source != &self.link[6..]);
        if !foreign || !is_ip(&frame) {
            return Ok(Some(0));
        }
        let delivered = header.deliver(frame.slice(ETHERNET..), ETHERNET as u16, batch);
        self.counters.malformed += u64::from(delivered == 0);
        Ok(Some(delivered))
    }
}

impl AsFd for AfPacketDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for AfPacketDevice {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        let (mut count, mut bytes, mut emptied) = (0, 0, false);
        // Frames that are not for the engine are bounded too, or a flood of them would hold the caller.
        for _ in 0..max.saturating_mul(4) {
            if count >= max || bytes >= BATCH_BYTES {
                break;
            }
            let got = match self.ring {
                Some(_) => self.recv_ring(batch),
                None => match self.recv_socket(batch) {
                    Ok(got) => got,
                    Err(_) if count > 0 => break,
                    Err(e) => return Err(e),
                },
            };
            match got {
                Some(n) => {
                    count += n;
                    bytes += bytes_of_last(batch, n);
                }
                None => {
                    emptied = true;
                    break;
                }
            }
        }
        self.counters.received += count as u64;
        self.drained = emptied;
        // Without a packet, 0 would say that nothing waits any more.
        if count == 0 && !emptied { Err(io::ErrorKind::Interrupted.into()) } else { Ok(count) }
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        let header = vnet::VnetHeader::for_transmit(packet, ETHERNET as u16)?.emit();
        let v6 = packet.header.first().is_some_and(|b| b >> 4 == 6);
        let mut link = [0; ETHERNET];
        link[..12].copy_from_slice(&self.link);
        link[12..].copy_from_slice(if v6 { &TYPE_IPV6 } else { &TYPE_IPV4 });
        Gathered::new(&[&header, &link], packet)
            .send(&mut self.counters, |slices| rustix::io::writev(&self.fd, slices))
    }

    fn counters(&mut self) -> DeviceCounters {
        // The kernel's own counters start again from zero each time they are read.
        if let Ok(stats) = statistics(self.fd.as_fd()) {
            self.counters.overruns += u64::from(stats.tp_drops);
        }
        self.counters
    }
}

/// Whether this kernel's packet sockets know units of UDP datagrams (Linux 6.2). Older ones refuse
/// to send them, and drop those that a program sends: there the interface at the other end must
/// not make any.
pub fn packet_sockets_know_udp_units() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(2))
}

/// Opens a packet socket that receives nothing until it is bound.
pub(super) fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?)
}

fn is_ip(frame: &[u8]) -> bool {
    matches!(frame.get(12..ETHERNET), Some(t) if t == TYPE_IPV4 || t == TYPE_IPV6)
}

/// A copy of `bytes` in one of the pool's buffers.
pub(super) fn copy(buffers: &mut BufferPool, bytes: &[u8]) -> Bytes {
    let room = &mut buffers.room(bytes.len())[..bytes.len()];
    // SAFETY: both are `bytes.len()` long, and a buffer of ours is no part of the ring.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room.as_mut_ptr().cast(), bytes.len()) };
    // SAFETY: just written.
    unsafe { buffers.take(bytes.len()) }
}

/// Receives everything that arrives at `interface`.
fn bind(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: a `sockaddr_ll` is plain integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface as libc::c_int;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is a `sockaddr_ll` of that length, which the kernel only reads.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets an option of the packet level to a plain value.
pub(super) fn set_option<T: Copy>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let value: *const T = value;
    // SAFETY: the kernel reads `len` bytes of a value that is plain data (`Copy`, integers only).
    match unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, value.cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::tpacket_stats> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of_val(&stats) as libc::socklen_t;
    let out = (&raw mut stats).cast();
    // SAFETY: the kernel writes at most `len` bytes, the size of `stats`.
    match unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, out, &raw mut len)
    } {
        0 => Ok(stats),
        _ => Err(io::Error::last_os_error()),
    }
}

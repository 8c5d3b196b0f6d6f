//! A TUN interface: IP packets through a character device, in units of up to 64 KiB.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use finack_core::device::{Capabilities, Packet, Transmit};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::buffers::BufferPool;
use super::{BATCH_BYTES, Device, DeviceCounters, Gathered, bytes_of_last, vnet};

/// Largest IP packet or unit that the kernel hands over.
const MAX_UNIT: usize = 65535;

/// What the device can be asked to leave undone (`TUN_F_*`).
const F_CSUM: libc::c_uint = 0x01;
const F_TSO4: libc::c_uint = 0x02;
const F_TSO6: libc::c_uint = 0x04;
const F_TSO_ECN: libc::c_uint = 0x08;
const F_USO4: libc::c_uint = 0x20;
const F_USO6: libc::c_uint = 0x40;

/// How to make a TUN interface.
#[derive(Clone, Debug)]
pub struct TunOptions {
    /// The interface's name, at most 15 bytes; `%d` in it is replaced by a free number.
    pub name: String,
    /// Largest packet on the wire, in bytes, 1280 to 65535. It is only told to the engine:
    /// setting it on the interface is for whoever configures the interface.
    pub mtu: usize,
    /// Leave cutting into segments and checksums to the kernel (TSO, USO).
    pub offload: bool,
}

impl Default for TunOptions {
    fn default() -> Self {
        Self { name: "finack%d".into(), mtu: 1500, offload: true }
    }
}

/// One queue of a TUN interface.
pub struct TunDevice {
    fd: OwnedFd,
    name: String,
    capabilities: Capabilities,
    buffers: BufferPool,
    counters: DeviceCounters,
    /// The last read found nothing.
    drained: bool,
}

impl TunDevice {
    /// Makes the interface, or one more queue of an interface of this name that exists, in the
    /// network namespace of the calling thread. The interface is down and has no address.
    ///
    /// # Errors
    /// `PermissionDenied` where `/dev/net/tun` may not be opened, or the caller lacks
    /// CAP_NET_ADMIN in the network namespace; `NotFound` where the kernel has no TUN.
    pub fn open(options: &TunOptions) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        let mut request = interface_request(&options.name)?;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        Self::from_fd(fd, options)
    }

    /// Takes over a descriptor of `/dev/net/tun` that is attached to an interface with
    /// `IFF_TUN`, `IFF_NO_PI` and `IFF_VNET_HDR`, for instance one that another process handed
    /// over. The name in `options` is not used.
    ///
    /// # Errors
    /// `InvalidInput` where the descriptor is no such thing.
    pub fn from_fd(fd: OwnedFd, options: &TunOptions) -> io::Result<Self> {
        let mut request = interface_request("")?;
        // SAFETY: TUNGETIFF writes one `ifreq`, which `request` is.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as _, &raw mut request) })?;
        // SAFETY: the kernel filled the flags in, as 16 bits.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if flags & wanted != wanted {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the TUN interface lacks IFF_TUN, IFF_NO_PI or IFF_VNET_HDR",
            ));
        }
        let mut size = vnet::LEN as libc::c_int;
        // SAFETY: TUNSETVNETHDRSZ reads one int.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw mut size) })?;
        let udp_units = options.offload && set_offload(fd.as_fd())?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        let mtu = options.mtu.clamp(1280, MAX_UNIT);
        let capabilities = Capabilities {
            mtu,
            max_unit: if options.offload { MAX_UNIT } else { mtu },
            checksum_tx: true,
            udp_units,
        };
        let name = interface_name(&request);
        let (buffers, counters) = (BufferPool::new(), DeviceCounters::default());
        Ok(Self { fd, name, capabilities, buffers, counters, drained: false })
    }

    /// The interface's name, with the number that the kernel chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One more queue of the same interface: the kernel spreads flows over the queues, and a
    /// flow's packets come through the queue that last sent to it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn another_queue(&self) -> io::Result<Self> {
        Self::open(&TunOptions {
            name: self.name.clone(),
            mtu: self.capabilities.mtu,
            offload: self.capabilities.max_unit > self.capabilities.mtu,
        })
    }

    /// Reads one packet: how many it came to, and whether these are joined datagrams; `None` where none is waiting.
    fn recv(&mut self, batch: &mut Vec<Packet<'static>>) -> io::Result<Option<(usize, bool)>> {
        let room = self.buffers.room(vnet::LEN + MAX_UNIT);
        let len = loop {
            match rustix::io::read(&self.fd, &mut *room) {
                Ok((filled, _)) => break filled.len(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        };
        // SAFETY: `read` filled `len` bytes of the room.
        let mut packet = unsafe { self.buffers.take(len) };
        let Some(header) = packet.first_chunk::<{ vnet::LEN }>() else {
            self.counters.malformed += 1;
            return Ok(Some((0, false)));
        };
        let header = vnet::VnetHeader::parse(header);
        let delivered = header.deliver(packet.split_off(vnet::LEN), 0, batch);
        if delivered == 0 {
            self.counters.malformed += 1;
        }
        Ok(Some((delivered, header.is_datagrams())))
    }
}

impl From<TunDevice> for OwnedFd {
    /// The descriptor, to be handed to another process.
    fn from(device: TunDevice) -> Self {
        device.fd
    }
}

impl AsFd for TunDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for TunDevice {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        let (mut count, mut bytes) = (0, 0);
        self.drained = false;
        while count < max && bytes < BATCH_BYTES {
            match self.recv(batch) {
                Ok(Some((n, datagrams))) => {
                    count += n;
                    bytes += bytes_of_last(batch, n);
                    // Joined ones are the application's to answer: before more are read it has its turn, or it and their
                    // sender would wait for each other.
                    if datagrams && n > 0 {
                        break;
                    }
                }
                Ok(None) => {
                    self.drained = true;
                    break;
                }
                // What was read counts; the error comes again with the next call.
                Err(_) if count > 0 => break,
                Err(e) => return Err(e),
            }
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        let header = vnet::VnetHeader::for_transmit(packet, 0)?.emit();
        Gathered::new(&[&header], packet)
            .send(&mut self.counters, |slices| rustix::io::writev(&self.fd, slices))
    }

    fn counters(&mut self) -> DeviceCounters {
        self.counters
    }
}

/// Asks for units of TCP and, where the kernel knows it (Linux 6.2), of UDP; says whether it does.
fn set_offload(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let tcp = F_CSUM | F_TSO4 | F_TSO6 | F_TSO_ECN;
    let set = |features: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes the features by value.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(features)) })
    };
    if set(tcp | F_USO4 | F_USO6).is_ok() {
        return Ok(true);
    }
    set(tcp).map(|()| false)
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an `ifreq` is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.bytes().any(|b| b == 0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("interface name {name:?}: at most 15 bytes, none of them zero"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn interface_name(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> = request.ifr_name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

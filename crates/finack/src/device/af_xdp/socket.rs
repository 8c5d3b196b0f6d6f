//! An AF_XDP socket on one queue: its memory and rings, set up and bound.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpOptionsFlags, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::failed;
use super::frames::Region;
use super::interface::Interface;
use super::rings::{Consumer, Producer};

/// What is asked for, for sending in copy mode: the kernel gives what it allows.
const SOCKET_BUFFER: usize = 8 << 20;
/// Linux 6.17: how many frames one call sends in copy mode.
const XDP_MAX_TX_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 128;

/// How long a queue may still be taken by a socket that was closed: the kernel lets go of it a little later.
const PATIENCE: Duration = Duration::from_millis(500);

/// The socket and its four rings.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) fill: Producer<u64>,
    pub(super) received: Consumer<XdpDesc>,
    pub(super) transmit: Producer<XdpDesc>,
    pub(super) completed: Consumer<u64>,
}

/// Opens a socket that is bound to nothing.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None).map_err(|e| {
        failed(
            match e {
                Errno::PERM | Errno::ACCESS => {
                    "an AF_XDP socket needs CAP_NET_RAW: run it as root, or `setcap \
                     cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep` the program"
                }
                Errno::AFNOSUPPORT => {
                    "this kernel has no AF_XDP sockets (it was built without CONFIG_XDP_SOCKETS): use \
                     AfPacketDevice, or a kernel that has them"
                }
                _ => "an AF_XDP socket can't be opened",
            },
            e,
        )
    })
}

impl Socket {
    /// Registers the memory and makes the rings: `entries` entries each, a power of two.
    pub(super) fn new(fd: OwnedFd, region: &Arc<Region>, entries: u32) -> io::Result<Self> {
        let registration = XdpUmemReg {
            addr: region.address(),
            len: region.len() as u64,
            chunk_size: region.frame_size() as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(&fd, registration).map_err(|e| {
            let advice = match e {
                // Pages that are locked count against RLIMIT_MEMLOCK.
                Errno::NOBUFS => format!(
                    "the {} KiB that AF_XDP shares with the kernel exceed this user's limit of locked memory: \
                     raise it (`ulimit -l`, LimitMEMLOCK=), give CAP_IPC_LOCK, or set fewer ring_frames",
                    region.len() / 1024
                ),
                _ => format!("{} KiB of memory can't be shared with the kernel", region.len() / 1024),
            };
            failed(&advice, e)
        })?;
        let ring = |e| failed("the rings of an AF_XDP socket can't be made", e);
        sockopt::set_xdp_umem_fill_ring_size(&fd, entries).map_err(ring)?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, entries).map_err(ring)?;
        sockopt::set_xdp_rx_ring_size(&fd, entries).map_err(ring)?;
        sockopt::set_xdp_tx_ring_size(&fd, entries).map_err(ring)?;
        let offsets = sockopt::xdp_mmap_offsets(&fd).map_err(ring)?;
        let forced = sockopt::set_socket_send_buffer_size_force(&fd, SOCKET_BUFFER);
        let _ = forced.or_else(|_| sockopt::set_socket_send_buffer_size(&fd, SOCKET_BUFFER));
        set_tx_budget(fd.as_fd(), TX_BUDGET.min(entries));
        Ok(Self {
            fill: Producer::map(fd.as_fd(), XDP_UMEM_PGOFF_FILL_RING, offsets.fr, entries)?,
            received: Consumer::map(fd.as_fd(), XDP_PGOFF_RX_RING, offsets.rx, entries)?,
            transmit: Producer::map(fd.as_fd(), XDP_PGOFF_TX_RING, offsets.tx, entries)?,
            completed: Consumer::map(fd.as_fd(), XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr, entries)?,
            fd,
        })
    }

    /// Binds the socket to a queue; whether the driver works on the shared memory itself, without a copy. Where `copy` is
    /// not asked for, the kernel falls back to it by itself.
    pub(super) fn bind(&self, interface: &Interface, queue: u32, copy: bool) -> io::Result<bool> {
        let mode = if copy { SocketAddrXdpFlags::XDP_COPY } else { SocketAddrXdpFlags::empty() };
        let flags = mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        let address = SocketAddrXdp::new(flags, interface.index, queue);
        let begun = Instant::now();
        while let Err(e) = rustix::net::bind(&self.fd, &address) {
            if e == Errno::BUSY && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let name = &interface.name;
            let advice = match e {
                Errno::BUSY => {
                    format!("queue {queue} of {name} is taken by another AF_XDP socket: take another queue")
                }
                Errno::INVAL => {
                    format!("interface {name} has no queue {queue}: `ethtool -l {name}` tells how many")
                }
                _ => format!("an AF_XDP socket can't be bound to queue {queue} of {name}"),
            };
            return Err(failed(&advice, e));
        }
        let options = sockopt::xdp_options(&self.fd)?;
        Ok(options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
    }
}

/// Where the kernel does not know it, or has a smaller bound, its own is as good but for more calls.
fn set_tx_budget(fd: BorrowedFd<'_>, frames: u32) {
    let len = size_of_val(&frames) as libc::socklen_t;
    let value = (&raw const frames).cast();
    // SAFETY: the kernel reads `len` bytes of an integer that lives until the call returns.
    unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, XDP_MAX_TX_BUDGET, value, len) };
}

//! Two hosts joined by a pair of in-memory devices.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses a part of it, and fails by panicking.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use finack::core::device::{Capabilities, Packet, Transmit};
use finack::device::{Device, DeviceCounters, MemoryDevice};
use finack::net::{TcpListener, TcpStream};
use finack::{Net, NetBuilder};

pub(crate) const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const A6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const B6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);

/// A device that loses everything it is to send while it is cut.
pub(crate) struct Cable {
    device: MemoryDevice,
    cut: Arc<AtomicBool>,
}

impl Cable {
    /// A cable, and what cuts it.
    pub(crate) fn new(device: MemoryDevice) -> (Self, Arc<AtomicBool>) {
        let cut = Arc::<AtomicBool>::default();
        (Self { device, cut: Arc::clone(&cut) }, cut)
    }
}

impl AsFd for Cable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Device for Cable {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        self.device.recv_batch(batch, max)
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        if self.cut.load(Ordering::Relaxed) { Ok(()) } else { self.device.send(packet) }
    }

    fn counters(&mut self) -> DeviceCounters {
        self.device.counters()
    }
}

/// Hosts A and B; either direction of the cable between them can be cut.
pub(crate) struct Bed {
    pub(crate) a: Net,
    pub(crate) b: Net,
    pub(crate) cut_a_to_b: Arc<AtomicBool>,
    pub(crate) cut_b_to_a: Arc<AtomicBool>,
}

impl Bed {
    /// Nothing arrives at either end from now on.
    pub(crate) fn cut(&self) {
        self.cut_a_to_b.store(true, Ordering::Relaxed);
        self.cut_b_to_a.store(true, Ordering::Relaxed);
    }

    /// Undoes [`cut`](Self::cut).
    pub(crate) fn mend(&self) {
        self.cut_a_to_b.store(false, Ordering::Relaxed);
        self.cut_b_to_a.store(false, Ordering::Relaxed);
    }
}

pub(crate) fn host_a() -> NetBuilder {
    Net::builder().address(A, 24).address(A6, 64).seed([1; 32])
}

pub(crate) fn host_b() -> NetBuilder {
    Net::builder().address(B, 24).address(B6, 64).seed([2; 32])
}

pub(crate) fn bed_of(capabilities: Capabilities, a: NetBuilder, b: NetBuilder) -> Bed {
    let (left, right) = finack::device::pair(capabilities).unwrap();
    let ((left, cut_a_to_b), (right, cut_b_to_a)) = (Cable::new(left), Cable::new(right));
    let (a, b) = (a.build(left).unwrap(), b.build(right).unwrap());
    Bed { a, b, cut_a_to_b, cut_b_to_a }
}

/// A wire of 1500-byte packets.
pub(crate) fn bed() -> Bed {
    bed_of(Capabilities::plain(1500), host_a(), host_b())
}

/// A device that takes units of 64 KiB and finishes checksums, as a TUN device does.
pub(crate) const UNITS: Capabilities =
    Capabilities { mtu: 1500, max_unit: 65535, checksum_tx: true, udp_units: false };

/// A client on A and the connection that B accepted from it.
pub(crate) async fn connected(bed: &Bed) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind_on(&bed.b, (B, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect_on(&bed.a, addr), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("the exchange has stalled")
}

/// [`within`] half a minute.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(30), future).await
}

pub(crate) fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("it should have failed").kind()
}

/// An address on B where nobody is.
pub(crate) fn nobody() -> SocketAddr {
    SocketAddr::from((B, 9))
}

//! An AF_XDP socket on a queue of a network card: frames go between the card, or its driver, and memory that finack
//! shares with the kernel, past the kernel's own protocols.
//!
//! A program in the kernel picks what is finack's, by link and IP address, and leaves all else to the kernel: the interface
//! stays usable. It is attached by a link that only this process holds, so that it is gone when the device is, however the
//! process ends.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Buf, Bytes};
use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta, Transmit};
use finack_wire::ethernet::{HEADER_LEN, MIN_PAYLOAD, MacAddr};
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::af_packet;
use super::buffers::BufferPool;
use super::{Device, DeviceCounters};
use frames::{BLOCK, Receiving, Region, Sending};
use interface::Interface;
use neighbours::{Neighbours, Outcome, Route};
use socket::Socket;

mod bpf;
mod filter;
mod frames;
mod interface;
mod neighbours;
mod options;
mod packet;
mod rings;
mod socket;

pub use options::{AfXdpAttach, AfXdpMode, AfXdpOptions};

/// The shortest frame: what is shorter is padded with zeroes.
const SHORTEST: usize = HEADER_LEN + MIN_PAYLOAD;

/// What all queues of an interface have in common. The program stays attached until the last of them is gone.
struct Shared {
    interface: Interface,
    options: AfXdpOptions,
    native: bool,
    refused: Option<String>,
    map: OwnedFd,
    neighbours: Mutex<Neighbours>,
    _link: bpf::Link,
    _groups: OwnedFd,
}

/// One queue of a network card, or of any Ethernet interface, by an AF_XDP socket.
///
/// It answers and asks for link addresses itself (ARP, neighbour discovery), for the addresses in
/// [`AfXdpOptions::addresses`], which are to be those of the [`Net`](crate::Net) that is built on it; the kernel must not
/// have them. There are no units and no checksum offload in AF_XDP: each packet is one frame, and checksums are computed
/// and verified here.
///
/// Only what the card puts into this queue arrives. A card with several queues spreads flows over them: open them all
/// ([`open_all`](Self::open_all)) or leave it one (`ethtool -L eth0 combined 1`).
///
/// Received packets are lent to the engine where they lie, until nearly half of the memory for them is lent; what comes
/// then is copied.
pub struct AfXdpDevice {
    shared: Arc<Shared>,
    queue: u32,
    socket: Socket,
    receiving: Receiving,
    sending: Sending,
    copies: BufferPool,
    capabilities: Capabilities,
    zero_copy: bool,
    counters: DeviceCounters,
    /// The last look found nothing more.
    drained: bool,
    /// Frames were written that the kernel was not told of.
    unsent: bool,
    /// The time, asked once a batch, and the way of the batch's last packet.
    now: Option<Instant>,
    last: Option<(IpAddr, MacAddr)>,
}

/// An error in one line: what to do, and what the kernel said.
fn failed(advice: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{advice} ({error})"))
}

impl AfXdpDevice {
    /// Opens a queue of an interface in the network namespace of the calling thread, and has the kernel send to it what
    /// is for [`AfXdpOptions::addresses`]. The program is put into the driver where that can run it, else behind it; the
    /// card writes into the shared memory itself where its driver can do that: [`mode`](Self::mode) tells.
    ///
    /// # Errors
    /// Each says what to do. `PermissionDenied` without CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; `NotFound`/`ENODEV` where
    /// there is no such interface; `InvalidInput` where the interface has no such queue, the MTU does not fit a frame, or
    /// an option is out of its range; `ResourceBusy` where another XDP program is attached or the queue is taken;
    /// `Unsupported` where the kernel lacks AF_XDP or links of XDP programs (Linux 5.9), or it is no Ethernet interface;
    /// `ENOBUFS` where the limit of locked memory is too low.
    pub fn open(options: &AfXdpOptions) -> io::Result<Self> {
        options.check()?;
        let fd = socket::open()?;
        let interface = Interface::look(&options.interface)?;
        let map = bpf::create_socket_map(interface.queues.unwrap_or(0).max(options.queue.saturating_add(1)))
            .map_err(|e| bpf_failed("a map of sockets can't be made", e))?;
        let rules = filter::Rules {
            mac: interface.mac,
            addresses: options.addresses.iter().map(|(address, _)| *address).collect(),
            ports: options.ports.clone(),
        };
        check_queue(&interface, options.queue)?;
        options.frame_size(&interface)?;
        let program = bpf::load(&filter::assemble(&rules, filter::Verdict::Socket(map.as_fd())))
            .map_err(|e| bpf_failed("the XDP program can't be loaded", e))?;
        let (link, native, refused) = attach(program.as_fd(), &interface, options.attach)?;
        let solicited = rules.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(address) if options.ports.is_none() => Some(*address),
            _ => None,
        });
        let groups = interface.join(solicited).map_err(|e| {
            failed(&format!("{} can't be told to receive neighbour solicitations", interface.name), e)
        })?;
        let neighbours = Neighbours::new(
            interface.mac,
            options.addresses.clone(),
            options.gateways.clone(),
            options.neighbours.iter().map(|&(ip, mac)| (ip, MacAddr(mac))).collect(),
            options.ports.is_none(),
        );
        let shared = Shared {
            interface,
            options: options.clone(),
            native,
            refused,
            map,
            neighbours: Mutex::new(neighbours),
            _link: link,
            _groups: groups,
        };
        Self::on_queue(Arc::new(shared), fd, options.queue)
    }

    /// Opens all queues that the interface receives with, from 0 on whatever [`AfXdpOptions::queue`] says: one device each,
    /// as [`NetBuilder::build_on`](crate::NetBuilder::build_on) takes them. One queue where the driver does not tell.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_all(options: &AfXdpOptions) -> io::Result<Vec<Self>> {
        let first = Self::open(&AfXdpOptions { queue: 0, ..options.clone() })?;
        let count = first.shared.interface.queues.unwrap_or(1);
        let mut queues = vec![first];
        for queue in 1..count {
            let next = queues[0].another_queue(queue)?;
            queues.push(next);
        }
        Ok(queues)
    }

    /// One more queue of the same interface, by its number from 0 on. It shares the program and what is known of
    /// neighbours.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn another_queue(&self, queue: u32) -> io::Result<Self> {
        check_queue(&self.shared.interface, queue)?;
        Self::on_queue(Arc::clone(&self.shared), socket::open()?, queue)
    }

    fn on_queue(shared: Arc<Shared>, fd: OwnedFd, queue: u32) -> io::Result<Self> {
        let (options, interface) = (&shared.options, &shared.interface);
        let entries = options.ring_entries();
        // Twice as many frames to receive into as the kernel can have at once: half may be lent.
        let blocks = 2 * entries / BLOCK;
        let region = Arc::new(Region::map(blocks * BLOCK + entries, options.frame_size(interface)?)?);
        let socket = Socket::new(fd, &region, entries)?;
        let mut device = Self {
            queue,
            receiving: Receiving::new(Arc::clone(&region), blocks),
            sending: Sending::new(region, blocks * BLOCK, entries),
            socket,
            copies: BufferPool::new(),
            // A packet is copied into a frame, and summed on the way.
            capabilities: Capabilities {
                checksum_tx: true,
                ..Capabilities::plain(options.mtu.unwrap_or(interface.mtu).min(interface.mtu))
            },
            zero_copy: false,
            counters: DeviceCounters::default(),
            drained: false,
            unsent: false,
            now: None,
            last: None,
            shared,
        };
        device.refill()?;
        let (shared, options) = (&device.shared, &device.shared.options);
        let copy = !shared.native || !options.zero_copy;
        device.zero_copy = device.socket.bind(&shared.interface, queue, copy)?;
        bpf::set_socket(shared.map.as_fd(), queue, device.socket.fd.as_fd())
            .map_err(|e| bpf_failed("the socket can't be put into the program's map", e))?;
        Ok(device)
    }

    /// How the frames come and go here.
    pub fn mode(&self) -> AfXdpMode {
        AfXdpMode {
            native: self.shared.native,
            zero_copy: self.zero_copy,
            refused: self.shared.refused.clone(),
        }
    }

    /// The queue's number, from 0 on.
    pub const fn queue(&self) -> u32 {
        self.queue
    }

    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the kernel as many frames to receive into as there are and it has room for.
    fn refill(&mut self) -> io::Result<()> {
        let mut more = false;
        while self.socket.fill.room(BLOCK) >= BLOCK {
            let Some(addresses) = self.receiving.start() else { break };
            addresses.for_each(|address| {
                self.socket.fill.push(address);
            });
            more = true;
        }
        if more {
            self.socket.fill.submit();
            // Only a driver that works on the memory itself asks for it, when it had run out of frames.
            if self.zero_copy && self.socket.fill.needs_wakeup() {
                match rustix::net::recv(&self.socket.fd, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
                    Ok(_)
                    | Err(Errno::AGAIN | Errno::INTR | Errno::NETDOWN | Errno::BUSY | Errno::NOBUFS) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    /// Looks at a frame that has arrived: what is for the engine goes to the batch.
    fn take(&mut self, descriptor: XdpDesc, batch: &mut Vec<Packet<'static>>) {
        let Some(mut frame) = self.receiving.arrived(descriptor.addr, descriptor.len as usize) else {
            self.counters.malformed += 1;
            return;
        };
        let Some(&[_, _, _, _, _, _, a, b, c, d, e, f, high, low]) = frame.first_chunk::<HEADER_LEN>() else {
            self.counters.malformed += 1;
            return;
        };
        let (source, kind) = (MacAddr([a, b, c, d, e, f]), [high, low]);
        frame.advance(HEADER_LEN);
        match kind {
            packet::TYPE_ARP => {
                let now = self.now();
                let outcome = self.neighbours().arp(&frame, now);
                return self.follow(outcome);
            }
            packet::TYPE_IPV6 if packet::may_be_about_neighbours(&frame) => {
                let now = self.now();
                let outcome = self.neighbours().ndp(&frame, now);
                if let Some(outcome) = outcome {
                    return self.follow(outcome);
                }
            }
            packet::TYPE_IPV4 | packet::TYPE_IPV6 => {}
            _ => return,
        }
        if self.shared.options.ports.is_some() {
            self.learn(&frame, source);
        }
        let mut meta = PacketMeta::default();
        if self.shared.interface.is_virtual && packet::has_partial_checksum(&frame) {
            meta.checksum = ChecksumState::Valid;
        }
        let bytes = if self.receiving.is_scarce() { self.copy(&frame) } else { frame };
        batch.push(Packet { bytes: PacketBytes::Shared(bytes), meta });
    }

    fn copy(&mut self, packet: &Bytes) -> Bytes {
        af_packet::copy(&mut self.copies, packet)
    }

    /// Where nobody may be asked, who sends shows the way back.
    fn learn(&mut self, packet: &[u8], source: MacAddr) {
        if let Some(ip) = packet::source(packet)
            && source.is_station()
            && self.last != Some((ip, source))
        {
            let now = self.now();
            let outcome = self.neighbours().seen(ip, source, now);
            self.follow(outcome);
            self.last = Some((ip, source));
        }
    }

    /// Sends what a message about neighbours led to.
    fn follow(&mut self, outcome: Outcome) {
        self.last = None;
        if let Some(frame) = outcome.reply {
            self.send_frame(&frame);
        }
        if let Some((mac, packets)) = outcome.released {
            self.release(mac, packets);
        }
    }

    fn release(&mut self, mac: MacAddr, packets: VecDeque<Vec<u8>>) {
        for packet in packets {
            let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
            let mut frame = packet::link_header(mac, self.shared.interface.mac, v6).to_vec();
            frame.extend_from_slice(&packet);
            if self.send_frame(&frame) {
                self.counters.sent += 1;
            } else {
                self.counters.refused += 1;
            }
        }
    }

    /// Sends a frame as it is; whether there was room.
    fn send_frame(&mut self, frame: &[u8]) -> bool {
        self.put(frame.len(), |room| room[..frame.len()].copy_from_slice(frame))
    }

    /// Has a frame of `len` bytes written and put into the ring; whether there was room.
    fn put(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if self.sending.is_empty() || self.socket.transmit.room(1) == 0 {
            self.reclaim();
        }
        if self.socket.transmit.room(1) == 0 {
            return false;
        }
        let filled = self.sending.fill(|room| {
            write(room);
            if let Some(padding) = room.get_mut(len..SHORTEST) {
                padding.fill(0);
            }
        });
        let Some(addr) = filled else { return false };
        let len = len.max(SHORTEST) as u32;
        self.unsent = true;
        self.socket.transmit.push(XdpDesc { addr, len, options: XdpDescOptions::empty() })
    }

    /// Takes back the frames that were sent.
    fn reclaim(&mut self) {
        while let Some(address) = self.socket.completed.pop() {
            self.sending.done(address);
        }
        self.socket.completed.release();
    }

    /// Tells the kernel to send what stands in the ring.
    fn kick(&mut self) -> io::Result<()> {
        self.socket.transmit.submit();
        self.unsent = false;
        loop {
            let unread = self.socket.transmit.unread();
            if unread == 0 || !self.socket.transmit.needs_wakeup() {
                return Ok(());
            }
            match rustix::net::send(&self.socket.fd, &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // One call takes so many frames and no more.
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS) => {
                    if self.socket.transmit.unread() == unread {
                        self.unsent = true;
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                }
                // They wait in the ring until it is up again.
                Err(Errno::NETDOWN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The link address that a packet goes to; `None` where it was kept until that is known, or is lost.
    fn way(&mut self, packet: &Transmit<'_>) -> Option<MacAddr> {
        let Some(destination) = packet::destination(packet.header) else {
            self.counters.refused += 1;
            return None;
        };
        if let Some((last, mac)) = self.last
            && last == destination
        {
            return Some(mac);
        }
        let now = self.now();
        let route = self.neighbours().route(destination, now);
        match route {
            Route::To(mac, question) => {
                if let Some(frame) = question {
                    self.send_frame(&frame);
                }
                self.last = Some((destination, mac));
                Some(mac)
            }
            Route::Unknown(hop, question) => {
                if let Some(frame) = question {
                    self.send_frame(&frame);
                }
                let mut bytes = Vec::with_capacity(packet.len());
                packet.write_finished(&mut bytes);
                let kept = self.neighbours().wait(hop, bytes);
                self.counters.refused += u64::from(!kept);
                None
            }
            Route::None => {
                self.counters.refused += 1;
                None
            }
        }
    }
}

/// What a refusal of `bpf(2)` means.
fn bpf_failed(what: &str, error: io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "needs CAP_BPF and CAP_NET_ADMIN (of the machine, not of a user namespace): run it as root"
        }
        Some(libc::ENOSYS) => "this kernel was built without CONFIG_BPF_SYSCALL: use AfPacketDevice",
        _ => "the kernel refused it",
    };
    failed(&format!("{what}: {advice}"), error)
}

fn check_queue(interface: &Interface, queue: u32) -> io::Result<()> {
    match interface.queues {
        Some(count) if queue >= count => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("interface {} has no queue {queue}: it has {count}, counted from 0", interface.name),
        )),
        _ => Ok(()),
    }
}

/// Attaches the program: the link, whether it is in the driver, and why not.
fn attach(
    program: BorrowedFd<'_>,
    interface: &Interface,
    wanted: AfXdpAttach,
) -> io::Result<(bpf::Link, bool, Option<String>)> {
    let name = &interface.name;
    let explain = |e: io::Error| match e.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            let advice =
                format!("{name} has an XDP program already: `ip link set dev {name} xdp off` removes it");
            failed(&advice, e)
        }
        Some(libc::EPERM) => bpf_failed("the XDP program can't be attached", e),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ERANGE) => {
            let advice = format!(
                "{name} takes no XDP program this way (its driver, its MTU, or a kernel before Linux 5.9): try \
                 AfXdpAttach::Generic, or AfPacketDevice"
            );
            failed(&advice, e)
        }
        _ => failed(&format!("an XDP program can't be attached to {name}"), e),
    };
    let mut refused = None;
    if wanted != AfXdpAttach::Generic {
        match bpf::attach(program, interface.index, bpf::Place::Native) {
            Ok(link) => return Ok((link, true, None)),
            // No other place helps there.
            Err(e) if wanted == AfXdpAttach::Native => return Err(explain(e)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM)) => {
                return Err(explain(e));
            }
            Err(e) => refused = Some(e.to_string()),
        }
    }
    let link = bpf::attach(program, interface.index, bpf::Place::Generic).map_err(explain)?;
    Ok((link, false, refused))
}

impl AsFd for AfXdpDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }
}

impl Device for AfXdpDevice {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        let before = batch.len();
        (self.now, self.last) = (None, None);
        self.drained = false;
        // Frames that are not for the engine are bounded too, or a flood of them would hold the caller.
        for _ in 0..max.saturating_mul(4) {
            if batch.len() - before >= max {
                break;
            }
            match self.socket.received.pop() {
                Some(descriptor) => self.take(descriptor, batch),
                None => {
                    self.drained = true;
                    break;
                }
            }
        }
        self.socket.received.release();
        self.refill()?;
        if self.unsent {
            // What the engine sends next will be the occasion to try again.
            let _ = self.kick();
        }
        let count = batch.len() - before;
        self.counters.received += count as u64;
        // Without a packet, 0 would say that nothing waits any more.
        if count == 0 && !self.drained { Err(io::ErrorKind::Interrupted.into()) } else { Ok(count) }
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        if packet.len() > self.capabilities.mtu {
            self.counters.refused += 1;
            return Ok(());
        }
        let Some(mac) = self.way(packet) else { return Ok(()) };
        let link = packet::link_header(mac, self.shared.interface.mac, packet.header[0] >> 4 == 6);
        let len = HEADER_LEN + packet.len();
        if !self.put(len, |room| packet::write(room, &link, packet)) {
            self.kick()?;
            if !self.put(len, |room| packet::write(room, &link, packet)) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        self.counters.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.now, self.last) = (None, None);
        if self.unsent { self.kick() } else { Ok(()) }
    }

    fn counters(&mut self) -> DeviceCounters {
        let mut counters = self.counters;
        if let Ok(stats) = sockopt::xdp_statistics(&self.socket.fd) {
            counters.overruns = stats.rx_dropped + stats.rx_ring_full.unwrap_or(0);
            counters.refused += stats.tx_invalid_descs;
        }
        counters
    }
}

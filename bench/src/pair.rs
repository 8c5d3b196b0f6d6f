//! Two finack hosts and a copying link, in one thread.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use finack_core::device::{
    Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta, Transmit, TxChecksum,
};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId};
use finack_core::steer::Steering;
use finack_core::{Config, Error, Instant, Stack};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The same over IPv6.
const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
/// Servers listen from this port on.
const PORTS_FROM: u16 = 1000;
/// Packets that the link hands over at once.
pub const BATCH: usize = 32;

/// Bytes after which it does so too: with large packets a batch would otherwise leave the cache.
const BATCH_BYTES: usize = 256 << 10;

/// How received packets are given to the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handing {
    /// Lent: the engine copies what it keeps.
    Lent,
    /// Given away: the engine keeps the link's own memory, until its reader is done with it.
    Given,
}

/// Memory of packets that were given away and have come back, the last first.
type Home = Arc<Mutex<Vec<Vec<u8>>>>;

/// The memory of a packet that is given away.
struct Loan {
    bytes: Vec<u8>,
    home: Home,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Ok(mut home) = self.home.lock() {
            home.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// The link's memory, used again and again. It copies each byte once.
struct Link {
    buffers: Vec<Vec<u8>>,
    metas: [PacketMeta; BATCH],
    given: Vec<Packet<'static>>,
    home: Home,
    handing: Handing,
    /// It finishes checksums while it copies, and the receiver must verify them.
    sums: bool,
    /// Where the client is one of several shards: how packets are steered, and which it is.
    steering: Option<(Steering, usize)>,
}

impl Link {
    fn new(handing: Handing, sums: bool) -> Self {
        let metas = [PacketMeta::default(); BATCH];
        let (given, home) = (Vec::with_capacity(BATCH), Home::default());
        Self { buffers: vec![Vec::new(); BATCH], metas, given, home, handing, sums, steering: None }
    }

    /// Has a look at each of the packets that were lent last, as a driver with several shards does.
    fn steer(&self, count: u64) {
        let Some((steering, index)) = &self.steering else { return };
        for packet in &self.buffers[..count as usize] {
            let shard = steering.of_packet(packet);
            assert_eq!(shard, Some(*index), "the packets of a connection come to its shard");
        }
    }

    /// Copies all that `from` wants to send, and gives it to `to`. Answers how many packets that were.
    fn carry(&mut self, from: &mut Stack, to: &mut Stack, now: Instant, steer: bool) -> u64 {
        let mut carried = 0;
        loop {
            let (count, more) = self.carry_batch(from, to, now);
            carried += count;
            if steer && self.steering.is_some() {
                self.steer(count);
            }
            if !more {
                return carried;
            }
        }
    }

    /// Copies a batch of what `from` wants to send, and gives it to `to`. Answers how many packets that were, and whether there
    /// may be more.
    fn carry_batch(&mut self, from: &mut Stack, to: &mut Stack, now: Instant) -> (u64, bool) {
        let (mut count, mut bytes) = (0, 0);
        while count < BATCH && bytes < BATCH_BYTES {
            let Some(packet) = from.poll_transmit(now) else {
                if count > 0 {
                    self.hand(to, now, count);
                }
                return (count as u64, false);
            };
            let meta = self.meta(&packet);
            bytes += packet.len();
            if self.handing == Handing::Given {
                self.give(&packet, meta);
            } else {
                write(&packet, &mut self.buffers[count], self.sums);
                // Nearly always it is what it was: what is written must be waited for where it is read as a whole.
                if self.metas[count] != meta {
                    self.metas[count] = meta;
                }
            }
            count += 1;
        }
        self.hand(to, now, count);
        (count as u64, true)
    }

    /// Copies a packet to memory that the receiver may keep.
    #[inline(never)]
    fn give(&mut self, packet: &Transmit<'_>, meta: PacketMeta) {
        let mut loan = self.home.lock().ok().and_then(|mut home| home.pop()).unwrap_or_default();
        write(packet, &mut loan, self.sums);
        let loan = Bytes::from_owner(Loan { bytes: loan, home: self.home.clone() });
        self.given.push(Packet { bytes: PacketBytes::Shared(loan), meta });
    }

    /// What the receiver is told of a packet.
    fn meta(&self, packet: &Transmit<'_>) -> PacketMeta {
        let partial = matches!(packet.checksum, TxChecksum::Partial { .. }) && !self.sums;
        let checksum = if partial { ChecksumState::Valid } else { ChecksumState::Unchecked };
        let size = usize::from(packet.segment_size);
        if size == 0 {
            return PacketMeta { checksum, ..PacketMeta::default() };
        }
        let segments = packet.payload_len().div_ceil(size) as u16;
        PacketMeta { checksum, segments, segment_size: packet.segment_size, ..PacketMeta::default() }
    }

    fn hand(&mut self, to: &mut Stack, now: Instant, count: usize) {
        let Self { buffers, metas, given, handing, .. } = self;
        if *handing == Handing::Given {
            to.handle_packets(now, given);
            given.clear();
            return;
        }
        let packet = |i: usize| Packet { bytes: PacketBytes::Borrowed(&buffers[i]), meta: metas[i] };
        if count == 1 {
            to.handle_packets(now, &[packet(0)]);
        } else {
            let packets: [Packet<'_>; BATCH] = std::array::from_fn(packet);
            to.handle_packets(now, &packets[..count]);
        }
    }
}

/// Copies a packet, and finishes its checksum if the link does that.
fn write(packet: &Transmit<'_>, into: &mut Vec<u8>, sums: bool) {
    into.clear();
    if sums {
        packet.write_finished(into);
    } else {
        packet.write_to(into);
    }
}

/// What a pair is made with.
pub struct Setup {
    pub device: Capabilities,
    pub handing: Handing,
    /// The link finishes checksums while it copies.
    pub link_sums: bool,
    /// Bytes of send and receive buffers.
    pub buffers: usize,
    /// Ports that the server listens on.
    pub listeners: u16,
}

impl Setup {
    pub fn plain(mtu: usize, buffers: usize) -> Self {
        let device = Capabilities::plain(mtu);
        Self { device, handing: Handing::Lent, link_sums: false, buffers, listeners: 1 }
    }
}

/// A client's and a server's stack.
pub struct Pair {
    pub client: Stack,
    pub server: Stack,
    link: Link,
    pub now: Instant,
    options: SocketOptions,
    listeners: Vec<ListenerId>,
    next_listener: usize,
    server_addr: IpAddr,
}

fn stack(addr: IpAddr, device: Capabilities, settings: Settings) -> Stack {
    let addresses = vec![InterfaceAddress { addr, prefix_len: 24 }];
    let seed = [match addr {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(a) => a.octets()[15],
    }; 32];
    let config = Config { settings, device, addresses, routes: Vec::new(), any_address: false, seed };
    Stack::new(Instant::ZERO, config)
}

/// Settings that let a bench open as many connections as it likes.
fn settings() -> Settings {
    Settings {
        ip_local_port_min: 1024,
        ip_local_port_max: 65_535,
        tcp_max_tw_buckets: 20_000_000,
        tcp_max_syn_backlog: 4_194_304,
        somaxconn: 4_194_304,
        max_connections: 20_000_000,
        tcp_mem: 1 << 40,
        ..Settings::default()
    }
}

impl Pair {
    pub fn new(setup: &Setup) -> Self {
        Self::between(CLIENT, SERVER, setup)
    }

    /// The same over IPv6.
    pub fn over_v6(setup: &Setup) -> Self {
        Self::between(CLIENT_V6, SERVER_V6, setup)
    }

    fn between(client_addr: IpAddr, server_addr: IpAddr, setup: &Setup) -> Self {
        let mut server = stack(server_addr, setup.device, settings());
        let options = SocketOptions {
            nodelay: true,
            send_buffer: Some(setup.buffers),
            recv_buffer: Some(setup.buffers),
            ..SocketOptions::default()
        };
        let listeners = (0..setup.listeners)
            .map(|i| {
                let local = SocketAddr::new(server_addr, PORTS_FROM + i);
                let bind =
                    server.tcp_bind(Instant::ZERO, local, BindOptions::default()).expect("the port is free");
                server.tcp_listen(Instant::ZERO, bind, u32::MAX, options).expect("nobody listens there")
            })
            .collect();
        Self {
            client: stack(client_addr, setup.device, settings()),
            server,
            link: Link::new(setup.handing, setup.link_sums),
            now: Instant::from_secs(1),
            options,
            listeners,
            next_listener: 0,
            server_addr,
        }
    }

    /// Makes the client, which has done nothing yet, the shard `index` of several.
    pub fn set_shard(&mut self, steering: Steering, index: usize) {
        self.client.set_shard(&steering, index);
        self.link.steering = Some((steering, index));
    }

    /// Lets virtual time pass, and what is due in it happen.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        for stack in [&mut self.client, &mut self.server] {
            if stack.poll_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
            while stack.poll_event().is_some() {}
        }
    }

    pub fn carry_there(&mut self) -> u64 {
        self.link.carry(&mut self.client, &mut self.server, self.now, false)
    }

    pub fn carry_back(&mut self) -> u64 {
        self.link.carry(&mut self.server, &mut self.client, self.now, true)
    }

    /// Carries one batch, after which a driver lets the application read.
    pub fn carry_batch_there(&mut self) -> u64 {
        self.link.carry_batch(&mut self.client, &mut self.server, self.now).0
    }

    /// Carries packets until neither side has any.
    pub fn settle(&mut self) -> u64 {
        let mut carried = 0;
        loop {
            let n = self.carry_there() + self.carry_back();
            if n == 0 {
                return carried;
            }
            carried += n;
        }
    }

    /// Sends a SYN to the next listener in turn, without carrying it.
    pub fn connect(&mut self) -> (ConnId, ListenerId) {
        let i = self.next_listener;
        self.next_listener = (i + 1) % self.listeners.len();
        let remote = SocketAddr::new(self.server_addr, PORTS_FROM + i as u16);
        let conn = self.client.tcp_connect(self.now, None, remote, self.options).expect("a port is free");
        (conn, self.listeners[i])
    }

    /// Opens a connection: the client's end and the server's.
    pub fn open(&mut self) -> (ConnId, ConnId) {
        let (conn, listener) = self.connect();
        self.settle();
        let (accepted, _) = self.server.tcp_accept(self.now, listener).expect("the handshake is done");
        (conn, accepted)
    }

    /// As much as fits, from `data`, over and over.
    pub fn fill(&mut self, conn: ConnId, data: &[u8]) {
        while let Ok(n) = self.client.tcp_send(self.now, conn, data, SendFlags::default()) {
            if n < data.len() {
                break;
            }
        }
    }

    /// Reads all there is on the server; answers how many bytes.
    pub fn drain(&mut self, conn: ConnId, into: &mut [u8]) -> u64 {
        let mut total = 0;
        while let Ok(n) = self.server.tcp_recv(self.now, conn, into, RecvFlags::default()) {
            total += n as u64;
            if n < into.len() {
                break;
            }
        }
        total
    }

    /// [`fill`](Self::fill) without a copy: the engine keeps `data` itself.
    pub fn fill_shared(&mut self, conn: ConnId, data: &Bytes) {
        let pieces = std::slice::from_ref(data);
        while let Ok(n) = self.client.tcp_send_shared(self.now, conn, pieces, SendFlags::default()) {
            if n < data.len() {
                break;
            }
        }
    }

    /// [`drain`](Self::drain) without a copy: the reader looks at the bytes where they are.
    pub fn drain_in_place(&mut self, conn: ConnId) -> u64 {
        let take = |slices: &[&[u8]]| {
            let bytes = slices.iter().map(|slice| black_box(slice).len()).sum();
            Ok::<usize, Error>(bytes)
        };
        let mut total = 0;
        while let Ok(Ok(n)) = self.server.tcp_recv_with(self.now, conn, take)
            && n > 0
        {
            total += n as u64;
        }
        total
    }

    /// One byte there and one back; answers the packets that took.
    pub fn round_trip(&mut self, client: ConnId, server: ConnId) -> u64 {
        let mut byte = [1];
        let flags = (SendFlags::default(), RecvFlags::default());
        self.client.tcp_send(self.now, client, &byte, flags.0).expect("the connection is open");
        let mut packets = self.carry_there();
        self.server.tcp_recv(self.now, server, &mut byte, flags.1).expect("the request came");
        self.server.tcp_send(self.now, server, &byte, flags.0).expect("the connection is open");
        packets += self.carry_back();
        self.client.tcp_recv(self.now, client, &mut byte, flags.1).expect("the response came");
        packets
    }

    /// [`round_trip`](Self::round_trip) on several connections at once: their packets travel together.
    pub fn round_trips(&mut self, ends: &[(ConnId, ConnId)]) -> u64 {
        let mut byte = [1];
        let flags = (SendFlags::default(), RecvFlags::default());
        for some in ends.chunks(BATCH) {
            let mut clients = [some[0].0; BATCH];
            clients.iter_mut().zip(some).for_each(|(place, ends)| *place = ends.0);
            self.client.tcp_look_ahead(&clients[..some.len()]);
        }
        for &(client, _) in ends {
            self.client.tcp_send(self.now, client, &byte, flags.0).expect("the connection is open");
        }
        let mut packets = self.carry_there();
        for &(_, server) in ends {
            self.server.tcp_recv(self.now, server, &mut byte, flags.1).expect("the request came");
            self.server.tcp_send(self.now, server, &byte, flags.0).expect("the connection is open");
        }
        packets += self.carry_back();
        for &(client, _) in ends {
            self.client.tcp_recv(self.now, client, &mut byte, flags.1).expect("the response came");
        }
        packets
    }

    /// Opens a connection, asks, answers and closes, the client first; answers the packets that took.
    pub fn whole_life(&mut self) -> u64 {
        let (client, listener) = self.connect();
        let mut packets = self.settle();
        let (server, _) = self.server.tcp_accept(self.now, listener).expect("the handshake is done");
        packets += self.round_trip(client, server);
        self.client.tcp_close(self.now, client).expect("the handle is good");
        packets += self.carry_there();
        let end = self.server.tcp_recv(self.now, server, &mut [0], RecvFlags::default());
        assert!(matches!(end, Ok(0) | Err(Error::WouldBlock)), "{end:?}");
        self.server.tcp_close(self.now, server).expect("the handle is good");
        packets + self.settle()
    }

    /// Drops what the server wants to send.
    pub fn lose_answers(&mut self) {
        while self.server.poll_transmit(self.now).is_some() {}
    }
}

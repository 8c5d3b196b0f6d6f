//! smoltcp: two interfaces and a link between their devices, in one thread.

use std::collections::VecDeque;
use std::hint::black_box;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

const PORT: u16 = 80;

/// A packet: its length, in a buffer of the MTU's size.
type Frame = (Vec<u8>, usize);

/// One end of the link.
struct End {
    mtu: usize,
    checksums: bool,
    rx: VecDeque<Frame>,
    tx: VecDeque<Frame>,
    free: Vec<Vec<u8>>,
    spent: Vec<Vec<u8>>,
}

struct Rx<'a>(Frame, &'a mut Vec<Vec<u8>>);
struct Tx<'a> {
    mtu: usize,
    tx: &'a mut VecDeque<Frame>,
    free: &'a mut Vec<Vec<u8>>,
}

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let ((buffer, len), spent) = (self.0, self.1);
        let result = f(&buffer[..len]);
        spent.push(buffer);
        result
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = self.free.pop().unwrap_or_else(|| vec![0; self.mtu]);
        let result = f(&mut buffer[..len]);
        self.tx.push_back((buffer, len));
        result
    }
}

impl Device for End {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let frame = self.rx.pop_front()?;
        let tx = Tx { mtu: self.mtu, tx: &mut self.tx, free: &mut self.free };
        Some((Rx(frame, &mut self.spent), tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx { mtu: self.mtu, tx: &mut self.tx, free: &mut self.free })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps.checksum =
            if self.checksums { ChecksumCapabilities::default() } else { ChecksumCapabilities::ignored() };
        caps
    }
}

struct Host {
    interface: Interface,
    end: End,
    sockets: SocketSet<'static>,
}

impl Host {
    fn new(last: u8, mtu: usize, checksums: bool) -> Self {
        let (rx, tx) = (VecDeque::new(), VecDeque::new());
        let mut end = End { mtu, checksums, rx, tx, free: Vec::new(), spent: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(last);
        let mut interface = Interface::new(config, &mut end, Instant::ZERO);
        interface.update_ip_addrs(|addrs| {
            addrs.push(IpCidr::new(address(last), 24)).expect("there is room for one address");
        });
        Self { interface, end, sockets: SocketSet::new(Vec::new()) }
    }

    fn add(&mut self, buffers: usize) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; buffers]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

fn address(last: u8) -> IpAddress {
    IpAddress::v4(10, 0, 0, last)
}

/// A client's and a server's stack.
pub struct Pair {
    client: Host,
    server: Host,
    now: Instant,
    micros: i64,
    next_port: u16,
    buffers: usize,
}

impl Pair {
    pub fn new(mtu: usize, buffers: usize, checksums: bool) -> Self {
        Self {
            client: Host::new(1, mtu, checksums),
            server: Host::new(2, mtu, checksums),
            now: Instant::ZERO,
            micros: 1_000_000,
            next_port: 10_000,
            buffers,
        }
    }

    /// Lets 10 µs pass and polls both hosts once; answers how many packets went over the link.
    fn poll(&mut self) -> u64 {
        self.micros += 10;
        self.now = Instant::from_micros(self.micros);
        let carried = Self::turn(&mut self.client, &mut self.server, self.now);
        carried + Self::turn(&mut self.server, &mut self.client, self.now)
    }

    fn turn(from: &mut Host, to: &mut Host, now: Instant) -> u64 {
        from.interface.poll(now, &mut from.end, &mut from.sockets);
        let carried = from.end.tx.len() as u64;
        to.end.rx.append(&mut from.end.tx);
        // Buffers that the receiver emptied go back to who fills them.
        from.end.free.append(&mut to.end.spent);
        carried
    }

    fn settle(&mut self) -> u64 {
        let mut carried = 0;
        loop {
            let n = self.poll();
            if n == 0 {
                return carried;
            }
            carried += n;
        }
    }

    fn connect(&mut self, client: SocketHandle, server: SocketHandle) {
        self.server.socket(server).listen(PORT).expect("the socket is closed");
        self.next_port = if self.next_port >= 60_000 { 10_000 } else { self.next_port + 1 };
        let (port, remote) = (self.next_port, IpEndpoint::new(address(2), PORT));
        let Host { interface, sockets, .. } = &mut self.client;
        let socket: &mut Socket<'_> = sockets.get_mut(client);
        socket.connect(interface.context(), remote, port).expect("the socket is closed");
    }

    pub fn open(&mut self) -> (SocketHandle, SocketHandle) {
        let (client, server) = (self.client.add(self.buffers), self.server.add(self.buffers));
        self.connect(client, server);
        self.settle();
        assert_eq!(self.server.socket(server).state(), State::Established);
        (client, server)
    }

    /// One turn of a bulk transfer; answers the bytes read.
    pub fn bulk(&mut self, ends: (SocketHandle, SocketHandle), data: &[u8], into: &mut [u8]) -> u64 {
        while self.client.socket(ends.0).send_slice(data).is_ok_and(|n| n == data.len()) {}
        self.poll();
        let mut total = 0;
        while let Ok(n) = self.server.socket(ends.1).recv_slice(into)
            && n > 0
        {
            total += n as u64;
        }
        total
    }

    /// One turn of a bulk transfer that writes and reads in the sockets' own buffers; answers the bytes read.
    pub fn bulk_in_place(&mut self, ends: (SocketHandle, SocketHandle)) -> u64 {
        // The ring wraps: what is free is lent in two parts.
        while self.client.socket(ends.0).send(|room| (black_box(room.len()), room.len())).is_ok_and(|n| n > 0)
        {
        }
        self.poll();
        let mut total = 0;
        while let Ok(n) = self.server.socket(ends.1).recv(|data| (black_box(data.len()), data.len()))
            && n > 0
        {
            total += n as u64;
        }
        total
    }

    /// One byte there and one back; answers the packets that took.
    pub fn round_trip(&mut self, ends: (SocketHandle, SocketHandle)) -> u64 {
        let mut byte = [1];
        self.client.socket(ends.0).send_slice(&byte).expect("the connection is open");
        self.micros += 10;
        self.now = Instant::from_micros(self.micros);
        let mut packets = Self::turn(&mut self.client, &mut self.server, self.now);
        packets += Self::turn(&mut self.server, &mut self.client, self.now);
        let n = self.server.socket(ends.1).recv_slice(&mut byte).expect("the request came");
        assert_eq!(n, 1);
        self.server.socket(ends.1).send_slice(&byte).expect("the connection is open");
        packets += Self::turn(&mut self.server, &mut self.client, self.now);
        packets += Self::turn(&mut self.client, &mut self.server, self.now);
        self.client.socket(ends.0).recv_slice(&mut byte).expect("the response came");
        packets
    }

    /// Opens, asks, answers and closes on two sockets that are used again; TIME-WAIT is thrown away.
    pub fn whole_life(&mut self, ends: (SocketHandle, SocketHandle)) -> u64 {
        self.client.socket(ends.0).abort();
        self.server.socket(ends.1).abort();
        self.connect(ends.0, ends.1);
        let mut packets = self.settle();
        packets += self.round_trip(ends);
        self.client.socket(ends.0).close();
        packets += self.poll();
        self.server.socket(ends.1).close();
        packets += self.settle();
        assert_eq!(self.client.socket(ends.0).state(), State::TimeWait);
        packets
    }
}

//! smoltcp as a foreign peer: what another stack sends, over a link that loses, doubles and reorders, is carried
//! whole both ways, and finack breaks no rule towards it.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId};
use finack_core::{Config, Instant, Stack};
use finack_sim::HostId;
use finack_sim::checker::Checker;
use finack_sim::pattern;
use finack_sim::rng::Rng;
use finack_sim::split::wire_packets;
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as Micros;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

const MTU: usize = 1500;
const PORT: u16 = 80;
/// Bytes each way.
const TOTAL: u64 = 60_000;

#[derive(Default)]
struct Wire {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Micros) -> Option<(Rx, Tx<'_>)> {
        self.rx.pop_front().map(|bytes| (Rx(bytes), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Micros) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        all.medium = Medium::Ip;
        all.max_transmission_unit = MTU;
        all
    }
}

/// One direction's application: what it has written and read.
#[derive(Default)]
struct App {
    written: u64,
    read: u64,
    shut: bool,
    eof: bool,
}

impl App {
    fn next(&self, side: u8) -> Vec<u8> {
        pattern::bytes(side, self.written, (TOTAL - self.written).min(3000) as usize)
    }

    fn take(&mut self, side: u8, data: &[u8]) {
        assert_eq!(pattern::mismatch(side, self.read, data), None, "from byte {} on", self.read);
        self.read += data.len() as u64;
    }
}

struct Meeting {
    rng: Rng,
    now: u64,
    finack: Stack,
    checker: Checker,
    packets: u64,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    way: BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    apps: [App; 2],
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

impl Meeting {
    fn new(seed: u64, finack_opens: bool) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config {
            settings: finack_core::settings::Settings::default(),
            device: Capabilities::plain(MTU),
            addresses: vec![InterfaceAddress { addr: address(1), prefix_len: 24 }],
            routes: Vec::new(),
            any_address: false,
            seed: rng.secret(),
        };
        let mut finack = Stack::new(Instant::from_micros(1_000_000), config);
        finack.set_tracing(1024);
        let mut checker = Checker::new();
        checker.add_host(MTU, 48);
        let mut wire = Wire::default();
        let mut set_up = iface::Config::new(HardwareAddress::Ip);
        set_up.random_seed = seed;
        let mut interface = Interface::new(set_up, &mut wire, Micros::from_micros(1_000_000));
        interface.update_ip_addrs(|all| all.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || SocketBuffer::new(vec![0; 16_384]);
        let socket = sockets.add(Socket::new(buffer(), buffer()));
        let (listener, conn) = (None, None);
        let (way, apps) = (BTreeMap::new(), Default::default());
        let mut meeting = Self {
            rng,
            now: 1_000_000,
            finack,
            checker,
            packets: 0,
            listener,
            conn,
            wire,
            interface,
            sockets,
            socket,
            way,
            apps,
        };
        meeting.begin(finack_opens);
        meeting
    }

    fn begin(&mut self, finack_opens: bool) {
        let now = Instant::from_micros(self.now);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        if finack_opens {
            socket.listen(PORT).unwrap();
            let to = SocketAddr::new(address(2), PORT);
            self.conn = Some(self.finack.tcp_connect(now, None, to, SocketOptions::default()).unwrap());
        } else {
            let bind = self.finack.tcp_bind(now, SocketAddr::new(address(1), PORT), BindOptions::default());
            let listener = self.finack.tcp_listen(now, bind.unwrap(), 5, SocketOptions::default());
            self.listener = Some(listener.unwrap());
            let to = IpEndpoint::new(IpAddress::v4(10, 0, 0, 1), PORT);
            socket.connect(self.interface.context(), to, 40_000).unwrap();
        }
    }

    /// A packet goes on its way, and with bad luck is lost, late or doubled.
    fn send(&mut self, to_finack: bool, bytes: Vec<u8>) {
        self.packets += 1;
        let copies = if self.rng.one_in(20) { 0 } else { 1 + u64::from(self.rng.one_in(30)) };
        for copy in 0..copies {
            let late = if self.rng.one_in(10) { self.rng.below(30_000) } else { 0 };
            let at = self.now + 10_000 + late;
            self.way.insert((at, self.packets * 2 + copy), (to_finack, bytes.clone()));
        }
    }

    fn step(&mut self) {
        let now = Instant::from_micros(self.now);
        while let Some(entry) = self.way.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to_finack, bytes) = entry.remove();
            if to_finack {
                self.checker.arrives(HostId(0), &bytes);
                self.finack.handle_packets(now, &[Packet::borrowed(&bytes)]);
            } else {
                self.wire.rx.push_back(bytes);
            }
        }
        self.finack.handle_timeout(now);
        self.interface.poll(Micros::from_micros(self.now as i64), &mut self.wire, &mut self.sockets);
        self.play_finack(now);
        self.play_smoltcp();
        self.interface.poll(Micros::from_micros(self.now as i64), &mut self.wire, &mut self.sockets);
        while let Some(bytes) = self.wire.tx.pop_front() {
            self.send(true, bytes);
        }
        let mut sent = Vec::new();
        while let Some(unit) = self.finack.poll_transmit(now) {
            sent.extend(wire_packets(&unit).unwrap());
        }
        for bytes in sent {
            self.checker.sent(HostId(0), now, self.packets + 1, &bytes);
            self.send(false, bytes);
        }
        while let Some(event) = self.finack.poll_trace() {
            self.checker.traced(HostId(0), &event);
        }
        while self.finack.poll_event().is_some() {}
        self.checker.look(HostId(0), now, &self.finack);
        assert_eq!(self.checker.violation(), None);
    }

    fn play_finack(&mut self, now: Instant) {
        if let Some(listener) = self.listener
            && self.conn.is_none()
        {
            self.conn = self.finack.tcp_accept(now, listener).ok().map(|(conn, _)| conn);
        }
        let (Some(conn), [app, _]) = (self.conn, &mut self.apps) else { return };
        while app.written < TOTAL {
            let Ok(n) = self.finack.tcp_send(now, conn, &app.next(1), SendFlags::default()) else { break };
            app.written += n as u64;
        }
        if app.written == TOTAL && !app.shut {
            app.shut = self.finack.tcp_shutdown(now, conn, Shutdown::Write).is_ok();
        }
        let mut buf = [0; 4096];
        while let (false, Ok(n)) = (app.eof, self.finack.tcp_recv(now, conn, &mut buf, RecvFlags::default()))
        {
            app.take(2, &buf[..n]);
            app.eof = n == 0;
        }
    }

    fn play_smoltcp(&mut self) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let [_, app] = &mut self.apps;
        while app.written < TOTAL && socket.can_send() {
            app.written += socket.send_slice(&app.next(2)).unwrap() as u64;
        }
        let mut buf = [0; 4096];
        while let Ok(n) = socket.recv_slice(&mut buf)
            && n > 0
        {
            app.take(1, &buf[..n]);
        }
        app.eof = app.read == TOTAL && !socket.may_recv();
        if app.written == TOTAL && !app.shut {
            socket.close();
            app.shut = true;
        }
    }

    /// On to the next thing that happens.
    fn advance(&mut self) {
        let smoltcp = self.interface.poll_at(Micros::from_micros(self.now as i64), &self.sockets);
        let finack = self.finack.poll_timeout().map(|at| at.as_micros() + 1);
        let next = [self.way.keys().next().map(|k| k.0), finack, smoltcp.map(|at| at.total_micros() as u64)];
        let soonest = next.into_iter().flatten().min().unwrap_or(self.now + 1_000_000);
        self.now = soonest.clamp(self.now + 1, self.now + 1_000_000);
    }

    fn run(mut self) {
        let end = self.now + 600_000_000;
        while !self.apps.iter().all(|a| a.eof) {
            self.step();
            self.advance();
            let read: Vec<u64> = self.apps.iter().map(|a| a.read).collect();
            assert!(self.now < end, "not done: {read:?} of {TOTAL} read");
        }
        let conn = self.conn.unwrap();
        self.finack.tcp_close(Instant::from_micros(self.now), conn).unwrap();
        if let Some(listener) = self.listener {
            self.finack.tcp_close_listener(Instant::from_micros(self.now), listener).unwrap();
        }
        let end = self.now + Duration::from_secs(400).as_micros() as u64;
        while self.now < end {
            self.step();
            self.advance();
        }
        self.checker.ended(HostId(0), Instant::from_micros(self.now), &self.finack, 4 << 20);
        assert_eq!(self.checker.violation(), None);
    }
}

/// RFC 9293 2.2: a reliable byte stream each way, whoever opens and whoever the peer is.
#[test]
fn smoltcp_and_finack_understand_each_other() {
    for seed in 1..=40 {
        for finack_opens in [false, true] {
            Meeting::new(seed, finack_opens).run();
        }
    }
}

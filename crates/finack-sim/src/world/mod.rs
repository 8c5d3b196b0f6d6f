//! Hosts on a network whose clock, losses and delays one seed decides.

mod gro;
mod link;
mod transfer;

pub use link::{Link, Passing, Verdict};
pub use transfer::{Direction, Transfer};

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use finack_core::device::{Capabilities, Packet};
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId, Route};
use finack_core::tcp::State;
use finack_core::{Config, Event, Instant, Stack};

use crate::checker::{Checker, Violation};
use crate::packet::{Body, parse, v4, v6};
use crate::rng::Rng;
use crate::split::wire_packets;
use crate::text::{Bases, render};

/// Names a host of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

struct Host {
    stack: Stack,
    events: Vec<Event>,
    sent: u64,
    joins: bool,
}

struct Delivery {
    to: HostId,
    bytes: Vec<u8>,
}

type Fault = Box<dyn FnMut(&Passing<'_>) -> Verdict>;

/// Trace events that a stack keeps until the checker has read them.
const TRACED: usize = 4096;

/// Packets that the record keeps for a ladder print.
const RECORDED: usize = 400;

/// A network.
pub struct World {
    now: Instant,
    rng: Rng,
    hosts: Vec<Host>,
    default_link: Link,
    links: BTreeMap<(usize, usize), Link>,
    busy_until: BTreeMap<(usize, usize), Instant>,
    in_flight: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
    faults: Vec<Fault>,
    record: VecDeque<String>,
    sent: u64,
    lost: u64,
    checker: Option<Checker>,
    /// A violation is kept for who asks instead of failing the test.
    lenient: bool,
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "World at {:?}, {} hosts, {} packets in flight",
            self.now,
            self.hosts.len(),
            self.in_flight.len()
        )
    }
}

impl World {
    /// An empty network at time 1 s.
    #[must_use]
    pub fn new(seed: u64, link: Link) -> Self {
        Self::starting_at(Instant::from_secs(1), seed, link)
    }

    /// An empty network whose clock begins at `start`.
    #[must_use]
    pub fn starting_at(start: Instant, seed: u64, link: Link) -> Self {
        Self {
            now: start,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            default_link: link,
            links: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sequence: 0,
            faults: Vec::new(),
            record: VecDeque::new(),
            sent: 0,
            lost: 0,
            checker: Some(Checker::new()),
            lenient: false,
        }
    }

    /// Nothing is checked from now on: for measurements of speed.
    pub fn unchecked(&mut self) {
        self.checker = None;
        for host in &mut self.hosts {
            host.stack.set_tracing(0);
        }
    }

    /// What breaks a rule no longer fails the test: [`violation`](Self::violation) tells.
    pub fn keep_violations(&mut self) {
        self.lenient = true;
    }

    /// The first violation, where [`keep_violations`](Self::keep_violations) was called.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.checker.as_ref().and_then(Checker::violation)
    }

    /// What watches the hosts, unless nothing is checked.
    pub fn checker(&mut self) -> Option<&mut Checker> {
        self.checker.as_mut()
    }

    /// Nothing may be left on this host: see [`Checker::ended`].
    pub fn check_ended(&mut self, host: HostId, most_memory: usize) {
        if let Some(checker) = &mut self.checker {
            checker.ended(host, self.now, &self.hosts[host.0].stack, most_memory);
        }
        self.judge();
    }

    #[track_caller]
    fn judge(&self) {
        if let Some(violation) = self.violation().filter(|_| !self.lenient) {
            self.fail(&violation.to_string());
        }
    }

    /// Adds a host: the n-th gets the addresses 10.0.0.n and fd00::n, counted from 1.
    pub fn host(&mut self, settings: Settings, device: Capabilities) -> HostId {
        let id = HostId(self.hosts.len());
        if let Some(checker) = &mut self.checker {
            checker.add_host(device.mtu, settings.tcp_min_snd_mss as u16);
        }
        let stack = self.boot(id, settings, device);
        self.hosts.push(Host { stack, events: Vec::new(), sent: 0, joins: false });
        id
    }

    /// From now on the host's device hands over at once what arrives at once, and joins neighbouring segments (GRO).
    pub fn join_received(&mut self, host: HostId) {
        self.hosts[host.0].joins = true;
    }

    /// The host crashes and comes back: its connections are forgotten, its secret is another.
    pub fn reboot(&mut self, host: HostId, settings: Settings, device: Capabilities) {
        if let Some(checker) = &mut self.checker {
            checker.reboot(host, device.mtu, settings.tcp_min_snd_mss as u16);
        }
        self.hosts[host.0].stack = self.boot(host, settings, device);
        self.hosts[host.0].events.clear();
    }

    fn boot(&mut self, id: HostId, settings: Settings, device: Capabilities) -> Stack {
        let default_of = |network: IpAddr| Route { network, prefix_len: 0, mtu: None, advertised_mss: None };
        let config = Config {
            settings,
            device,
            addresses: vec![
                InterfaceAddress { addr: self.v4(id), prefix_len: 24 },
                InterfaceAddress { addr: self.v6(id), prefix_len: 64 },
            ],
            routes: vec![default_of([0, 0, 0, 0].into()), default_of([0_u16; 8].into())],
            any_address: false,
            seed: self.rng.secret(),
        };
        let mut stack = Stack::new(self.now, config);
        if self.checker.is_some() {
            stack.set_tracing(TRACED);
        }
        stack
    }

    /// Adds a host with usual settings and an MTU of 1500.
    pub fn plain_host(&mut self) -> HostId {
        self.host(Settings::default(), Capabilities::plain(1500))
    }

    /// The host's IPv4 address.
    #[must_use]
    pub fn v4(&self, host: HostId) -> IpAddr {
        v4(host.0 as u8 + 1)
    }

    /// The host's IPv6 address.
    #[must_use]
    pub fn v6(&self, host: HostId) -> IpAddr {
        v6(host.0 as u8 + 1)
    }

    /// The way from `from` to `to` is this one from now on.
    pub fn set_link(&mut self, from: HostId, to: HostId, link: Link) {
        self.links.insert((from.0, to.0), link);
    }

    /// Adds a fault, asked about every packet after the link's own chances let it pass.
    pub fn fault(&mut self, fault: impl FnMut(&Passing<'_>) -> Verdict + 'static) {
        self.faults.push(Box::new(fault));
    }

    /// No scripted faults from now on.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A host's stack, to look at.
    #[must_use]
    pub fn stack(&self, host: HostId) -> &Stack {
        &self.hosts[host.0].stack
    }

    /// Calls a host's stack and sends what it then wants to send.
    pub fn with<T>(&mut self, host: HostId, call: impl FnOnce(&mut Stack, Instant) -> T) -> T {
        let result = call(&mut self.hosts[host.0].stack, self.now);
        self.pump(host);
        result
    }

    /// Connections of a host in any state but LISTEN and CLOSED.
    #[must_use]
    pub fn connections(&self, host: HostId) -> usize {
        let closed = |s: State| matches!(s, State::Listen | State::Closed);
        self.stack(host).count_by_state().iter().filter(|(s, _)| !closed(*s)).map(|(_, n)| n).sum()
    }

    /// The events of a host since the last call.
    pub fn take_events(&mut self, host: HostId) -> Vec<Event> {
        core::mem::take(&mut self.hosts[host.0].events)
    }

    /// How many packets were sent by all hosts.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// How many packets links and faults dropped.
    #[must_use]
    pub fn packets_lost(&self) -> u64 {
        self.lost
    }

    /// Whether packets are on their way.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Listens.
    ///
    /// # Panics
    /// Where the stack refuses to.
    pub fn listen(&mut self, host: HostId, local: SocketAddr, options: SocketOptions) -> ListenerId {
        self.with(host, |s, now| {
            let SocketOptions { reuse_addr, reuse_port, v6_only, .. } = options;
            let bind = s.tcp_bind(now, local, BindOptions { reuse_addr, reuse_port, v6_only }).expect("bind");
            s.tcp_listen(now, bind, 128, options).expect("listen")
        })
    }

    /// Opens a connection from `a` to `b` (IPv4, `port`), which listens for it; runs until both ends have it.
    ///
    /// # Panics
    /// Where it is not open within ten virtual minutes.
    pub fn connect(&mut self, a: HostId, b: HostId, port: u16, options: SocketOptions) -> (ConnId, ConnId) {
        let to = SocketAddr::new(self.v4(b), port);
        self.connect_to(a, b, to, options)
    }

    /// As [`connect`](Self::connect), to this address of `b`.
    ///
    /// # Panics
    /// Where it is not open within ten virtual minutes.
    pub fn connect_to(
        &mut self,
        a: HostId,
        b: HostId,
        to: SocketAddr,
        options: SocketOptions,
    ) -> (ConnId, ConnId) {
        let listener = self.listen(b, to, options);
        let client = self.with(a, |s, now| s.tcp_connect(now, None, to, options)).expect("connect");
        let mut server = None;
        self.run_until(Duration::from_secs(600), |w| {
            if server.is_none() {
                server = w.with(b, |s, now| s.tcp_accept(now, listener)).ok().map(|(conn, _)| conn);
            }
            server.is_some() && w.stack(a).tcp_state(client) == Ok(State::Established)
        });
        self.with(b, |s, now| s.tcp_close_listener(now, listener)).expect("close listener");
        let server = server.unwrap_or_else(|| self.fail("the connection was not opened"));
        (client, server)
    }

    /// On to the next event, if there is one not after `end`; else to `end` and false.
    pub fn step(&mut self, end: Instant) -> bool {
        let delivery = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let timer = self
            .hosts
            .iter()
            .enumerate()
            .filter_map(|(i, h)| h.stack.poll_timeout().map(|at| (at, i)))
            .min_by_key(|&(at, i)| (at, i));
        match (delivery, timer) {
            (Some(at), timer) if at <= end && timer.is_none_or(|(t, _)| at <= t) => self.deliver(at),
            (_, Some((at, i))) if at <= end => {
                self.now = self.now.max(at);
                let now = self.now;
                self.hosts[i].stack.handle_timeout(now);
                self.pump(HostId(i));
            }
            _ => {
                self.now = self.now.max(end);
                return false;
            }
        }
        true
    }

    fn deliver(&mut self, at: Instant) {
        self.now = self.now.max(at);
        let Some((_, Delivery { to, bytes })) = self.in_flight.pop_first() else { return };
        let now = self.now;
        if self.hosts[to.0].joins {
            let mut together = vec![bytes];
            while let Some(next) =
                self.in_flight.first_entry().filter(|e| e.key().0 == at && e.get().to == to)
            {
                together.push(next.remove().bytes);
            }
            if let Some(checker) = &mut self.checker {
                together.iter().for_each(|bytes| checker.arrives(to, bytes));
            }
            let joined = gro::join(together);
            let batch: Vec<Packet<'_>> =
                joined.iter().map(|(b, meta)| Packet { meta: *meta, ..Packet::borrowed(b) }).collect();
            self.hosts[to.0].stack.handle_packets(now, &batch);
        } else {
            if let Some(checker) = &mut self.checker {
                checker.arrives(to, &bytes);
            }
            self.hosts[to.0].stack.handle_packets(now, &[Packet::borrowed(&bytes)]);
        }
        self.pump(to);
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until `done`, asked after each event.
    ///
    /// # Panics
    /// Where it is not done within `limit`.
    #[track_caller]
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) && !done(self) {
                self.fail(&format!("not done after {limit:?}"));
            }
        }
    }

    /// Runs while `going`, at most for `limit`; false where it still was then.
    pub fn run_while(&mut self, limit: Duration, mut going: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while going(self) {
            if !self.step(end) {
                return !going(self);
            }
        }
        true
    }

    /// Fails with the record of the last packets.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n  at {:?}, after {} packets, {} of them lost; the last were:\n{}",
            self.now,
            self.sent,
            self.lost,
            self.ladder()
        );
    }

    /// The last packets, one a line.
    #[must_use]
    pub fn ladder(&self) -> String {
        let skip = self.record.len().saturating_sub(80);
        self.record.iter().skip(skip).fold(String::new(), |s, line| s + "    " + line + "\n")
    }

    fn pump(&mut self, from: HostId) {
        let now = self.now;
        loop {
            let wire = match self.hosts[from.0].stack.poll_transmit(now) {
                None => break,
                Some(transmit) => wire_packets(&transmit),
            };
            match wire {
                Ok(wire) => wire.into_iter().for_each(|bytes| self.send(from, bytes)),
                Err(e) => self.fail(&format!("host {} sent a bad unit: {e}", from.0)),
            }
        }
        let host = &mut self.hosts[from.0];
        while let Some(event) = host.stack.poll_event() {
            host.events.push(event);
        }
        if let Some(checker) = &mut self.checker {
            while let Some(event) = host.stack.poll_trace() {
                checker.traced(from, &event);
            }
            checker.look(from, now, &host.stack);
        }
        self.judge();
    }

    fn route(&self, to: IpAddr) -> Option<HostId> {
        (0..self.hosts.len()).map(HostId).find(|&h| self.v4(h) == to || self.v6(h) == to)
    }

    fn send(&mut self, from: HostId, bytes: Vec<u8>) {
        let packet = match parse(&bytes) {
            Ok(packet) => packet,
            Err(e) => self.fail(&format!("host {} sent a malformed packet: {e}", from.0)),
        };
        self.sent += 1;
        self.hosts[from.0].sent += 1;
        if let Some(checker) = &mut self.checker {
            checker.sent(from, self.now, self.sent, &bytes);
        }
        let Some(to) = self.route(packet.ip.dst) else { return };
        let link = *self.links.get(&(from.0, to.0)).unwrap_or(&self.default_link);
        let passing = Passing {
            now: self.now,
            from,
            to,
            packet: &packet,
            index: self.hosts[from.0].sent,
            total: self.sent,
        };
        let mut verdict = link.chances(&mut self.rng);
        for fault in &mut self.faults {
            if verdict == Verdict::Pass {
                verdict = fault(&passing);
            }
        }
        self.note(&passing, verdict);
        if bytes.len() > link.mtu {
            self.lost += 1;
            if let Some(error) = link.too_big(&packet, &bytes) {
                self.schedule(&link, to, from, error, Duration::ZERO);
            }
            return;
        }
        match verdict {
            Verdict::Drop => self.lost += 1,
            Verdict::Pass => self.schedule(&link, from, to, bytes, Duration::ZERO),
            Verdict::Delay(extra) => self.schedule(&link, from, to, bytes, extra),
            Verdict::Duplicate => {
                self.schedule(&link, from, to, bytes.clone(), Duration::ZERO);
                self.schedule(&link, from, to, bytes, Duration::ZERO);
            }
            Verdict::Forge => {
                let forged = link::forge(&packet, bytes);
                self.schedule(&link, from, to, forged, Duration::ZERO);
            }
            Verdict::Corrupt => {
                let mut bytes = bytes;
                let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
                self.schedule(&link, from, to, bytes, Duration::ZERO);
            }
        }
    }

    fn schedule(&mut self, link: &Link, from: HostId, to: HostId, bytes: Vec<u8>, extra: Duration) {
        let mut at = self.now;
        if let Some(rate) = link.rate {
            let busy = self.busy_until.entry((from.0, to.0)).or_insert(self.now);
            let start = (*busy).max(self.now);
            if start.since(self.now) > link.queue {
                self.lost += 1;
                return;
            }
            let wire_time = Duration::from_nanos(bytes.len() as u64 * 8 * 1_000_000_000 / rate.max(1));
            *busy = start + wire_time;
            at = *busy;
        }
        self.sequence += 1;
        self.in_flight.insert((at + link.delay + extra, self.sequence), Delivery { to, bytes });
    }

    fn note(&mut self, passing: &Passing<'_>, verdict: Verdict) {
        let what = match &passing.packet.body {
            Body::Tcp(tcp) => render(tcp, &Bases::default()),
            body => format!("{body:.60?}"),
        };
        let mark = if verdict == Verdict::Pass { String::new() } else { format!("   [{verdict:?}]") };
        if self.record.len() == RECORDED {
            self.record.pop_front();
        }
        let (from, to) = (passing.packet.from(), passing.packet.to());
        self.record.push_back(format!("{:?} #{} {from} > {to}  {what}{mark}", passing.now, passing.total));
    }
}

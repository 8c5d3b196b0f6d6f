//! Hosts on a network whose clock, losses and delays one seed decides.

mod bulk;
mod carry;
mod cut;
mod graph;
mod gro;
mod link;
mod record;
mod tap;
mod transfer;

pub use bulk::Bulk;
pub use graph::{LinkId, Node, PipeId};
pub use link::{Link, Passing, Verdict};
pub use tap::{Seen, Series, SeriesId, Sight};
pub use transfer::{Direction, Transfer};

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use finack_core::device::{Capabilities, PacketMeta};
use finack_core::options::{BindOptions, SocketOptions};
use finack_core::settings::Settings;
use finack_core::stack::{ConnId, InterfaceAddress, ListenerId, Route};
use finack_core::tcp::State;
use finack_core::{Config, Event, Instant, Stack};

use carry::Carried;
use graph::Graph;
use record::Record;

use crate::boxes::Running;
use crate::checker::{Checker, Violation};
use crate::link::{Hop, Pipe};
use crate::packet::{v4, v6};
use crate::rng::Rng;

/// Names a host of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

struct Host {
    stack: Stack,
    events: VecDeque<Event>,
    sent: u64,
    /// For how long the device waits for packets to join; `None` where it hands over each at once.
    gro: Option<Duration>,
    waiting: Vec<Carried>,
    flush_at: Option<Instant>,
    /// When this host is to be looked at, by the heap.
    at: Instant,
}

/// Events of a host that are kept until somebody takes them; older ones are forgotten.
const EVENTS: usize = 1 << 16;

impl Host {
    fn note_event(&mut self, event: Event) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn next(&self) -> Option<Instant> {
        match (self.stack.poll_timeout(), self.flush_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

type Fault = Box<dyn FnMut(&Passing<'_>) -> Verdict>;

/// Trace events that a stack keeps until the checker has read them.
const TRACED: usize = 4096;

/// Who has something to do; of those at the same time first what arrives, then timers, then observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Pipe(usize),
    Box(usize),
    Host(usize),
    Task(usize),
}

/// A box at work.
struct Boxed {
    running: Running,
    /// When it is to be looked at, by the heap.
    at: Instant,
}

/// Packets that the record keeps for a ladder print, where nothing else was asked for.
const RECORDED: usize = 400;

/// Most hosts of a world.
const MOST_HOSTS: usize = 250;

/// A network.
pub struct World {
    now: Instant,
    seed: u64,
    rng: Rng,
    hosts: Vec<Host>,
    /// Routers; those that are more than that have a box.
    routers: Vec<Option<Box<Boxed>>>,
    /// Who has the addresses that are no host's: NATs.
    outer: BTreeMap<IpAddr, usize>,
    /// Links made by [`join`](Self::join) so far.
    joined: u64,
    default_link: Hop,
    graph: Graph,
    pipes: Vec<Pipe<Carried>>,
    /// When each pipe is to be looked at, by the heap.
    pipe_at: Vec<Instant>,
    /// What comes next. An entry that says another time than its source does is void.
    heap: BinaryHeap<Reverse<(Instant, Source)>>,
    faults: Vec<Fault>,
    taps: Vec<tap::Tap>,
    tasks: Vec<tap::Task>,
    series: Vec<Series>,
    record: Record,
    /// Every packet is parsed as it is sent, and carries checksums.
    checks: bool,
    sent: u64,
    lost: u64,
    checker: Option<Checker>,
    /// A violation is kept for who asks instead of failing the test.
    lenient: bool,
    /// Hosts that were handed something since somebody asked.
    touched: Vec<HostId>,
    // For use again.
    outgoing: Vec<Carried>,
    joining: Vec<(Carried, PacketMeta)>,
    spare: Vec<Carried>,
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "World at {:?}, {} hosts, {} links busy",
            self.now,
            self.hosts.len(),
            self.pipes.iter().filter(|p| !p.is_empty()).count()
        )
    }
}

impl World {
    /// An empty network at time 1 s.
    #[must_use]
    pub fn new(seed: u64, link: impl Into<Hop>) -> Self {
        Self::starting_at(Instant::from_secs(1), seed, link)
    }

    /// An empty network whose clock begins at `start`.
    #[must_use]
    pub fn starting_at(start: Instant, seed: u64, link: impl Into<Hop>) -> Self {
        Self {
            now: start,
            seed,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            routers: Vec::new(),
            outer: BTreeMap::new(),
            joined: 0,
            default_link: link.into(),
            graph: Graph::default(),
            pipes: Vec::new(),
            pipe_at: Vec::new(),
            heap: BinaryHeap::new(),
            faults: Vec::new(),
            taps: Vec::new(),
            tasks: Vec::new(),
            series: Vec::new(),
            record: Record::new(RECORDED),
            checks: true,
            sent: 0,
            lost: 0,
            checker: Some(Checker::new()),
            lenient: false,
            touched: Vec::new(),
            outgoing: Vec::new(),
            joining: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Nothing is checked from now on, for measurements of speed: hosts are not watched, and packets are neither parsed as
    /// they are sent nor carry checksums (devices vouch for what nobody computed; of a packet that a link damages it is
    /// computed first).
    pub fn unchecked(&mut self) {
        self.checker = None;
        self.checks = false;
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

    /// How many packets the record keeps for [`ladder`](Self::ladder): 400 at first; 0 keeps none.
    pub fn set_recorded(&mut self, packets: usize) {
        self.record.resize(packets);
    }

    /// Adds a host: the n-th gets the addresses 10.0.0.n and fd00::n, counted from 1.
    ///
    /// # Panics
    /// Where there are 250 already.
    pub fn host(&mut self, settings: Settings, device: Capabilities) -> HostId {
        let id = HostId(self.hosts.len());
        assert!(id.0 < MOST_HOSTS, "a world has at most {MOST_HOSTS} hosts");
        if let Some(checker) = &mut self.checker {
            checker.add_host(device.mtu, settings.tcp_min_snd_mss as u16);
        }
        let stack = self.boot(id, settings, device);
        self.hosts.push(Host {
            stack,
            events: VecDeque::new(),
            sent: 0,
            gro: None,
            waiting: Vec::new(),
            flush_at: None,
            at: Instant::FAR_FUTURE,
        });
        self.schedule_host(id);
        id
    }

    /// From now on the host's device hands over at once what arrives at once, and joins neighbouring segments (GRO).
    pub fn join_received(&mut self, host: HostId) {
        self.join_received_for(host, Duration::ZERO);
    }

    /// As [`join_received`](Self::join_received), for what arrives within `wait` of the first: what an interrupt that is
    /// put off does.
    pub fn join_received_for(&mut self, host: HostId, wait: Duration) {
        self.hosts[host.0].gro = Some(wait);
    }

    /// The host crashes and comes back: its connections are forgotten, its secret is another.
    pub fn reboot(&mut self, host: HostId, settings: Settings, device: Capabilities) {
        if let Some(checker) = &mut self.checker {
            checker.reboot(host, device.mtu, settings.tcp_min_snd_mss as u16);
        }
        self.hosts[host.0].stack = self.boot(host, settings, device);
        self.hosts[host.0].events.clear();
        self.schedule_host(host);
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

    /// The events of a host since the last call, the latest 65536.
    pub fn take_events(&mut self, host: HostId) -> Vec<Event> {
        core::mem::take(&mut self.hosts[host.0].events).into()
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
        let boxes = self.routers.iter().flatten().any(|b| b.running.next().is_some());
        boxes || !self.pipes.iter().all(Pipe::is_empty) || self.hosts.iter().any(|h| !h.waiting.is_empty())
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
        while let Some(&Reverse((at, source))) = self.heap.peek() {
            if at > end {
                break;
            }
            self.heap.pop();
            if self.begins(at, source) {
                return true;
            }
        }
        self.now = self.now.max(end);
        false
    }

    /// Does what an entry of the heap stands for; false where it is void.
    fn begins(&mut self, at: Instant, source: Source) -> bool {
        match source {
            Source::Pipe(index) if self.pipe_at[index] == at => {
                self.now = self.now.max(at);
                self.pipe_at[index] = Instant::FAR_FUTURE;
                self.run_pipe(PipeId(index), at);
            }
            Source::Box(index) if self.routers[index].as_ref().is_some_and(|b| b.at == at) => {
                self.now = self.now.max(at);
                self.run_box(index);
            }
            Source::Host(index) if self.hosts[index].at == at => {
                self.hosts[index].at = Instant::FAR_FUTURE;
                return self.run_host(HostId(index), at);
            }
            Source::Task(index) if self.tasks[index].next == at => {
                self.now = self.now.max(at);
                self.run_task(index);
            }
            _ => return false,
        }
        true
    }

    /// A host's timer; false where nothing was due, since it was moved.
    fn run_host(&mut self, id: HostId, at: Instant) -> bool {
        let host = &self.hosts[id.0];
        let flushes = host.flush_at.is_some_and(|due| due <= at);
        let fires = host.stack.poll_timeout().is_some_and(|due| due <= at);
        if !flushes && !fires {
            self.schedule_host(id);
            return false;
        }
        self.now = self.now.max(at);
        if flushes {
            self.flush(id);
        } else {
            let now = self.now;
            self.hosts[id.0].stack.handle_timeout(now);
            self.touch(id);
            self.pump(id);
        }
        true
    }

    fn schedule(&mut self, at: Instant, source: Source) {
        self.heap.push(Reverse((at, source)));
    }

    fn schedule_host(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if let Some(at) = host.next()
            && at < host.at
        {
            host.at = at;
            self.schedule(at, Source::Host(id.0));
        }
    }

    /// The host was handed something: its applications may have something to do.
    fn touch(&mut self, host: HostId) {
        if self.touched.last() != Some(&host) && !self.touched.contains(&host) {
            self.touched.push(host);
        }
    }

    /// The hosts whose stacks were handed something since the last call.
    pub fn take_touched(&mut self, into: &mut Vec<HostId>) {
        into.clear();
        core::mem::swap(&mut self.touched, into);
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
        self.record.render(80)
    }

    fn host_of(&self, address: IpAddr) -> Option<HostId> {
        let number = match address {
            IpAddr::V4(a) => usize::from(a.octets()[3]),
            IpAddr::V6(a) => usize::from(a.octets()[15]),
        };
        let host = HostId(number.checked_sub(1)?);
        (host.0 < self.hosts.len() && (self.v4(host) == address || self.v6(host) == address)).then_some(host)
    }
}

#[cfg(test)]
mod tests;

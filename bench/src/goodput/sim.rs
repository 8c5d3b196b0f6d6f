//! One simulation: flows from one host to another over a path, and what became of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::{RecvFlags, SendFlags, Shutdown, SocketOptions};
use finack_core::settings::{Congestion, Settings};
use finack_core::stack::{ConnId, ListenerId, Ready};
use finack_core::{Error, Event, Instant};
use finack_sim::link::{self, Hop};
use finack_sim::packet::Body;
use finack_sim::packet::parse;
use finack_sim::rng::Rng;
use finack_sim::world::{Node, Sight};
use finack_sim::{HostId, World};

use super::path::{MTU, Path};

/// One flow.
#[derive(Clone, Debug)]
pub(crate) struct FlowSpec {
    pub(crate) controller: Congestion,
    /// When it begins.
    pub(crate) start: Duration,
    /// How much it sends; without end where `None`.
    pub(crate) bytes: Option<u64>,
    /// What its round trip takes beyond the path's.
    pub(crate) farther: Duration,
}

impl FlowSpec {
    pub(crate) fn endless(controller: Congestion) -> Self {
        Self { controller, start: Duration::ZERO, bytes: None, farther: Duration::ZERO }
    }
}

/// A simulation.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) path: Path,
    pub(crate) flows: Vec<FlowSpec>,
    /// How long.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// How often each flow is looked at.
    pub(crate) sample: Duration,
    /// Packets of this time, counted from the beginning, are kept.
    pub(crate) traced: Option<(Duration, Duration)>,
    /// Every packet is checked on its way, which takes as long again; what is read always is.
    pub(crate) checked: bool,
    /// Both ends ask for accurate ECN (RFC 9768).
    pub(crate) ecn: bool,
    /// What lies between instead of `path`, which then says its rate and round trip.
    pub(crate) own: Option<link::Path>,
    /// ACKs and handshakes are lost as data is.
    pub(crate) both_ways: bool,
}

impl Setup {
    pub(crate) fn new(path: Path, flows: Vec<FlowSpec>, time: Duration, seed: u64) -> Self {
        let sample = Duration::from_millis(100);
        Self {
            path,
            flows,
            time,
            seed,
            sample,
            traced: None,
            checked: true,
            ecn: false,
            own: None,
            both_ways: false,
        }
    }
}

/// A flow at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    /// Bytes that the receiving application has read.
    pub(crate) read: u64,
    /// In bytes.
    pub(crate) cwnd: u64,
    pub(crate) in_flight: u64,
    /// In seconds.
    pub(crate) srtt: f64,
    /// Bits a second; 0 where nothing is paced.
    pub(crate) pacing: f64,
}

/// What became of a flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowResult {
    /// Bytes that the receiving application has read.
    pub(crate) read: u64,
    /// From its SYN to the last byte read, in seconds, where that came.
    pub(crate) done: Option<f64>,
    pub(crate) samples: Vec<Sample>,
    /// Seconds in which the receiver's window kept it from sending.
    pub(crate) held: f64,
    /// Segments sent again.
    pub(crate) resent: u64,
    /// Segments sent with data.
    pub(crate) sent: u64,
}

/// What became of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) flows: Vec<FlowResult>,
    /// Packets that were sent, ACKs too.
    pub(crate) packets: u64,
    /// Packets that the path lost by chance, and that found the queue full.
    pub(crate) lost: u64,
    /// Those of flow 0.
    pub(crate) trace: Vec<Packet>,
}

/// What a packet of the first flow says, at the sender.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    pub(crate) kind: PacketKind,
    /// Of data: its first byte and the one behind its last, counted from the stream's beginning. Of an ACK: what it
    /// acknowledges, twice.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Blocks that an ACK reports.
    pub(crate) sacked: Vec<(u32, u32)>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketKind {
    Data,
    /// Data that the path loses.
    LostData,
    /// An ACK arrived.
    Ack,
}

impl Outcome {
    /// Bits a second that flow `i` carried between two moments, in seconds.
    pub(crate) fn rate(&self, i: usize, from: f64, to: f64) -> f64 {
        let read = |at: f64| {
            let samples = &self.flows[i].samples;
            let next = samples.partition_point(|s| s.at < at - 1e-9);
            samples.get(next).or(samples.last()).map_or(0, |s| s.read)
        };
        (read(to) - read(from)) as f64 * 8.0 / (to - from)
    }
}

/// Where the receivers listen; flow i is the one to port `PORT + i`.
const PORT: u16 = 5000;
/// Bytes of the pattern that streams repeat: a prime, so that no segment lost or doubled leaves it in step.
const PATTERN: usize = 65_521;
/// Bytes in one write or read.
const CHUNK: usize = 64 << 10;
/// Begin of the virtual clock.
const BEGIN: Instant = Instant::from_secs(1);

/// Runs it.
///
/// # Errors
/// What went wrong that must not: a byte that is not the one that was sent, a connection that broke.
pub(crate) fn run(setup: &Setup) -> Result<Outcome, String> {
    Run::new(setup).go()
}

struct Flow {
    spec: FlowSpec,
    from: HostId,
    listener: ListenerId,
    sender: Option<ConnId>,
    receiver: Option<ConnId>,
    written: u64,
    shut: bool,
    result: FlowResult,
}

struct Run<'a> {
    setup: &'a Setup,
    world: World,
    to: HostId,
    flows: Vec<Flow>,
    touched: Vec<HostId>,
    senders: HashMap<(HostId, ConnId), usize>,
    receivers: HashMap<ConnId, usize>,
    pattern: Vec<u8>,
    buffer: Vec<u8>,
    trace: Rc<RefCell<Vec<Packet>>>,
    /// Flows that have not come to their end.
    open: usize,
}

impl<'a> Run<'a> {
    fn new(setup: &'a Setup) -> Self {
        let mut world = World::starting_at(BEGIN, setup.seed, Hop::default());
        if !setup.checked {
            world.unchecked();
            world.set_recorded(0);
        }
        let settings = settings(setup);
        let host = |world: &mut World| world.host(settings.clone(), Capabilities::plain(MTU as usize));
        let to = host(&mut world);
        let distances: BTreeSet<Duration> = setup.flows.iter().map(|f| f.farther).collect();
        let from: BTreeMap<Duration, HostId> = distances.into_iter().map(|d| (d, host(&mut world))).collect();
        build(&mut world, &from, to, setup);
        let trace = Rc::default();
        if let Some(window) = setup.traced {
            watch(&mut world, to, window, Rc::clone(&trace));
        }
        let mut rng = Rng::new(setup.seed ^ 0xda7a);
        let pattern: Vec<u8> = (0..PATTERN).map(|_| rng.next_u32() as u8).collect();
        let mut run = Self {
            setup,
            world,
            to,
            flows: Vec::new(),
            touched: Vec::new(),
            senders: HashMap::new(),
            receivers: HashMap::new(),
            pattern: pattern.iter().cycle().take(PATTERN + CHUNK).copied().collect(),
            buffer: vec![0; CHUNK],
            trace,
            open: setup.flows.len(),
        };
        for (i, spec) in setup.flows.iter().enumerate() {
            let local = (run.world.v4(to), PORT + i as u16).into();
            let listener = run.world.listen(to, local, SocketOptions::default());
            run.flows.push(Flow {
                spec: spec.clone(),
                from: from[&spec.farther],
                listener,
                sender: None,
                receiver: None,
                written: 0,
                shut: false,
                result: FlowResult::default(),
            });
        }
        run
    }

    fn go(mut self) -> Result<Outcome, String> {
        let end = BEGIN + self.setup.time;
        let (mut sample_at, mut starts) = (BEGIN, self.starts());
        loop {
            let start = starts.last().map_or(end, |&(at, _)| at);
            let until = sample_at.min(start).min(end);
            while self.world.step(until) {
                self.serve()?;
                if self.open == 0 {
                    return Ok(self.finish());
                }
            }
            if starts.last().is_some_and(|&(at, _)| at <= until) {
                if let Some((_, flow)) = starts.pop() {
                    self.open(flow)?;
                    self.serve()?;
                }
                continue;
            }
            if sample_at <= until {
                self.sample();
                sample_at += self.setup.sample;
            }
            if until >= end {
                return Ok(self.finish());
            }
        }
    }

    /// When each flow begins, the last first.
    fn starts(&self) -> Vec<(Instant, usize)> {
        let each = self.flows.iter().enumerate();
        let mut starts: Vec<_> = each.map(|(i, f)| (BEGIN + f.spec.start, i)).collect();
        starts.sort_unstable_by(|a, b| b.cmp(a));
        starts
    }

    fn open(&mut self, i: usize) -> Result<(), String> {
        let to = (self.world.v4(self.to), PORT + i as u16).into();
        let congestion = Some(self.flows[i].spec.controller);
        let options = SocketOptions { congestion, ..SocketOptions::default() };
        let host = self.flows[i].from;
        let opened = self.world.with(host, |s, now| s.tcp_connect(now, None, to, options));
        let conn = opened.map_err(|e| format!("flow {i} cannot connect: {e}"))?;
        self.flows[i].sender = Some(conn);
        self.senders.insert((host, conn), i);
        Ok(())
    }

    /// Lets the applications do what events say that they can.
    fn serve(&mut self) -> Result<(), String> {
        let mut touched = std::mem::take(&mut self.touched);
        self.world.take_touched(&mut touched);
        let result = touched.iter().try_for_each(|&host| self.serve_host(host));
        self.touched = touched;
        result
    }

    fn serve_host(&mut self, host: HostId) -> Result<(), String> {
        if host != self.to {
            for event in self.world.take_events(host) {
                if let Event::Tcp { conn, ready } = event
                    && let Some(&i) = self.senders.get(&(host, conn))
                    && ready.intersects(Ready::WRITABLE | Ready::ERROR)
                {
                    self.write(i, conn)?;
                }
            }
            return Ok(());
        }
        for event in self.world.take_events(self.to) {
            match event {
                Event::Accept { listener } => self.accept(listener)?,
                Event::Tcp { conn, ready } if ready.intersects(Ready::READABLE | Ready::ERROR) => {
                    if let Some(&i) = self.receivers.get(&conn) {
                        self.read(i, conn)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: ListenerId) -> Result<(), String> {
        let Some(i) = self.flows.iter().position(|f| f.listener == listener) else { return Ok(()) };
        match self.world.with(self.to, |s, now| s.tcp_accept(now, listener)) {
            Ok((conn, _)) => {
                self.flows[i].receiver = Some(conn);
                self.receivers.insert(conn, i);
                self.read(i, conn)
            }
            Err(Error::WouldBlock) => Ok(()),
            Err(e) => Err(format!("flow {i} is not accepted: {e}")),
        }
    }

    fn write(&mut self, i: usize, conn: ConnId) -> Result<(), String> {
        let flow = &mut self.flows[i];
        loop {
            let left = flow.spec.bytes.map_or(u64::MAX, |all| all - flow.written);
            if left == 0 {
                break;
            }
            let from = (flow.written % PATTERN as u64) as usize;
            let data = &self.pattern[from..from + left.min(CHUNK as u64) as usize];
            match self.world.with(flow.from, |s, now| s.tcp_send(now, conn, data, SendFlags::default())) {
                Ok(taken) => flow.written += taken as u64,
                Err(Error::WouldBlock) => return Ok(()),
                Err(e) => return Err(format!("flow {i} cannot write: {e}")),
            }
        }
        if !flow.shut {
            flow.shut = true;
            let shut = self.world.with(flow.from, |s, now| s.tcp_shutdown(now, conn, Shutdown::Write));
            shut.map_err(|e| format!("flow {i} cannot shut down: {e}"))?;
        }
        Ok(())
    }

    fn read(&mut self, i: usize, conn: ConnId) -> Result<(), String> {
        loop {
            let buffer = &mut self.buffer;
            match self.world.with(self.to, |s, now| s.tcp_recv(now, conn, buffer, RecvFlags::default())) {
                Ok(0) => {
                    let now = self.world.now();
                    let flow = &mut self.flows[i];
                    if flow.spec.bytes != Some(flow.result.read) {
                        return Err(format!("flow {i} ended after {} bytes", flow.result.read));
                    }
                    if flow.result.done.is_none() {
                        flow.result.done = Some(now.since(BEGIN + flow.spec.start).as_secs_f64());
                        self.open -= 1;
                    }
                    return Ok(());
                }
                Ok(n) => {
                    let result = &mut self.flows[i].result;
                    let from = (result.read % PATTERN as u64) as usize;
                    if self.buffer[..n] != self.pattern[from..from + n] {
                        return Err(format!("flow {i}: wrong bytes after {}", result.read));
                    }
                    result.read += n as u64;
                }
                Err(Error::WouldBlock) => return Ok(()),
                Err(e) => return Err(format!("flow {i} cannot read: {e}")),
            }
        }
    }

    fn sample(&mut self) {
        let now = self.world.now();
        for flow in &mut self.flows {
            let stack = self.world.stack(flow.from);
            let mut sample =
                Sample { at: now.since(BEGIN).as_secs_f64(), read: flow.result.read, ..Sample::default() };
            if let Some(info) = flow.sender.and_then(|conn| stack.tcp_info(now, conn).ok()) {
                flow.result.held = info.peer_window_limited.as_secs_f64();
                sample.cwnd = info.cwnd;
                sample.in_flight = info.in_flight;
                sample.srtt = info.srtt.as_secs_f64();
                sample.pacing = info.pacing_rate.map_or(0.0, |bytes| bytes as f64 * 8.0);
                (flow.result.resent, flow.result.sent) = (info.retrans_segs, u64::from(info.data_segs_out));
            }
            flow.result.samples.push(sample);
        }
    }

    fn finish(mut self) -> Outcome {
        self.sample();
        let flows = self.flows.into_iter().map(|f| f.result).collect();
        Outcome {
            flows,
            packets: self.world.packets_sent(),
            lost: self.world.packets_lost(),
            trace: self.trace.take(),
        }
    }
}

/// Buffers that never are what limits a flow.
fn settings(setup: &Setup) -> Settings {
    let longest = setup.flows.iter().map(|f| f.farther).max().unwrap_or_default();
    let far = Path { rtt: setup.path.rtt + longest, ..setup.path };
    let bytes = (8 * (far.bdp() + far.buffer)).clamp(6 << 20, 1 << 30);
    let mut settings = Settings { tcp_rmem_max: bytes, tcp_wmem_max: bytes, ..Settings::default() };
    // An engine that does not know the setting speaks none.
    let _ = setup.ecn.then(|| settings.set("net.ipv4.tcp_ecn", "3"));
    settings
}

/// The network: senders at their distances behind a router in front of the bottleneck, or the bottleneck alone.
fn build(world: &mut World, from: &BTreeMap<Duration, HostId>, to: HostId, setup: &Setup) {
    let (there, back) = setup.path.hops(setup.both_ways);
    let bottleneck = setup.own.clone().unwrap_or_else(|| link::Path::asymmetric(there, back));
    if let (1, Some((&Duration::ZERO, &host))) = (from.len(), from.first_key_value()) {
        world.join(host, to, &bottleneck);
        return;
    }
    let router = world.router();
    world.join(router, to, &bottleneck);
    for (farther, &host) in from {
        world.join(host, router, &link::Path::new(Hop::new(*farther / 2)));
    }
}

/// Keeps what the first flow's sender sends and receives in that window of time.
fn watch(world: &mut World, to: HostId, window: (Duration, Duration), kept: Rc<RefCell<Vec<Packet>>>) {
    let mut iss = None;
    world.tap(move |seen| {
        let at = seen.at.since(BEGIN);
        let there = seen.receiver == to;
        let wanted = match seen.sight {
            Sight::Sent | Sight::Lost(_) => there,
            Sight::Arrived | Sight::Marked => !there && matches!(seen.to, Node::Host(_)),
        };
        let Some(Body::Tcp(tcp)) = wanted.then(|| parse(seen.bytes).ok()).flatten().map(|p| p.body) else {
            return;
        };
        let first = iss.get_or_insert(tcp.seq).wrapping_add(1);
        if at < window.0 || at > window.1 {
            return;
        }
        let place = |seq: u32| seq.wrapping_sub(first);
        let (kind, from, len) = match (there, seen.sight) {
            (true, Sight::Sent) => (PacketKind::Data, tcp.seq, tcp.payload.len() as u32),
            (true, _) => (PacketKind::LostData, tcp.seq, tcp.payload.len() as u32),
            (false, _) => (PacketKind::Ack, tcp.ack, 0),
        };
        let sacked = tcp.sack().iter().map(|&(a, b)| (place(a), place(b))).collect();
        let packet = Packet { at: at.as_secs_f64(), kind, from: place(from), to: place(from) + len, sacked };
        kept.borrow_mut().push(packet);
    });
}

//! Runs a plan: opens, polls applications, crashes hosts, and judges what they were told.

use core::net::SocketAddr;
use core::time::Duration;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use finack_core::options::{BindOptions, SocketOptions};
use finack_core::stack::{BindId, ConnId, ListenerId};
use finack_core::{Error, Event, Instant};

use super::app::{App, Birth};
use super::net::{self, Net};
use super::plan::{Fault, Opt, Plan, Step};
use super::stats::Stats;
use super::stream::{Key, bytes, key};
use super::udp::Echo;
use super::{Feature, MOST_PACKETS, MOST_STEPS};
use crate::checker::{AFTERMATH, Rule, Violation};
use crate::link::{Element, Path};
use crate::world::{HostId, Link, PipeId, World};

/// Nobody gets anything done for so long: longer than the longest retransmission time-out (120 s) takes to pass twice.
const STALL: Duration = Duration::from_secs(400);
/// An opener whose port is taken tries so often, each second.
const PORT_TRIES: u32 = 900;
/// What a host may keep when all is over, in bytes: tables that have grown and spare blocks.
const KEPT: usize = 8 << 20;
/// First port that listeners have.
const LISTEN: u16 = 1000;

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Todo {
    /// An application opens: talk, side, how often it tried.
    Open(usize, usize, u32),
    /// An application goes on.
    Wake(usize),
    /// An application aborts.
    Abort(usize),
    /// A host loses its memory.
    Crash(usize),
    /// A way's MTU changes.
    Mtu(usize, usize),
    /// The next datagram.
    Datagram(usize),
}

/// One connection of a talk.
#[derive(Clone, Debug)]
pub(super) struct Incarnation {
    talk: usize,
    /// Its applications: who opened, and the other.
    pub(super) ends: [Option<usize>; 2],
    opener: SocketAddr,
    /// Initial sequence number of its SYN.
    iss: Option<u32>,
    /// Somebody got its bytes who was not meant to, as RFC 7413 6.1 warns.
    muddled: bool,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first violation.
    pub violation: Option<Violation>,
    /// The last packets before it, one a line.
    pub ladder: String,
    /// What happened.
    pub stats: Stats,
    /// Which packets met a fault.
    pub faults: Vec<Fault>,
}

pub(super) struct Runner<'p> {
    pub(super) plan: &'p Plan,
    pub(super) world: World,
    net: Rc<RefCell<Net>>,
    begin: Instant,
    agenda: BTreeSet<(Instant, Todo)>,
    pub(super) apps: Vec<App>,
    pub(super) incarnations: Vec<Incarnation>,
    counts: Vec<u32>,
    by_conn: BTreeMap<(HostId, ConnId), usize>,
    listeners: BTreeMap<(HostId, ListenerId), usize>,
    ports: BTreeSet<(HostId, SocketAddr)>,
    pub(super) echoes: Vec<Echo>,
    crashed: BTreeSet<usize>,
    pipes: BTreeMap<(usize, usize), PipeId>,
    progress: Instant,
    pub(super) stats: Stats,
    steps: u64,
    pub(super) buf: Vec<u8>,
}

/// Runs `plan` to its end, or to the first violation.
///
/// # Errors
/// What of the plan makes no sense: a setting that is not known or out of range.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let mut runner = Runner::new(plan)?;
    runner.go();
    runner.wind_up();
    Ok(runner.outcome())
}

impl<'p> Runner<'p> {
    fn new(plan: &'p Plan) -> Result<Self, String> {
        let mut world = World::new(plan.seed, Link::new(Duration::from_millis(1)));
        world.keep_violations();
        for host in &plan.hosts {
            let id = world.host(host.settings()?, host.device());
            if host.joins {
                world.join_received(id);
            }
        }
        let net = net::install(plan, &mut world);
        let begin = world.now();
        let mut runner = Self {
            plan,
            net,
            begin,
            world,
            agenda: BTreeSet::new(),
            apps: Vec::new(),
            incarnations: Vec::new(),
            counts: vec![0; plan.talks.len()],
            by_conn: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ports: BTreeSet::new(),
            echoes: Vec::new(),
            crashed: BTreeSet::new(),
            pipes: BTreeMap::new(),
            progress: begin,
            stats: Stats::default(),
            steps: 0,
            buf: Vec::new(),
        };
        runner.set_up();
        Ok(runner)
    }

    fn set_up(&mut self) {
        let (plan, n) = (self.plan, self.plan.hosts.len());
        for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
            self.lay(a, b);
        }
        for (i, way) in plan.ways.iter().enumerate().filter(|(i, _)| i / n != i % n) {
            if let Some((at, _)) = way.mtu_change {
                self.at(self.begin + at, Todo::Mtu(i / n, i % n));
            }
        }
        for (i, talk) in plan.talks.iter().enumerate().filter(|(_, t)| !t.gone) {
            self.at(self.begin + talk.start, Todo::Open(i, 0, 0));
            if let Some(later) = talk.crossed {
                self.at(self.begin + talk.start + later, Todo::Open(i, 1, 0));
            }
        }
        for (i, crash) in plan.crashes.iter().enumerate().filter(|(_, c)| !c.gone) {
            self.at(self.begin + crash.at, Todo::Crash(i));
        }
        (0..n).for_each(|host| self.listen(HostId(host)));
        self.open_echoes();
    }

    /// Lays the ways between two hosts.
    fn lay(&mut self, a: usize, b: usize) {
        let plan = self.plan;
        let hop = |from: usize, to: usize| {
            let way = plan.way(from, to).expect("there is a way from each host to each other");
            way.hop(way.mtu, way.black_hole && plan.hosts[from].probes())
        };
        let (there, back) = (hop(a, b), hop(b, a));
        let pipes = if let Some(x) = plan.box_between(a, b) {
            let link = Path::asymmetric(there, back);
            let path = Path { elements: [link.elements, vec![Element::Box(x.what.clone())]].concat() };
            let links = self.world.join(HostId(a), HostId(b), &path);
            [links[0].there, links[0].back]
        } else {
            [
                self.world.set_link(HostId(a), HostId(b), there),
                self.world.set_link(HostId(b), HostId(a), back),
            ]
        };
        self.pipes.extend([((a, b), pipes[0]), ((b, a), pipes[1])]);
    }

    /// Listens for every talk that comes to this host.
    fn listen(&mut self, host: HostId) {
        let plan = self.plan;
        let coming = |t: &super::plan::Talk| !t.gone && t.to == host.0 && t.crossed.is_none();
        for (i, talk) in plan.talks.iter().enumerate().filter(|(_, t)| coming(t)) {
            let local = SocketAddr::new(self.address(host, talk.v6), LISTEN + i as u16);
            let options = socket_options(&talk.sides[1].options);
            let listener = self.world.listen(host, local, options);
            self.listeners.insert((host, listener), i);
            self.ports.insert((host, local));
        }
    }

    pub(super) fn address(&self, host: HostId, v6: bool) -> core::net::IpAddr {
        if v6 { self.world.v6(host) } else { self.world.v4(host) }
    }

    pub(super) fn at(&mut self, at: Instant, todo: Todo) {
        self.agenda.insert((at, todo));
    }

    pub(super) fn begin(&self) -> Instant {
        self.begin
    }

    pub(super) fn progress(&mut self) {
        self.progress = self.world.now();
    }

    pub(super) fn is_crashed(&self, host: usize) -> bool {
        self.crashed.contains(&host)
    }

    pub(super) fn violate(&mut self, app: usize, rule: Rule, what: String) {
        let a = &self.apps[app];
        let (host, ends) = (a.host, (a.local, a.remote));
        self.violated(host, Some(ends), rule, what);
    }

    pub(super) fn violated(
        &mut self,
        host: HostId,
        ends: Option<(SocketAddr, SocketAddr)>,
        rule: Rule,
        what: String,
    ) {
        let (at, packet) = (self.world.now(), self.world.packets_sent());
        if let Some(checker) = self.world.checker() {
            checker.report(Violation { rule, what, host, ends, at, packet });
        }
    }

    fn is_over(&self) -> bool {
        self.world.violation().is_some() || self.stats.bounded > 0
    }

    fn go(&mut self) {
        while !self.is_over() {
            self.hear();
            self.do_due();
            self.steps += 1;
            if self.world.packets_sent() > MOST_PACKETS || self.steps > MOST_STEPS {
                self.stats.bounded = 1;
                return;
            }
            let idle = self.agenda.is_empty() && self.apps.iter().all(|a| a.closed);
            if idle {
                return;
            }
            let next = self.agenda.first().map(|(at, _)| *at);
            let stalls_at = self.progress + STALL;
            if !self.world.step(next.map_or(stalls_at, |at| at.min(stalls_at)))
                && self.world.now() >= stalls_at
            {
                self.stalled();
            }
        }
    }

    fn do_due(&mut self) {
        while let Some(&(at, todo)) = self.agenda.first().filter(|(at, _)| *at <= self.world.now()) {
            self.agenda.remove(&(at, todo));
            match todo {
                Todo::Open(talk, side, tries) => self.open(talk, side, tries),
                Todo::Wake(app) => self.poll(app),
                Todo::Abort(app) => self.abort(app),
                Todo::Crash(crash) => self.crash(self.plan.crashes[crash].host),
                Todo::Mtu(from, to) => self.change_mtu(from, to),
                Todo::Datagram(echo) => self.send_datagram(echo),
            }
            self.hear();
        }
    }

    /// Tells the applications what happened.
    fn hear(&mut self) {
        for host in (0..self.plan.hosts.len()).map(HostId) {
            for event in self.world.take_events(host) {
                match event {
                    Event::Tcp { conn, .. } => {
                        if let Some(&app) = self.by_conn.get(&(host, conn)) {
                            self.poll(app);
                        }
                    }
                    Event::Accept { listener } => self.accept(host, listener),
                    Event::Udp { socket, .. } => self.hear_datagrams(host, socket),
                    _ => {}
                }
            }
        }
    }

    fn keys(&self, talk: usize, number: u32, side: usize) -> (Key, Key) {
        let of = |side: usize| key([self.plan.seed, talk as u64, u64::from(number), side as u64]);
        (of(side), of(1 - side))
    }

    fn open(&mut self, talk: usize, side: usize, tries: u32) {
        let t = &self.plan.talks[talk];
        let (host, peer) = if side == 0 { (t.from, t.to) } else { (t.to, t.from) };
        let (host, peer) = (HostId(host), HostId(peer));
        let service = LISTEN + talk as u16;
        let (port, to) = match (side, t.port) {
            (0, port) => (port, service),
            (_, port) => (Some(service), port.unwrap_or(service)),
        };
        let to = SocketAddr::new(self.address(peer, t.v6), to);
        let local = port.map(|p| SocketAddr::new(self.address(host, t.v6), p));
        let plan = &t.sides[side];
        let options = socket_options(&plan.options);
        let number = if t.crossed.is_some() { 0 } else { self.counts[talk] };
        let keys = self.keys(talk, number, side);
        let early = match plan.steps.first() {
            Some(Step::Write(n)) if t.early && side == 0 => bytes(keys.0, 0, (*n).min(1200) as usize),
            _ => Vec::new(),
        };
        match self.connect(host, local, to, options, &early) {
            Ok((conn, taken)) => self.begun(talk, side, host, conn, to, keys, taken as u64),
            Err(Error::AddrInUse | Error::AddrNotAvailable | Error::NoBufferSpace) if tries < PORT_TRIES => {
                self.progress();
                self.at(self.world.now() + Duration::from_secs(1), Todo::Open(talk, side, tries + 1));
            }
            Err(error) => {
                let ends = local.map(|local| (local, to));
                self.violated(host, ends, Rule::Call, format!("connect, tried {} times: {error}", tries + 1));
            }
        }
    }

    fn connect(
        &mut self,
        host: HostId,
        local: Option<SocketAddr>,
        to: SocketAddr,
        options: SocketOptions,
        early: &[u8],
    ) -> Result<(ConnId, usize), Error> {
        self.world.with(host, |s, now| {
            let shared = BindOptions { reuse_addr: true, ..BindOptions::default() };
            let bind: Option<BindId> = local.map(|l| s.tcp_bind(now, l, shared)).transpose()?;
            let result = if early.is_empty() {
                s.tcp_connect(now, bind, to, options).map(|conn| (conn, 0))
            } else {
                s.tcp_connect_with_data(now, bind, to, options, early)
            };
            if let (Err(_), Some(bind)) = (&result, bind) {
                s.tcp_unbind(bind)?;
            }
            result
        })
    }

    #[allow(clippy::too_many_arguments, reason = "what a connection begins with")]
    fn begun(
        &mut self,
        talk: usize,
        side: usize,
        host: HostId,
        conn: ConnId,
        remote: SocketAddr,
        keys: (Key, Key),
        taken: u64,
    ) {
        let Ok(local) = self.world.stack(host).tcp_local_addr(conn) else {
            self.violated(host, None, Rule::Call, "connect gave a handle that names nothing".into());
            return;
        };
        self.ports.insert((host, local));
        let iss = self.world.checker().and_then(|c| c.isns(host, local, remote)).map(|(iss, _)| iss);
        let crossed = self.plan.talks[talk].crossed.is_some();
        let open = self.incarnations.iter().position(|i| i.talk == talk && crossed);
        let incarnation = open.unwrap_or_else(|| {
            let new = Incarnation { talk, ends: [None; 2], opener: local, iss, muddled: false };
            self.incarnations.push(new);
            self.counts[talk] += 1;
            self.incarnations.len() - 1
        });
        let resets_before = self.world.checker().map_or(0, |c| c.resets_before(host, local, remote));
        let ends = (local, remote);
        let app = self.add(Birth { incarnation, talk, side, host, conn, ends, keys, resets_before });
        let a = &mut self.apps[app];
        (a.written, a.step_done) = (taken, taken);
        self.stats.connections += 1;
        self.progress();
    }

    fn add(&mut self, birth: Birth) -> usize {
        let app = self.apps.len();
        self.incarnations[birth.incarnation].ends[birth.side] = Some(app);
        self.by_conn.insert((birth.host, birth.conn), app);
        self.apps.push(App::new(birth));
        app
    }

    fn accept(&mut self, host: HostId, listener: ListenerId) {
        let Some(&talk) = self.listeners.get(&(host, listener)) else { return };
        while let Ok((conn, remote)) = self.world.with(host, |s, now| s.tcp_accept(now, listener)) {
            let local = self.world.stack(host).tcp_local_addr(conn).unwrap_or(remote);
            let irs = self.world.checker().and_then(|c| c.isns(host, local, remote)).and_then(|(_, irs)| irs);
            let t = &self.plan.talks[talk];
            let rewritten = self.plan.box_between(t.from, t.to).is_some_and(super::plan::BoxPlan::rewrites);
            let same = |i: &&Incarnation| i.talk == talk && (i.opener == remote || rewritten);
            let openers = self.incarnations.iter().filter(same).count();
            let meant = self.incarnations.iter().position(|i| same(&i) && (i.iss == irs || rewritten));
            match meant.filter(|&i| self.incarnations[i].ends[1].is_none()) {
                Some(incarnation) => {
                    let number = self.number(incarnation);
                    let keys = self.keys(talk, number, 1);
                    let resets_before =
                        self.world.checker().map_or(0, |c| c.resets_before(host, local, remote));
                    let ends = (local, remote);
                    let app =
                        self.add(Birth { incarnation, talk, side: 1, host, conn, ends, keys, resets_before });
                    self.opened(app);
                    self.poll(app);
                }
                None if self.may_be_double(talk, openers) => self.turn_away(host, conn, talk, remote),
                None => {
                    let what = format!("a connection from {remote} with IRS {irs:?} that nobody opened");
                    self.violated(host, Some((local, remote)), Rule::Ghost, what);
                    return;
                }
            }
        }
    }

    /// Which of its talk's incarnations it is, from 0.
    fn number(&self, incarnation: usize) -> u32 {
        let talk = self.incarnations[incarnation].talk;
        self.incarnations[..incarnation].iter().filter(|i| i.talk == talk).count() as u32
    }

    /// An old SYN may open again what it opened before: with fast open (RFC 7413 6.1), where the host forgot what
    /// it had, and with cookies, whose SYN,ACKs are not remembered.
    fn may_be_double(&self, talk: usize, openers: usize) -> bool {
        let t = &self.plan.talks[talk];
        let on = self.plan.features;
        openers > 0 && (on.has(Feature::FastOpen) || self.is_crashed(t.to) || on.has(Feature::Cookies))
    }

    fn turn_away(&mut self, host: HostId, conn: ConnId, talk: usize, remote: SocketAddr) {
        let all = self.incarnations.iter_mut();
        all.filter(|i| i.talk == talk && i.opener == remote).for_each(|i| i.muddled = true);
        if let Err(error) = self.world.with(host, |s, now| s.tcp_abort(now, conn)) {
            self.violated(host, None, Rule::Call, format!("abort of what was just accepted: {error}"));
        }
    }

    /// An application is done with its connection: perhaps the next one follows.
    pub(super) fn over(&mut self, app: usize) {
        self.progress();
        let a = &self.apps[app];
        self.by_conn.remove(&(a.host, a.conn));
        let (talk, side) = (a.talk, a.side);
        let t = &self.plan.talks[talk];
        if side == 0 && t.crossed.is_none() && self.counts[talk] < t.times {
            let pause = key([self.plan.seed, talk as u64, u64::from(self.counts[talk]), 9]) % 50_000;
            self.at(self.world.now() + Duration::from_micros(pause), Todo::Open(talk, 0, 0));
        }
    }

    fn crash(&mut self, host: usize) {
        self.stats.crashes += 1;
        self.stats.add_host(self.world.stack(HostId(host)));
        self.crashed.insert(host);
        let id = HostId(host);
        let plan = &self.plan.hosts[host];
        if let Ok(settings) = plan.settings() {
            self.world.reboot(id, settings, plan.device());
        }
        self.listeners.retain(|(h, _), _| *h != id);
        self.by_conn.retain(|(h, _), _| *h != id);
        self.listen(id);
        self.reopen_echoes(id);
        for app in 0..self.apps.len() {
            let a = &mut self.apps[app];
            if a.host == id && !a.closed {
                (a.closed, a.abandoned) = (true, true);
                self.over(app);
            }
        }
    }

    fn change_mtu(&mut self, from: usize, to: usize) {
        let Some(way) = self.plan.way(from, to) else { return };
        let Some((_, mtu)) = way.mtu_change else { return };
        let black_hole = way.black_hole && self.plan.hosts[from].probes();
        if let Some(&pipe) = self.pipes.get(&(from, to)) {
            self.world.set_hop(pipe, way.hop(mtu, black_hole));
        }
    }

    /// Nothing has moved for long. That is right only for who waits for a peer that is gone without a word.
    fn stalled(&mut self) {
        for app in 0..self.apps.len() {
            if self.apps[app].closed {
                continue;
            }
            let a = &self.apps[app];
            let waits = self.world.stack(a.host).tcp_unacknowledged(a.conn) == Ok(false);
            let peer = self.peer(app).map(|p| &self.apps[p]);
            let alone = peer.is_none_or(|p| self.is_gone(p));
            if !(waits && alone && a.opened) {
                let what = self.why_stuck(app);
                self.violate(app, Rule::Unending, what);
                return;
            }
            self.stats.half_open += 1;
            self.abort(app);
        }
        self.progress();
    }

    /// It left without a word, or its host forgot it, or its host gave up what it had closed.
    fn is_gone(&self, app: &App) -> bool {
        let may_give_up = self.gives_up(&self.plan.talks[app.talk].sides[app.side]);
        let forgotten =
            || self.world.stack(app.host).tcp_socket(self.world.now(), app.local, app.remote).is_none();
        app.abandoned
            || app.error.is_some()
            || self.is_crashed(app.host.0)
            || app.closed && may_give_up && forgotten()
    }

    /// Its connection may end before its time.
    fn gives_up(&self, side: &super::plan::Side) -> bool {
        let limits = |o: &Opt| matches!(o, Opt::KeepAlive(..) | Opt::UserTimeout(_));
        side.options.iter().any(limits) || self.plan.features.has(Feature::Pressure)
    }

    fn why_stuck(&self, app: usize) -> String {
        let a = &self.apps[app];
        let (stack, now) = (self.world.stack(a.host), self.world.now());
        let socket = stack.tcp_socket(now, a.local, a.remote);
        let state = stack.tcp_state(a.conn);
        let (ready, total) = (stack.tcp_ready(a.conn), self.side(app).total());
        let brief = socket
            .map(|s| (s.send_queue, s.recv_queue, s.timer, s.info.map(|i| (i.snd_wnd, i.cwnd, i.in_flight))));
        format!(
            "nothing moved for {STALL:?}: side {} of talk {}, {state:?}, {} of {total} written, {} read, shut {}, EOF {}; \
             ready for {ready:?}; queues, timer, window, cwnd, in flight: {brief:?}",
            a.side, a.talk, a.written, a.read, a.shut, a.eof
        )
    }

    fn resets(&mut self, host: HostId, local: SocketAddr, remote: SocketAddr) -> u32 {
        self.world.checker().map_or(0, |c| c.resets_arrived(host, local, remote))
    }

    /// Whether an application was told what truly happened.
    pub(super) fn judge_error(&mut self, app: usize, error: Error) {
        self.progress();
        let a = &self.apps[app];
        let (host, local, remote, opened) = (a.host, a.local, a.remote, a.opened);
        let resets = self.resets(host, local, remote);
        let a = &self.apps[app];
        let t = &self.plan.talks[a.talk];
        let peer = self.peer(app).map(|p| &self.apps[p]);
        let crashed = self.is_crashed(t.from) || self.is_crashed(t.to);
        let muddled = self.incarnations[a.incarnation].muddled;
        let peer_gone =
            crashed || muddled || peer.is_none_or(|p| p.abandoned || p.error.is_some() || p.closed);
        let (on, gives_up) = (self.plan.features, self.gives_up(self.side(app)));
        // A fast open lets the server's application in before the handshake is over, which a burst of losses may end.
        let half_open = on.has(Feature::FastOpen) && peer.is_some_and(|p| !p.opened);
        // Its connection is gone then, though its application may not have asked yet.
        let peer_gone = peer_gone || self.peer(app).is_some_and(|p| self.gives_up(self.side(p)));
        let wrong = match error {
            Error::ConnectionReset
            | Error::BrokenPipe
            | Error::ConnectionRefused
            | Error::ConnectionAborted => {
                self.stats.resets += 1;
                if resets == a.resets_before && !on.has(Feature::Pressure) {
                    Some("no RST came")
                } else if !peer_gone && (t.crossed.is_none() || opened) {
                    Some("the peer is there and did nothing")
                } else {
                    None
                }
            }
            Error::TimedOut => {
                self.stats.timed_out += 1;
                (!gives_up && !peer_gone && !half_open).then_some("nothing may time out here")
            }
            _ => Some("nothing that could lead to it happened"),
        };
        if let Some(why) = wrong {
            self.violate(app, Rule::WrongError, format!("told '{error}', but {why}"));
        }
    }

    fn wind_up(&mut self) {
        if self.world.violation().is_some() {
            return;
        }
        for app in 0..self.apps.len() {
            self.abort(app);
        }
        for ((host, listener), _) in core::mem::take(&mut self.listeners) {
            if let Err(error) = self.world.with(host, |s, now| s.tcp_close_listener(now, listener)) {
                self.violated(host, None, Rule::Call, format!("closing a listener: {error}"));
            }
        }
        self.close_echoes();
        let end = self.world.now() + AFTERMATH;
        while self.world.violation().is_none() && self.world.step(end) {}
        for host in (0..self.plan.hosts.len()).map(HostId) {
            self.world.check_ended(host, KEPT);
        }
        self.check_ports();
    }

    /// Every port that was used can be had again.
    fn check_ports(&mut self) {
        for (host, local) in core::mem::take(&mut self.ports) {
            let again = self.world.with(host, |s, now| {
                let bind = s.tcp_bind(now, local, BindOptions::default())?;
                s.tcp_unbind(bind)
            });
            if let Err(error) = again {
                self.violated(host, None, Rule::Leak, format!("{local} is still taken: {error}"));
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let violation = self.world.violation().cloned();
        let ladder = if violation.is_some() { self.world.ladder() } else { String::new() };
        let span = self.world.now().since(self.begin);
        for host in (0..self.plan.hosts.len()).map(HostId) {
            self.stats.add_host(self.world.stack(host));
        }
        let polite = |a: &App| a.error.is_none() && !a.abandoned;
        self.stats.completed = self.apps.iter().filter(|a| a.side == 0 && polite(a)).count() as u64;
        let mut net = self.net.borrow_mut();
        self.stats.faults = net.count;
        self.stats.packets = self.world.packets_sent();
        self.stats.virtual_time = span.saturating_sub(AFTERMATH);
        let faults = core::mem::take(&mut net.happened);
        drop(net);
        Outcome { violation, ladder, stats: self.stats.clone(), faults }
    }
}

/// Urgent bytes stay in the stream, so that each of its bytes is seen in order.
fn socket_options(options: &[Opt]) -> SocketOptions {
    let mut all = SocketOptions { oob_inline: true, ..SocketOptions::default() };
    options.iter().for_each(|o| o.apply(&mut all));
    all
}

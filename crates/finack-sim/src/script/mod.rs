//! One stack against a scripted peer: a test reads as the exchange of packets that it is.
//!
//! ```no_run
//! use finack_sim::Setup;
//! let mut t = Setup::new().server();
//! t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>");
//! t.expect("S. 0:0(0) ack 1 <mss 1460,sackOK,nop,wscale *>");
//! t.inject(". 1:1(0) ack 1");
//! let c = t.accept();
//! t.inject("P. 1:101(100) ack 1");
//! t.read(c, 100);
//! t.expect_after(40, ". 1:1(0) ack 101");
//! ```
//! Strict: a packet that is missing fails, and so does one that was not expected, at once or at the latest
//! where the script goes on or ends. Every packet that the stack sends is checked besides, whatever the
//! script says of it: see [`Flow`].

mod app;
mod flow;
mod icmp;
mod report;
mod setup;

pub use flow::Flow;
pub use icmp::IcmpError;
pub use setup::Setup;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use finack_core::device::{Capabilities, Packet};
use finack_core::stack::{ConnId, ListenerId};
use finack_core::trace::TraceEvent;
use finack_core::{Event, Instant, Stack};

use crate::packet::{Body, Opt, Pkt, Tcp, build, flag, parse};
use crate::pattern;
use crate::split::wire_packets;
use crate::text::{self, Num, OptText, SegText, Win};

/// A packet that the stack sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// What.
    pub packet: Pkt,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One stack and its scripted peer.
#[derive(Debug)]
pub struct Script {
    /// The stack under test. After calling it directly, call [`pump`](Self::pump).
    pub stack: Stack,
    /// Events that the stack reported and nobody took.
    pub events: Vec<Event>,
    /// What the stack traced.
    pub trace: Vec<TraceEvent>,
    /// The listener of [`Setup::server`].
    pub listener: Option<ListenerId>,
    setup: Setup,
    start: Instant,
    now: Instant,
    flows: Vec<Flow>,
    current: usize,
    conns: BTreeMap<ConnId, usize>,
    sent: VecDeque<Sent>,
    log: Vec<String>,
}

/// Time that may pass before an expected packet: a number of milliseconds, or a range of them.
pub trait Millis {
    /// Least and most, in milliseconds.
    fn bounds(self) -> (u64, u64);
}

impl Millis for u64 {
    fn bounds(self) -> (u64, u64) {
        (self, self)
    }
}

impl Millis for core::ops::RangeInclusive<u64> {
    fn bounds(self) -> (u64, u64) {
        self.into_inner()
    }
}

impl Script {
    pub(crate) fn new(mut stack: Stack, setup: Setup, local: SocketAddr, remote: SocketAddr) -> Self {
        stack.set_tracing(4096);
        let start = setup.start;
        Self {
            stack,
            events: Vec::new(),
            trace: Vec::new(),
            listener: None,
            setup,
            start,
            now: start,
            flows: vec![Flow::new(local, remote)],
            current: 0,
            conns: BTreeMap::new(),
            sent: VecDeque::new(),
            log: Vec::new(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The four-tuple that texts speak of.
    pub fn flow(&mut self) -> &mut Flow {
        &mut self.flows[self.current]
    }

    /// From here on texts speak of the peer's port `port` (and the same port of the stack as before).
    pub fn peer(&mut self, port: u16) -> &mut Flow {
        let old = &self.flows[self.current];
        let remote = SocketAddr::new(old.remote.ip(), port);
        self.tuple(old.local, remote)
    }

    /// From here on texts speak of this four-tuple.
    pub fn tuple(&mut self, local: SocketAddr, remote: SocketAddr) -> &mut Flow {
        let known = self.flows.iter().position(|f| f.local == local && f.remote == remote);
        self.current = known.unwrap_or_else(|| {
            self.flows.push(Flow::new(local, remote));
            self.flows.len() - 1
        });
        &mut self.flows[self.current]
    }

    /// The stack's initial sequence number on the present flow.
    #[must_use]
    pub fn stack_iss(&self) -> u32 {
        self.flows[self.current].stack_iss
    }

    /// The peer sends this segment.
    ///
    /// # Panics
    /// Where the stack has sent something that nobody expected, or the text makes no sense.
    #[track_caller]
    pub fn inject(&mut self, text: &str) {
        let packet = self.segment(text);
        self.inject_packet(&packet);
    }

    /// The packet that [`inject`](Self::inject) would send, for tests that send it changed.
    ///
    /// # Panics
    /// Where the text makes no sense.
    #[track_caller]
    pub fn segment(&self, text: &str) -> Pkt {
        let seg = text::parse(text).unwrap_or_else(|e| self.fail(&e));
        let flow = &self.flows[self.current];
        let bases = flow.in_bases();
        let Some((seq, len)) = seg.seq else { self.fail(&format!("'{text}' lacks SEQ:END(LEN)")) };
        if seg.flags & flag::ACK != 0 && seg.ack.is_none() {
            self.fail(&format!("'{text}' has ACK but no 'ack N'"));
        }
        let syn = seg.flags & flag::SYN != 0;
        let offset = if syn { seq } else { seq.wrapping_sub(1) };
        let tcp = Tcp {
            seq: bases.seq.wrapping_add(seq),
            ack: seg.ack.map_or(0, |a| bases.ack.wrapping_add(a)),
            flags: seg.flags,
            window: match seg.win {
                Win::Exactly(n) => n,
                _ if syn => 65_535,
                _ => flow.win,
            },
            urgent: seg.urg.unwrap_or(0),
            options: self.options_of(&seg),
            payload: pattern::bytes(flow::PEER, u64::from(offset), len as usize),
            ..Tcp::default()
        };
        let mut packet = Pkt::tcp(flow.remote, flow.local, tcp);
        packet.ip.tos = seg.ecn.unwrap_or(0);
        packet.ip.ttl = seg.ttl.unwrap_or(64);
        packet
    }

    fn peer_clock(&self) -> u32 {
        let flow = &self.flows[self.current];
        flow.peer_ts.wrapping_add(self.now.since(self.start).as_millis() as u32)
    }

    fn options_of(&self, seg: &SegText) -> Vec<Opt> {
        let flow = &self.flows[self.current];
        let usual = OptText::Ts { val: Num::Any, ecr: Num::Any };
        let texts = match &seg.options {
            Some(texts) => texts.clone(),
            None if flow.timestamps() && seg.flags & (flag::SYN | flag::RST) == 0 => {
                vec![OptText::Nop, OptText::Nop, usual]
            }
            None => Vec::new(),
        };
        let bases = flow.in_bases();
        let of = |n: Num, any: u32, base: u32| match n {
            Num::Any => any,
            Num::Exactly(n) => n,
            Num::Plus(n) => base.wrapping_add(n),
        };
        let edge = |e: u32| bases.ack.wrapping_add(e);
        texts
            .into_iter()
            .map(|t| match t {
                OptText::Mss(n) => Opt::Mss(of(n, 1460, 0) as u16),
                OptText::Wscale(n) => Opt::Wscale(of(n, 7, 0) as u8),
                OptText::SackOk => Opt::SackOk,
                OptText::Sack(blocks) => Opt::Sack(blocks.iter().map(|&(l, r)| (edge(l), edge(r))).collect()),
                OptText::Ts { val, ecr } => Opt::Ts {
                    val: of(val, self.peer_clock(), bases.ts_val),
                    ecr: of(ecr, flow.last_ts, bases.ts_ecr),
                },
                OptText::Nop => Opt::Nop,
                OptText::Eol => Opt::Eol,
                OptText::Other(kind, data) => Opt::Other(kind, data),
                OptText::Raw(data) => Opt::Raw(data),
            })
            .collect()
    }

    /// The peer (or whoever it names as its source) sends this packet.
    ///
    /// # Panics
    /// Where the stack has sent something that nobody expected.
    #[track_caller]
    pub fn inject_packet(&mut self, packet: &Pkt) {
        if let Body::Tcp(tcp) = &packet.body {
            let (from, to) = (packet.from(), packet.to());
            if let Some(flow) = self.flows.iter_mut().find(|f| f.local == to && f.remote == from) {
                flow.on_injected(tcp);
            }
        }
        self.inject_bytes(&build(packet));
    }

    /// These bytes arrive, whatever they are.
    ///
    /// # Panics
    /// Where the stack has sent something that nobody expected.
    #[track_caller]
    pub fn inject_bytes(&mut self, bytes: &[u8]) {
        self.expect_nothing();
        self.inject_batch(&[Packet::borrowed(bytes)]);
    }

    /// These packets arrive at once.
    ///
    /// # Panics
    /// Where the stack sends what no stack should.
    #[track_caller]
    pub fn inject_batch(&mut self, batch: &[Packet<'_>]) {
        for packet in batch {
            let line = self.describe(packet.bytes.as_slice());
            self.note(format!(">  {line}"));
        }
        self.stack.handle_packets(self.now, batch);
        self.pump();
    }

    /// The stack has sent this segment, now and next.
    ///
    /// # Panics
    /// Where it has not.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let seg = text::parse(text).unwrap_or_else(|e| self.fail(&e));
        let Some(sent) = self.sent.pop_front() else {
            self.fail(&format!(
                "missing: the stack was to send\n      expected  {text}\n      and sent  nothing"
            ));
        };
        self.match_segment(text, &seg, &sent);
    }

    #[track_caller]
    fn match_segment(&self, text: &str, seg: &SegText, sent: &Sent) {
        let flow = &self.flows[self.current];
        let mut wrong = Vec::new();
        match &sent.packet.body {
            Body::Tcp(tcp) => {
                if sent.packet.from() != flow.local || sent.packet.to() != flow.remote {
                    wrong.push(format!("from {} to {}", sent.packet.from(), sent.packet.to()));
                }
                wrong.extend(seg.mismatches(tcp, &flow.out_bases()));
            }
            _ => wrong.push("no TCP segment".into()),
        }
        if seg.ecn.is_some_and(|e| e != sent.packet.ip.tos & 3) {
            wrong.push(format!("ecn {}", sent.packet.ip.tos & 3));
        }
        if seg.ttl.is_some_and(|ttl| ttl != sent.packet.ip.ttl) {
            wrong.push(format!("ttl {}", sent.packet.ip.ttl));
        }
        if !wrong.is_empty() {
            let seen = self.describe(&sent.bytes);
            self.fail(&format!(
                "another packet than expected\n      expected  {text}\n      and sent  {seen}\n      differs   {}",
                wrong.join(", ")
            ));
        }
    }

    /// After so many milliseconds (a number or a range) of silence the stack sends this segment.
    ///
    /// # Panics
    /// Where it does not, or sooner or later.
    #[track_caller]
    pub fn expect_after(&mut self, ms: impl Millis, text: &str) {
        self.await_packet(ms, text);
        self.expect(text);
    }

    /// After so many milliseconds of silence the stack sends something, which is left to be expected.
    ///
    /// # Panics
    /// Where it does not, or sooner or later.
    #[track_caller]
    pub fn await_packet(&mut self, ms: impl Millis, what: &str) {
        let (least, most) = ms.bounds();
        let start = self.now;
        if let Some(first) = self.sent.front()
            && least > 0
        {
            let line = self.describe(&first.bytes.clone());
            self.fail(&format!(
                "sent at once, expected after {least} ms\n      expected  {what}\n      and sent  {line}"
            ));
        }
        // A millisecond more: timers may tick that coarsely.
        let end = start + Duration::from_millis(most) + Duration::from_micros(999);
        while self.sent.is_empty() && self.step(end) {}
        let waited = self.now.since(start);
        if self.sent.is_empty() {
            self.fail(&format!("missing: nothing came for {waited:?}\n      expected  {what}"));
        }
        if waited < Duration::from_millis(least) {
            let line = self.describe(&self.sent[0].bytes.clone());
            self.fail(&format!(
                "sent after {waited:?}, expected after {least} to {most} ms\n      expected  {what}\n      and sent  {line}"
            ));
        }
    }

    /// Nothing waits to be expected.
    ///
    /// # Panics
    /// Where something does.
    #[track_caller]
    pub fn expect_nothing(&self) {
        if let Some(first) = self.sent.front() {
            let line = self.describe(&first.bytes);
            let more = self.sent.len() - 1;
            self.fail(&format!("sent although nothing was expected: {line} (and {more} more)"));
        }
    }

    /// Time passes, and nothing is sent before its end.
    ///
    /// # Panics
    /// Where something is.
    #[track_caller]
    pub fn quiet_ms(&mut self, ms: u64) {
        self.expect_nothing();
        let start = self.now;
        let end = start + Duration::from_millis(ms);
        while self.step(end) {
            if self.now < end && !self.sent.is_empty() {
                let line = self.describe(&self.sent[0].bytes.clone());
                let after = self.now.since(start);
                self.fail(&format!("sent after {after:?}, where {ms} ms of silence were expected: {line}"));
            }
        }
    }

    /// Time passes; what is sent meanwhile is returned instead of being expected.
    ///
    /// # Panics
    /// Where the stack sends what no stack should.
    #[track_caller]
    pub fn pass_ms(&mut self, ms: u64) -> Vec<Sent> {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
        self.take_sent()
    }

    /// What was sent and not yet expected.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        self.sent.drain(..).collect()
    }

    /// The next packet that was sent and not yet expected.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn next_sent(&mut self) -> Sent {
        match self.sent.pop_front() {
            Some(sent) => sent,
            None => self.fail("missing: the stack was to send something, and sent nothing"),
        }
    }

    /// On to the next timer at or before `end`; false once `end` is reached.
    #[track_caller]
    fn step(&mut self, end: Instant) -> bool {
        let Some(next) = self.stack.poll_timeout().filter(|&t| t <= end) else {
            self.now = end;
            return false;
        };
        let mut spins = 0;
        self.now = self.now.max(next);
        self.stack.handle_timeout(self.now);
        self.pump();
        while self.stack.poll_timeout().is_some_and(|t| t <= self.now) {
            spins += 1;
            if spins > 1000 {
                self.fail("poll_timeout stays in the past: handle_timeout does not do what is due");
            }
            self.stack.handle_timeout(self.now);
            self.pump();
        }
        true
    }

    /// Takes what the stack has to send and to say; needed only after calling [`stack`](Self::stack) directly.
    ///
    /// # Panics
    /// Where the stack sends what no stack should.
    #[track_caller]
    pub fn pump(&mut self) {
        loop {
            let wire = match self.stack.poll_transmit(self.now) {
                None => break,
                Some(transmit) => wire_packets(&transmit),
            };
            self.drain_trace();
            for bytes in wire.unwrap_or_else(|e| self.fail(&format!("the stack sent a bad unit: {e}"))) {
                self.on_sent(bytes);
            }
        }
        self.drain_trace();
        while let Some(event) = self.stack.poll_event() {
            self.events.push(event);
        }
    }

    #[track_caller]
    fn on_sent(&mut self, bytes: Vec<u8>) {
        let packet = match parse(&bytes) {
            Ok(packet) => packet,
            Err(e) => self.fail(&format!("the stack sent a malformed packet: {e}: {bytes:02x?}")),
        };
        let mtu = self.capabilities().mtu;
        if bytes.len() > mtu {
            self.fail(&format!("the stack sent {} bytes where the MTU is {mtu}", bytes.len()));
        }
        let mut wrong = Vec::new();
        if packet.ip.ttl == 0 {
            wrong.push("hop limit 0".to_string());
        }
        if let Body::Tcp(tcp) = &packet.body {
            wrong.extend(self.note_flow(&packet, tcp));
        }
        let line = self.describe(&bytes);
        self.note(format!("<  {line}"));
        if !wrong.is_empty() {
            self.fail(&format!("no stack should send this: {}\n      {line}", wrong.join("; ")));
        }
        self.sent.push_back(Sent { at: self.now, packet, bytes });
    }

    fn note_flow(&mut self, packet: &Pkt, tcp: &Tcp) -> Vec<String> {
        let (local, remote) = (packet.from(), packet.to());
        let at =
            self.flows.iter().position(|f| f.local == local && f.remote == remote).unwrap_or_else(|| {
                // A client's port is learned from its first SYN.
                let open = self.flows.iter().position(|f| f.local.port() == 0 && f.remote == remote);
                match open {
                    Some(at) => {
                        self.flows[at].local = local;
                        at
                    }
                    None => {
                        self.flows.push(Flow::new(local, remote));
                        self.flows.len() - 1
                    }
                }
            });
        self.flows[at].on_sent(tcp)
    }

    /// What the device can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.setup.device
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.expect_nothing();
        }
    }
}

/// Runs `scenario` over a device that carries single packets and over one that takes units of 64 KiB and
/// finishes checksums (units are cut here before they are looked at), and demands the same packets of both.
pub fn on_both_paths(scenario: impl Fn(Setup)) {
    scenario(Setup::new());
    let units =
        Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..Capabilities::plain(1500) };
    scenario(Setup::new().device(units));
}

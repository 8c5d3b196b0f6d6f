//! Hostile input: random, structured and mutated packets, at a stack whose sockets are in every state.
//!
//! The attacker sees what the stack sends (so that its numbers lie in and around the windows), and the applications do
//! random things meanwhile. What must hold: nothing panics, every packet that the stack sends is sound, its memory
//! stays below a bound that its settings give, and once the attack ends and all is closed nothing is left.

mod apps;
mod forge;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use finack_core::device::{Capabilities, ChecksumState, Packet, PacketBytes, PacketMeta};
use finack_core::settings::Settings;
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_core::{Instant, Stack};

use crate::packet::{Body, Tcp, parse};
use crate::rng::Rng;
use crate::script::Setup;
use crate::split::wire_packets;

/// What an attack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostileReport {
    /// Packets that the stack was handed.
    pub packets: u64,
    /// Packets that it sent, each checked.
    pub answers: u64,
    /// Socket calls made meanwhile.
    pub calls: u64,
    /// Virtual time that passed.
    pub time: Duration,
    /// Most memory that the stack said it took, in bytes.
    pub peak_memory: usize,
    /// What it may take at most, in bytes.
    pub bound: usize,
    /// How often a connection was seen in each state (in samples).
    pub states: [(State, u64); 11],
    /// How many packets were dropped for each reason for which any was.
    pub drops: Vec<(DropReason, u64)>,
}

/// Most connections of all kinds during an attack.
const MAX_CONNECTIONS: u64 = 512;
/// Memory for data and windows of all connections, in bytes.
const TCP_MEM: u64 = 2 << 20;
/// Memory for fragments, in bytes.
const FRAGMENTS: u64 = 256 << 10;
/// Receive buffer of each UDP socket, in bytes.
const UDP_BUFFER: u64 = 64 << 10;
/// What a connection's record and its queues' bookkeeping may take besides its data, in bytes.
const PER_CONNECTION: u64 = 4 << 10;
/// Tables, rings and the packet queue, in bytes.
const FIXED: u64 = 512 << 10;

/// The most that the attacked stack may take: its budget for data, for fragments and for datagrams, a record for each
/// connection, and what an empty stack takes.
#[must_use]
pub const fn bound() -> usize {
    (TCP_MEM
        + FRAGMENTS
        + 2 * UDP_BUFFER * apps::UDP_SOCKETS as u64
        + MAX_CONNECTIONS * PER_CONNECTION
        + FIXED) as usize
}

fn settings(rng: &mut Rng) -> Settings {
    let mut s = Settings {
        max_connections: MAX_CONNECTIONS,
        tcp_mem: TCP_MEM,
        ipfrag_high_thresh: FRAGMENTS,
        rmem_default: UDP_BUFFER,
        tcp_max_syn_backlog: 64,
        tcp_max_tw_buckets: 128,
        ..Settings::default()
    };
    s.tcp_syncookies = rng.below(3);
    s.tcp_rfc1337 = rng.below(2);
    s.tcp_tw_reuse = rng.below(3);
    s.tcp_abort_on_overflow = rng.below(2);
    s.tcp_mtu_probing = rng.below(3);
    s.tcp_stdurg = rng.below(2);
    // Fast open on every listener, with a cookie or without (RFC 7413 5).
    if rng.one_in(4) {
        s.tcp_fastopen = [0x403, 0x603][rng.below(2) as usize];
    }
    if rng.one_in(4) {
        s.profile = finack_core::settings::Profile::Rfc;
    }
    s
}

/// What the attacker knows of a four-tuple: the stack's next sequence number and the one it expects.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    seq: u32,
    ack: u32,
    ts: u32,
    echoed: u32,
}

struct Attack {
    rng: Rng,
    stack: Stack,
    now: Instant,
    start: Instant,
    seen: BTreeMap<(SocketAddr, SocketAddr), Seen>,
    sockets: apps::Sockets,
    report: HostileReport,
}

/// Attacks a stack with `packets` packets that `seed` decides.
///
/// # Panics
/// Where the stack panics, sends something unsound, exceeds the bound or keeps something when all is over.
#[must_use]
pub fn hostile(seed: u64, packets: u64) -> HostileReport {
    let mut attack = Attack::new(seed);
    attack.open_sockets();
    while attack.report.packets < packets {
        attack.round();
    }
    attack.wind_up();
    attack.report
}

impl Attack {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = Setup::new().config();
        config.settings = settings(&mut rng);
        config.seed = rng.secret();
        config.any_address = rng.one_in(4);
        if rng.one_in(2) {
            config.device = Capabilities {
                max_unit: 65_535,
                checksum_tx: true,
                udp_units: true,
                ..Capabilities::plain(1500)
            };
        }
        let now = Instant::from_secs(1);
        Self {
            stack: Stack::new(now, config),
            rng,
            now,
            start: now,
            seen: BTreeMap::new(),
            sockets: apps::Sockets::default(),
            report: HostileReport {
                packets: 0,
                answers: 0,
                calls: 0,
                time: Duration::ZERO,
                peak_memory: 0,
                bound: bound(),
                states: State::ALL.map(|s| (s, 0)),
                drops: Vec::new(),
            },
        }
    }

    /// One batch of packets, some calls, some time.
    fn round(&mut self) {
        let count = 1 + self.rng.below(8);
        let forged: Vec<(Vec<u8>, PacketMeta)> = (0..count).map(|_| (self.forge(), self.meta())).collect();
        let batch: Vec<Packet<'_>> = forged
            .iter()
            .map(|(bytes, meta)| {
                let bytes = if bytes.len() % 2 == 0 {
                    PacketBytes::Borrowed(bytes)
                } else {
                    PacketBytes::Shared(bytes.clone().into())
                };
                Packet { bytes, meta: *meta }
            })
            .collect();
        self.stack.handle_packets(self.now, &batch);
        self.report.packets += count;
        self.drain();
        if self.rng.one_in(3) {
            self.call();
            self.drain();
        }
        if self.rng.one_in(4) {
            self.pass_time();
        }
        self.watch();
    }

    fn meta(&mut self) -> PacketMeta {
        if !self.rng.one_in(10) {
            return PacketMeta::default();
        }
        PacketMeta {
            checksum: if self.rng.one_in(2) { ChecksumState::Valid } else { ChecksumState::Unchecked },
            segments: self.rng.below(50) as u16,
            segment_size: self.rng.below(3000) as u16,
            ce_marks: self.rng.below(50) as u16,
            number: 0,
        }
    }

    fn pass_time(&mut self) {
        let micros = match self.rng.below(100) {
            0..=39 => self.rng.below(1000),
            40..=79 => self.rng.below(100_000),
            80..=97 => self.rng.below(5_000_000),
            98 => self.rng.below(200_000_000),
            _ => self.rng.below(20_000_000_000),
        };
        self.run_to(self.now + Duration::from_micros(micros));
    }

    fn run_to(&mut self, end: Instant) {
        // Sometimes the driver is late: it calls once for many things that are due.
        let late = self.rng.one_in(8);
        for _ in 0..10_000 {
            let Some(next) = self.stack.poll_timeout().filter(|&t| t <= end && !late) else { break };
            self.now = self.now.max(next);
            self.stack.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.stack.handle_timeout(end);
        self.drain();
        self.report.time = self.now.since(self.start);
    }

    /// Takes what the stack sends, checks it and learns from it.
    fn drain(&mut self) {
        loop {
            let wire = match self.stack.poll_transmit(self.now) {
                None => break,
                Some(transmit) => wire_packets(&transmit),
            };
            for bytes in wire.unwrap_or_else(|e| panic!("a bad unit: {e}")) {
                assert!(bytes.len() <= 1500, "{} bytes sent where the MTU is 1500", bytes.len());
                let packet =
                    parse(&bytes).unwrap_or_else(|e| panic!("a malformed packet: {e}: {bytes:02x?}"));
                self.report.answers += 1;
                if let Body::Tcp(tcp) = &packet.body {
                    self.learn(packet.from(), packet.to(), tcp);
                }
            }
        }
        while self.stack.poll_event().is_some() {}
    }

    fn learn(&mut self, local: SocketAddr, remote: SocketAddr, tcp: &Tcp) {
        if self.seen.len() >= 400 {
            let at = self.rng.below(400) as usize;
            if let Some(&key) = self.seen.keys().nth(at) {
                self.seen.remove(&key);
            }
        }
        let seen = self.seen.entry((local, remote)).or_default();
        seen.seq = tcp.seq.wrapping_add(tcp.seq_len());
        seen.ack = tcp.ack;
        if let Some((val, ecr)) = tcp.timestamps() {
            (seen.ts, seen.echoed) = (val, ecr);
        }
    }

    fn watch(&mut self) {
        let memory = self.stack.memory();
        self.report.peak_memory = self.report.peak_memory.max(memory);
        assert!(memory <= self.report.bound, "{memory} bytes where {} are the bound", self.report.bound);
        if self.report.packets % 16 < 2 {
            for (sum, (_, n)) in self.report.states.iter_mut().zip(self.stack.count_by_state()) {
                sum.1 += n as u64;
            }
        }
    }

    /// The attack is over: everything is closed, and a day passes.
    fn wind_up(&mut self) {
        self.close_all();
        self.drain();
        for _ in 0..24 {
            self.run_to(self.now + Duration::from_secs(3600));
        }
        self.watch();
        let counters = self.stack.counters();
        let drops = DropReason::ALL.iter().map(|&reason| (reason, counters.dropped(reason)));
        self.report.drops = drops.filter(|&(_, n)| n > 0).collect();
        let left: Vec<(State, usize)> =
            self.stack.count_by_state().into_iter().filter(|(s, n)| *n > 0 && *s != State::Closed).collect();
        assert!(left.is_empty(), "left over when all was closed and a day had passed: {left:?}");
    }
}

/// The attacker's addresses: a peer, a stranger, the stack itself, and some that are nobody's.
fn addresses(v6: bool) -> [IpAddr; 6] {
    let all: [&str; 6] = if v6 {
        ["fd00::2", "fd00::3", "fd00::1", "ff02::1", "::", "2001:db8::7"]
    } else {
        ["10.0.0.2", "10.0.0.3", "10.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"]
    };
    all.map(|a| a.parse().expect("a literal address"))
}

//! A world as a value: who is there, what lies between them, what they say to each other.

use core::fmt;
use core::time::Duration;

use finack_core::device::Capabilities;
use finack_core::options::SocketOptions;
use finack_core::settings::{Congestion, Settings};

use super::Features;
use crate::boxes::{Mangle, Middlebox};
use crate::link::{Hop, Rate, Trace};
use crate::queue::Queue;

/// What is to happen in a world. Equal plans run alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it was drawn from; all that is left to chance when it runs comes from it too.
    pub seed: u64,
    /// What was switched on when it was drawn.
    pub features: Features,
    /// Hosts, numbered from 0.
    pub hosts: Vec<HostPlan>,
    /// The way from each host to each other: `from * hosts + to`.
    pub ways: Vec<Way>,
    /// Boxes between hosts, one between two at most.
    pub boxes: Vec<BoxPlan>,
    /// Connections.
    pub talks: Vec<Talk>,
    /// Exchanges of datagrams.
    pub datagrams: Vec<Datagrams>,
    /// Hosts that lose their memory.
    pub crashes: Vec<Crash>,
    /// Which packets meet a fault.
    pub faults: Faults,
    /// From then on the network is faultless, so that all must come to an end.
    pub quiet: Duration,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Settings that are not at their default.
    pub settings: Vec<(&'static str, String)>,
    /// Its device's MTU in bytes.
    pub mtu: usize,
    /// Its device takes units of 64 KiB (GSO) and finishes checksums.
    pub units: bool,
    /// Its device joins what arrives at once (GRO).
    pub joins: bool,
}

impl HostPlan {
    pub(super) fn settings(&self) -> Result<Settings, String> {
        let mut all = Settings::default();
        for (name, value) in &self.settings {
            all.set(name, value).map_err(|e| format!("{name}={value}: {e:?}"))?;
        }
        Ok(all)
    }

    /// It looks for the path MTU by itself: only such a host gets along with a path that says nothing (RFC 4821).
    #[must_use]
    pub fn probes(&self) -> bool {
        self.settings.iter().any(|(name, value)| *name == "tcp_mtu_probing" && value != "0")
    }

    pub(super) const fn device(&self) -> Capabilities {
        let plain = Capabilities::plain(self.mtu);
        if self.units {
            Capabilities { max_unit: 65_535, checksum_tx: true, udp_units: true, ..plain }
        } else {
            plain
        }
    }
}

/// One direction between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Propagation.
    pub delay: Duration,
    /// Bits a second.
    pub rate: Option<u64>,
    /// Instead of a steady rate the link sends when a recorded one would: milliseconds, again and again.
    pub trace: Vec<u32>,
    /// Longest wait in front of it.
    pub queue: Duration,
    /// How the queue decides.
    pub manager: Manager,
    /// Largest packet in bytes.
    pub mtu: usize,
    /// What is too large is dropped without a word, where the sender [probes](HostPlan::probes).
    pub black_hole: bool,
    /// From then on `mtu` is this one.
    pub mtu_change: Option<(Duration, usize)>,
    /// What happens to single packets.
    pub mix: Mix,
    /// Nothing passes from then on, for so long.
    pub black_outs: Vec<(Duration, Duration)>,
}

/// A box between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxPlan {
    /// It was taken out.
    pub gone: bool,
    /// Host on its inner side.
    pub near: usize,
    /// Host on its outer side.
    pub far: usize,
    /// What it is.
    pub what: Middlebox,
}

impl BoxPlan {
    /// The far host sees other addresses or sequence numbers than the near one.
    #[must_use]
    pub const fn rewrites(&self) -> bool {
        matches!(self.what, Middlebox::Nat { .. } | Middlebox::Mangle(Mangle::Sequence { .. }))
    }
}

/// How a queue decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// What does not fit is dropped.
    Tail,
    /// CoDel (RFC 8289), which marks or drops.
    CoDel(bool),
    /// The dual queue of L4S (RFC 9332).
    DualPi2,
}

impl Way {
    /// The link, with the faults that are not decided packet by packet; `mtu` may be another by now.
    pub(super) fn hop(&self, mtu: usize, black_hole: bool) -> Hop {
        let queue = Queue::time(self.queue);
        let queue = match self.manager {
            Manager::Tail => queue,
            Manager::CoDel(true) => queue.codel().ecn(),
            Manager::CoDel(false) => queue.codel(),
            Manager::DualPi2 => queue.dualpi2(),
        };
        let lines: Vec<String> = self.trace.iter().map(ToString::to_string).collect();
        let rate = match (Trace::parse(&lines.join("\n")), self.rate) {
            (Ok(trace), _) if !self.trace.is_empty() => Rate::Trace(trace.into()),
            (_, Some(bits)) => Rate::Fixed(bits),
            _ => Rate::Unlimited,
        };
        Hop { rate, queue, mtu, black_hole, ..Hop::new(self.delay) }
    }
}

/// Chances of a packet in parts per million, and what comes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mix {
    /// Lost.
    pub loss: u32,
    /// A burst of losses begins (Gilbert-Elliott), of so many packets on average.
    pub burst: (u32, u32),
    /// Sent twice.
    pub duplicate: u32,
    /// Held back.
    pub reorder: u32,
    /// For so long at most.
    pub hold: Duration,
    /// One bit flipped.
    pub corrupt: u32,
    /// Every packet is late by up to this.
    pub jitter: Duration,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Lost.
    Drop,
    /// Sent twice.
    Duplicate,
    /// One bit flipped.
    Corrupt,
    /// Late by this.
    Delay(Duration),
    /// Its last byte changed and the checksum made right again: what a test has the swarm find.
    Forge,
}

/// A fault of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Sender.
    pub from: usize,
    /// Receiver.
    pub to: usize,
    /// The n-th packet that way, from 1.
    pub index: u64,
    /// What happens to it.
    pub effect: Effect,
}

/// Which packets meet a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// As the ways' mixes and the seed have it.
    Drawn,
    /// These and no others.
    Listed(Vec<Fault>),
}

/// A connection, or several one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    /// It was taken out.
    pub gone: bool,
    /// Host that opens.
    pub from: usize,
    /// Host that listens.
    pub to: usize,
    /// Over IPv6.
    pub v6: bool,
    /// When it begins.
    pub start: Duration,
    /// Both open at once, the second this much later.
    pub crossed: Option<Duration>,
    /// The opener's port, each time the same.
    pub port: Option<u16>,
    /// How often, one after the other.
    pub times: u32,
    /// The first bytes go with the SYN, where a cookie is known (RFC 7413).
    pub early: bool,
    /// The opener, and the other.
    pub sides: [Side; 2],
}

/// What one application does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What it sets on its socket.
    pub options: Vec<Opt>,
    /// What it writes.
    pub steps: Vec<Step>,
    /// Most bytes in a write.
    pub chunk: usize,
    /// How it reads.
    pub reads: Reads,
    /// How it ends.
    pub end: End,
}

impl Side {
    /// Bytes that it writes in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps
            .iter()
            .map(|s| match s {
                Step::Write(n) => *n,
                Step::Urgent => 1,
                _ => 0,
            })
            .sum()
    }
}

/// A socket option that is not at its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    /// It was taken out.
    Gone,
    /// TCP_NODELAY.
    NoDelay,
    /// TCP_CORK.
    Cork,
    /// TCP_QUICKACK.
    QuickAck,
    /// SO_KEEPALIVE: idle and between probes, in seconds, and probes.
    KeepAlive(u64, u64, u32),
    /// TCP_USER_TIMEOUT in milliseconds.
    UserTimeout(u64),
    /// TCP_MAXSEG.
    MaxSegment(u16),
    /// SO_SNDBUF.
    SendBuffer(usize),
    /// SO_RCVBUF.
    RecvBuffer(usize),
    /// TCP_WINDOW_CLAMP.
    WindowClamp(u32),
    /// TCP_NOTSENT_LOWAT.
    NotSentLowat(usize),
    /// TCP_CONGESTION.
    Control(Congestion),
}

impl Opt {
    pub(super) fn apply(self, o: &mut SocketOptions) {
        match self {
            Self::Gone => {}
            Self::NoDelay => o.nodelay = true,
            Self::Cork => o.cork = true,
            Self::QuickAck => o.quickack = true,
            Self::KeepAlive(idle, interval, count) => {
                o.keepalive = true;
                o.keepalive_idle = Some(Duration::from_secs(idle));
                o.keepalive_interval = Some(Duration::from_secs(interval));
                o.keepalive_count = Some(count);
            }
            Self::UserTimeout(ms) => o.user_timeout = Some(Duration::from_millis(ms)),
            Self::MaxSegment(n) => o.max_segment = Some(n),
            Self::SendBuffer(n) => o.send_buffer = Some(n),
            Self::RecvBuffer(n) => o.recv_buffer = Some(n),
            Self::WindowClamp(n) => o.window_clamp = Some(n),
            Self::NotSentLowat(n) => o.notsent_lowat = Some(n),
            Self::Control(c) => o.congestion = Some(c),
        }
    }
}

/// One thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was taken out.
    Gone,
    /// Writes so many bytes.
    Write(u64),
    /// Writes one urgent byte.
    Urgent,
    /// Waits.
    Pause(Duration),
    /// Waits until it has read so many bytes in all.
    Await(u64),
}

/// How an application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Most bytes at once.
    pub chunk: usize,
    /// Begins so late.
    pub begin: Duration,
    /// Rests after so many bytes.
    pub every: u64,
    /// For so long.
    pub rest: Duration,
}

impl Reads {
    /// At once and all.
    pub const EAGER: Self =
        Self { chunk: 65_536, begin: Duration::ZERO, every: u64::MAX, rest: Duration::ZERO };
}

/// How an application ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Half-closes after its last byte, reads to EOF, closes.
    HalfClose,
    /// Reads to EOF, then closes.
    AfterPeer,
    /// Closes after its last byte, whatever comes in.
    Early,
    /// Aborts after its last byte.
    Abort,
    /// Closes with linger 0 after its last byte.
    Linger,
    /// Aborts this long after it opened.
    AbortAt(Duration),
}

impl End {
    /// It waits for the peer's last byte.
    #[must_use]
    pub const fn is_polite(self) -> bool {
        matches!(self, Self::HalfClose | Self::AfterPeer)
    }
}

/// Datagrams to an echo and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagrams {
    /// It was taken out.
    pub gone: bool,
    /// Who sends.
    pub from: usize,
    /// Who echoes.
    pub to: usize,
    /// Over IPv6.
    pub v6: bool,
    /// How many.
    pub count: u32,
    /// Bytes of each.
    pub size: usize,
    /// The first one's time.
    pub start: Duration,
    /// Between two.
    pub gap: Duration,
}

/// A host loses its memory and comes up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// It was taken out.
    pub gone: bool,
    /// Which.
    pub host: usize,
    /// When.
    pub at: Duration,
}

impl Plan {
    /// The way from one host to another.
    #[must_use]
    pub fn way(&self, from: usize, to: usize) -> Option<&Way> {
        self.ways.get(from * self.hosts.len() + to)
    }

    /// The box between two hosts.
    #[must_use]
    pub fn box_between(&self, a: usize, b: usize) -> Option<&BoxPlan> {
        let between = |x: &&BoxPlan| (x.near, x.far) == (a, b) || (x.near, x.far) == (b, a);
        self.boxes.iter().filter(|x| !x.gone).find(between)
    }

    /// Hosts that have something to do.
    #[must_use]
    pub fn busy_hosts(&self) -> Vec<usize> {
        let talks = self.talks.iter().filter(|t| !t.gone).flat_map(|t| [t.from, t.to]);
        let datagrams = self.datagrams.iter().filter(|d| !d.gone).flat_map(|d| [d.from, d.to]);
        let all: std::collections::BTreeSet<usize> = talks.chain(datagrams).collect();
        all.into_iter().collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, index, effect } = self;
        write!(f, "{from}-{to}:{index}")?;
        match effect {
            Effect::Drop => f.write_str("x"),
            Effect::Duplicate => f.write_str("d"),
            Effect::Corrupt => f.write_str("c"),
            Effect::Forge => f.write_str("f"),
            Effect::Delay(by) => write!(f, "l{}", by.as_micros()),
        }
    }
}

impl core::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no fault: FROM-TO:INDEX and x, d, c, f or lMICROSECONDS");
        let (way, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (from, to) = way.split_once('-').ok_or_else(wrong)?;
        let letter = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (index, effect) = rest.split_at(letter);
        let effect = match (&effect[..1], &effect[1..]) {
            ("x", "") => Effect::Drop,
            ("d", "") => Effect::Duplicate,
            ("c", "") => Effect::Corrupt,
            ("f", "") => Effect::Forge,
            ("l", by) => Effect::Delay(Duration::from_micros(by.parse().map_err(|_| wrong())?)),
            _ => return Err(wrong()),
        };
        let number = |t: &str| t.parse::<usize>().map_err(|_| wrong());
        Ok(Self { from: number(from)?, to: number(to)?, index: number(index)? as u64, effect })
    }
}

//! Checks of every simulation: what no network, peer or application may make a host do.
//!
//! The checker sits at each host's edge. It sees the packets that leave and arrive there, counts for itself what they
//! mean, and holds that against the next packet and against what the stack says of itself. It knows nothing of what the
//! network does in between, so it judges a host rightly whatever box, fault or hostile peer is there. It reads packets
//! with code of its own, keeps what is in flight and nothing else, and costs a fraction of what the engine does.
//!
//! What the applications see (each byte once and in order, none of another incarnation, true errors) is checked by
//! those who play the applications: [`Transfer`](crate::world::Transfer) and [`swarm`](crate::swarm).

mod flow;
mod life;
mod ranges;
mod rule;
mod view;

pub use rule::Rule;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use finack_core::Instant;
use finack_core::Stack;
use finack_core::tcp::State;
use finack_core::trace::{TraceEvent, TraceId, TraceKind};

use crate::packet::flag;
use crate::world::HostId;
use flow::{Flow, Verdict};
use view::{Seg, View, view};

/// Connections of one host that are followed; beyond it those that were quiet for longest are forgotten.
const MOST_FLOWS: usize = 20_000;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule is broken.
    pub rule: Rule,
    /// How.
    pub what: String,
    /// Whose fault it is.
    pub host: HostId,
    /// This host's end and the other one, where it is about a connection.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// When.
    pub at: Instant,
    /// The packet of the world that showed it, or the last one before, counted from 1.
    pub packet: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, what, host, ends, at, packet } = self;
        write!(f, "{rule}: host {}", host.0)?;
        if let Some((local, remote)) = ends {
            write!(f, ", {local} > {remote}")?;
        }
        write!(f, ", at {at:?}, packet {packet}: {what} ({})", rule.requirement())
    }
}

type Key = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Edge {
    mtu: usize,
    least_mss: u16,
    flows: BTreeMap<Key, Flow>,
    /// The incarnation before, which comes back where a SYN proves to be an old one.
    before: BTreeMap<Key, Flow>,
    states: BTreeMap<TraceId, State>,
    touched: BTreeSet<Key>,
    /// Peers that fragments came from or went to: what they carried is not known.
    fragmented: BTreeSet<IpAddr>,
    resets_seen: u64,
    forgot: bool,
}

impl Edge {
    fn new(mtu: usize, least_mss: u16) -> Self {
        Self {
            mtu,
            least_mss,
            flows: BTreeMap::new(),
            before: BTreeMap::new(),
            states: BTreeMap::new(),
            touched: BTreeSet::new(),
            fragmented: BTreeSet::new(),
            resets_seen: 0,
            forgot: false,
        }
    }

    fn make_room(&mut self) {
        if self.flows.len() > MOST_FLOWS {
            self.flows.clear();
            self.before.clear();
            self.forgot = true;
        }
    }

    fn sent(&mut self, seg: &Seg<'_>) -> Verdict {
        if seg.ip_len > self.mtu {
            return Err((Rule::Mtu, format!("a packet of {} bytes, the MTU is {}", seg.ip_len, self.mtu)));
        }
        let (key, rst) = ((seg.from, seg.to), seg.has(flag::RST));
        self.resets_seen += u64::from(rst);
        if self.fragmented.contains(&seg.to.ip()) {
            return Ok(());
        }
        self.touched.insert(key);
        let known = self.flows.get(&key);
        if seg.has(flag::SYN) && !rst {
            if known.is_none_or(|f| f.is_unborn() || f.iss != seg.seq) {
                let new = Flow::new(seg, known);
                if let Some(old) = self.flows.insert(key, new).filter(|f| !f.is_unborn()) {
                    self.before.insert(key, old);
                }
                self.make_room();
            }
        } else if !rst {
            match known {
                Some(f) if !f.is_unborn() => {
                    if !f.fits(seg)
                        && let Some(old) = self.before.remove(&key).filter(|f| f.fits(seg))
                    {
                        self.flows.insert(key, old);
                    }
                }
                _ if self.forgot => return Ok(()),
                _ => return Err((Rule::NoConnection, "a segment without RST of no connection".into())),
            }
        }
        let least = self.least_mss;
        self.flows.get_mut(&key).filter(|f| !f.is_unborn()).map_or(Ok(()), |f| f.sent(seg, least))
    }

    fn arrived(&mut self, seg: &Seg<'_>) {
        let key = (seg.to, seg.from);
        self.touched.insert(key);
        if let Some(old) = self.before.get_mut(&key) {
            old.arrived(seg);
        }
        self.flows.entry(key).or_insert_with(Flow::unborn).arrived(seg);
        self.make_room();
    }

    fn traced(&mut self, event: &TraceEvent) -> Verdict {
        let (Some(id), TraceKind::State { from, to }) = (event.conn, &event.kind) else { return Ok(()) };
        let was = self.states.insert(id, *to);
        if *to == State::Closed {
            if let Some(f) = event.local.zip(event.remote).and_then(|key| self.flows.get_mut(&key)) {
                f.over = true;
            }
            self.states.remove(&id);
        }
        if was.is_some_and(|was| was != *from) {
            return Err((
                Rule::Transition,
                format!("{from} to {to}, but it was in {}", was.unwrap_or(State::Closed)),
            ));
        }
        if !life::may_follow(*from, *to) {
            return Err((Rule::Transition, format!("{from} to {to}")));
        }
        Ok(())
    }
}

/// Watches all hosts of a simulation. See the module.
#[derive(Debug, Default)]
pub struct Checker {
    edges: Vec<Edge>,
    violation: Option<Violation>,
    packet: u64,
}

impl Checker {
    /// Watches nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches one more host, whose device takes packets of `mtu` bytes and which takes no MSS below `least_mss` from a
    /// peer (`tcp_min_snd_mss`). Hosts are numbered in the order in which they come.
    pub fn add_host(&mut self, mtu: usize, least_mss: u16) {
        self.edges.push(Edge::new(mtu, least_mss));
    }

    /// The host forgot everything; its device and settings may be others now.
    pub fn reboot(&mut self, host: HostId, mtu: usize, least_mss: u16) {
        if let Some(edge) = self.edges.get_mut(host.0) {
            *edge = Edge::new(mtu, least_mss);
        }
    }

    /// The first violation, if there was any; nothing is checked after it.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Somebody else found a violation.
    pub fn report(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    fn judge(&mut self, host: HostId, ends: Option<Key>, at: Instant, verdict: Verdict) {
        if let Err((rule, what)) = verdict {
            let packet = self.packet;
            self.report(Violation { rule, what, host, ends, at, packet });
        }
    }

    /// A host sends a wire packet, the world's n-th.
    pub fn sent(&mut self, host: HostId, now: Instant, packet: u64, bytes: &[u8]) {
        self.packet = packet;
        let Some(edge) = self.edges.get_mut(host.0).filter(|_| self.violation.is_none()) else { return };
        match view(bytes) {
            View::Tcp(seg) => {
                let verdict = edge.sent(&seg);
                self.judge(host, Some((seg.from, seg.to)), now, verdict);
            }
            View::Fragment(_, peer) => {
                edge.fragmented.insert(peer);
            }
            View::Other => {}
        }
    }

    /// A wire packet reaches a host, which is handed it right after.
    pub fn arrives(&mut self, host: HostId, bytes: &[u8]) {
        let Some(edge) = self.edges.get_mut(host.0).filter(|_| self.violation.is_none()) else { return };
        match view(bytes) {
            View::Tcp(seg) => edge.arrived(&seg),
            View::Fragment(peer, _) => {
                edge.fragmented.insert(peer);
            }
            View::Other => {}
        }
    }

    /// A host's stack tells what it did ([`Stack::poll_trace`]).
    pub fn traced(&mut self, host: HostId, event: &TraceEvent) {
        let Some(edge) = self.edges.get_mut(host.0).filter(|_| self.violation.is_none()) else { return };
        let verdict = edge.traced(event);
        self.judge(host, event.local.zip(event.remote), event.at, verdict);
    }

    /// Looks at the connections whose packets came or went since the last look. To be called when the host has sent
    /// what it wants to send.
    pub fn look(&mut self, host: HostId, now: Instant, stack: &Stack) {
        let Some(edge) = self.edges.get_mut(host.0).filter(|_| self.violation.is_none()) else { return };
        let mut found = None;
        for key in core::mem::take(&mut edge.touched) {
            let known = edge.flows.get_mut(&key).filter(|f| !f.is_unborn());
            let Some(flow) = known.filter(|_| !edge.fragmented.contains(&key.1.ip())) else { continue };
            let Some(socket) = stack.tcp_socket(now, key.0, key.1) else { continue };
            if let Err(wrong) = life::look(flow, stack, now, &socket) {
                found = Some((Some(key), wrong));
                break;
            }
        }
        let (counted, reasons) = life::resets(stack);
        let seen = edge.resets_seen;
        if found.is_none() && (counted != reasons || seen > counted) {
            let what = format!("{seen} RSTs seen, {counted} counted, {reasons} with a reason");
            found = Some((None, (Rule::ResetReason, what)));
        }
        if let Some((ends, wrong)) = found {
            self.judge(host, ends, now, Err(wrong));
        }
    }

    /// All is closed and 2 MSL have passed: the host may hold no connection, no timer, and no more memory than `most`.
    pub fn ended(&mut self, host: HostId, now: Instant, stack: &Stack, most: usize) {
        let kept: Vec<(State, usize)> = stack
            .count_by_state()
            .into_iter()
            .filter(|&(s, n)| n > 0 && !matches!(s, State::Listen | State::Closed))
            .collect();
        let verdict = if !kept.is_empty() {
            let all: Vec<String> = kept.iter().map(|(s, n)| format!("{n} in {s}")).collect();
            Err((Rule::Leak, format!("connections are left: {}", all.join(", "))))
        } else if let Some(at) = stack.poll_timeout() {
            Err((Rule::Leak, format!("a timer is left, for {:?} from now", at.since(now))))
        } else if stack.memory() > most {
            Err((Rule::Leak, format!("{} bytes are kept, {most} may be", stack.memory())))
        } else {
            Ok(())
        };
        self.judge(host, None, now, verdict);
    }

    /// RSTs that came in for this four-tuple so far.
    #[must_use]
    pub fn resets_arrived(&self, host: HostId, local: SocketAddr, remote: SocketAddr) -> u32 {
        self.flow(host, local, remote).map_or(0, |f| f.resets)
    }

    /// RSTs that had come in for this four-tuple when its present incarnation began.
    #[must_use]
    pub fn resets_before(&self, host: HostId, local: SocketAddr, remote: SocketAddr) -> u32 {
        self.flow(host, local, remote).map_or(0, |f| f.resets_before)
    }

    /// The initial sequence numbers of the connection, the host's own and the peer's, once both are known.
    #[must_use]
    pub fn isns(&self, host: HostId, local: SocketAddr, remote: SocketAddr) -> Option<(u32, Option<u32>)> {
        self.flow(host, local, remote).filter(|f| !f.is_unborn()).map(|f| (f.iss, f.irs()))
    }

    fn flow(&self, host: HostId, local: SocketAddr, remote: SocketAddr) -> Option<&Flow> {
        self.edges.get(host.0)?.flows.get(&(local, remote))
    }
}

/// How long after the last close a host may take to forget everything: TIME-WAIT, FIN-WAIT-2 and the retries of
/// orphans.
pub const AFTERMATH: Duration = Duration::from_secs(1000);

#[cfg(test)]
mod tests;

//! How packets get from host to host.

use core::net::IpAddr;
use core::time::Duration;

use finack_core::Instant;
use finack_core::device::{Packet, PacketMeta};

use super::cut::{cut, transport};
use super::link::{Passing, Verdict, too_big};
use super::tap::Seen;
use super::{HostId, LinkId, Node, PipeId, Sight, Source, World, gro};
use crate::link::{Arrival, Ecn, Fate, Hop, Lost, Offer, Path, Pipe, PipeStats, Why};
use crate::packet::{build, glance, parse, proto};

/// Most buffers that are kept for use again.
const SPARE: usize = 4096;

/// A packet between hosts.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) from: HostId,
    pub(super) to: HostId,
    /// It is the n-th of the world.
    pub(super) number: u64,
    /// Its checksums are on the wire; else whoever touches it has to finish them.
    pub(super) summed: bool,
    /// A bit was flipped.
    pub(super) damaged: bool,
}

/// The ECN field and what tells flows apart.
fn offer_of(bytes: &[u8]) -> Offer {
    let (ecn, addresses) = match bytes.first().map(|b| b >> 4) {
        Some(4) if bytes.len() >= 20 => (bytes[1], &bytes[12..20]),
        Some(6) if bytes.len() >= 40 => (bytes[1] >> 4, &bytes[8..40]),
        _ => (0, &[][..]),
    };
    let mut flow = 0xcbf2_9ce4_8422_2325_u64;
    let mut add =
        |word: u32| flow = (flow ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    for word in addresses.chunks_exact(4) {
        add(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    if let Some((at, protocol)) = transport(bytes)
        && (protocol == proto::TCP || protocol == proto::UDP)
        && let Some(ports) = bytes.get(at..at + 4)
    {
        add(u32::from_be_bytes([ports[0], ports[1], ports[2], ports[3]]));
    }
    Offer { size: bytes.len() as u32, ecn: Ecn::from_tos(ecn), flow }
}

/// Writes CE into a packet's IP header.
fn mark(bytes: &mut [u8]) {
    match bytes.first().map(|b| b >> 4) {
        Some(4) if bytes.len() >= 20 => {
            bytes[1] |= 3;
            super::cut::finish_ip(bytes);
        }
        Some(6) if bytes.len() >= 40 => bytes[1] |= 0x30,
        _ => {}
    }
}

/// Where a packet is going.
fn destination(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.first()? >> 4 {
        4 => bytes.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from),
        6 => bytes.get(24..40).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from),
        _ => None,
    }
}

impl World {
    /// Adds a router.
    pub fn router(&mut self) -> Node {
        self.routers += 1;
        Node::Router(self.routers - 1)
    }

    /// Joins two nodes by this path; where it has several links there are routers between them. Says the links, in
    /// order. Packets take the way with the fewest links, and nodes that are joined to nothing are linked as the world's
    /// default says, each to each.
    pub fn join(&mut self, near: impl Into<Node>, far: impl Into<Node>, path: &Path) -> Vec<LinkId> {
        let (mut here, far) = (near.into(), far.into());
        let links: Vec<&(Hop, Hop)> = path.links().collect();
        let mut out = Vec::with_capacity(links.len());
        for (i, (there, back)) in links.iter().enumerate() {
            let next = if i + 1 == links.len() { far } else { self.router() };
            let number = self.joined;
            self.joined += 1;
            out.push(LinkId {
                there: self.pipe(here, next, there.clone(), number * 2),
                back: self.pipe(next, here, back.clone(), number * 2 + 1),
            });
            here = next;
        }
        out
    }

    /// The direct way from `from` to `to` is this one from now on; what is on the wire arrives as it would have.
    pub fn set_link(&mut self, from: impl Into<Node>, to: impl Into<Node>, hop: impl Into<Hop>) -> PipeId {
        let (from, to, hop) = (from.into(), to.into(), hop.into());
        match self.graph.direct(from, to) {
            Some(pipe) => {
                self.set_hop(pipe, hop);
                pipe
            }
            None => self.direct_pipe(from, to, hop),
        }
    }

    /// This direction of a link is another one from now on.
    pub fn set_hop(&mut self, pipe: PipeId, hop: Hop) {
        let now = self.now;
        self.pipes[pipe.0].set_hop(hop, now);
        self.schedule_pipe(pipe);
    }

    /// What a direction of a link is now.
    #[must_use]
    pub fn hop(&self, pipe: PipeId) -> &Hop {
        self.pipes[pipe.0].hop()
    }

    /// What a direction of a link has done so far.
    #[must_use]
    pub fn link_stats(&self, pipe: PipeId) -> &PipeStats {
        self.pipes[pipe.0].stats()
    }

    /// Packets and bytes in the queue of a direction of a link now, and the time that its newest packet has to wait (of a
    /// managed queue: that its oldest has waited).
    pub fn backlog(&mut self, pipe: PipeId) -> (usize, u64, Duration) {
        let now = self.now;
        let backlog = self.pipes[pipe.0].backlog(now);
        self.schedule_pipe(pipe);
        backlog
    }

    /// All directions of links, with the nodes that they lead from and to. Links by the world's default appear once they
    /// are used.
    pub fn pipes(&self) -> impl Iterator<Item = (PipeId, Node, Node)> {
        self.graph.ends.iter().enumerate().map(|(i, &(from, to))| (PipeId(i), from, to))
    }

    fn pipe(&mut self, from: Node, to: Node, hop: Hop, direction: u64) -> PipeId {
        self.pipes.push(Pipe::new(hop, self.seed, direction, self.now));
        self.pipe_at.push(Instant::FAR_FUTURE);
        self.graph.add(from, to)
    }

    /// A link outside every path; its number, and so its chances, depend on nothing but its ends.
    fn direct_pipe(&mut self, from: Node, to: Node, hop: Hop) -> PipeId {
        let number = |node| match node {
            Node::Host(HostId(i)) => 2 * i as u64,
            Node::Router(i) => 2 * i as u64 + 1,
        };
        self.pipe(from, to, hop, 1 << 48 | number(from) << 24 | number(to))
    }

    /// Takes what a host wants to send, and its events.
    pub(super) fn pump(&mut self, from: HostId) {
        let now = self.now;
        let mut outgoing = core::mem::take(&mut self.outgoing);
        let spare = &mut self.spare;
        let host = &mut self.hosts[from.0];
        let summed = self.checks;
        let mut trouble = None;
        while let Some(transmit) = host.stack.poll_transmit(now) {
            let mut buffer = || {
                let mut bytes = spare.pop().unwrap_or_default();
                bytes.clear();
                bytes
            };
            let cut = cut(&transmit, summed, &mut buffer, &mut |bytes| outgoing.push(bytes));
            trouble = trouble.or(cut.err());
        }
        while let Some(event) = host.stack.poll_event() {
            host.note_event(event);
        }
        if let Some(e) = trouble {
            self.fail(&format!("host {} sent a bad unit: {e}", from.0));
        }
        for bytes in outgoing.drain(..) {
            self.send(from, bytes, summed);
        }
        self.outgoing = outgoing;
        if let Some(checker) = &mut self.checker {
            let stack = &mut self.hosts[from.0].stack;
            while let Some(event) = stack.poll_trace() {
                checker.traced(from, &event);
            }
            checker.look(from, now, stack);
        }
        self.schedule_host(from);
        self.judge();
    }

    /// A host's packet enters the network.
    fn send(&mut self, from: HostId, bytes: Vec<u8>, summed: bool) {
        if self.checks
            && let Err(e) = parse(&bytes)
        {
            self.fail(&format!("host {} sent a malformed packet: {e}", from.0));
        }
        self.sent += 1;
        self.hosts[from.0].sent += 1;
        if let Some(checker) = &mut self.checker {
            checker.sent(from, self.now, self.sent, &bytes);
        }
        let Some(to) = destination(&bytes).and_then(|to| self.host_of(to)) else {
            return self.recycle(bytes);
        };
        let frame = Frame { bytes, from, to, number: self.sent, summed, damaged: false };
        let Some(pipe) = self.way(from.into(), to) else { return self.recycle(frame.bytes) };
        let mut fate = self.pipes[pipe.0].fate();
        let mut verdict = verdict_of(&fate);
        if verdict == Verdict::Pass && !self.faults.is_empty() {
            verdict = self.ask_faults(&frame);
            self.impose(verdict, &mut fate);
        }
        self.record.note(self.now, frame.number, &frame.bytes, verdict);
        self.observe(&frame, pipe, Sight::Sent);
        self.admit(pipe, frame, fate);
    }

    fn ask_faults(&mut self, frame: &Frame) -> Verdict {
        let Ok(packet) = glance(&frame.bytes) else { return Verdict::Pass };
        let passing = Passing {
            now: self.now,
            from: frame.from,
            to: frame.to,
            packet: &packet,
            index: self.hosts[frame.from.0].sent,
            total: frame.number,
        };
        let mut verdict = Verdict::Pass;
        for fault in &mut self.faults {
            if verdict == Verdict::Pass {
                verdict = fault(&passing);
            }
        }
        verdict
    }

    fn impose(&mut self, verdict: Verdict, fate: &mut Fate) {
        match verdict {
            Verdict::Pass => {}
            Verdict::Drop => fate.lost = true,
            Verdict::Duplicate => fate.twice = true,
            Verdict::Delay(by) => fate.held = by,
            Verdict::Corrupt => fate.damage(self.rng.next_u64()),
        }
    }

    /// The next pipe on the way; where no link leads there, the world's default makes one between two hosts.
    fn way(&mut self, here: Node, to: HostId) -> Option<PipeId> {
        if let Some(pipe) = self.graph.towards(here, to) {
            return Some(pipe);
        }
        match here {
            Node::Host(_) => Some(self.direct_pipe(here, to.into(), self.default_link.clone())),
            Node::Router(_) => None,
        }
    }

    /// A packet enters a link.
    fn admit(&mut self, pipe: PipeId, frame: Frame, fate: Fate) {
        let now = self.now;
        let offer = offer_of(&frame.bytes);
        let refused = self.pipes[pipe.0].admit(now, offer, frame, fate).err();
        if let Some(lost) = refused {
            self.lose(pipe, lost);
        }
        self.after(pipe);
    }

    /// Takes what a pipe dropped, and notes when it wants to be looked at again.
    fn after(&mut self, pipe: PipeId) {
        while let Some(lost) = self.pipes[pipe.0].pop_dropped() {
            self.lose(pipe, lost);
        }
        self.schedule_pipe(pipe);
    }

    fn lose(&mut self, pipe: PipeId, lost: Lost<Frame>) {
        self.lost += 1;
        let Lost { item: frame, why, .. } = lost;
        self.observe(&frame, pipe, Sight::Lost(why));
        if why == Why::TooBig {
            self.report_too_big(pipe, &frame);
        }
        self.recycle(frame.bytes);
    }

    /// The router in front of the link answers, where it does.
    fn report_too_big(&mut self, pipe: PipeId, frame: &Frame) {
        let hop = self.pipes[pipe.0].hop();
        let Some(error) = too_big(hop, &frame.bytes) else { return };
        let (_, beyond) = self.graph.ends[pipe.0];
        let error =
            Frame { bytes: error, from: frame.to, to: frame.from, number: 0, summed: true, damaged: false };
        if let Some(back) = self.way(beyond, frame.from) {
            self.admit(back, error, Fate::default());
        }
    }

    /// Everything that a pipe has for now.
    pub(super) fn run_pipe(&mut self, pipe: PipeId, at: Instant) {
        let (_, node) = self.graph.ends[pipe.0];
        match node {
            Node::Host(host) if self.hosts[host.0].gro.is_some() => {
                while let Some(arrival) = self.pipes[pipe.0].pop(at) {
                    let frame = self.arrived(pipe, arrival);
                    self.hosts[host.0].waiting.push(frame);
                }
                self.after(pipe);
                self.gather(host);
            }
            Node::Host(host) => {
                if let Some(arrival) = self.pipes[pipe.0].pop(at) {
                    let frame = self.arrived(pipe, arrival);
                    self.after(pipe);
                    let meta = PacketMeta { checksum: frame.checksum_state(false), ..PacketMeta::default() };
                    self.hand_over(host, frame, meta);
                } else {
                    self.after(pipe);
                }
            }
            Node::Router(_) => {
                while let Some(arrival) = self.pipes[pipe.0].pop(at) {
                    let frame = self.arrived(pipe, arrival);
                    match self.way(node, frame.to) {
                        Some(next) => {
                            let fate = self.pipes[next.0].fate();
                            self.admit(next, frame, fate);
                        }
                        None => self.recycle(frame.bytes),
                    }
                }
                self.after(pipe);
            }
        }
    }

    /// What the link did to the packet is done to its bytes.
    fn arrived(&mut self, pipe: PipeId, arrival: Arrival<Frame>) -> Frame {
        let mut frame = arrival.item;
        if arrival.marked {
            mark(&mut frame.bytes);
        }
        if let Some(flaw) = arrival.flaw {
            if !frame.summed {
                // Whoever receives it must be able to see that it is damaged.
                if let Ok(packet) = glance(&frame.bytes) {
                    frame.bytes = build(&packet);
                }
                frame.summed = true;
            }
            flaw.apply(&mut frame.bytes);
            frame.damaged = true;
        }
        self.observe(&frame, pipe, if arrival.marked { Sight::Marked } else { Sight::Arrived });
        frame
    }

    /// Packets wait at a host that joins them: hands them over at once, or makes sure that it is done in time.
    fn gather(&mut self, host: HostId) {
        let now = self.now;
        let h = &mut self.hosts[host.0];
        let Some(wait) = h.gro else { return };
        if h.waiting.is_empty() {
            return;
        }
        if wait.is_zero() {
            return self.flush(host);
        }
        if h.flush_at.is_none() {
            h.flush_at = Some(now + wait);
            self.schedule_host(host);
        }
    }

    /// Hands over all that waits at a host, neighbours joined.
    pub(super) fn flush(&mut self, host: HostId) {
        let now = self.now;
        let mut joined = core::mem::take(&mut self.joining);
        let h = &mut self.hosts[host.0];
        h.flush_at = None;
        if let Some(checker) = &mut self.checker {
            h.waiting.iter().for_each(|frame| checker.arrives(host, &frame.bytes));
        }
        gro::join(&mut h.waiting, &mut joined, &mut self.spare);
        let batch: Vec<Packet<'_>> =
            joined.iter().map(|(f, meta)| Packet { meta: *meta, ..Packet::borrowed(&f.bytes) }).collect();
        h.stack.handle_packets(now, &batch);
        drop(batch);
        for (frame, _) in joined.drain(..) {
            self.recycle(frame.bytes);
        }
        self.joining = joined;
        self.spare.truncate(SPARE);
        self.touch(host);
        self.pump(host);
    }

    fn hand_over(&mut self, host: HostId, frame: Frame, meta: PacketMeta) {
        let now = self.now;
        if let Some(checker) = &mut self.checker {
            checker.arrives(host, &frame.bytes);
        }
        self.hosts[host.0].stack.handle_packets(now, &[Packet { meta, ..Packet::borrowed(&frame.bytes) }]);
        self.recycle(frame.bytes);
        self.touch(host);
        self.pump(host);
    }

    fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(bytes);
        }
    }

    pub(super) fn schedule_pipe(&mut self, pipe: PipeId) {
        if let Some(at) = self.pipes[pipe.0].next()
            && at < self.pipe_at[pipe.0]
        {
            self.pipe_at[pipe.0] = at;
            self.schedule(at, Source::Pipe(pipe.0));
        }
    }

    fn observe(&mut self, frame: &Frame, pipe: PipeId, sight: Sight) {
        if self.taps.is_empty() {
            return;
        }
        let (from, to) = self.graph.ends[pipe.0];
        let seen = Seen {
            at: self.now,
            number: frame.number,
            sender: frame.from,
            receiver: frame.to,
            pipe,
            from,
            to,
            bytes: &frame.bytes,
            sight,
        };
        for tap in &mut self.taps {
            tap(&seen);
        }
    }
}

/// What the record says of a fate.
fn verdict_of(fate: &Fate) -> Verdict {
    if fate.lost {
        Verdict::Drop
    } else if fate.twice {
        Verdict::Duplicate
    } else if !fate.held.is_zero() {
        Verdict::Delay(fate.held)
    } else if fate.flaw.is_some() {
        Verdict::Corrupt
    } else {
        Verdict::Pass
    }
}

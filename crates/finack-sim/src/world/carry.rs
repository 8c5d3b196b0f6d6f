//! How packets get from host to host.

use core::net::IpAddr;
use core::time::Duration;

use finack_core::Instant;
use finack_core::device::{Packet, PacketMeta};

use super::cut::{cut, transport};
use super::link::{Passing, Verdict, forge, too_big};
use super::tap::Seen;
use super::{Boxed, HostId, LinkId, Node, PipeId, Sight, Source, World, gro};
use crate::boxes::{Middlebox, Running};
use crate::link::{Arrival, Ecn, Element, Fate, Hop, Lost, Offer, Path, Pipe, PipeStats, Why};
use crate::packet::{Pkt, build, glance, parse, proto};

/// Most buffers that are kept for use again.
const SPARE: usize = 4096;

/// A packet between hosts.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) from: HostId,
    /// The host that it is for, as far as that is known: of a NAT's address the one behind it, else its sender.
    pub(super) receiver: HostId,
    /// Where its address is.
    pub(super) to: Node,
    /// It is the n-th of the world.
    pub(super) number: u64,
    /// Its checksums are on the wire; else whoever touches it has to finish them.
    pub(super) summed: bool,
    /// A bit was flipped.
    pub(super) damaged: bool,
}

/// A packet is on the heap and moves as a pointer: it passes through many queues.
pub(super) type Carried = Box<Frame>;

impl Frame {
    fn empty() -> Box<Self> {
        let host = HostId(0);
        Box::new(Self {
            bytes: Vec::new(),
            from: host,
            receiver: host,
            to: host.into(),
            number: 0,
            summed: false,
            damaged: false,
        })
    }
}

/// Size, ECN field and what tells flows apart.
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
        self.routers.push(None);
        Node::Router(self.routers.len() - 1)
    }

    /// Adds a box. Its inner side is where links end that were [joined](Self::join) with it as the far end, its outer side
    /// where it was the near one.
    pub fn middlebox(&mut self, spec: &Middlebox) -> Node {
        let number = self.routers.len();
        let running = Running::new(spec, self.seed, number as u16);
        if let Running::Nat(nat) = &running {
            self.outer.insert(nat.address(), number);
        }
        self.routers.push(Some(Box::new(Boxed { running, at: Instant::FAR_FUTURE })));
        Node::Router(number)
    }

    /// Joins two nodes by this path; where two links meet there is a router. Says the links, in order. Packets take the way
    /// with the fewest links, and hosts that nothing joins are linked as the world's default says, each to each.
    pub fn join(&mut self, near: impl Into<Node>, far: impl Into<Node>, path: &Path) -> Vec<LinkId> {
        let (near, far) = (near.into(), far.into());
        let mut here = near;
        // What leads on from `here`, to a place that is not known yet.
        let mut open: Option<(Hop, Hop)> = None;
        let mut out = Vec::new();
        for element in &path.elements {
            let next = match element {
                Element::Box(spec) => self.middlebox(spec),
                Element::Link(_) if open.is_some() => self.router(),
                Element::Link(link) => {
                    open = Some((**link).clone());
                    continue;
                }
            };
            out.push(self.link(here, next, open.take().unwrap_or_default()));
            here = next;
            if let Element::Link(link) = element {
                open = Some((**link).clone());
            }
        }
        out.push(self.link(here, far, open.unwrap_or_default()));
        out
    }

    /// Two groups of hosts that share one path, a dumbbell: each host of `near` is joined with a router by what `access` says
    /// of its index, each of `far` with another by a perfect link, and the two routers by `shared`. Says the links of
    /// `shared`.
    pub fn dumbbell(
        &mut self,
        near: &[HostId],
        far: &[HostId],
        access: impl Fn(usize) -> Path,
        shared: &Path,
    ) -> Vec<LinkId> {
        let (left, right) = (self.router(), self.router());
        let links = self.join(left, right, shared);
        for (i, host) in near.iter().enumerate() {
            self.join(*host, left, &access(i));
        }
        for host in far {
            self.join(right, *host, &Path::new(Hop::default()));
        }
        links
    }

    fn link(&mut self, near: Node, far: Node, (there, back): (Hop, Hop)) -> LinkId {
        let number = self.joined;
        self.joined += 1;
        let (id, other) = (number * 2, number * 2 + 1);
        let there = self.pipe(near, far, there, id, false);
        LinkId { there, back: self.pipe(far, near, back, other, true) }
    }

    /// What a box is doing; `None` for a plain router.
    #[must_use]
    pub fn box_at(&self, node: Node) -> Option<&Running> {
        match node {
            Node::Router(i) => self.routers.get(i)?.as_ref().map(|b| &b.running),
            Node::Host(_) => None,
        }
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

    fn pipe(&mut self, from: Node, to: Node, hop: Hop, direction: u64, back: bool) -> PipeId {
        self.pipes.push(Pipe::new(hop, self.seed, direction, self.now));
        self.pipe_at.push(Instant::FAR_FUTURE);
        self.graph.add(from, to, back)
    }

    /// A link outside every path; its number, and so its chances, depend on nothing but its ends.
    fn direct_pipe(&mut self, from: Node, to: Node, hop: Hop) -> PipeId {
        let number = |node| match node {
            Node::Host(HostId(i)) => 2 * i as u64,
            Node::Router(i) => 2 * i as u64 + 1,
        };
        self.pipe(from, to, hop, 1 << 48 | number(from) << 24 | number(to), false)
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
            let mut fresh = || {
                let mut frame = spare.pop().unwrap_or_else(Frame::empty);
                frame.bytes.clear();
                (frame.from, frame.summed, frame.damaged) = (from, summed, false);
                frame
            };
            let cut = cut(&transmit, summed, &mut fresh, &mut |frame| outgoing.push(frame));
            trouble = trouble.or(cut.err());
        }
        while let Some(event) = host.stack.poll_event() {
            host.note_event(event);
        }
        if let Some(e) = trouble {
            self.fail(&format!("host {} sent a bad unit: {e}", from.0));
        }
        for frame in outgoing.drain(..) {
            self.send(frame);
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
    fn send(&mut self, mut frame: Carried) {
        let from = frame.from;
        if self.checks
            && let Err(e) = parse(&frame.bytes)
        {
            self.fail(&format!("host {} sent a malformed packet: {e}", from.0));
        }
        self.sent += 1;
        self.hosts[from.0].sent += 1;
        if let Some(checker) = &mut self.checker {
            checker.sent(from, self.now, self.sent, &frame.bytes);
        }
        frame.number = self.sent;
        let Some(pipe) = self.address(&mut frame).and_then(|()| self.way(from.into(), frame.to)) else {
            return self.recycle(frame);
        };
        let mut fate = self.pipes[pipe.0].fate();
        let mut verdict = verdict_of(&fate);
        if verdict == Verdict::Pass && !self.faults.is_empty() {
            verdict = self.ask_faults(&frame);
            self.impose(verdict, &mut fate);
        }
        if verdict == Verdict::Forge {
            frame.bytes = forge(frame.bytes);
        }
        self.record.note(self.now, frame.number, &frame.bytes, verdict);
        self.observe(&frame, pipe, Sight::Sent);
        self.admit(pipe, frame, fate);
    }

    /// Where a packet's destination is; `None` where nobody has that address.
    fn address(&mut self, frame: &mut Frame) -> Option<()> {
        let to = destination(&frame.bytes)?;
        if let Some(host) = self.host_of(to) {
            (frame.to, frame.receiver) = (host.into(), host);
            return Some(());
        }
        let number = *self.outer.get(&to)?;
        frame.to = Node::Router(number);
        let inside = match (self.box_at(frame.to), glance(&frame.bytes)) {
            (Some(Running::Nat(nat)), Ok(packet)) => nat.inside(&packet).and_then(|ip| self.host_of(ip)),
            _ => None,
        };
        frame.receiver = inside.unwrap_or(frame.from);
        Some(())
    }

    fn ask_faults(&mut self, frame: &Frame) -> Verdict {
        let Ok(packet) = glance(&frame.bytes) else { return Verdict::Pass };
        let passing = Passing {
            now: self.now,
            from: frame.from,
            to: frame.receiver,
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
            Verdict::Pass | Verdict::Forge => {}
            Verdict::Drop => fate.lost = true,
            Verdict::Duplicate => fate.twice = true,
            Verdict::Delay(by) => fate.held = by,
            Verdict::Corrupt => fate.damage(self.rng.next_u64()),
        }
    }

    /// The next pipe on the way; where no link leads there, the world's default makes one between two hosts.
    fn way(&mut self, here: Node, to: Node) -> Option<PipeId> {
        if let Some(pipe) = self.graph.towards(here, to) {
            return Some(pipe);
        }
        match (here, to) {
            (Node::Host(_), Node::Host(_)) => Some(self.direct_pipe(here, to, self.default_link.clone())),
            _ => None,
        }
    }

    /// A packet enters a link.
    fn admit(&mut self, pipe: PipeId, frame: Carried, fate: Fate) {
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

    fn lose(&mut self, pipe: PipeId, lost: Lost<Carried>) {
        self.lost += 1;
        let Lost { item: frame, why, .. } = lost;
        self.observe(&frame, pipe, Sight::Lost(why));
        if why == Why::TooBig {
            self.report_too_big(pipe, &frame);
        }
        self.recycle(frame);
    }

    /// The router in front of the link answers, where it does.
    fn report_too_big(&mut self, pipe: PipeId, frame: &Frame) {
        let hop = self.pipes[pipe.0].hop();
        let Some(error) = too_big(hop, &frame.bytes) else { return };
        let (_, beyond) = self.graph.ends[pipe.0];
        let mut error = Box::new(Frame {
            bytes: error,
            from: frame.receiver,
            receiver: frame.from,
            to: frame.from.into(),
            number: 0,
            summed: true,
            damaged: false,
        });
        if self.address(&mut error).is_some()
            && let Some(back) = self.way(beyond, error.to)
        {
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
            Node::Router(router) => {
                while let Some(arrival) = self.pipes[pipe.0].pop(at) {
                    let frame = self.arrived(pipe, arrival);
                    if self.routers[router].is_some() {
                        self.process(router, !self.graph.back[pipe.0], frame);
                    } else {
                        self.forward(node, frame);
                    }
                }
                self.after(pipe);
            }
        }
    }

    fn forward(&mut self, here: Node, frame: Carried) {
        match self.way(here, frame.to) {
            Some(next) => {
                let fate = self.pipes[next.0].fate();
                self.admit(next, frame, fate);
            }
            None => self.recycle(frame),
        }
    }

    /// A packet passes a box, from its inner side or from its outer one.
    fn process(&mut self, router: usize, outward: bool, mut frame: Carried) {
        let Some(mut boxed) = self.routers[router].take() else { return self.recycle(frame) };
        if !frame.summed
            && let Ok(packet) = glance(&frame.bytes)
        {
            (frame.bytes, frame.summed) = (build(&packet), true);
        }
        let node = Node::Router(router);
        match parse(&frame.bytes) {
            Ok(packet) => {
                let mut out = Vec::new();
                boxed.running.pass(self.now, outward, packet, &mut out);
                self.routers[router] = Some(boxed);
                for packet in out {
                    self.emit(node, &packet, frame.from, frame.number);
                }
                self.recycle(frame);
            }
            Err(_) => {
                // Nobody can translate what nobody can read.
                let is_nat = matches!(boxed.running, Running::Nat(_)) && frame.to == node;
                self.routers[router] = Some(boxed);
                if is_nat { self.recycle(frame) } else { self.forward(node, frame) }
            }
        }
        self.schedule_box(router);
    }

    /// What a box sends, its own or somebody else's.
    fn emit(&mut self, here: Node, packet: &Pkt, from: HostId, number: u64) {
        let mut frame = self.spare.pop().unwrap_or_else(Frame::empty);
        frame.bytes = build(packet);
        let from = self.host_of(packet.ip.src).unwrap_or(from);
        (frame.from, frame.number, frame.summed, frame.damaged) = (from, number, true, false);
        match self.address(&mut frame) {
            Some(()) => self.forward(here, frame),
            None => self.recycle(frame),
        }
    }

    fn schedule_box(&mut self, router: usize) {
        if let Some(boxed) = &mut self.routers[router]
            && let Some(at) = boxed.running.next()
            && at < boxed.at
        {
            boxed.at = at;
            self.schedule(at, Source::Box(router));
        }
    }

    /// A box's time has come.
    pub(super) fn run_box(&mut self, router: usize) {
        let now = self.now;
        let mut out = Vec::new();
        if let Some(boxed) = &mut self.routers[router] {
            boxed.at = Instant::FAR_FUTURE;
            boxed.running.timeout(now, &mut out);
        }
        for packet in out {
            self.emit(Node::Router(router), &packet, HostId(0), 0);
        }
        self.schedule_box(router);
    }

    /// What the link did to the packet is done to its bytes.
    fn arrived(&mut self, pipe: PipeId, arrival: Arrival<Carried>) -> Carried {
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
            self.recycle(frame);
        }
        self.joining = joined;
        self.spare.truncate(SPARE);
        self.touch(host);
        self.pump(host);
    }

    fn hand_over(&mut self, host: HostId, frame: Carried, meta: PacketMeta) {
        let now = self.now;
        if let Some(checker) = &mut self.checker {
            checker.arrives(host, &frame.bytes);
        }
        self.hosts[host.0].stack.handle_packets(now, &[Packet { meta, ..Packet::borrowed(&frame.bytes) }]);
        self.recycle(frame);
        self.touch(host);
        self.pump(host);
    }

    fn recycle(&mut self, frame: Carried) {
        if self.spare.len() < SPARE {
            self.spare.push(frame);
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
            receiver: frame.receiver,
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

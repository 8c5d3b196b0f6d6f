//! One direction of a link at work.

use core::time::Duration;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use finack_core::Instant;

use super::{Dice, Ecn, Hop, LossState, Purpose, Server};
use crate::queue::{Discipline, Limit, Managed, Waiting};

/// What a pipe must know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Bytes of the IP packet.
    pub size: u32,
    /// Its ECN field.
    pub ecn: Ecn,
    /// Tells flows apart for queues that treat them separately.
    pub flow: u64,
}

/// Damage: one bit is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw(u64);

impl Flaw {
    /// Flips the bit.
    pub fn apply(self, bytes: &mut [u8]) {
        let bit = ((u128::from(self.0) * (bytes.len() as u128 * 8)) >> 64) as usize;
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What the chances of a link make of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fate {
    /// It is the n-th packet offered to the link, counted from 1.
    pub index: u64,
    /// It is lost.
    pub lost: bool,
    /// It arrives twice.
    pub twice: bool,
    /// It is held back this much; zero leaves it in order.
    pub held: Duration,
    /// It is damaged.
    pub flaw: Option<Flaw>,
}

impl Fate {
    /// Damages it; `roll` decides which bit.
    pub const fn damage(&mut self, roll: u64) {
        self.flaw = Some(Flaw(roll));
    }
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The wire lost it.
    Loss,
    /// The queue was full.
    Full,
    /// The queue dropped it to be shorter.
    Early,
    /// It is larger than the link's MTU.
    TooBig,
}

/// A packet that came out at the other end.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// The packet.
    pub item: T,
    /// When.
    pub at: Instant,
    /// Its ECN field now.
    pub ecn: Ecn,
    /// It was marked on this link.
    pub marked: bool,
    /// It is damaged.
    pub flaw: Option<Flaw>,
}

/// A packet that did not.
#[derive(Clone, Debug)]
pub struct Lost<T> {
    /// The packet.
    pub item: T,
    /// When it was dropped.
    pub at: Instant,
    /// Why.
    pub why: Why,
}

/// What a pipe has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipeStats {
    /// Packets offered to it.
    pub offered: u64,
    /// Packets that its rate let pass, and their bytes.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Packets that the wire lost.
    pub lost: u64,
    /// Packets dropped because the queue was full.
    pub full: u64,
    /// Packets dropped by the queue's management.
    pub early: u64,
    /// Packets that were too big.
    pub too_big: u64,
    /// Packets marked CE.
    pub marked: u64,
    /// Time that packets waited in the queue, all together.
    pub waited: Duration,
    /// The longest that one waited.
    pub longest_wait: Duration,
    /// Most bytes that waited at once.
    pub most_bytes: u64,
}

impl PipeStats {
    /// Packets that did not arrive, for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.lost + self.full + self.early + self.too_big
    }
}

#[derive(Clone, Debug)]
struct Flight<T> {
    at: Instant,
    item: T,
    ecn: Ecn,
    marked: bool,
    flaw: Option<Flaw>,
}

/// A packet in flight that keeps to no order but that of its time.
#[derive(Clone, Debug)]
struct Late<T> {
    sequence: u64,
    flight: Flight<T>,
}

impl<T> Late<T> {
    const fn key(&self) -> (Instant, u64) {
        (self.flight.at, self.sequence)
    }
}
impl<T> PartialEq for Late<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Late<T> {}
impl<T> PartialOrd for Late<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Late<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Packets that a plain queue holds, of which all is known when they come: when each is sent.
#[derive(Clone, Debug, Default)]
struct Plain {
    leaving: VecDeque<(Instant, u32)>,
    bytes: u64,
}

#[derive(Clone, Debug)]
enum Stage<T> {
    Plain(Plain),
    Managed(Managed<(T, Fate)>),
}

/// One direction of a link at work: packets are pushed in at one end and popped at the other, when their time has
/// come. Knows no clock: it is told the time, which must not go back.
#[derive(Clone, Debug)]
pub struct Pipe<T> {
    hop: Hop,
    dice: Dice,
    index: u64,
    loss: LossState,
    server: Server,
    stage: Stage<T>,
    flights: VecDeque<Flight<T>>,
    late: BinaryHeap<Reverse<Late<T>>>,
    sequence: u64,
    dropped: VecDeque<Lost<T>>,
    stats: PipeStats,
}

impl<T: Clone> Pipe<T> {
    /// A pipe that begins at `now`. `direction` tells the pipes of one seed apart, see [`Dice::new`].
    #[must_use]
    pub fn new(hop: Hop, seed: u64, direction: u64, now: Instant) -> Self {
        Self {
            dice: Dice::new(seed, direction),
            index: 0,
            loss: LossState::default(),
            server: Server::new(now),
            stage: hop.queue.managed(now).map_or_else(|| Stage::Plain(Plain::default()), Stage::Managed),
            hop,
            flights: VecDeque::new(),
            late: BinaryHeap::new(),
            sequence: 0,
            dropped: VecDeque::new(),
            stats: PipeStats::default(),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn hop(&self) -> &Hop {
        &self.hop
    }

    /// Makes it another link from now on. What is on the wire arrives as it would have; what waits in a queue stays where
    /// the new queue is of the same kind, else it is lost.
    pub fn set_hop(&mut self, hop: Hop, now: Instant) {
        self.advance(now);
        if hop.queue != self.hop.queue {
            while let Stage::Managed(managed) = &mut self.stage
                && let Some(packet) =
                    managed.pop(now, &mut |p| drop_one(&mut self.dropped, &mut self.stats, p, now))
            {
                drop_one(&mut self.dropped, &mut self.stats, packet, now);
            }
            self.stage =
                hop.queue.managed(now).map_or_else(|| Stage::Plain(Plain::default()), Stage::Managed);
        }
        self.hop = hop;
    }

    /// What it has done so far.
    #[must_use]
    pub const fn stats(&self) -> &PipeStats {
        &self.stats
    }

    /// Whether nothing is in it: neither waiting nor on the wire.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let waits = matches!(&self.stage, Stage::Managed(m) if !m.is_empty());
        self.flights.is_empty() && self.late.is_empty() && !waits
    }

    /// Packets and bytes in the queue at `now` (with the one that is being sent), and how long a packet that comes now
    /// would wait; of a managed queue, how long the oldest has waited.
    pub fn backlog(&mut self, now: Instant) -> (usize, u64, Duration) {
        self.advance(now);
        match &self.stage {
            Stage::Plain(plain) => (plain.leaving.len(), plain.bytes, self.server.free_at().since(now)),
            Stage::Managed(managed) => (managed.len(), managed.bytes(), managed.delay(now)),
        }
    }

    /// Draws what becomes of the next packet; to be followed by [`admit`](Self::admit).
    pub fn fate(&mut self) -> Fate {
        self.index += 1;
        let (index, dice, hop) = (self.index, self.dice, &self.hop);
        let lost = self.loss.loses(&hop.loss, dice, index);
        let takes =
            |chance: super::Chance, purpose| chance.as_ppm() != 0 && chance.takes(dice.roll(purpose, index));
        let held = match hop.reorder {
            held if !takes(held.share, Purpose::Reorder) => Duration::ZERO,
            held if held.at_most => Duration::from_nanos(
                // The same roll decides whether and how long: what is left of it is as good as another.
                dice.roll(Purpose::Reorder, index).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    % (held.by.as_nanos() as u64).max(1),
            ),
            held => held.by,
        };
        let flaw = takes(hop.corrupt, Purpose::Corrupt).then(|| Flaw(dice.roll(Purpose::Bit, index)));
        Fate { index, lost, twice: takes(hop.duplicate, Purpose::Duplicate), held, flaw }
    }

    /// Puts a packet in at `now`.
    ///
    /// # Errors
    /// The packet, where it is lost at once.
    pub fn push(&mut self, now: Instant, offer: Offer, item: T) -> Result<(), Lost<T>> {
        let fate = self.fate();
        self.admit(now, offer, item, fate)
    }

    /// Puts a packet in at `now` whose fate was drawn, or decided by somebody else.
    ///
    /// # Errors
    /// The packet, where it is lost at once.
    pub fn admit(&mut self, now: Instant, offer: Offer, item: T, fate: Fate) -> Result<(), Lost<T>> {
        self.stats.offered += 1;
        if offer.size as usize > self.hop.mtu {
            self.stats.too_big += 1;
            return Err(Lost { item, at: now, why: Why::TooBig });
        }
        if fate.lost {
            self.stats.lost += 1;
            return Err(Lost { item, at: now, why: Why::Loss });
        }
        let second = fate.twice.then(|| item.clone());
        self.enqueue(now, offer, item, fate)?;
        if let Some(second) = second
            && let Err(lost) = self.enqueue(now, offer, second, fate)
        {
            self.dropped.push_back(lost);
        }
        Ok(())
    }

    fn enqueue(&mut self, now: Instant, offer: Offer, item: T, fate: Fate) -> Result<(), Lost<T>> {
        self.advance(now);
        let full = match &mut self.stage {
            Stage::Plain(plain) => {
                let wait = self.server.free_at().since(now);
                if !plain.has_room(self.hop.queue.limit, wait, offer.size) {
                    Some(item)
                } else {
                    let marks = match self.hop.queue.discipline {
                        Discipline::Step(at) => offer.ecn.is_capable() && plain.exceeds(at, wait),
                        _ => false,
                    };
                    let ecn = if marks { Ecn::Ce } else { offer.ecn };
                    let sent = self.server.send(&self.hop.rate, now, offer.size + self.hop.overhead);
                    if sent > now {
                        plain.leaving.push_back((sent, offer.size));
                        plain.bytes += u64::from(offer.size);
                        self.stats.most_bytes = self.stats.most_bytes.max(plain.bytes);
                    }
                    let packet = Waiting { item: (item, fate), size: offer.size, ecn, since: now, flow: 0 };
                    self.launch(packet, wait, sent, marks);
                    None
                }
            }
            Stage::Managed(managed) => {
                let packet = Waiting {
                    item: (item, fate),
                    size: offer.size,
                    ecn: offer.ecn,
                    since: now,
                    flow: offer.flow,
                };
                let (dropped, stats) = (&mut self.dropped, &mut self.stats);
                let refused = managed.push(packet, &mut |p| drop_one(dropped, stats, p, now)).err();
                self.stats.most_bytes = self.stats.most_bytes.max(managed.bytes());
                self.serve(now, now);
                refused.map(|packet| packet.item.0)
            }
        };
        match full {
            None => Ok(()),
            Some(item) => {
                self.stats.full += 1;
                Err(Lost { item, at: now, why: Why::Full })
            }
        }
    }

    /// Does what was due until `now`.
    fn advance(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Plain(plain) => plain.advance(now),
            Stage::Managed(_) => self.serve(Instant::ZERO, now),
        }
    }

    /// Takes packets out of a managed queue as long as the sender is free until `now`; it never is before `from`.
    fn serve(&mut self, from: Instant, now: Instant) {
        loop {
            let Stage::Managed(managed) = &mut self.stage else { return };
            let at = self.server.free_at().max(from);
            if at > now || managed.is_empty() {
                return;
            }
            let (dropped, stats) = (&mut self.dropped, &mut self.stats);
            let Some(packet) = managed.pop(at, &mut |p| drop_one(dropped, stats, p, at)) else { return };
            let sent = self.server.send(&self.hop.rate, at, packet.size + self.hop.overhead);
            let wait = at.since(packet.since);
            let marked = packet.ecn == Ecn::Ce;
            self.launch(packet, wait, sent, marked);
        }
    }

    /// The packet's last bit is sent at `sent`: it is on the wire.
    fn launch(&mut self, packet: Waiting<(T, Fate)>, wait: Duration, sent: Instant, marked: bool) {
        let Waiting { item: (item, fate), size, ecn, .. } = packet;
        self.stats.sent += 1;
        self.stats.sent_bytes += u64::from(size);
        self.stats.marked += u64::from(marked);
        self.stats.waited += wait;
        self.stats.longest_wait = self.stats.longest_wait.max(wait);
        let mut at = sent + self.hop.delay;
        let jitter = self.hop.jitter;
        if jitter.most > Duration::ZERO {
            let most = jitter.most.as_nanos() as u64;
            at += Duration::from_nanos(self.dice.below(Purpose::Jitter, fate.index, most + 1));
        }
        let mut flight = Flight { at, item, ecn, marked, flaw: fate.flaw };
        if fate.held > Duration::ZERO || jitter.reorders {
            flight.at += fate.held;
            self.sequence += 1;
            self.late.push(Reverse(Late { sequence: self.sequence, flight }));
        } else {
            // The wire keeps the order, also where it became shorter meanwhile.
            flight.at = flight.at.max(self.flights.back().map_or(at, |last| last.at));
            self.flights.push_back(flight);
        }
    }

    /// When [`pop`](Self::pop) should be called next; `None` while nothing is in it. May be earlier than the next
    /// arrival, never later.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let first = self.flights.front().map(|f| f.at);
        let late = self.late.peek().map(|Reverse(late)| late.flight.at);
        let waits = match &self.stage {
            Stage::Managed(managed) if !managed.is_empty() => Some(self.server.free_at() + self.hop.delay),
            _ => None,
        };
        [first, late, waits].into_iter().flatten().min()
    }

    /// The next packet that has arrived until `now`; call until `None`.
    pub fn pop(&mut self, now: Instant) -> Option<Arrival<T>> {
        self.advance(now);
        let first = self.flights.front().map(|f| f.at);
        let late = self.late.peek().map(|Reverse(late)| late.flight.at);
        let flight = match (first, late) {
            (Some(first), late) if first <= now && late.is_none_or(|late| first <= late) => {
                self.flights.pop_front()?
            }
            (_, Some(late)) if late <= now => self.late.pop()?.0.flight,
            _ => return None,
        };
        let Flight { at, item, ecn, marked, flaw } = flight;
        Some(Arrival { item, at, ecn, marked, flaw })
    }

    /// The next packet that was dropped after it had been taken in: by the queue's management, or the second of two.
    pub fn pop_dropped(&mut self) -> Option<Lost<T>> {
        self.dropped.pop_front()
    }
}

fn drop_one<T>(
    dropped: &mut VecDeque<Lost<T>>,
    stats: &mut PipeStats,
    packet: Waiting<(T, Fate)>,
    at: Instant,
) {
    stats.early += 1;
    dropped.push_back(Lost { item: packet.item.0, at, why: Why::Early });
}

impl Plain {
    fn advance(&mut self, now: Instant) {
        while let Some(&(at, size)) = self.leaving.front()
            && at <= now
        {
            self.bytes -= u64::from(size);
            self.leaving.pop_front();
        }
    }

    /// Whether more than this is waiting.
    fn exceeds(&self, limit: Limit, wait: Duration) -> bool {
        limit.packets.is_some_and(|most| self.leaving.len() > most)
            || limit.bytes.is_some_and(|most| self.bytes > most)
            || limit.time.is_some_and(|most| wait > most)
    }

    fn has_room(&self, limit: Limit, wait: Duration, size: u32) -> bool {
        self.leaving.is_empty()
            || limit.packets.is_none_or(|most| self.leaving.len() < most)
                && limit.bytes.is_none_or(|most| self.bytes + u64::from(size) <= most)
                && limit.time.is_none_or(|most| wait <= most)
    }
}

#[cfg(test)]
mod tests;

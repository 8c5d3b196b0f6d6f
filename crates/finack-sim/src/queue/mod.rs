//! Queues in front of a link: plain ones, and those that manage their length.
//!
//! [`Queue`] says what a queue is; a [`Managed`] is one at work. None of them knows what a packet is but its size, its
//! ECN field and a number that tells flows apart.

mod codel;
mod dualpi2;
mod fq_codel;

use core::time::Duration;

use finack_core::Instant;

pub use codel::{CoDel, control_law};
pub use dualpi2::{DualPi2, Params};
pub use fq_codel::FqCoDel;

use crate::link::Ecn;

/// Bytes that an aggregate of packets is compared with where a full packet is meant.
pub const FULL_PACKET: u64 = 1500;

/// How long a queue may become; a packet that would exceed any of the three is dropped. The packet that is being sent
/// counts, and one packet always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limit {
    /// Packets.
    pub packets: Option<usize>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Time that a packet would wait; for managed queues the time that the oldest one has waited.
    pub time: Option<Duration>,
}

/// How a queue decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Discipline {
    /// First in, first out.
    #[default]
    Fifo,
    /// First in, first out; packets that arrive while more than this is waiting are marked (RFC 8257 3.1).
    Step(Limit),
    /// Controlled delay (RFC 8289).
    CoDel {
        /// Delay that may stay.
        target: Duration,
        /// For how long it may be exceeded: a round trip.
        interval: Duration,
    },
    /// A queue for each flow, with controlled delay (RFC 8290).
    FqCoDel {
        /// As for CoDel.
        target: Duration,
        /// As for CoDel.
        interval: Duration,
    },
    /// The dual queue for L4S and other traffic (RFC 9332, appendix A).
    DualPi2(Params),
}

impl Discipline {
    /// Sets one of its times by name: `target`, `interval` (CoDel and FQ-CoDel) or `rtt` (the dual queue).
    ///
    /// # Errors
    /// Where it has none of that name, or the time is zero.
    pub fn set(&mut self, name: &str, time: Duration) -> Result<(), String> {
        if time.is_zero() {
            return Err(format!("{name}:0 leaves no time: at least 1us"));
        }
        match (self, name) {
            (Self::CoDel { target, .. } | Self::FqCoDel { target, .. }, "target") => *target = time,
            (Self::CoDel { interval, .. } | Self::FqCoDel { interval, .. }, "interval") => *interval = time,
            (Self::DualPi2(params), "target") => params.target = time,
            (Self::DualPi2(params), "rtt") => params.rtt_max = time,
            _ => {
                return Err(format!(
                    "\"{name}\" means nothing to this queue: write it behind codel, fqcodel or dualpi2"
                ));
            }
        }
        Ok(())
    }
}

/// A queue in front of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How long it may become.
    pub limit: Limit,
    /// How it decides.
    pub discipline: Discipline,
    /// It marks packets that are ECN-capable where it would else drop them before it is full (RFC 3168 5).
    pub ecn: bool,
}

impl Default for Queue {
    /// A plain queue in which no packet waits for longer than 200 ms.
    fn default() -> Self {
        Self::time(Duration::from_millis(200))
    }
}

impl Queue {
    const fn limited(limit: Limit) -> Self {
        Self { limit, discipline: Discipline::Fifo, ecn: false }
    }

    /// A plain queue of so many packets.
    #[must_use]
    pub const fn packets(packets: usize) -> Self {
        Self::limited(Limit { packets: Some(packets), bytes: None, time: None })
    }

    /// A plain queue of so many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self::limited(Limit { packets: None, bytes: Some(bytes), time: None })
    }

    /// A plain queue in which a packet waits for so long at most.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self::limited(Limit { packets: None, bytes: None, time: Some(time) })
    }

    /// CoDel with the values of RFC 8289 4.5: 5 ms, 100 ms.
    #[must_use]
    pub const fn codel(self) -> Self {
        let discipline =
            Discipline::CoDel { target: Duration::from_millis(5), interval: Duration::from_millis(100) };
        Self { discipline, ..self }
    }

    /// A CoDel for each flow with the same values (RFC 8290).
    #[must_use]
    pub const fn fq_codel(self) -> Self {
        let discipline =
            Discipline::FqCoDel { target: Duration::from_millis(5), interval: Duration::from_millis(100) };
        Self { discipline, ..self }
    }

    /// A dual queue with the values of RFC 9332 appendix A; it marks.
    #[must_use]
    pub const fn dualpi2(self) -> Self {
        Self { discipline: Discipline::DualPi2(Params::DEFAULT), ecn: true, ..self }
    }

    /// Marks each packet that arrives while more than `at` is waiting (RFC 8257 3.1).
    #[must_use]
    pub const fn step(self, at: Limit) -> Self {
        Self { discipline: Discipline::Step(at), ecn: true, ..self }
    }

    /// Marks packets that are ECN-capable instead of dropping them early.
    #[must_use]
    pub const fn ecn(self) -> Self {
        Self { ecn: true, ..self }
    }

    /// A queue at work that decides when packets leave it; `None` for those that decide as they arrive.
    #[must_use]
    pub fn managed<T>(&self, now: Instant) -> Option<Managed<T>> {
        let discipline = match self.discipline {
            Discipline::Fifo | Discipline::Step(_) => return None,
            Discipline::CoDel { target, interval } => {
                Kind::CoDel(CoDel::new(target, interval, self.ecn), Fifo::default())
            }
            Discipline::FqCoDel { target, interval } => {
                Kind::FqCoDel(Box::new(FqCoDel::new(target, interval, self.ecn)))
            }
            Discipline::DualPi2(params) => Kind::DualPi2(Box::new(DualPi2::new(params, now))),
        };
        Some(Managed { limit: self.limit, kind: discipline })
    }
}

/// A packet that waits.
#[derive(Clone, Debug)]
pub struct Waiting<T> {
    /// The packet.
    pub item: T,
    /// Its bytes.
    pub size: u32,
    /// Its ECN field; a queue that marks makes it [`Ecn::Ce`].
    pub ecn: Ecn,
    /// When it came.
    pub since: Instant,
    /// Tells flows apart.
    pub flow: u64,
}

/// First in, first out.
#[derive(Clone, Debug)]
pub struct Fifo<T> {
    packets: std::collections::VecDeque<Waiting<T>>,
    bytes: u64,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { packets: std::collections::VecDeque::new(), bytes: 0 }
    }
}

impl<T> Fifo<T> {
    /// Packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts one at the end.
    pub fn push(&mut self, packet: Waiting<T>) {
        self.bytes += u64::from(packet.size);
        self.packets.push_back(packet);
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Waiting<T>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= u64::from(packet.size);
        Some(packet)
    }

    /// How long the oldest has waited; zero where there is none.
    #[must_use]
    pub fn delay(&self, now: Instant) -> Duration {
        self.packets.front().map_or(Duration::ZERO, |p| now.since(p.since))
    }
}

#[derive(Clone, Debug)]
enum Kind<T> {
    CoDel(CoDel, Fifo<T>),
    FqCoDel(Box<FqCoDel<T>>),
    DualPi2(Box<DualPi2<T>>),
}

/// A queue that decides when a packet leaves it: CoDel, flow queues and the dual queue.
#[derive(Clone, Debug)]
pub struct Managed<T> {
    limit: Limit,
    kind: Kind<T>,
}

impl<T> Managed<T> {
    /// Packets that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::CoDel(_, fifo) => fifo.len(),
            Kind::FqCoDel(fq) => fq.len(),
            Kind::DualPi2(dual) => dual.len(),
        }
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::CoDel(_, fifo) => fifo.bytes(),
            Kind::FqCoDel(fq) => fq.bytes(),
            Kind::DualPi2(dual) => dual.bytes(),
        }
    }

    /// How long the oldest packet has waited.
    #[must_use]
    pub fn delay(&self, now: Instant) -> Duration {
        match &self.kind {
            Kind::CoDel(_, fifo) => fifo.delay(now),
            Kind::FqCoDel(fq) => fq.delay(now),
            Kind::DualPi2(dual) => dual.delay(now),
        }
    }

    /// Whether a packet of `size` bytes fits at `now`.
    #[must_use]
    pub fn has_room(&self, now: Instant, size: u32) -> bool {
        let Limit { packets, bytes, time } = self.limit;
        self.is_empty()
            || packets.is_none_or(|most| self.len() < most)
                && bytes.is_none_or(|most| self.bytes() + u64::from(size) <= most)
                && time.is_none_or(|most| self.delay(now) <= most)
    }

    /// Puts a packet in. Where the queue is full, flow queues drop one of the flow that takes most room instead, which is
    /// handed to `dropped`.
    ///
    /// # Errors
    /// The packet itself, where the queue is full.
    pub fn push(
        &mut self,
        packet: Waiting<T>,
        dropped: &mut dyn FnMut(Waiting<T>),
    ) -> Result<(), Waiting<T>> {
        if !self.has_room(packet.since, packet.size) {
            let Kind::FqCoDel(fq) = &mut self.kind else { return Err(packet) };
            fq.shorten(dropped);
        }
        match &mut self.kind {
            Kind::CoDel(_, fifo) => fifo.push(packet),
            Kind::FqCoDel(fq) => fq.push(packet),
            Kind::DualPi2(dual) => dual.push(packet),
        }
        Ok(())
    }

    /// Takes the packet that is sent next; those that are dropped on the way to it are handed to `dropped`.
    pub fn pop(&mut self, now: Instant, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        match &mut self.kind {
            Kind::CoDel(codel, fifo) => codel.pop(fifo, now, dropped),
            Kind::FqCoDel(fq) => fq.pop(now, dropped),
            Kind::DualPi2(dual) => dual.pop(now, dropped),
        }
    }
}

#[cfg(test)]
mod tests;

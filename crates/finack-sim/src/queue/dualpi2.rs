//! The dual queue of RFC 9332 with the algorithm of its appendix A, DualPI2: one queue for scalable traffic (L4S), which
//! is marked early, one for all other, and a drop probability for the latter that is the square of what couples them.

use core::time::Duration;

use finack_core::Instant;

use super::{FULL_PACKET, Fifo, Waiting};
use crate::link::Ecn;

/// What RFC 9332 appendix A calls by these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Delay that the classic queue is kept at.
    pub target: Duration,
    /// Largest round trip expected (`RTT_max`).
    pub rtt_max: Duration,
    /// Coupling factor `k`.
    pub coupling: u32,
    /// Where marking of L4S packets begins (`minTh`).
    pub min_threshold: Duration,
    /// From there to where every packet is marked (`range`).
    pub range: Duration,
    /// Packets in the L4S queue up to which none is marked for its own delay (`Th_len`).
    pub min_packets: usize,
    /// Of so many packets that both queues want to send, one is classic: the weight of the round robin.
    pub classic_share: u32,
}

impl Params {
    /// The values of figure 2, and a weight of 1/16 for classic packets.
    pub const DEFAULT: Self = Self {
        target: Duration::from_millis(15),
        rtt_max: Duration::from_millis(100),
        coupling: 2,
        min_threshold: Duration::from_micros(800),
        range: Duration::from_micros(400),
        min_packets: 1,
        classic_share: 16,
    };

    /// How often the probability is computed (`Tupdate`).
    #[must_use]
    pub fn update_every(&self) -> Duration {
        self.target.min(self.rtt_max / 3)
    }
}

/// Probabilities are 32.32 fixed point here, so that every machine agrees: this is 1.
const ONE: u64 = 1 << 32;

/// A dual queue at work.
#[derive(Clone, Debug)]
pub struct DualPi2<T> {
    params: Params,
    l4s: Fifo<T>,
    classic: Fifo<T>,
    /// The base probability p'.
    base: u64,
    previous: Duration,
    next_update: Instant,
    l4s_count: u64,
    classic_count: u64,
    /// Bytes that the L4S queue may send before it is the classic one's turn; below 0 it is.
    credit: i64,
}

impl<T> DualPi2<T> {
    /// An empty one.
    #[must_use]
    pub fn new(params: Params, now: Instant) -> Self {
        Self {
            params,
            l4s: Fifo::default(),
            classic: Fifo::default(),
            base: 0,
            previous: Duration::ZERO,
            next_update: now + params.update_every(),
            l4s_count: 0,
            classic_count: 0,
            credit: 0,
        }
    }

    /// Packets that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.l4s.len() + self.classic.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.l4s.bytes() + self.classic.bytes()
    }

    /// How long the oldest packet has waited.
    #[must_use]
    pub fn delay(&self, now: Instant) -> Duration {
        self.l4s.delay(now).max(self.classic.delay(now))
    }

    /// The base probability p', from 0 to 1.
    #[must_use]
    pub fn base(&self) -> f64 {
        self.base as f64 / ONE as f64
    }

    /// The probability p_C with which classic packets are dropped or marked: p' squared.
    #[must_use]
    pub fn classic_probability(&self) -> f64 {
        self.p_c() as f64 / ONE as f64
    }

    /// The probability p_CL that is coupled to the L4S queue: k p', at most 1.
    #[must_use]
    pub fn coupled_probability(&self) -> f64 {
        self.p_cl().min(ONE) as f64 / ONE as f64
    }

    fn p_c(&self) -> u64 {
        ((u128::from(self.base) * u128::from(self.base)) >> 32) as u64
    }

    fn p_cl(&self) -> u64 {
        self.base.saturating_mul(u64::from(self.params.coupling))
    }

    /// Puts a packet into the queue that its ECN field asks for (figure 3): ECT(1) and CE are L4S.
    pub fn push(&mut self, packet: Waiting<T>) {
        self.update(packet.since);
        if packet.ecn.bits() & 1 == 1 { self.l4s.push(packet) } else { self.classic.push(packet) }
    }

    /// Takes the packet that is sent next (figure 7).
    pub fn pop(&mut self, now: Instant, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        self.update(now);
        loop {
            if self.is_empty() {
                self.credit = 0;
                return None;
            }
            let sent =
                if self.is_l4s_turn() { self.pop_l4s(now, dropped) } else { self.pop_classic(dropped) };
            if sent.is_some() {
                return sent;
            }
        }
    }

    /// Weighted round robin; the credit only changes while both want to send.
    fn is_l4s_turn(&mut self) -> bool {
        if self.classic.is_empty() || self.l4s.is_empty() {
            return self.classic.is_empty();
        }
        self.credit >= 0
    }

    fn spend(&mut self, l4s: bool, size: u32) {
        let contended = if l4s { !self.classic.is_empty() } else { !self.l4s.is_empty() };
        if contended {
            let weight = i64::from(self.params.classic_share.max(2)) - 1;
            self.credit += if l4s { -i64::from(size) } else { i64::from(size) * weight };
        }
    }

    fn pop_l4s(&mut self, now: Instant, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        let mut packet = self.l4s.pop()?;
        self.spend(true, packet.size);
        let coupled = self.p_cl();
        let likelihood = if coupled < ONE {
            let own = if self.l4s.len() + 1 > self.params.min_packets {
                self.native(now.since(packet.since))
            } else {
                0
            };
            own.max(coupled)
        } else {
            let likelihood = self.p_c();
            if recur(&mut self.l4s_count, likelihood) {
                dropped(packet);
                return None;
            }
            ONE
        };
        if recur(&mut self.l4s_count, likelihood) {
            packet.ecn = Ecn::Ce;
        }
        Some(packet)
    }

    fn pop_classic(&mut self, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        let mut packet = self.classic.pop()?;
        self.spend(false, packet.size);
        let likelihood = self.p_c();
        // Less than two packets are no queue worth controlling (appendix A.1, as Linux does).
        let short = self.bytes() + u64::from(packet.size) < 2 * FULL_PACKET;
        if !short && recur(&mut self.classic_count, likelihood) {
            let k = u64::from(self.params.coupling.max(1));
            if !packet.ecn.is_capable() || likelihood >= ONE / (k * k) {
                dropped(packet);
                return None;
            }
            packet.ecn = Ecn::Ce;
        }
        Some(packet)
    }

    /// The ramp of figure 5.
    fn native(&self, delay: Duration) -> u64 {
        let over = delay.saturating_sub(self.params.min_threshold).as_nanos();
        match self.params.range.as_nanos() {
            0 if over > 0 => ONE,
            0 => 0,
            range => (over.min(range) * u128::from(ONE) / range) as u64,
        }
    }

    /// The PI controller (figure 8), as often as it was due since.
    fn update(&mut self, now: Instant) {
        let every = self.params.update_every().max(Duration::from_micros(100));
        if now < self.next_update {
            return;
        }
        // Many updates in a row are due only where nothing came for long: the queue is what it is now.
        let due = 1 + now.since(self.next_update).as_nanos() / every.as_nanos();
        for _ in 0..due.min(1000) {
            self.update_once(now, every);
        }
        self.next_update += every * due.min(u128::from(u32::MAX)) as u32;
    }

    fn update_once(&mut self, now: Instant, every: Duration) {
        let current = self.classic.delay(now).max(self.l4s.delay(now));
        let nanos = |d: Duration| d.as_nanos() as i128;
        let rtt = nanos(self.params.rtt_max).max(1);
        // alpha = 0.1 Tupdate / RTT_max^2, beta = 0.3 / RTT_max, both per second of delay: in nanoseconds throughout.
        let error = nanos(current) - nanos(self.params.target);
        let change = nanos(current) - nanos(self.previous);
        let one = i128::from(ONE);
        let integral = one * nanos(every) * error / (10 * rtt * rtt);
        let proportional = 3 * one * change / (10 * rtt);
        let next = i128::from(self.base) + integral + proportional;
        self.base = next.clamp(0, one) as u64;
        self.previous = current;
    }
}

/// True with this likelihood, evenly spread instead of at random (figure 4).
fn recur(count: &mut u64, likelihood: u64) -> bool {
    *count += likelihood;
    if *count > ONE {
        *count -= ONE;
        return true;
    }
    false
}

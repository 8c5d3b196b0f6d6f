//! Controlled delay (RFC 8289).

use core::time::Duration;

use finack_core::Instant;

use super::{FULL_PACKET, Fifo, Waiting};
use crate::link::Ecn;

/// When to drop next: `INTERVAL / sqrt(count)` after `t` (RFC 8289 5.6), to the nanosecond.
#[must_use]
pub const fn control_law(t: Instant, interval: Duration, count: u32) -> Instant {
    // interval / sqrt(count) = sqrt(interval^2 / count), in integers so that every machine agrees.
    let interval = interval.as_nanos() as u64 as u128;
    let count = if count == 0 { 1 } else { count } as u128;
    Instant::from_nanos(t.as_nanos().saturating_add((interval * interval / count).isqrt() as u64))
}

/// The controller; the packets are in a [`Fifo`] of its owner's.
#[derive(Clone, Copy, Debug)]
pub struct CoDel {
    target: Duration,
    interval: Duration,
    ecn: bool,
    /// When the delay will have been above the target for an interval; `None` while it is below.
    first_above: Option<Instant>,
    drop_next: Instant,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl CoDel {
    /// A controller that keeps the delay at `target` and tolerates more for an `interval`; it marks what is ECN-capable
    /// with `ecn`.
    #[must_use]
    pub const fn new(target: Duration, interval: Duration, ecn: bool) -> Self {
        let drop_next = Instant::ZERO;
        Self { target, interval, ecn, first_above: None, drop_next, count: 0, last_count: 0, dropping: false }
    }

    /// Takes one out, and says whether it may be dropped (RFC 8289 5.6, `dodequeue`).
    fn take<T>(&mut self, fifo: &mut Fifo<T>, now: Instant) -> Option<(Waiting<T>, bool)> {
        let Some(packet) = fifo.pop() else {
            self.first_above = None;
            return None;
        };
        if now.since(packet.since) < self.target || fifo.bytes() <= FULL_PACKET {
            self.first_above = None;
            return Some((packet, false));
        }
        let may_drop = match self.first_above {
            None => {
                self.first_above = Some(now + self.interval);
                false
            }
            Some(at) => now >= at,
        };
        Some((packet, may_drop))
    }

    /// Takes the packet that is sent next (RFC 8289 5.5): those before it are dropped, or it is marked.
    pub fn pop<T>(
        &mut self,
        fifo: &mut Fifo<T>,
        now: Instant,
        dropped: &mut dyn FnMut(Waiting<T>),
    ) -> Option<Waiting<T>> {
        let mut taken = self.take(fifo, now);
        if self.dropping {
            self.dropping = matches!(taken, Some((_, true)));
            while self.dropping && now >= self.drop_next {
                let (packet, _) = taken?;
                self.count += 1;
                if let Some(marked) = self.marked(packet, dropped) {
                    self.drop_next = control_law(self.drop_next, self.interval, self.count);
                    return Some(marked);
                }
                taken = self.take(fifo, now);
                self.dropping = matches!(taken, Some((_, true)));
                if self.dropping {
                    self.drop_next = control_law(self.drop_next, self.interval, self.count);
                }
            }
        } else if let Some((packet, true)) = taken {
            self.begin(now);
            match self.marked(packet, dropped) {
                Some(marked) => return Some(marked),
                None => taken = self.take(fifo, now),
            }
        }
        taken.map(|(packet, _)| packet)
    }

    /// Enters the dropping state, at the rate of the last one where that is not long ago.
    fn begin(&mut self, now: Instant) {
        self.dropping = true;
        let delta = self.count - self.last_count;
        let recently = now.since(self.drop_next) < self.interval * 16;
        self.count = if delta > 1 && recently { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = control_law(now, self.interval, self.count);
    }

    /// Marks the packet where it may be, else drops it.
    fn marked<T>(&self, mut packet: Waiting<T>, dropped: &mut dyn FnMut(Waiting<T>)) -> Option<Waiting<T>> {
        if self.ecn && packet.ecn.is_capable() {
            packet.ecn = Ecn::Ce;
            return Some(packet);
        }
        dropped(packet);
        None
    }
}

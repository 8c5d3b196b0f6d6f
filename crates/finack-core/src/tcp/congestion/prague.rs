//! TCP Prague (draft-briscoe-iccrg-prague-congestion-control, RFC 9331 4.3): DCTCP made fit for the Internet's L4S queues.
//!
//! It is paced; it shares a queue evenly whatever the round trips; to losses, and to the marks of a queue that seems to be
//! a classic one, it responds as Reno does.

use super::dctcp::Alpha;
use super::{Control, Delivery, NewReno};

/// Shorter round trips count as this long, in microseconds: who has a shorter one would get more of the queue.
const LEAST_TRIP: u64 = 25_000;
/// A queue that marks and is longer than this, in microseconds, seems to be a classic one: those of L4S mark from a
/// millisecond on, classic ones (CoDel, PIE) from five on.
const LONG_QUEUE: u64 = 3_000;
/// Rounds with marks in such a queue, less those in a short one, from which on the response is classic; it is until none
/// is left of them. And the most that count.
const SUSPECT: u8 = 8;
const MOST_SUSPECT: u8 = 16;
/// Fractions of a byte in `credit`.
const FRACTION: u32 = 32;

/// The controller. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prague {
    reno: NewReno,
    alpha: Alpha,
    /// When alpha was updated last.
    averaged_at: u64,
    /// No other reduction for marks before this.
    hold_until: u64,
    /// When the last ACK came.
    now: u64,
    srtt: u32,
    /// How much speaks for a classic queue.
    suspicion: u8,
    classic: bool,
    /// A mark came before.
    marked: bool,
    /// Growth that did not make a byte yet.
    credit: u64,
}

impl Prague {
    pub(crate) const fn new(reno: NewReno) -> Self {
        Self {
            reno,
            alpha: Alpha::new(),
            averaged_at: 0,
            hold_until: 0,
            now: 0,
            srtt: 0,
            suspicion: 0,
            classic: false,
            marked: false,
            credit: 0,
        }
    }

    /// The round trip that control is about.
    fn trip(&self) -> u64 {
        u64::from(self.srtt).max(LEAST_TRIP)
    }

    /// Is the queue that marks a classic one? Judged by how long it is when it does (RFC 9331 4.3 point 3).
    fn judge(&mut self, d: &Delivery, marked: u64) {
        if marked == 0 {
            return;
        }
        let queue = u64::from(self.srtt).saturating_sub(d.min_rtt_us);
        self.suspicion = if queue > LONG_QUEUE {
            (self.suspicion + 1).min(MOST_SUSPECT)
        } else {
            self.suspicion.saturating_sub(1)
        };
        self.classic = self.suspicion >= SUSPECT || self.classic && self.suspicion > 0;
    }

    /// A segment a round trip, of those that are at least [`LEAST_TRIP`] long: by the square of the ratio less a real one.
    fn grow(&mut self, d: &Delivery, acked: u64) {
        let cwnd = self.reno.cwnd().max(1);
        let ratio = (u64::from(self.srtt) << 16) / self.trip();
        let share = (ratio * ratio).min(1 << FRACTION);
        let segments = u128::from(acked * d.mss) * u128::from(share) / u128::from(cwnd);
        self.credit += segments as u64;
        let grown = self.credit >> FRACTION;
        self.credit &= (1 << FRACTION) - 1;
        self.reno.set_cwnd(cwnd + grown);
    }
}

impl Control for Prague {
    fn cwnd(&self) -> u64 {
        self.reno.cwnd()
    }

    fn ssthresh(&self) -> u64 {
        self.reno.ssthresh()
    }

    fn on_delivery(&mut self, d: &Delivery) {
        self.now = d.now.as_micros();
        self.srtt = u32::try_from(d.srtt_us).unwrap_or(u32::MAX);
        let due = self.now >= self.averaged_at + self.trip();
        if let Some(marked) = self.alpha.on_delivery(d, due) {
            self.averaged_at = self.now;
            self.judge(d, marked);
        }
    }

    fn on_ack(&mut self, d: &Delivery) {
        if self.classic || self.reno.cwnd() < self.reno.ssthresh() {
            self.reno.on_ack(d);
        } else if d.cwnd_limited || d.used * 4 >= self.reno.cwnd() * 3 {
            // Paced, the last of a window leaves when the first is acknowledged: it is in use although it is never full.
            // What was marked does not count.
            self.grow(d, d.acked.saturating_sub(d.ce));
        }
    }

    fn on_ecn(&mut self, in_flight: u64, mss: u64) {
        if self.now < self.hold_until {
            return;
        }
        self.hold_until = self.now + self.trip();
        if self.classic {
            self.reno.on_ecn(in_flight, mss);
            return;
        }
        if !core::mem::replace(&mut self.marked, true) {
            // The first one ends slow start, and as DCTCP's it halves the window.
            self.alpha.restart();
        }
        self.reno.reduce_to(self.alpha.reduced(self.reno.cwnd()), mss);
    }

    fn reduces_at_once(&self) -> bool {
        !self.classic
    }

    fn pacing_rate(&self) -> Option<u64> {
        if self.srtt == 0 {
            return None;
        }
        let cwnd = self.reno.cwnd();
        // A window that doubles in a round trip leaves at twice the speed.
        let gain = if cwnd < self.reno.ssthresh() { 2 } else { 1 };
        Some(cwnd * gain * 1_000_000 / u64::from(self.srtt))
    }

    fn on_loss(&mut self, in_flight: u64, mss: u64) {
        self.reno.on_loss(in_flight, mss);
    }

    fn on_recovered(&mut self) {
        self.reno.on_recovered();
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.reno.set_cwnd(cwnd);
    }

    fn settle_at(&mut self, window: u64, mss: u64) {
        self.reno.settle_at(window, mss);
    }

    fn on_timeout(&mut self, in_flight: u64, mss: u64) {
        self.reno.on_timeout(in_flight, mss);
    }

    fn on_idle(&mut self, rtos: u32, initial: u64) {
        self.reno.on_idle(rtos, initial);
    }

    fn on_mss_change(&mut self, mss: u64) {
        self.reno.on_mss_change(mss);
    }
}

#[cfg(test)]
mod tests;

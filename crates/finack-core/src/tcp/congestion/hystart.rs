//! HyStart++ (RFC 9406): slow start ends when round trips grow longer, not when the queue overflows.

use super::Delivery;

/// RFC 9406 4.3: samples that make a round's minimum worth something.
const SAMPLES: u8 = 8;
/// Least and greatest growth of the round trip that counts, in microseconds.
const LEAST_RISE: u32 = 4_000;
const MOST_RISE: u32 = 16_000;
/// The divisor of growth in conservative slow start, and the rounds that it lasts.
const DIVISOR: u64 = 4;
const CONSERVATIVE_ROUNDS: u8 = 5;

/// Rounds of slow start. Times in microseconds, `u32::MAX` for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    /// The round ends once so much was delivered.
    round_end: u64,
    last_min: u32,
    this_min: u32,
    samples: u8,
    /// Rounds of conservative slow start that are left, while it is under way.
    conservative: Option<u8>,
    /// The round's minimum when that began.
    baseline: u32,
}

impl HyStart {
    pub(super) const fn new() -> Self {
        Self {
            round_end: 0,
            last_min: u32::MAX,
            this_min: u32::MAX,
            samples: 0,
            conservative: None,
            baseline: u32::MAX,
        }
    }

    /// Takes an ACK in the first slow start; whether that is over.
    pub(super) fn on_ack(&mut self, d: &Delivery) -> bool {
        let mut over = false;
        if d.delivered >= self.round_end {
            self.round_end = d.delivered + d.in_flight.saturating_sub(d.acked);
            self.last_min = self.this_min;
            self.this_min = u32::MAX;
            self.samples = 0;
            if let Some(left) = &mut self.conservative {
                *left = left.saturating_sub(1);
                over = *left == 0;
            }
        }
        let Some(rtt) = d.rtt else { return over };
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 1);
        self.this_min = self.this_min.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < SAMPLES {
            return over;
        }
        if self.conservative.is_none() {
            if self.last_min == u32::MAX {
                return over;
            }
            let rise = (self.last_min / 8).clamp(LEAST_RISE, MOST_RISE);
            if self.this_min >= self.last_min.saturating_add(rise) {
                self.baseline = self.this_min;
                self.conservative = Some(CONSERVATIVE_ROUNDS);
            }
        } else if self.this_min < self.baseline {
            // It was no queue after all: slow start goes on.
            self.conservative = None;
            self.baseline = u32::MAX;
        }
        over
    }

    /// By how much `acked` bytes let the window grow.
    pub(super) const fn growth(&self, acked: u64) -> u64 {
        if self.conservative.is_some() { acked / DIVISOR } else { acked }
    }
}

//! CUBIC (RFC 9438): after a loss the window grows along a cubic curve towards where the loss was, levels off there,
//! and then looks for more.
//!
//! All of it in whole numbers: bytes, milliseconds, and fractions of a thousand.

use alloc::boxed::Box;

use super::hystart::HyStart;
use super::{Control, Delivery, Sending};

/// RFC 9438 4.6: what is left of the window after a loss, in thousandths.
const BETA: u64 = 700;
/// RFC 9438 4.3: growth a round trip of the window that Reno would have, in thousandths: 3 (1 - beta) / (1 + beta).
const ALPHA: u64 = 529;
/// No window is larger: scaling allows a gigabyte.
const MOST: u64 = 1 << 30;

/// The controller. Windows in bytes, which 32 bits hold.
#[derive(Clone, Debug)]
pub(crate) struct Cubic {
    cwnd: u32,
    /// `u32::MAX` before the first loss.
    ssthresh: u32,
    hystart: HyStart,
    /// Not before the first slow start is over, in which many connections live and die.
    curve: Option<Box<Curve>>,
}

/// What congestion avoidance needs.
#[derive(Clone, Copy, Debug, Default)]
struct Curve {
    /// W_max: where the curve levels off.
    w_max: u32,
    /// cwnd_prior: the window before the last loss.
    prior: u32,
    /// W_est: the window that Reno would have.
    w_est: u32,
    /// K, in milliseconds: when the curve reaches W_max.
    k: u32,
    /// When this stage of congestion avoidance began, in milliseconds; 0 until its first ACK.
    epoch: u64,
    /// When the last ACK came, in milliseconds.
    last_ack: u64,
    /// Growth that did not make a byte yet, in bytes times the window.
    credit: u64,
    /// Growth of W_est that did not make a byte yet, in bytes times the window.
    est_credit: u64,
    /// A recovery has ended, and its stage has not begun.
    recovered: bool,
}

/// The largest number whose cube is at most `n`.
fn cube_root(n: u64) -> u64 {
    let mut root = 0_u64;
    for bit in (0..=21).rev() {
        let next = root | 1 << bit;
        if next.checked_pow(3).is_some_and(|cube| cube <= n) {
            root = next;
        }
    }
    root
}

fn window(bytes: u64) -> u32 {
    bytes.min(MOST) as u32
}

impl Cubic {
    pub(crate) fn new(initial: u64) -> Self {
        Self { cwnd: window(initial), ssthresh: u32::MAX, hystart: HyStart::new(), curve: None }
    }

    /// Bytes that it has elsewhere.
    pub(super) fn heap_memory(&self) -> usize {
        self.curve.as_ref().map_or(0, |_| size_of::<Curve>())
    }

    fn curve(&mut self) -> &mut Curve {
        self.curve.get_or_insert_default()
    }

    /// The next stage of congestion avoidance begins with the next ACK.
    fn end_stage(&mut self) {
        if let Some(curve) = &mut self.curve {
            curve.epoch = 0;
        }
    }

    /// One that goes on where another controller left off.
    pub(crate) fn resuming(cwnd: u64, ssthresh: u64) -> Self {
        let ssthresh = if ssthresh == u64::MAX { u32::MAX } else { window(ssthresh) };
        Self { ssthresh, ..Self::new(cwnd) }
    }

    /// In slow start, and less than half of the window is used: it does not grow (RFC 7661 in spirit).
    #[inline]
    pub(super) const fn is_unused(&self, used: u64) -> bool {
        self.cwnd < self.ssthresh && used.saturating_mul(2) <= self.cwnd as u64
    }

    fn avoid_congestion(&mut self, d: &Delivery, acked: u64) {
        let (now, srtt) = (d.now.as_millis(), d.srtt_us / 1000);
        if !d.cwnd_limited {
            self.skip_to(now);
            return;
        }
        let (cwnd, curve) = (self.cwnd, self.curve.get_or_insert_default());
        curve.last_ack = now;
        if curve.epoch == 0 {
            curve.begin(cwnd, now, srtt, d.mss);
            curve.credit = 0;
        }
        let t = now.saturating_sub(curve.epoch);
        curve.estimate_reno(cwnd, d.mss, acked);
        if curve.window_at(t, d.mss) < u64::from(curve.w_est) {
            // RFC 9438 4.3: where Reno would be faster, as fast as Reno.
            self.cwnd = cwnd.max(curve.w_est);
            return;
        }
        let cwnd = u64::from(cwnd).max(1);
        // RFC 9438 4.4, 4.5: a round trip later the window is to be where the curve then is.
        let target = curve.window_at(t + srtt, d.mss).clamp(cwnd, cwnd + cwnd / 2);
        curve.credit += (target - cwnd) * acked;
        let grown = curve.credit / cwnd;
        curve.credit %= cwnd;
        self.cwnd = window(cwnd + grown);
    }

    /// RFC 9438 4.2, 5.8: the time since the last ACK, in which the application did not use the window, does not count.
    fn skip_to(&mut self, now: u64) {
        let Some(curve) = &mut self.curve else { return };
        if curve.epoch != 0 {
            curve.epoch += now.saturating_sub(curve.last_ack);
        }
        curve.last_ack = now;
    }

    /// RFC 9438 4.6, 4.7.
    fn reduce(&mut self, in_flight: u64, mss: u64) {
        let cwnd = self.cwnd;
        self.curve().reduce(cwnd, mss);
        self.ssthresh = window((in_flight.min(u64::from(cwnd)) * BETA / 1000).max(2 * mss));
    }
}

impl Curve {
    /// RFC 9438 4.2: congestion avoidance begins (again). After a recovery it began when the window was reduced, but no
    /// longer ago than a round trip: the curve does not wait for the repair, which the response function of RFC 9438 5
    /// does not know either, and after a long one it does not jump.
    fn begin(&mut self, cwnd: u32, now: u64, srtt: u64, mss: u64) {
        let lead = if core::mem::take(&mut self.recovered) { srtt } else { 0 };
        self.epoch = now.saturating_sub(lead).max(1);
        self.w_est = cwnd;
        self.est_credit = 0;
        if cwnd >= self.w_max {
            self.w_max = cwnd;
            self.k = 0;
        } else {
            // K = cubic root of (W_max - cwnd) / C with C = 0.4 segments a second cubed.
            let segments = u64::from(self.w_max - cwnd) * 2_500 / mss.max(1);
            self.k = cube_root(segments * 1_000_000) as u32;
        }
    }

    /// W_cubic at `t` milliseconds of the stage (RFC 9438 4.2, figure 1).
    fn window_at(&self, t: u64, mss: u64) -> u64 {
        let from_k = i128::from(t) - i128::from(self.k);
        let grown = from_k.pow(3) * i128::from(mss) * 4 / 10_000_000_000;
        let window = grown + i128::from(self.w_max);
        u64::try_from(window.max(0)).unwrap_or(MOST).min(MOST)
    }

    /// RFC 9438 4.3: W_est grows by alpha segments for each window acknowledged, and by one once it is back where the
    /// loss was.
    fn estimate_reno(&mut self, cwnd: u32, mss: u64, acked: u64) {
        let alpha = if self.w_est >= self.prior { 1000 } else { ALPHA };
        let per = u64::from(cwnd).max(1) * 1000;
        self.est_credit += acked * mss * alpha;
        self.w_est = window(u64::from(self.w_est) + self.est_credit / per);
        self.est_credit %= per;
    }

    /// RFC 9438 4.6, 4.7: where the curve levels off after a loss at a window of `cwnd`.
    fn reduce(&mut self, cwnd: u32, mss: u64) {
        self.prior = cwnd;
        // Fast convergence: who loses below the last maximum makes room for others. Windows are compared in segments, as
        // the RFC has them: where the path is the same, losses at the same place differ by bytes.
        let segments = |bytes: u32| u64::from(bytes) / mss.max(1);
        self.w_max = if segments(cwnd) < segments(self.w_max) {
            window(u64::from(cwnd) * (1000 + BETA) / 2000)
        } else {
            cwnd
        };
        self.epoch = 0;
        self.recovered = false;
    }
}

impl Control for Cubic {
    fn cwnd(&self) -> u64 {
        u64::from(self.cwnd)
    }

    fn ssthresh(&self) -> u64 {
        if self.ssthresh == u32::MAX { u64::MAX } else { u64::from(self.ssthresh) }
    }

    fn on_ack(&mut self, d: &Delivery) {
        if self.is_unused(d.used) {
            return;
        }
        let mut acked = d.acked;
        if self.cwnd < self.ssthresh {
            if self.ssthresh == u32::MAX && self.hystart.on_ack(d) {
                // RFC 9406 4.2: the queue grows; congestion avoidance before it overflows.
                self.ssthresh = self.cwnd;
                self.curve().prior = self.cwnd;
            }
            let room = u64::from(self.ssthresh.saturating_sub(self.cwnd));
            let grown = acked.min(room);
            self.cwnd = window(u64::from(self.cwnd) + self.hystart.growth(grown));
            acked -= grown;
            if let Some(curve) = &mut self.curve {
                curve.last_ack = d.now.as_millis();
            }
        }
        if acked > 0 {
            self.avoid_congestion(d, acked);
        }
    }

    fn on_loss(&mut self, in_flight: u64, mss: u64) {
        self.reduce(in_flight, mss);
        self.cwnd = self.ssthresh;
    }

    fn on_ecn(&mut self, in_flight: u64, mss: u64) {
        self.reduce(in_flight, mss);
        // RFC 9438 4.6: down to one segment, where a loss leaves two.
        let left = in_flight.min(u64::from(self.cwnd)) * BETA / 1000;
        self.cwnd = window(left.max(mss));
    }

    fn on_sent(&mut self, sending: &Sending) {
        if sending.in_flight == 0 {
            self.skip_to(sending.now.as_millis());
        }
    }

    fn on_recovered(&mut self) {
        if self.ssthresh != u32::MAX {
            self.cwnd = self.ssthresh;
        }
        self.curve().recovered = true;
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.cwnd = window(cwnd);
    }

    fn settle_at(&mut self, bytes: u64, mss: u64) {
        self.cwnd = window(bytes.max(mss));
        self.ssthresh = window(bytes.max(2 * mss));
    }

    fn on_timeout(&mut self, in_flight: u64, mss: u64) {
        self.reduce(in_flight, mss);
        // RFC 9438 4.8: the next stage of congestion avoidance begins on its plateau.
        self.curve().w_max = 0;
        self.cwnd = window(mss);
    }

    fn on_idle(&mut self, rtos: u32, initial: u64) {
        let restart = window(initial).min(self.cwnd);
        // RFC 5681 4.1, softened as Linux does: half for each RTO, never below the restart window.
        if self.ssthresh != u32::MAX {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        }
        self.cwnd = (self.cwnd >> rtos.min(31)).max(restart);
        self.end_stage();
    }

    fn on_mss_change(&mut self, mss: u64) {
        self.cwnd = self.cwnd.max(window(mss));
        // K counts segments.
        self.end_stage();
    }
}

#[cfg(test)]
mod tests;

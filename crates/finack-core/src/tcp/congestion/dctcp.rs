//! DCTCP (RFC 8257): the window goes down by half of the share that was marked, not by half, for queues that mark early.
//! But for marks it is NewReno.

use super::{Control, Delivery, NewReno};

/// DCTCP.Alpha of a path on which all is marked, and the shift of the gain: g = 1/16 (RFC 8257 4.2).
const ALL: u32 = 1 << 16;
const GAIN_SHIFT: u32 = 4;

/// A moving average of the share of bytes that were marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alpha {
    /// In parts of 65536.
    value: u32,
    /// Bytes of this observation window: acknowledged, and marked of them.
    acked: u64,
    marked: u64,
    /// The window ends once so much was delivered.
    end: u64,
}

impl Alpha {
    /// RFC 8257 3.3: 1 at first.
    pub(super) const fn new() -> Self {
        Self { value: ALL, acked: 0, marked: 0, end: 0 }
    }

    /// As if all had been marked so far.
    pub(super) const fn restart(&mut self) {
        self.value = ALL;
    }

    /// RFC 8257 3.3 steps 1 to 8, in the arithmetic of 4.2; the observation window does not end before it is `due`. Whether
    /// it did, and how much was marked in it.
    pub(super) fn on_delivery(&mut self, d: &Delivery, due: bool) -> Option<u64> {
        self.acked += d.newly_delivered;
        self.marked += d.ce.min(d.newly_delivered);
        if d.delivered < self.end || self.acked == 0 || !due {
            return None;
        }
        let share = (u64::from(ALL) * self.marked / self.acked) as u32;
        if self.value >> GAIN_SHIFT == 0 {
            self.value = 0;
        }
        self.value = (self.value + (share >> GAIN_SHIFT) - (self.value >> GAIN_SHIFT)).min(ALL);
        self.end = d.delivered + d.still_in_flight;
        self.acked = 0;
        Some(core::mem::take(&mut self.marked))
    }

    /// `window` less half of the share (RFC 8257 3.3 step 9).
    pub(super) const fn reduced(&self, window: u64) -> u64 {
        window - window * self.value as u64 / (2 * ALL as u64)
    }
}

/// The controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dctcp {
    reno: NewReno,
    alpha: Alpha,
}

impl Dctcp {
    pub(crate) const fn new(reno: NewReno) -> Self {
        Self { reno, alpha: Alpha::new() }
    }
}

impl Control for Dctcp {
    fn cwnd(&self) -> u64 {
        self.reno.cwnd()
    }

    fn ssthresh(&self) -> u64 {
        self.reno.ssthresh()
    }

    fn on_ack(&mut self, delivery: &Delivery) {
        self.reno.on_ack(delivery);
    }

    fn on_delivery(&mut self, delivery: &Delivery) {
        self.alpha.on_delivery(delivery, true);
    }

    fn on_ecn(&mut self, _in_flight: u64, mss: u64) {
        let reduced = self.alpha.reduced(self.reno.cwnd());
        self.reno.reduce_to(reduced, mss);
    }

    fn reduces_at_once(&self) -> bool {
        true
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
mod tests {
    use super::super::testing::delivery;
    use super::*;

    const MSS: u64 = 1000;

    /// A round trip in which each `marked` of a hundred segments came back marked.
    fn round(c: &mut Dctcp, delivered: &mut u64, marked: u64) {
        for n in 0..100 {
            *delivered += MSS;
            let ce = if n < marked { MSS } else { 0 };
            c.on_delivery(&Delivery { delivered: *delivered, ce, ..delivery(MSS, 100 * MSS, MSS) });
        }
    }

    /// RFC 8257 3.3: DCTCP.Alpha is 1 at first, so that the first mark halves the window.
    #[test]
    fn the_first_mark_halves() {
        let mut c = Dctcp::new(NewReno::new(100 * MSS));
        c.on_ecn(100 * MSS, MSS);
        assert_eq!((c.cwnd(), c.ssthresh()), (50 * MSS, 50 * MSS));
    }

    /// RFC 8257 3.3 step 6: the average goes to the share that is marked by a sixteenth of the way a round trip, and the
    /// window goes down by half of it.
    #[test]
    fn the_window_goes_down_by_half_of_the_share() {
        let mut c = Dctcp::new(NewReno::new(100 * MSS));
        let mut delivered = 0;
        round(&mut c, &mut delivered, 20);
        round(&mut c, &mut delivered, 20);
        let share = |c: &Dctcp| f64::from(c.alpha.value) / 65536.0;
        let before = share(&c);
        round(&mut c, &mut delivered, 20);
        assert!((share(&c) - (before * 15.0 + 0.2) / 16.0).abs() < 0.001, "{} after {before}", share(&c));
        for _ in 0..100 {
            round(&mut c, &mut delivered, 20);
        }
        assert!((share(&c) - 0.2).abs() < 0.01, "{}", share(&c));
        c.on_ecn(100 * MSS, MSS);
        assert!((c.cwnd() as i64 - 90_000).abs() < 500, "{}", c.cwnd());
    }

    /// RFC 8257 4.2: it can reach 0, and never more than 1.
    #[test]
    fn the_average_reaches_both_ends() {
        let mut c = Dctcp::new(NewReno::new(100 * MSS));
        let mut delivered = 0;
        for _ in 0..400 {
            round(&mut c, &mut delivered, 0);
        }
        assert_eq!(c.alpha.value, 0);
        c.on_ecn(100 * MSS, MSS);
        assert_eq!(c.cwnd(), 100 * MSS);
        for _ in 0..400 {
            round(&mut c, &mut delivered, 100);
        }
        assert!((ALL - 16..=ALL).contains(&c.alpha.value), "{}", c.alpha.value);
    }

    /// RFC 8257 3.5: a loss halves the window whatever the marks say, and a time-out leaves one segment.
    #[test]
    fn losses_are_renos() {
        let mut c = Dctcp::new(NewReno::new(100 * MSS));
        let mut delivered = 0;
        for _ in 0..400 {
            round(&mut c, &mut delivered, 0);
        }
        c.on_loss(100 * MSS, MSS);
        assert_eq!((c.cwnd(), c.ssthresh()), (50 * MSS, 50 * MSS));
        c.on_timeout(50 * MSS, MSS);
        assert_eq!((c.cwnd(), c.ssthresh()), (MSS, 25 * MSS));
    }
}

//! NewReno's window (RFC 5681, RFC 6582, with RFC 3465's counting of bytes).

use super::{Control, Delivery};

/// The controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReno {
    cwnd: u64,
    ssthresh: u64,
    /// Bytes acknowledged in congestion avoidance that did not yet make a segment of growth.
    credit: u64,
}

impl NewReno {
    pub(crate) const fn new(initial: u64) -> Self {
        Self { cwnd: initial, ssthresh: u64::MAX, credit: 0 }
    }

    /// One that goes on where another controller left off.
    pub(crate) const fn resuming(cwnd: u64, ssthresh: u64) -> Self {
        Self { cwnd, ssthresh, credit: 0 }
    }

    /// In slow start, and less than half of the window is used: it does not grow (RFC 7661 in spirit).
    #[inline]
    pub(super) const fn is_unused(&self, used: u64) -> bool {
        self.cwnd < self.ssthresh && used.saturating_mul(2) <= self.cwnd
    }

    /// Marks leave so much of the window; slow start is over.
    pub(super) fn reduce_to(&mut self, window: u64, mss: u64) {
        self.cwnd = window.max(mss);
        self.ssthresh = window.max(2 * mss);
        self.credit = 0;
    }
}

impl Control for NewReno {
    fn cwnd(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }

    fn on_ack(&mut self, d: &Delivery) {
        if self.is_unused(d.used) {
            return;
        }
        let mut acked = d.acked;
        if self.cwnd < self.ssthresh {
            let room = self.ssthresh - self.cwnd;
            let grown = acked.min(room);
            self.cwnd += grown;
            acked -= grown;
        }
        if acked == 0 || !d.cwnd_limited {
            return;
        }
        // RFC 5681 3.1 (3), RFC 3465 2.1: one segment for each window acknowledged. The part of a segment that a halved
        // window may end with carries nothing: it must not make a round trip of two.
        let whole = (self.cwnd / d.mss * d.mss).max(d.mss);
        self.credit += acked;
        if self.credit >= whole {
            let segments = self.credit / whole;
            self.credit %= whole;
            self.cwnd += segments * d.mss;
        }
    }

    fn on_loss(&mut self, in_flight: u64, mss: u64) {
        // RFC 5681 3.1 (4), 3.2 step 2: what limited transmit let out beyond the window does not count.
        self.ssthresh = (in_flight.min(self.cwnd) / 2).max(2 * mss);
        self.cwnd = self.ssthresh;
        self.credit = 0;
    }

    fn on_ecn(&mut self, in_flight: u64, mss: u64) {
        let half = in_flight.min(self.cwnd) / 2;
        self.on_loss(in_flight, mss);
        // RFC 3168 6.1.2: down to one segment, where a loss leaves two.
        self.cwnd = half.max(mss);
    }

    fn on_recovered(&mut self) {
        if self.ssthresh != u64::MAX {
            self.cwnd = self.ssthresh;
        }
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.cwnd = cwnd;
    }

    fn settle_at(&mut self, window: u64, mss: u64) {
        self.reduce_to(window, mss);
    }

    fn on_timeout(&mut self, in_flight: u64, mss: u64) {
        self.ssthresh = (in_flight / 2).max(2 * mss);
        self.cwnd = mss;
        self.credit = 0;
    }

    fn on_idle(&mut self, rtos: u32, initial: u64) {
        let restart = initial.min(self.cwnd);
        // RFC 5681 4.1, softened as Linux does: half for each RTO, never below the restart window.
        self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        self.cwnd = (self.cwnd >> rtos.min(63)).max(restart);
    }

    fn on_mss_change(&mut self, mss: u64) {
        self.cwnd = self.cwnd.max(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1000;

    fn delivery(acked: u64, in_flight: u64) -> Delivery {
        super::super::testing::delivery(acked, in_flight, MSS)
    }

    /// RFC 5681 3.1: slow start doubles each round trip, congestion avoidance adds a segment.
    #[test]
    fn growth_doubles_and_then_adds() {
        let mut c = NewReno::new(10 * MSS);
        c.on_ack(&delivery(10 * MSS, 10 * MSS));
        assert_eq!(c.cwnd(), 20 * MSS);
        c.on_loss(20 * MSS, MSS);
        assert_eq!((c.cwnd(), c.ssthresh()), (10 * MSS, 10 * MSS));
        for _ in 0..10 {
            c.on_ack(&delivery(MSS, 10 * MSS));
        }
        assert_eq!(c.cwnd(), 11 * MSS);
    }

    /// RFC 5681 3.1 (4) and 3.1 end: after a time-out one segment, threshold half the flight and at least two.
    #[test]
    fn a_time_out_starts_again_from_one_segment() {
        let mut c = NewReno::new(10 * MSS);
        c.on_timeout(3 * MSS, MSS);
        assert_eq!((c.cwnd(), c.ssthresh()), (MSS, 2 * MSS));
    }

    /// RFC 5681 3.1: a segment each round trip, also where half a window was no whole number of segments.
    #[test]
    fn a_window_with_a_part_of_a_segment_grows_as_fast() {
        let mut c = NewReno::new(5 * MSS);
        c.on_loss(5 * MSS, MSS);
        assert_eq!(c.cwnd(), 2 * MSS + MSS / 2);
        for expected in [3, 4, 5] {
            let whole = c.cwnd() / MSS * MSS;
            c.on_ack(&delivery(whole, whole));
            assert_eq!(c.cwnd() / MSS, expected);
        }
    }

    /// A sender that does not use its window does not earn a larger one.
    #[test]
    fn an_unused_window_does_not_grow() {
        let mut c = NewReno::new(10 * MSS);
        c.on_ack(&delivery(2 * MSS, 2 * MSS));
        assert_eq!(c.cwnd(), 10 * MSS);
    }

    /// RFC 3168 6.1.2: a mark halves the window, as a loss does, but down to one segment.
    #[test]
    fn marks_take_the_window_down_to_one_segment() {
        let mut c = NewReno::new(8 * MSS);
        for expected in [4, 2, 1, 1] {
            c.on_ecn(c.cwnd(), MSS);
            assert_eq!((c.cwnd(), c.ssthresh()), (expected * MSS, expected.max(2) * MSS));
        }
    }

    /// RFC 5681 4.1: idleness shrinks the window, not below the initial one.
    #[test]
    fn idleness_decays_to_the_initial_window() {
        let mut c = NewReno::new(80 * MSS);
        c.on_idle(2, 10 * MSS);
        assert_eq!(c.cwnd(), 20 * MSS);
        c.on_idle(50, 10 * MSS);
        assert_eq!(c.cwnd(), 10 * MSS);
    }
}

//! Congestion window validation (RFC 7661): an application that pauses or sends little keeps its window for a while, and a
//! loss takes it back to what was really used.

use alloc::boxed::Box;
use core::time::Duration;

use crate::settings::Settings;
use crate::time::Instant;

/// Parts of the sampling period (RFC 7661 4.5.1).
const PARTS: u32 = 5;
/// How long a window that is not used is kept (4.4, the NVP).
const KEPT: Duration = Duration::from_secs(300);

/// What is known of how much of the window is used. Bytes.
#[derive(Clone, Debug)]
pub(crate) struct Validation {
    /// The most that was acknowledged in a round trip, in each part of the sampling period, the latest last.
    samples: [u64; PARTS as usize],
    /// When the latest part began.
    part_at: Instant,
    /// There is a sample since the connection or the last recovery began.
    measured: bool,
    /// What was delivered when the round trip began that is being measured, and when it ends.
    round: (u64, u64),
    /// Since when less than half of the window is used.
    unused_since: Option<Instant>,
    /// max(pipeACK, LossFlightSize) of the recovery under way, and what had been sent again before it.
    loss: Option<(u64, u64)>,
}

impl Validation {
    /// One, where the settings ask for it.
    pub(crate) fn wanted(settings: &Settings, now: Instant) -> Option<Box<Self>> {
        (settings.tcp_cwnd_validation == 1).then(|| Box::new(Self::new(now)))
    }

    const fn new(now: Instant) -> Self {
        Self {
            samples: [0; PARTS as usize],
            part_at: now,
            measured: false,
            round: (0, 0),
            unused_since: None,
            loss: None,
        }
    }

    /// What is older than max(3 RTT, 1 s) is forgotten (4.2).
    fn forget(&mut self, now: Instant, srtt: Duration) {
        let part = (srtt * 3).max(Duration::from_secs(1)) / PARTS;
        let passed = now.since(self.part_at).as_nanos() / part.as_nanos().max(1);
        if passed > 0 {
            let gone = passed.min(u128::from(PARTS)) as usize;
            self.samples.rotate_left(gone);
            self.samples[PARTS as usize - gone..].fill(0);
            self.part_at = now;
        }
    }

    /// pipeACK; `None` while it is undefined.
    fn pipe(&self) -> Option<u64> {
        self.samples.iter().copied().max().filter(|_| self.measured)
    }

    /// An ACK came outside of recovery: `delivered` bytes in all so far, `in_flight` still out.
    pub(crate) fn on_ack(&mut self, now: Instant, srtt: Duration, delivered: u64, in_flight: u64, cwnd: u64) {
        self.forget(now, srtt);
        if delivered >= self.round.1 {
            let sample = delivered - self.round.0;
            if self.round.1 > 0 {
                let latest = &mut self.samples[PARTS as usize - 1];
                *latest = (*latest).max(sample);
                self.measured = true;
            }
            self.round = (delivered, delivered + in_flight);
        }
        self.judge(now, cwnd);
    }

    /// 4.3: not validated is a window of which less than half is used.
    fn judge(&mut self, now: Instant, cwnd: u64) {
        let unused = self.pipe().is_some_and(|pipe| pipe < cwnd / 2);
        self.unused_since = unused.then(|| self.unused_since.unwrap_or(now));
    }

    /// Recovery begins with `flight` bytes out, `repeated` having been sent again before. What ssthresh is a share of, where
    /// the window is not validated (4.4.1).
    pub(crate) fn on_loss(
        &mut self,
        now: Instant,
        srtt: Duration,
        flight: u64,
        cwnd: u64,
        repeated: u64,
    ) -> Option<u64> {
        self.forget(now, srtt);
        self.judge(now, cwnd);
        let base = self.pipe().filter(|_| self.unused_since.is_some())?.max(flight);
        self.loss = Some((base, repeated));
        Some(base)
    }

    /// Recovery is over: what is left of `ssthresh` when what was sent again counts as too much (4.4.1).
    pub(crate) fn on_recovered(&mut self, now: Instant, ssthresh: u64, repeated: u64) -> Option<u64> {
        let loss = self.loss;
        *self = Self::new(now);
        let (base, before) = loss?;
        let too_much = repeated.saturating_sub(before).min(base);
        Some((u128::from(ssthresh) * u128::from(base - too_much) / u128::from(base.max(1))) as u64)
    }

    /// A time-out, or a recovery that was none: nothing is known.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Something is sent after a pause: how often the window was kept for as long as it may be (4.4.3).
    pub(crate) fn on_resume(&mut self, now: Instant, last_sent: Instant) -> u32 {
        if !self.measured {
            return 0;
        }
        let since = self.unused_since.unwrap_or(last_sent);
        let times = now.since(since).as_secs() / KEPT.as_secs();
        if times > 0 {
            self.unused_since = Some(now);
        }
        u32::try_from(times).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRTT: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(1000 + ms)
    }

    /// A sender that has so many bytes acknowledged in each of ten round trips, of a window of 100 000.
    fn using(bytes: u64) -> Validation {
        let mut v = Validation::new(at(0));
        for n in 0..10 {
            v.on_ack(at(100 * n), SRTT, bytes * (n + 1), bytes, 100_000);
        }
        v
    }

    /// RFC 7661 4.3, 4.4.1: who uses half of the window has a valid one, and a loss is answered as ever.
    #[test]
    fn a_used_window_is_valid() {
        let mut v = using(50_000);
        assert_eq!(v.on_loss(at(1000), SRTT, 50_000, 100_000, 0), None);
        assert_eq!(v.on_recovered(at(1100), 35_000, 0), None);
    }

    /// RFC 7661 4.4.1: cwnd = (max(pipeACK, LossFlightSize) - R) / 2, and pipeACK is undefined then.
    #[test]
    fn a_loss_takes_an_unused_window_back() {
        let mut v = using(20_000);
        assert_eq!(v.on_loss(at(1000), SRTT, 5_000, 100_000, 3_000), Some(20_000));
        assert_eq!(v.on_recovered(at(1100), 10_000, 7_000), Some(8_000));
        assert_eq!(v.pipe(), None);
        let mut v = using(20_000);
        assert_eq!(v.on_loss(at(1000), SRTT, 30_000, 100_000, 0), Some(30_000));
    }

    /// RFC 7661 4.1, 4.2: undefined at first, which leaves the window valid.
    #[test]
    fn nothing_is_known_at_first() {
        let mut v = Validation::new(at(0));
        assert_eq!(v.on_loss(at(10), SRTT, 1_000, 100_000, 0), None);
        assert_eq!(v.on_resume(at(1_000_000), at(0)), 0);
    }

    /// RFC 7661 4.2: the largest sample of the last second counts, and no older one.
    #[test]
    fn samples_are_forgotten() {
        let mut v = using(60_000);
        v.on_ack(at(1100), SRTT, 700_000, 1_000, 100_000);
        v.on_ack(at(1200), SRTT, 701_000, 1_000, 100_000);
        assert_eq!(v.pipe(), Some(100_000));
        for n in 1..30 {
            v.on_ack(at(1200 + n * 100), SRTT, 701_000 + n * 1_000, 1_000, 100_000);
        }
        assert_eq!(v.pipe(), Some(1_000));
        assert!(v.unused_since.is_some());
    }

    /// RFC 7661 4.4.3: the window is halved once for each five minutes in which it was not used.
    #[test]
    fn a_window_is_kept_for_five_minutes() {
        let mut v = using(20_000);
        assert_eq!(v.on_resume(at(299_000), at(1000)), 0);
        assert_eq!(v.on_resume(at(302_000), at(1000)), 1);
        assert_eq!(v.on_resume(at(303_000), at(1000)), 0);
        assert_eq!(using(60_000).on_resume(at(950_000), at(1000)), 3);
    }
}

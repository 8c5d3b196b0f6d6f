//! Delivery rate: how many bytes reach the peer in a second (draft-ietf-ccwg-bbr 4.1).
//!
//! A sample spans from when a unit was sent to when it was acknowledged, over the longer of the times that its
//! flight took to leave and that its acknowledgements took to come: neither bursts of data nor bursts of ACKs make
//! the rate look higher than it is.

use core::time::Duration;

use super::send::SentState;
use crate::time::Instant;

/// A second in nanoseconds.
const SECOND: u128 = 1_000_000_000;

/// What an ACK tells of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    /// Bytes delivered in the interval (`RS.delivered`).
    pub(crate) delivered: u64,
    /// Never zero (`RS.interval`).
    pub(crate) interval: Duration,
    /// Bytes that had been delivered in all when the unit was sent (`RS.prior_delivered`).
    pub(crate) prior_delivered: u64,
    /// There was nothing more to send then: the path might carry more.
    pub(crate) app_limited: bool,
    /// Bytes in flight once the unit was sent, itself included (`RS.tx_in_flight`).
    pub(crate) in_flight: u64,
    /// Bytes taken for lost since (`RS.lost`).
    pub(crate) lost: u64,
}

impl RateSample {
    /// A sample at the ACK that made it `delivered` bytes in all, with `lost` the bytes lost so far (of which 32 bits
    /// count). `None` where no time went by, or less than a round trip can take (4.1.2.3 of the draft): such an ACK
    /// answers something that was sent before.
    pub(crate) fn take(
        delivered: u64,
        lost: u32,
        now: Instant,
        unit: &SentState,
        min_rtt: Duration,
    ) -> Option<Self> {
        let sending = unit.sent_at.since(unit.first_sent_at);
        let acking = now.since(unit.delivered_at);
        let interval = sending.max(acking);
        (!interval.is_zero() && interval >= min_rtt).then(|| Self {
            delivered: delivered.saturating_sub(unit.delivered),
            interval,
            prior_delivered: unit.delivered,
            app_limited: unit.app_limited,
            in_flight: u64::from(unit.in_flight),
            lost: u64::from(lost.wrapping_sub(unit.lost)),
        })
    }

    /// Bytes a second.
    pub(crate) fn rate(&self) -> u64 {
        let nanos = self.interval.as_nanos().max(1);
        u64::try_from(u128::from(self.delivered) * SECOND / nanos).unwrap_or(u64::MAX)
    }
}

/// The latest rate that was measured, for `tcp_info`. In one word: the highest bit says that it was limited by the
/// application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateSeen(u64);

const LIMITED: u64 = 1 << 63;

impl RateSeen {
    /// As Linux: a sample that the application limited is news only where it shows more than was known.
    pub(crate) fn note(&mut self, sample: &RateSample) {
        let rate = sample.rate().min(LIMITED - 1);
        if !sample.app_limited || rate >= self.bytes_per_second() {
            self.0 = rate | if sample.app_limited { LIMITED } else { 0 };
        }
    }

    /// 0 before the first sample.
    pub(crate) const fn bytes_per_second(self) -> u64 {
        self.0 & !LIMITED
    }

    pub(crate) const fn is_app_limited(self) -> bool {
        self.0 & LIMITED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: SentState = SentState {
        sent_at: Instant::from_millis(10),
        delivered: 0,
        delivered_at: Instant::ZERO,
        first_sent_at: Instant::ZERO,
        in_flight: 3000,
        lost: u32::MAX,
        app_limited: false,
    };

    fn take(now_ms: u64, min_rtt_ms: u64) -> Option<RateSample> {
        let now = Instant::from_millis(now_ms);
        RateSample::take(1_000_000, 999, now, &UNIT, Duration::from_millis(min_rtt_ms))
    }

    /// draft-ietf-ccwg-bbr 4.1.1.2: a megabyte that left within 10 ms and was acknowledged over 100 ms moved at 10 MB/s,
    /// not at 100.
    #[test]
    fn the_slower_of_both_directions_counts() {
        let sample = take(100, 90).unwrap();
        assert_eq!((sample.rate(), sample.in_flight, sample.lost), (10_000_000, 3000, 1000));
    }

    /// draft-ietf-ccwg-bbr 4.1.2.3: what seems to take less than a round trip tells nothing.
    #[test]
    fn less_than_a_round_trip_is_no_sample() {
        assert_eq!(take(100, 101), None);
        let unit = SentState { sent_at: Instant::ZERO, ..UNIT };
        assert_eq!(RateSample::take(1, 0, Instant::ZERO, &unit, Duration::ZERO), None);
    }

    /// As Linux's `tcp_rate_gen`: a pause of the application does not make the path look slow.
    #[test]
    fn what_the_application_limits_shows_no_lower_rate() {
        let mut seen = RateSeen::default();
        let sample = take(100, 0).unwrap();
        seen.note(&sample);
        seen.note(&RateSample { delivered: 1000, app_limited: true, ..sample });
        assert_eq!((seen.bytes_per_second(), seen.is_app_limited()), (10_000_000, false));
        seen.note(&RateSample { delivered: 2_000_000, app_limited: true, ..sample });
        assert_eq!((seen.bytes_per_second(), seen.is_app_limited()), (20_000_000, true));
        seen.note(&RateSample { delivered: 1000, ..sample });
        assert_eq!((seen.bytes_per_second(), seen.is_app_limited()), (10_000, false));
    }
}

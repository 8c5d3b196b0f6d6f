//! Delivery rate: how many bytes reach the peer in a second (draft-ietf-ccwg-bbr 4.1).
//!
//! A sample spans from when a unit was sent to when it was acknowledged, over the longer of the times that its
//! flight took to leave and that its acknowledgements took to come: neither bursts of data nor bursts of ACKs make
//! the rate look higher than it is.

use core::cmp::Ordering;

use super::send::SentState;
use crate::time::Instant;

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What an ACK tells of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    /// Bytes delivered in the interval (`RS.delivered`).
    pub(crate) delivered: u64,
    /// In nanoseconds, never zero (`RS.interval`).
    pub(crate) nanos: u64,
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
    /// count). `None` where no time went by, or less than a round trip can take (4.1.2.3 of the draft), `min_rtt_us`
    /// microseconds: such an ACK answers something that was sent before.
    #[inline]
    pub(crate) fn take(
        delivered: u64,
        lost: u32,
        now: Instant,
        unit: &SentState,
        min_rtt_us: u64,
    ) -> Option<Self> {
        let sending = unit.sent_at.nanos_since(unit.first_sent_at);
        let acking = now.nanos_since(unit.delivered_at);
        let nanos = sending.max(acking);
        (nanos > 0 && nanos >= min_rtt_us.saturating_mul(1_000)).then(|| Self {
            delivered: delivered.saturating_sub(unit.delivered),
            nanos,
            prior_delivered: unit.delivered,
            app_limited: unit.app_limited,
            in_flight: u64::from(unit.in_flight),
            lost: u64::from(lost.wrapping_sub(unit.lost)),
        })
    }

    /// Bytes a second.
    pub(crate) fn rate(&self) -> u64 {
        match self.delivered.checked_mul(SECOND) {
            Some(scaled) => scaled / self.nanos.max(1),
            // More than 18 GB in a sample.
            None => {
                let rate = u128::from(self.delivered) * u128::from(SECOND) / u128::from(self.nanos.max(1));
                u64::try_from(rate).unwrap_or(u64::MAX)
            }
        }
    }

    /// How [`rate`](Self::rate) compares with `rate`, without a division.
    fn compare(&self, rate: u64) -> Ordering {
        let scaled = u128::from(self.delivered) * u128::from(SECOND);
        let nanos = u128::from(self.nanos.max(1));
        if scaled < u128::from(rate) * nanos {
            Ordering::Less
        } else if scaled < (u128::from(rate) + 1) * nanos {
            Ordering::Equal
        } else {
            Ordering::Greater
        }
    }
}

/// The latest rate that was measured, for `tcp_info`. In one word: the highest bit says that it was limited by the
/// application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateSeen(u64);

const LIMITED: u64 = 1 << 63;

impl RateSeen {
    /// As Linux: a sample that the application limited is news only where it shows more than was known.
    #[inline]
    pub(crate) fn note(&mut self, sample: &RateSample) {
        let known = self.bytes_per_second();
        let order = sample.compare(known);
        if sample.app_limited && order == Ordering::Less {
            return;
        }
        // A division at each ACK would cost more than all else here.
        let rate = if order == Ordering::Equal { known } else { sample.rate().min(LIMITED - 1) };
        self.0 = rate | if sample.app_limited { LIMITED } else { 0 };
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
        RateSample::take(1_000_000, 999, now, &UNIT, min_rtt_ms * 1000)
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
        assert_eq!(RateSample::take(1, 0, Instant::ZERO, &unit, 0), None);
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

    /// Comparing says what dividing says, at the edges too.
    #[test]
    fn rates_are_compared_as_if_they_were_divided() {
        let sample = |delivered, nanos| RateSample { delivered, nanos, ..take(100, 0).unwrap() };
        for (delivered, nanos) in
            [(0, 1), (1, 1), (1, 3), (1448, 10_000), (7, 999_999_999), (u64::MAX, 1), (1 << 40, 7)]
        {
            let s = sample(delivered, nanos);
            let rate = s.rate();
            for near in [rate.saturating_sub(1), rate, rate.saturating_add(1), 0, u64::MAX - 1] {
                // What no u64 holds is told as the largest.
                if rate < u64::MAX {
                    assert_eq!(s.compare(near), rate.cmp(&near), "{delivered} bytes in {nanos} ns, {near}");
                }
            }
        }
    }
}

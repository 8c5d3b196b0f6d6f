//! Delivery rate: how many bytes reach the peer in a second.
//!
//! A sample spans from when a unit was sent to when it was acknowledged, over the longer of the times that its
//! flight took to leave and that its acknowledgements took to come: neither bursts of data nor bursts of ACKs make
//! the rate look higher than it is.

use crate::tcp::send::SentState;
use crate::time::Instant;

/// The latest sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSample {
    pub(crate) bytes_per_second: u64,
    /// There was nothing more to send: the path might carry more.
    pub(crate) app_limited: bool,
}

impl RateSample {
    /// A sample at the ACK that made it `delivered` bytes in all; `None` where no time went by.
    pub(crate) fn take(delivered: u64, now: Instant, unit: &SentState) -> Option<Self> {
        let sending = unit.sent_at.since(unit.first_sent_at);
        let acking = now.since(unit.delivered_at);
        let interval = sending.max(acking).as_nanos();
        let bytes = u128::from(delivered.saturating_sub(unit.delivered));
        let bytes_per_second =
            u64::try_from((bytes * 1_000_000_000).checked_div(interval)?).unwrap_or(u64::MAX);
        Some(Self { bytes_per_second, app_limited: unit.app_limited })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A megabyte that left within 10 ms and was acknowledged over 100 ms moved at 10 MB/s, not at 100.
    #[test]
    fn the_slower_of_both_directions_counts() {
        let unit = SentState {
            sent_at: Instant::from_millis(10),
            delivered: 0,
            delivered_at: Instant::ZERO,
            first_sent_at: Instant::ZERO,
            app_limited: false,
        };
        let sample = RateSample::take(1_000_000, Instant::from_millis(100), &unit);
        assert_eq!(sample.map(|s| s.bytes_per_second), Some(10_000_000));
        assert_eq!(RateSample::take(1, Instant::ZERO, &SentState { sent_at: Instant::ZERO, ..unit }), None);
    }
}

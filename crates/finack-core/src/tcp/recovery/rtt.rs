//! Round-trip time and retransmission time-out (RFC 6298).

use core::time::Duration;

use crate::settings::{Profile, Settings};
use crate::time::Instant;

/// RFC 6298 2.1: before the first sample.
const INITIAL_RTO_US: u64 = 1_000_000;
/// RFC 6298 2.4, which Linux lowers to `tcp_rto_min_us`.
const RFC_MIN_RTO_US: u64 = 1_000_000;

/// The estimator. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    srtt: u32,
    rttvar: u32,
    min: u32,
    /// When the least was measured, in whole seconds.
    min_at: u32,
    rto: u32,
}

impl Rtt {
    pub(crate) const fn new() -> Self {
        Self { srtt: 0, rttvar: 0, min: u32::MAX, min_at: 0, rto: INITIAL_RTO_US as u32 }
    }

    /// Takes a sample in nanoseconds; Karn's rule is the caller's.
    pub(crate) fn sample(&mut self, rtt_nanos: u64, now: Instant, settings: &Settings) {
        let sample = (rtt_nanos / 1000).clamp(1, u64::from(u32::MAX / 16)) as u32;
        // RFC 8985 6.2 step 1: a path that became longer is known after a while.
        let seconds = (now.as_nanos() / 1_000_000_000) as u32;
        let age = u64::from(seconds.saturating_sub(self.min_at));
        if sample <= self.min || age > settings.tcp_min_rtt_wlen {
            self.min = sample;
            self.min_at = seconds;
        }
        if self.srtt == 0 {
            self.srtt = sample;
            self.rttvar = sample / 2;
        } else {
            // RFC 6298 2.3: alpha = 1/8, beta = 1/4; the variation first, with the old mean.
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(sample) / 4;
            self.srtt = self.srtt - self.srtt / 8 + sample / 8;
            self.srtt = self.srtt.max(1);
        }
        self.update(settings);
    }

    fn update(&mut self, settings: &Settings) {
        let max = settings.tcp_rto_max_ms * 1000;
        let (srtt, four_var) = (u64::from(self.srtt), u64::from(self.rttvar) * 4);
        let rto = match settings.profile {
            // Linux adds the floor to the mean, so that a steady path keeps some slack.
            Profile::Linux => srtt + four_var.max(settings.tcp_rto_min_us),
            // RFC 6298 2.3, with a clock of one microsecond, and 2.4.
            Profile::Rfc => (srtt + four_var.max(1)).max(RFC_MIN_RTO_US),
        };
        self.rto = rto.min(max) as u32;
    }

    /// Forgets when the least round trip was measured.
    pub(crate) const fn forget_age(&mut self) {
        self.min_at = 0;
    }

    /// RFC 6298 5.7: data after a SYN that had to be sent again starts with 3 seconds, unless a sample came since.
    pub(crate) fn after_lost_syn(&mut self) {
        if self.srtt == 0 {
            self.rto = 3_000_000;
        }
    }

    /// The time-out stays doubled `backoff` times until the next sample.
    pub(crate) fn keep_backed_off(&mut self, backoff: u32, settings: &Settings) {
        self.rto = self.backed_off_us(backoff, settings) as u32;
    }

    /// The time-out without back-off, except what stays of one until the next sample.
    pub(crate) const fn base(&self) -> Duration {
        Duration::from_micros(self.rto as u64)
    }

    /// The time-out doubled `backoff` times, within the settings' maximum (RFC 6298 5.5).
    pub(crate) fn backed_off(&self, backoff: u32, settings: &Settings) -> Duration {
        Duration::from_micros(self.backed_off_us(backoff, settings))
    }

    /// The same in microseconds.
    pub(crate) fn backed_off_us(&self, backoff: u32, settings: &Settings) -> u64 {
        let doubled = u64::from(self.rto) << backoff.min(24);
        doubled.min(settings.tcp_rto_max_ms * 1000)
    }

    /// [`base`](Self::base) in microseconds.
    pub(crate) const fn base_us(&self) -> u64 {
        self.rto as u64
    }

    /// SRTT in microseconds; 0 before the first sample.
    pub(crate) const fn srtt_us(&self) -> u64 {
        self.srtt as u64
    }

    /// [`min`](Self::min) in microseconds; 0 before the first sample.
    pub(crate) const fn min_us(&self) -> u64 {
        if self.min == u32::MAX { 0 } else { self.min as u64 }
    }

    /// SRTT, if there was a sample.
    pub(crate) const fn srtt(&self) -> Option<Duration> {
        if self.srtt == 0 { None } else { Some(Duration::from_micros(self.srtt as u64)) }
    }

    pub(crate) const fn rttvar(&self) -> Duration {
        Duration::from_micros(self.rttvar as u64)
    }

    pub(crate) const fn min(&self) -> Duration {
        Duration::from_micros(self.min_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A millisecond in nanoseconds.
    const MS: u64 = 1_000_000;

    fn linux() -> Settings {
        Settings::default()
    }

    /// RFC 6298 2.1 to 2.3.
    #[test]
    fn the_estimator_follows_the_formulas() {
        let (mut rtt, mut settings) = (Rtt::new(), linux());
        settings.profile = Profile::Rfc;
        assert_eq!(rtt.base(), Duration::from_secs(1));
        rtt.sample(800 * MS, Instant::ZERO, &settings);
        assert_eq!((rtt.srtt, rtt.rttvar, rtt.rto), (800_000, 400_000, 2_400_000));
        rtt.sample(400 * MS, Instant::ZERO, &settings);
        assert_eq!((rtt.srtt, rtt.rttvar, rtt.rto), (750_000, 400_000, 2_350_000));
    }

    /// RFC 6298 2.4: at least a second; Linux: at least 200 ms above the mean.
    #[test]
    fn the_floor_depends_on_the_profile() {
        let (mut a, mut b, mut rfc) = (Rtt::new(), Rtt::new(), linux());
        rfc.profile = Profile::Rfc;
        for _ in 0..50 {
            a.sample(10 * MS, Instant::ZERO, &linux());
            b.sample(10 * MS, Instant::ZERO, &rfc);
        }
        assert_eq!(a.base().as_millis(), 210);
        assert_eq!(b.base(), Duration::from_secs(1));
    }

    /// RFC 6298 4: on a path that never varies the RTO stays above the mean, with either profile.
    #[test]
    fn a_steady_path_keeps_the_granularity() {
        for profile in [Profile::Linux, Profile::Rfc] {
            let (mut rtt, settings) = (Rtt::new(), Settings { profile, ..linux() });
            for _ in 0..1000 {
                rtt.sample(2000 * MS, Instant::ZERO, &settings);
            }
            assert_eq!(rtt.srtt(), Some(Duration::from_secs(2)));
            assert!(rtt.base() > Duration::from_secs(2), "{profile:?}: {:?}", rtt.base());
        }
    }

    /// RFC 8985 6.2 step 1: the least round trip of the last five minutes, not of all times.
    #[test]
    fn the_least_round_trip_is_forgotten() {
        let mut rtt = Rtt::new();
        let mut sample = |ms, at| {
            rtt.sample(ms * MS, Instant::from_secs(at), &linux());
            rtt.min().as_millis()
        };
        assert_eq!([sample(50, 1), sample(10, 2), sample(80, 302), sample(80, 303)], [50, 10, 10, 80]);
    }

    /// RFC 6298 5.5: each time-out doubles, up to the maximum.
    #[test]
    fn back_off_doubles_up_to_the_maximum() {
        let rtt = Rtt::new();
        let rto = |n| rtt.backed_off(n, &linux()).as_secs();
        assert_eq!([rto(0), rto(1), rto(2), rto(6), rto(7), rto(60)], [1, 2, 4, 64, 120, 120]);
    }
}

//! How large a receive buffer a connection needs: twice what its application reads in a round trip, and more while that
//! grows (Linux's dynamic right-sizing).

use core::time::Duration;

use crate::tcp::seq::Pos;
use crate::time::Instant;

/// Kept while a connection reads in bulk.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    /// The round trip as the receiver sees it.
    rtt: Option<Duration>,
    /// A window's worth of data ends here that began to come at `window_at`.
    window_end: Pos,
    window_at: Instant,
    /// The timestamp echo that the last sample was taken from.
    last_echo: u32,
    /// Bytes read in the last round trip that was measured.
    space: u64,
    /// Where the application stood when this round trip began, and when that was.
    read_from: Pos,
    read_at: Instant,
}

/// What a round trip of reading comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// It is not over.
    NotYet,
    /// A buffer of so many bytes is wanted.
    Wants(u64),
    /// There is no bulk any more.
    Idle,
}

impl Tuning {
    /// Begins to measure; `rtt` is what the handshake showed.
    pub(crate) fn new(now: Instant, read: Pos, window_end: Pos, rtt: Option<Duration>, mss: u64) -> Self {
        Self { rtt, window_end, window_at: now, last_echo: 0, space: 10 * mss, read_from: read, read_at: now }
    }

    /// Data came in order, up to `next`; the window ends at `edge` now. `echo` is a new timestamp's, with its age, which is
    /// more than nothing. `drained`: the application had read all that came before.
    pub(crate) fn on_data(
        &mut self,
        now: Instant,
        next: Pos,
        edge: Pos,
        echo: Option<(u32, Duration)>,
        drained: bool,
    ) {
        if let Some((echo, age)) = echo.filter(|&(echo, _)| echo != self.last_echo) {
            self.last_echo = echo;
            self.rtt = match self.rtt {
                // As smooth as a round-trip time is (RFC 6298 2.3), and of no slow reader's making.
                Some(rtt) if age >= rtt => Some(if drained { rtt * 7 / 8 + age / 8 } else { rtt }),
                _ => Some(age),
            };
        }
        if next >= self.window_end {
            // A window's worth takes a round trip at least: the least of these is the best guess, and the only one where the
            // clock of timestamps stands still for longer than a round trip.
            let sample = now.since(self.window_at).max(Duration::from_micros(1));
            self.rtt = Some(self.rtt.map_or(sample, |rtt| rtt.min(sample)));
            (self.window_end, self.window_at) = (edge.max(next + 1), now);
        }
    }

    /// The application has read up to `read`, and left `unread` bytes.
    pub(crate) fn on_read(&mut self, now: Instant, read: Pos, unread: u64, mss: u64) -> Measured {
        let passed = now.since(self.read_at);
        let Some(rtt) = self.rtt.filter(|&rtt| passed >= rtt) else { return Measured::NotYet };
        let copied = (read - self.read_from) as u64;
        let idle = passed > rtt.max(Duration::from_millis(1)) * 10 && copied < 4 * mss;
        (self.read_from, self.read_at) = (read, now);
        if idle {
            return Measured::Idle;
        }
        // Who leaves bytes behind has room enough.
        let copied = copied.saturating_sub(unread);
        if copied <= self.space {
            return Measured::Wants(0);
        }
        // Slow start doubles what comes in a round trip: leave room for that, and for as much again as it grew.
        let base = 2 * copied + 16 * mss;
        let growth = base.saturating_mul(copied - self.space) / self.space.max(1);
        self.space = copied;
        Measured::Wants(base.saturating_add(growth.saturating_mul(2)))
    }

    /// Where the window's worth of data ends that is coming in.
    pub(crate) const fn window_end(&self) -> Pos {
        self.window_end
    }

    /// The receiver's round trip.
    pub(crate) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// What was read in the last round trip that was measured, in bytes.
    pub(crate) const fn space(&self) -> u64 {
        self.space
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1000;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn tuning() -> Tuning {
        Tuning::new(at(0), 1, 60_001, Some(Duration::from_millis(100)), MSS)
    }

    #[test]
    fn a_round_trip_of_reading_wants_twice_as_much() {
        let mut t = tuning();
        assert_eq!(t.on_read(at(50), 30_001, 0, MSS), Measured::NotYet);
        // 40 KB where 10 KB were reckoned with: four times as much, and it grows.
        assert_eq!(t.on_read(at(100), 40_001, 0, MSS), Measured::Wants(96_000 + 2 * 288_000));
        // As much as before: nothing more is wanted.
        assert_eq!(t.on_read(at(200), 80_001, 0, MSS), Measured::Wants(0));
    }

    #[test]
    fn who_reads_little_is_not_measured_any_more() {
        let mut t = tuning();
        assert_eq!(t.on_read(at(5_000), 2_001, 0, MSS), Measured::Idle);
    }

    /// Bytes that wait are bytes that the buffer had room for (Linux 6.16).
    #[test]
    fn who_leaves_bytes_behind_needs_no_larger_buffer() {
        let mut t = tuning();
        assert_eq!(t.on_read(at(100), 40_001, 30_000, MSS), Measured::Wants(0));
        assert_eq!(t.on_read(at(200), 80_001, 10_000, MSS), Measured::Wants(76_000 + 2 * 152_000));
    }

    #[test]
    fn the_round_trip_comes_from_timestamps_and_from_windows() {
        let mut t = tuning();
        let echo = |echo, ms| Some((echo, Duration::from_millis(ms)));
        t.on_data(at(60), 70_001, 130_001, None, true);
        assert_eq!(t.rtt(), Some(Duration::from_millis(60)));
        t.on_data(at(70), 80_001, 140_001, echo(7, 140), true);
        assert_eq!(t.rtt(), Some(Duration::from_millis(70)));
        t.on_data(at(75), 90_001, 150_001, echo(7, 150), true);
        assert_eq!(t.rtt(), Some(Duration::from_millis(70)), "one sample a round trip");
        t.on_data(at(76), 91_001, 150_001, echo(8, 500), false);
        assert_eq!(t.rtt(), Some(Duration::from_millis(70)), "a reader that lags makes no round trip longer");
        t.on_data(at(77), 92_001, 150_001, echo(9, 30), false);
        assert_eq!(t.rtt(), Some(Duration::from_millis(30)), "what is shorter is nearer to the truth");
    }

    /// A round trip of microseconds is not taken for one of the timestamp clock's milliseconds: what is read meanwhile would ask
    /// for a buffer of megabytes (Linux 6.16).
    #[test]
    fn windows_tell_of_round_trips_shorter_than_a_tick() {
        let mut t = Tuning::new(at(0), 1, 60_001, Some(Duration::from_millis(1)), MSS);
        let micros = |us| at(0) + Duration::from_micros(us);
        t.on_data(micros(20), 60_001, 120_001, None, true);
        assert_eq!(t.rtt(), Some(Duration::from_micros(20)));
        assert_eq!(t.on_read(micros(20), 60_001, 0, MSS), Measured::Wants(136_000 + 2 * 680_000));
        t.on_data(micros(50), 120_001, 180_001, None, true);
        assert_eq!(t.rtt(), Some(Duration::from_micros(20)));
        assert_eq!(t.on_read(micros(50), 120_001, 0, MSS), Measured::Wants(0));
    }
}

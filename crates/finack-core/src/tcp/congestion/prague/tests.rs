use core::time::Duration;

use super::super::testing::delivery;
use super::*;
use crate::time::Instant;

const MSS: u64 = 1000;

/// A path that marks.
struct Path {
    c: Prague,
    now: Instant,
    delivered: u64,
    rtt: Duration,
    least: Duration,
}

impl Path {
    /// A connection with a window of so many segments that has left slow start.
    fn new(segments: u64, rtt_us: u64) -> Self {
        let mut reno = NewReno::new(segments * MSS);
        reno.reduce_to(segments * MSS, MSS);
        let rtt = Duration::from_micros(rtt_us);
        Self { c: Prague::new(reno), now: Instant::from_secs(1), delivered: 0, rtt, least: rtt }
    }

    /// A round trip in which so many segments of the window come back marked.
    fn round(&mut self, marked: u64) {
        let segments = self.c.cwnd() / MSS;
        for n in 0..segments {
            self.now += self.rtt / segments as u32;
            self.delivered += MSS;
            let ce = if n < marked { MSS } else { 0 };
            if n == 0 && marked > 0 {
                self.c.on_ecn(segments * MSS, MSS);
            }
            let d = Delivery {
                now: self.now,
                srtt_us: self.rtt.as_micros() as u64,
                min_rtt_us: self.least.as_micros() as u64,
                delivered: self.delivered,
                ce,
                ..delivery(MSS, segments * MSS, MSS)
            };
            self.c.on_delivery(&d);
            self.c.on_ack(&d);
        }
    }

    fn rounds(&mut self, n: u64, marked: u64) {
        for _ in 0..n {
            self.round(marked);
        }
    }
}

/// RFC 9331 4.3 point 4: in a second a flow of 5 ms grows as fast as one of 25 ms: by segments a second each second.
#[test]
fn growth_does_not_depend_on_the_round_trip() {
    let rate = |p: &Path| p.c.cwnd() as f64 / p.rtt.as_secs_f64();
    let grown = |rtt_us: u64| {
        let mut p = Path::new(100_000 / rtt_us * 2, rtt_us);
        let before = rate(&p);
        p.rounds(1_000_000 / rtt_us, 0);
        rate(&p) - before
    };
    let (short, long) = (grown(5_000), grown(25_000));
    assert!((short / long - 1.0).abs() < 0.05, "{short} and {long} bytes a second");
    // 40 round trips, a segment each: 40 / 25 ms.
    assert!((long / 1_600_000.0 - 1.0).abs() < 0.05, "{long}");
}

/// RFC 8257 3.3: where few are marked the window goes down by little; and two marks a round trip hold it (RFC 9331 4.3).
#[test]
fn two_marks_a_round_trip_hold_the_window() {
    for segments in [40, 400] {
        let mut p = Path::new(segments, 30_000);
        // The first mark, which halves, is long ago.
        p.rounds(300, 0);
        p.c.marked = true;
        p.rounds(100, 2);
        let held = p.c.cwnd();
        p.rounds(50, 2);
        let change = p.c.cwnd() as f64 / held as f64;
        assert!((0.9..1.1).contains(&change), "{change}");
        assert!(p.c.cwnd() > 10 * MSS, "{}", p.c.cwnd());
    }
}

/// RFC 9331 4.3: the window is in inverse proportion to the share that is marked, W = 2 / p.
#[test]
fn the_response_function_is_scalable() {
    for (share, expected) in [(4, 50.0), (10, 20.0)] {
        let mut p = Path::new(30, 50_000);
        let (mut sum, mut left) = (0.0, 0);
        for n in 0..600 {
            // Evenly spread marks: `share` of each hundred segments.
            left += p.c.cwnd() / MSS * share;
            let marked = left / 100;
            left %= 100;
            p.round(marked);
            if n >= 200 {
                sum += p.c.cwnd() as f64 / MSS as f64;
            }
        }
        let window = sum / 400.0;
        assert!((window / expected - 1.0).abs() < 0.25, "{window} segments at {share} %, not {expected}");
    }
}

/// RFC 9331 4.3 point 2: a loss halves the window, whatever the marks say.
#[test]
fn a_loss_halves() {
    let mut p = Path::new(100, 30_000);
    p.rounds(300, 0);
    let before = p.c.cwnd();
    p.c.on_loss(before, MSS);
    assert_eq!(p.c.cwnd(), before / 2);
}

/// Marks are answered once a round trip, and no more than once in 25 ms.
#[test]
fn one_reduction_in_a_round_trip() {
    let mut p = Path::new(100, 1_000);
    p.rounds(30, 0);
    let before = p.c.cwnd();
    p.c.on_ecn(before, MSS);
    assert_eq!(p.c.cwnd(), before.div_ceil(2), "the first mark halves");
    p.rounds(5, 1);
    assert!(p.c.cwnd() >= before / 2, "{}", p.c.cwnd());
}

/// RFC 9331 4.3 point 3: a queue that is long when it marks is a classic one; then a mark is answered as a loss. Short queues
/// take the suspicion back.
#[test]
fn a_classic_queue_gets_a_classic_response() {
    let mut p = Path::new(100, 30_000);
    p.rounds(60, 2);
    assert!(!p.c.classic);
    p.rtt = Duration::from_millis(40);
    p.rounds(6, 1);
    assert!(!p.c.classic, "some rounds are no proof");
    p.rounds(4, 1);
    assert!(p.c.classic);
    assert!(!p.c.reduces_at_once());
    p.now += Duration::from_secs(1);
    p.round(0);
    let before = p.c.cwnd();
    p.c.on_ecn(before, MSS);
    assert_eq!(p.c.cwnd(), before / 2);
    p.rtt = Duration::from_millis(31);
    p.rounds(20, 1);
    assert!(!p.c.classic);
}

/// RFC 9331 4.3 point 7: a window leaves over a round trip, in slow start at twice the speed.
#[test]
fn it_is_paced() {
    let mut p = Path::new(100, 20_000);
    assert_eq!(p.c.pacing_rate(), None);
    p.round(0);
    assert_eq!(p.c.pacing_rate(), Some(p.c.cwnd() * 50));
    p.c = Prague::new(NewReno::new(10 * MSS));
    p.round(0);
    assert_eq!(p.c.pacing_rate(), Some(p.c.cwnd() * 100));
}

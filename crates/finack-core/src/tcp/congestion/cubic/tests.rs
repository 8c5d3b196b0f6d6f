use alloc::vec;
use core::time::Duration;

use super::*;
use crate::tcp::congestion::testing::delivery;
use crate::time::Instant;

const MSS: u64 = 1000;

/// An ACK of a whole window at `ms`, of a path of 100 ms.
fn round(c: &mut Cubic, ms: u64) {
    let cwnd = c.cwnd();
    let d = Delivery { now: Instant::from_millis(ms), ..delivery(MSS, cwnd, MSS) };
    for _ in 0..cwnd / MSS {
        c.on_ack(&d);
    }
}

fn curve(c: &Cubic) -> Curve {
    c.curve.as_deref().copied().unwrap_or_default()
}

fn after_loss(segments: u64) -> Cubic {
    let mut c = Cubic::new(segments * MSS);
    c.on_loss(segments * MSS, MSS);
    c
}

#[test]
fn cube_roots_are_whole() {
    for n in [0, 1, 7, 8, 26, 27, 1_000_000, 10_u64.pow(18), u64::MAX] {
        let root = cube_root(n);
        assert!(root.pow(3) <= n, "{n}");
        assert!((root + 1).checked_pow(3).is_none_or(|c| c > n), "{n}");
    }
}

/// RFC 9438 4.6: a loss leaves seven tenths.
#[test]
fn a_loss_takes_three_tenths() {
    let c = after_loss(100);
    assert_eq!((c.cwnd(), c.ssthresh()), (70 * MSS, 70 * MSS));
}

/// RFC 9438 4.2, figure 1: concave up to W_max, which it reaches at K = cbrt(30 / 0.4) = 4.2 s, flat there, convex beyond.
#[test]
fn the_window_follows_the_curve() {
    let mut c = after_loss(1000);
    c.on_recovered();
    let mut windows = vec![];
    for n in 0..130 {
        round(&mut c, 1000 + n * 100);
        windows.push(c.cwnd() / MSS);
    }
    // K = cbrt(300 / 0.4) = 9.09 s.
    assert_eq!(curve(&c).k, 9085);
    assert!((995..=1001).contains(&windows[91]), "{}", windows[91]);
    assert!(windows[20] - windows[10] > windows[85] - windows[75], "it slows down towards W_max");
    assert!(windows[128] - windows[118] > windows[100] - windows[90] + 3, "and looks for more beyond");
    let expected = 1000.0 - 0.4 * (9.085 - 5.0_f64).powi(3);
    assert!((windows[49] as f64 - expected).abs() < 8.0, "{} at 5 s, not {expected}", windows[49]);
}

/// RFC 9438 4.3: on a short path with a small window it is as fast as Reno, which here means faster than the curve.
#[test]
fn a_small_window_grows_as_reno_would() {
    let mut c = after_loss(10);
    let start = c.cwnd();
    for n in 0..20 {
        let d =
            Delivery { now: Instant::from_millis(1000 + n), srtt_us: 1000, ..delivery(MSS, c.cwnd(), MSS) };
        for _ in 0..c.cwnd() / MSS {
            c.on_ack(&d);
        }
    }
    assert!(c.cwnd() >= start + 8 * MSS, "{} after 20 round trips", c.cwnd());
}

/// RFC 9438 4.7: who loses again below the last maximum lets others in.
#[test]
fn fast_convergence() {
    let mut c = after_loss(100);
    c.on_loss(70 * MSS, MSS);
    assert_eq!(u64::from(curve(&c).w_max), 70 * MSS * 85 / 100);
}

/// RFC 9438 4.1, 4.7: windows are counted in segments, and what is less by bytes is not less.
#[test]
fn losses_at_the_same_place_are_no_convergence() {
    let mut c = after_loss(100);
    c.set_cwnd(100 * MSS + 500);
    c.on_loss(100 * MSS, MSS);
    assert_eq!(u64::from(curve(&c).w_max), 100 * MSS + 500);
    c.set_cwnd(100 * MSS);
    c.on_loss(100 * MSS, MSS);
    assert_eq!(u64::from(curve(&c).w_max), 100 * MSS);
    c.set_cwnd(100 * MSS - 1);
    c.on_loss(100 * MSS, MSS);
    assert_eq!(u64::from(curve(&c).w_max), (100 * MSS - 1) * 85 / 100);
}

/// RFC 9438 4.2, 5: the stage begins with the reduction, a round trip before the repair is over.
#[test]
fn the_curve_does_not_wait_for_the_repair() {
    let mut c = after_loss(1000);
    c.on_recovered();
    round(&mut c, 5000);
    assert_eq!(curve(&c).epoch, 4900);
    // Only that of a recovery.
    c.on_timeout(1000 * MSS, MSS);
    c.set_cwnd(700 * MSS);
    round(&mut c, 6000);
    assert_eq!(curve(&c).epoch, 6000);
}

/// RFC 9438 4.6: ECN-Echo takes the window down to one segment, a loss to two; ssthresh stays at two.
#[test]
fn marks_take_the_window_down_to_one_segment() {
    let mut c = Cubic::new(3 * MSS);
    for expected in [2100, 1470, 1029, 1000, 1000] {
        c.on_ecn(c.cwnd(), MSS);
        assert_eq!(c.cwnd(), expected);
        assert!(c.ssthresh() >= 2 * MSS);
    }
    c.on_loss(MSS, MSS);
    assert_eq!(c.cwnd(), 2 * MSS);
}

/// RFC 9438 5.8: a pause does not count, also where the window is full at once after it.
#[test]
fn a_pause_does_not_count() {
    let mut c = after_loss(1000);
    c.on_recovered();
    for n in 0..10 {
        round(&mut c, 1000 + n * 100);
    }
    let before = c.cwnd();
    let now = Instant::from_millis(61_900);
    c.on_sent(&Sending {
        srtt_us: 0,
        now,
        bytes: MSS,
        in_flight: 0,
        delivered: 0,
        app_limited: false,
        cwnd_limited: false,
    });
    round(&mut c, 62_000);
    let grown = (c.cwnd() - before) / MSS;
    assert!((5..12).contains(&grown), "{grown} segments in the round trip after a minute's pause");
}

/// RFC 9438 4.8: after a time-out one segment, and slow start up to seven tenths.
#[test]
fn a_time_out_starts_again() {
    let mut c = Cubic::new(100 * MSS);
    c.on_timeout(100 * MSS, MSS);
    assert_eq!((c.cwnd(), c.ssthresh()), (MSS, 70 * MSS));
    for n in 0..8 {
        round(&mut c, 1000 + n * 100);
    }
    assert!((70 * MSS..80 * MSS).contains(&c.cwnd()), "{}", c.cwnd());
}

/// RFC 9438 4.2: while the application leaves the window unused, the curve's time stands still.
#[test]
fn idle_time_does_not_count() {
    let mut c = after_loss(1000);
    round(&mut c, 1000);
    let before = c.cwnd();
    for n in 0..100 {
        let now = Instant::from_millis(1100 + n * 100);
        c.on_ack(&Delivery { now, cwnd_limited: false, ..delivery(MSS, 700 * MSS, MSS) });
    }
    round(&mut c, 11_100);
    assert!(c.cwnd() < before + 30 * MSS, "{} after {before}", c.cwnd());
}

/// RFC 9406 4.2: when round trips grow by more than an eighth, growth slows, and five rounds later slow start is over.
#[test]
fn growing_round_trips_end_slow_start() {
    let mut c = Cubic::new(10 * MSS);
    let (mut delivered, mut n) = (0, 0);
    while c.ssthresh() == u64::MAX && n < 40 {
        // From the fifth round on each trip takes 20 ms longer.
        let rtt = Duration::from_millis(100 + if n < 4 { 0 } else { 20 * (n - 3) });
        let cwnd = c.cwnd();
        for _ in 0..cwnd / MSS {
            delivered += MSS;
            let now = Instant::from_millis(1000 + n * 100);
            c.on_ack(&Delivery { now, rtt: Some(rtt), delivered, ..delivery(MSS, cwnd, MSS) });
        }
        n += 1;
    }
    assert!((8..=14).contains(&n), "over after {n} rounds");
    assert!(c.ssthresh() < 1_000 * MSS, "{}", c.ssthresh());
    // RFC 9438 4.10: cwnd_prior and W_max are the window of that time.
    assert_eq!((curve(&c).prior, curve(&c).k), (c.ssthresh, 0));
    assert!(curve(&c).w_max >= c.ssthresh);
}

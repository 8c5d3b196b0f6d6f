//! What controllers carry where every n-th packet is lost, beside the formulas of their RFCs.

use core::time::Duration;

use finack_core::settings::{Congestion, Settings};
use finack_sim::response::{Periodic, Response, cubic_window, reno_window};

/// One of `every` packets is lost, for 60 epochs.
fn lose_one_of(every: u64, rtt_ms: u64, congestion: Congestion) -> Response {
    let rtt = Duration::from_millis(rtt_ms);
    Periodic { every, rtt, warm_up: 20, epochs: 60 }.measure(congestion, &Settings::default())
}

#[track_caller]
fn within(what: &str, got: f64, expected: f64, share: f64) {
    let ratio = got / expected;
    assert!((ratio - 1.0).abs() <= share, "{what}: {got:.1} segments, not {expected:.1} ({ratio:.3})");
}

/// RFC 9438 5, figure 6, and 4.3: the average window is what the response function says, within a tenth.
#[test]
fn cubic_has_the_window_of_its_response_function() {
    for (every, rtt) in [(100, 1), (100, 20), (100, 100), (100, 300), (300, 300), (1000, 100)] {
        let p = 1.0 / every as f64;
        let expected = cubic_window(p, Duration::from_millis(rtt));
        let got = lose_one_of(every, rtt, Congestion::Cubic);
        within(&format!("1 of {every}, {rtt} ms"), got.cwnd, expected, 0.1);
        assert_eq!(got.time_outs, 0, "1 of {every}, {rtt} ms");
        if every > 100 {
            // With less than ten round trips between losses that of each repair shows, which the formula does not know.
            within(&format!("delivered, 1 of {every}, {rtt} ms"), got.delivered, expected, 0.1);
        }
    }
}

/// RFC 9438 5.1: what the formula gives is Reno's on short paths, and more than Reno's on long ones.
#[test]
fn the_formulas_are_those_of_the_tables() {
    let cubic = [
        (1e-2, 100, 12.0),
        (1e-4, 100, 187.0),
        (1e-5, 100, 1054.0),
        (1e-6, 100, 5926.0),
        (1e-3, 10, 38.0),
        (1e-5, 10, 379.0),
        (1e-7, 10, 5926.0),
        (1e-8, 10, 33_325.0),
    ];
    for (p, ms, table) in cubic {
        // Table 2 has Reno's window as 1.2 / sqrt(p).
        within(&format!("{p}, {ms} ms"), cubic_window(p, Duration::from_millis(ms)), table, 0.03);
    }
    assert_eq!(reno_window(1e-2).round(), 12.0);
}

/// RFC 5681 3.1: one segment a round trip and half of it at a loss make the square root of 3 / (2 p).
#[test]
fn reno_has_the_window_of_its_response_function() {
    let got = lose_one_of(500, 50, Congestion::Reno);
    within("1 of 500", got.cwnd, reno_window(1.0 / 500.0), 0.1);
}

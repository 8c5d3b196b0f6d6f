//! What the RFCs expect of a window under periodic loss.

use std::time::Duration;

use super::path::{MSS, Path};

/// Reno's average window in segments (RFC 3649, as RFC 9438 5.1 quotes it in its tables).
pub(crate) fn reno(p: f64) -> f64 {
    1.2 / p.sqrt()
}

/// CUBIC's average window in segments: RFC 9438 5.1 figure 8, or Reno's where that is more (4.3).
pub(crate) fn cubic(p: f64, rtt: Duration) -> f64 {
    (1.054 * (rtt.as_secs_f64() / p).powf(0.75)).max(reno(p))
}

/// The average window of `controller` in segments; `None` where it has no such function.
pub(crate) fn window(controller: &str, path: &Path) -> Option<f64> {
    match controller {
        "reno" => Some(reno(path.loss.share())),
        "cubic" => Some(cubic(path.loss.share(), path.least_rtt())),
        _ => None,
    }
}

/// What `controller` carries of the path's capacity by its response function; `None` where it has none. A window goes out in
/// each round trip, and what is lost of it does not count.
pub(crate) fn share(controller: &str, path: &Path) -> Option<f64> {
    if path.loss.share() == 0.0 {
        return Some(1.0);
    }
    let rate = window(controller, path)? * MSS as f64 * 8.0 / path.least_rtt().as_secs_f64();
    Some((rate * path.best() / path.capacity()).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9438 5.1, tables 1 and 2.
    #[test]
    fn the_tables_of_the_rfc_come_out() {
        let close = |got: f64, told: f64| assert!((got / told - 1.0).abs() < 0.01, "{got} is not {told}");
        let (long, short) = (Duration::from_millis(100), Duration::from_millis(10));
        for (p, window) in [(1e-2, 12.0), (1e-3, 38.0), (1e-4, 187.0), (1e-5, 1054.0), (1e-8, 187_400.0)] {
            close(cubic(p, long), window);
        }
        for (p, window) in [(1e-4, 120.0), (1e-6, 1200.0), (1e-7, 5926.0)] {
            close(cubic(p, short), window);
        }
    }
}

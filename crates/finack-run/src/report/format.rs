//! Numbers, times and lines for people.

use std::time::Duration;

/// A count of bytes in at most four digits and a unit (powers of 1000, as networks count).
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A time in three digits and a unit.
pub(super) fn duration(d: Duration) -> String {
    let secs = d.as_secs_f64();
    match d.as_micros() {
        0 => "0 ms".to_owned(),
        1..1000 => format!("{} us", d.as_micros()),
        1000..10_000 => format!("{:.2} ms", secs * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", secs * 1e3),
        1_000_000..60_000_000 => format!("{secs:.2} s"),
        _ => format!("{} min {:02} s", d.as_secs() / 60, d.as_secs() % 60),
    }
}

/// `1 connection`, `2 connections`.
pub(super) fn plural(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Breaks `text` at blanks into lines of at most `width` characters; a longer word gets a line of its own.
/// A number stays with what it counts, and the parts of `RFC 9293 3.6` stay together.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut holds_next = false;
    for token in text.split_whitespace() {
        match words.last_mut() {
            Some(word) if holds_next => {
                word.push(' ');
                word.push_str(token);
            }
            _ => words.push(token.to_owned()),
        }
        holds_next = token.ends_with("RFC") || token.parse::<f64>().is_ok();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_few_digits_and_the_next_unit_in_time() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (12_345, "12.3 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1 << 30, "1.07 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn durations_have_three_digits() {
        for (micros, text) in [
            (0, "0 ms"),
            (87, "87 us"),
            (1_234, "1.23 ms"),
            (45_678, "46 ms"),
            (1_500_000, "1.50 s"),
            (61_000_000, "1 min 01 s"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("extraordinarily long", 4), ["extraordinarily", "long"]);
        assert!(wrap("  ", 4).is_empty());
        assert_eq!(wrap("it took 100 us [RFC 9293 3.6]", 14), ["it took 100 us", "[RFC 9293 3.6]"]);
    }
}

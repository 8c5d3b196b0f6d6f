//! Numbers with units.

use core::time::Duration;

use crate::link::Chance;

/// Longest time that a word may say.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Highest rate that a link's word may say, in bits a second.
const FASTEST: f64 = 1e12;

/// Digits and unit of a value.
fn split(value: &str) -> Result<(f64, String), String> {
    if value.starts_with('-') {
        return Err("less than nothing: it must be positive".into());
    }
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let number: f64 = digits.parse().map_err(|_| format!("\"{value}\" is no number"))?;
    if !number.is_finite() {
        return Err(format!("\"{value}\" is too large"));
    }
    Ok((number, unit.to_ascii_lowercase()))
}

/// A whole number from `least` to `most`.
pub(crate) fn number(value: &str, least: u64, most: u64) -> Result<u64, String> {
    let number: u64 = value.parse().map_err(|_| format!("\"{value}\" is no whole number"))?;
    if number < least {
        return Err(format!("{number} is too small: at least {least}"));
    }
    if number > most {
        return Err(format!("{number} is too large: at most {most}"));
    }
    Ok(number)
}

/// A rate in bits a second: `10mbit`.
pub(crate) fn rate(value: &str) -> Result<u64, String> {
    let (number, unit) = split(value)?;
    let factor = match unit.trim_end_matches("/s") {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(format!("\"{value}\" is no rate: write it as 500kbit, 10mbit or 1gbit")),
    };
    let bits = number * factor;
    if bits < 1.0 {
        return Err(
            "nothing is no rate: at least 1bit a second; loss=100% is a link that carries nothing".into()
        );
    }
    if bits > FASTEST {
        return Err(format!("\"{value}\" is too fast: at most 1000gbit"));
    }
    Ok(bits.round() as u64)
}

/// A time: `20ms`.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    let (number, unit) = split(value)?;
    let nanos = match unit.as_str() {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "" if number == 0.0 => 0.0,
        _ => return Err(format!("\"{value}\" is no time: write it as 500us, 20ms or 1s")),
    };
    let nanos = (number * nanos).round();
    if nanos > LONGEST.as_nanos() as f64 {
        return Err(format!("\"{value}\" is too long: at most 86400s"));
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// A probability: `1%`, `100ppm`.
pub(crate) fn chance(value: &str) -> Result<Chance, String> {
    let (number, unit) = split(value)?;
    let percent = match unit.as_str() {
        "%" => number,
        "ppm" => number / 10_000.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(format!("\"{value}\" is no probability: write it as 1% or 100ppm")),
    };
    if percent > 100.0 {
        return Err("more than all: a probability is at most 100%".into());
    }
    Ok(Chance::percent(percent))
}

/// Bytes: `100kb`.
pub(crate) fn size(value: &str) -> Result<u64, String> {
    let (number, unit) = split(value)?;
    let factor = match unit.as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(format!("\"{value}\" is no size: write it as 1500b, 100kb or 2mb")),
    };
    let bytes = (number * factor).round();
    if !(1.0..=1e12).contains(&bytes) {
        return Err(format!("\"{value}\": from 1b to 1000gb are possible"));
    }
    Ok(bytes as u64)
}

/// The word of `known` that `word` is most likely to mean.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(32).collect();
    known
        .iter()
        .map(|k| (distance(&word, k), *k))
        .min()
        .filter(|(d, k)| {
            *d <= 1 + k.len() / 4 || word.len() >= 3 && k.starts_with(&word[..3].iter().collect::<String>())
        })
        .map(|(_, k)| k)
}

/// How many letters must be put in, taken out, changed or swapped with the next.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, j) => j,
                (i, 0) => i,
                _ => {
                    let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let swap = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        rows[i - 2][j - 2] + 1
                    } else {
                        usize::MAX
                    };
                    change.min(swap).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

//! Ratios to the peers, kept in the repository: a fall by more than a quarter is an error, a time never is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::engine;
use crate::measure::{Comparison, Line, Options, Role};
use crate::table::Table;

/// What is left of a kept ratio may be so much of it at least.
const LEAST: f64 = 0.75;

/// finack's figure against the peer's, by case and peer; above 1 where finack is ahead.
type Ratios = BTreeMap<String, BTreeMap<String, f64>>;

const HEAD: &str = "\
# finack's figure against each peer's in the same run: above 1 finack is ahead.
# Written by `cargo xtask bench --write-ratios`; `cargo xtask bench --quick --guard` fails where one falls by more than 25 %.
";

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/ratios.toml"))
}

/// The ratios that were measured.
fn ratios<'a>(lines: impl IntoIterator<Item = &'a Comparison>) -> Ratios {
    let peers = |line: &Comparison| {
        let peers = line.rows.iter().filter(|row| row.role == Role::Peer);
        peers.filter_map(|row| Some((row.subject.to_owned(), row.ratio?))).collect::<BTreeMap<_, _>>()
    };
    let all = lines.into_iter().map(|line| (line.case.clone(), peers(line)));
    all.filter(|(_, peers)| !peers.is_empty()).collect()
}

/// Keeps the ratios of these lines.
pub fn write(lines: &[Line]) -> Result<(), String> {
    let comparisons = lines.iter().filter_map(|line| match line {
        Line::Comparison(line) => Some(line),
        Line::Table(_) => None,
    });
    let mut text = String::from(HEAD);
    for (case, peers) in ratios(comparisons) {
        let _ = write!(text, "\n[{case:?}]\n");
        for (peer, ratio) in peers {
            let _ = writeln!(text, "{peer:?} = {ratio:.3}");
        }
    }
    let path = path();
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn kept() -> Result<Ratios, String> {
    let path = path();
    let text = std::fs::read_to_string(&path).map_err(|e| {
        format!("cannot read {}: {e}; `cargo xtask bench --write-ratios` makes it", path.display())
    })?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// What became of a kept ratio.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Holds(f64),
    Fell(f64),
    /// The peer is not here.
    Missing,
}

fn verdict(kept: f64, now: Option<f64>) -> Verdict {
    match now {
        Some(now) if now >= kept * LEAST => Verdict::Holds(now),
        Some(now) => Verdict::Fell(now),
        None => Verdict::Missing,
    }
}

/// The better of two measurements.
fn better(one: Ratios, two: &Ratios) -> Ratios {
    let mut best = one;
    for (case, peers) in two {
        for (peer, &ratio) in peers {
            let held = best.entry(case.clone()).or_default().entry(peer.clone()).or_insert(ratio);
            *held = held.max(ratio);
        }
    }
    best
}

fn fallen(kept: &Ratios, now: &Ratios) -> Vec<String> {
    let fell = |(case, peers): (&String, &BTreeMap<String, f64>)| {
        let fell = |(peer, &was): (&String, &f64)| {
            matches!(verdict(was, now.get(case).and_then(|p| p.get(peer)).copied()), Verdict::Fell(_))
        };
        peers.iter().any(fell).then(|| case.clone())
    };
    kept.iter().filter_map(fell).collect()
}

/// Measures what is kept, and again what fell: a busy machine is no reason to fail.
pub fn judge(options: &Options) -> Result<ExitCode, String> {
    let kept = kept()?;
    let measured = |only: Vec<String>| ratios(&engine::all(&Options { only, ..options.clone() }));
    let mut now = measured(kept.keys().cloned().collect());
    let again = fallen(&kept, &now);
    if !again.is_empty() {
        println!("\nmeasured a second time, because ratios fell: {}", again.join("; "));
        now = better(now, &measured(again));
    }
    let (table, fell) = report(&kept, &now);
    print!("\n{}", table.text());
    if fell == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "finack-bench: {fell} of finack's ratios to its peers fell by more than a quarter, twice. If that is meant: \
         `cargo xtask bench --write-ratios`"
    );
    Ok(ExitCode::FAILURE)
}

fn report(kept: &Ratios, now: &Ratios) -> (Table, usize) {
    let title = "Ratios to peers, kept and now: at least 75 % must be left";
    let mut table = Table::new(title, "", &["case, peer", "kept", "now", ""]);
    let mut fell = 0;
    for (case, peers) in kept {
        for (peer, &was) in peers {
            let verdict = verdict(was, now.get(case).and_then(|p| p.get(peer)).copied());
            let (figure, word) = match verdict {
                Verdict::Holds(now) => (format!("{now:.2}"), "holds"),
                Verdict::Fell(now) => (format!("{now:.2}"), "FELL"),
                Verdict::Missing => {
                    ("-".into(), "skipped: not measured here, the peer or the case is missing")
                }
            };
            fell += usize::from(matches!(verdict, Verdict::Fell(_)));
            table.rows.push(vec![format!("{case}, {peer}"), format!("{was:.2}"), figure, word.into()]);
        }
    }
    (table, fell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(case: &str, peer: &str, ratio: f64) -> Ratios {
        BTreeMap::from([(case.into(), BTreeMap::from([(peer.into(), ratio)]))])
    }

    #[test]
    fn a_fall_by_more_than_a_quarter_is_an_error() {
        let kept = one("bulk", "lwIP", 2.0);
        assert!(fallen(&kept, &one("bulk", "lwIP", 1.51)).is_empty());
        assert_eq!(fallen(&kept, &one("bulk", "lwIP", 1.49)), ["bulk"]);
        assert_eq!(report(&kept, &one("bulk", "lwIP", 1.49)).1, 1);
    }

    #[test]
    fn a_second_measurement_may_save_it() {
        let best = better(one("bulk", "lwIP", 1.0), &one("bulk", "lwIP", 1.9));
        assert!(fallen(&one("bulk", "lwIP", 2.0), &best).is_empty());
    }

    #[test]
    fn a_peer_that_is_not_here_is_skipped_and_said_so() {
        let (table, fell) = report(&one("bulk", "lwIP", 2.0), &Ratios::new());
        assert_eq!(fell, 0);
        assert!(table.text().contains("skipped"));
    }
}

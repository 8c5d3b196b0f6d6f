//! The tables, the bar, and the JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cells::Cell;
use super::run::{Outcome, Pairing, Plan};
use super::short::{LOSSES, SIZES, Short};

/// Least median of finack's goodput over Linux's, over all cells, directions and congestion controls with a bar.
const MEDIAN_BAR: f64 = 1.0;

/// Least of them all.
const LEAST_BAR: f64 = 0.85;

/// A link that was later than this for more than one packet in a hundred measured the machine too.
const LATE_US: f64 = 1000.0;

/// One cell with one congestion control.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    pub cell: String,
    /// The link in words.
    pub link: String,
    pub control: String,
    /// Mb/s, the mean over the seeds, by pairing.
    pub mbits: BTreeMap<&'static str, f64>,
    /// Of what the link can carry as payload.
    pub linux_share: Option<f64>,
    /// finack's goodput over Linux's, as the sender and as the receiver.
    pub sending: Option<f64>,
    pub receiving: Option<f64>,
    /// Each seed's figures in Mb/s, by pairing.
    pub seeds: BTreeMap<&'static str, Vec<f64>>,
    /// Segments sent again per run, by pairing.
    pub retransmitted: BTreeMap<&'static str, f64>,
    /// How late the link was with 99 of 100 packets, the worst run, in microseconds.
    pub late_us: f64,
}

impl Line {
    /// Puts the runs of each cell and congestion control together.
    pub fn gather(
        cells: &[Cell],
        controls: &[String],
        done: &[(Plan, Result<Outcome, String>)],
    ) -> Vec<Self> {
        let mut lines = Vec::new();
        for control in controls {
            for cell in cells {
                let of = |(plan, result): &'_ &(Plan, Result<Outcome, String>)| {
                    plan.cell.name == cell.name && plan.congestion == *control && result.is_ok()
                };
                let runs: Vec<_> = done.iter().filter(of).collect();
                lines.push(Self::of(cell, control, &runs));
            }
        }
        lines
    }

    fn of(cell: &Cell, control: &str, runs: &[&(Plan, Result<Outcome, String>)]) -> Self {
        let mut line = Self {
            cell: cell.name.clone(),
            link: cell.text.clone(),
            control: control.into(),
            ..Self::default()
        };
        for pairing in Pairing::ALL {
            let mut of: Vec<(u64, &Outcome)> = runs
                .iter()
                .filter(|(plan, _)| plan.pairing == pairing)
                .filter_map(|(plan, result)| Some((plan.seed, result.as_ref().ok()?)))
                .collect();
            of.sort_by_key(|(seed, _)| *seed);
            if of.is_empty() {
                continue;
            }
            let seeds: Vec<f64> = of.iter().map(|(_, outcome)| outcome.goodput / 1e6).collect();
            let again: Vec<f64> = of.iter().map(|(_, outcome)| outcome.retransmitted as f64).collect();
            line.mbits.insert(pairing.name(), mean(&seeds));
            line.retransmitted.insert(pairing.name(), mean(&again));
            line.seeds.insert(pairing.name(), seeds);
            for (_, outcome) in of {
                line.late_us = line.late_us.max(outcome.link.lateness(0.99).as_secs_f64() * 1e6);
            }
        }
        let linux = line.mbits.get(Pairing::BOTH_LINUX.name()).copied();
        let over = |pairing: Pairing| Some(line.mbits.get(pairing.name())? / linux.filter(|l| *l > 0.0)?);
        line.sending = over(Pairing::FINACK_SENDS);
        line.receiving = over(Pairing::FINACK_RECEIVES);
        // Of each packet of 1500 bytes, 1448 are payload (RFC 7323's timestamps).
        line.linux_share = linux.and_then(|l| Some(l * 1e6 / (cell.rate? as f64 * 1448.0 / 1500.0)));
        line
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        [self.sending, self.receiving].into_iter().flatten()
    }

    fn has_bar(&self) -> bool {
        self.control != "bbr"
    }
}

/// What went wrong in a run, where something did.
pub fn failure(plan: &Plan, result: &Result<Outcome, String>) -> Option<String> {
    let error = result.as_ref().err()?;
    Some(format!(
        "{}, {}, {}, seed {}: {error}",
        plan.cell.name,
        plan.congestion,
        plan.pairing.name(),
        plan.seed
    ))
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Full {
    pub quick: bool,
    pub seconds: f64,
    pub lines: Vec<Line>,
    pub short: Vec<Short>,
    /// Of finack over Linux, where there is a bar.
    pub median: Option<f64>,
    pub least: Option<f64>,
    pub passed: bool,
    /// Runs that did not come to their end.
    pub failed: Vec<String>,
}

impl Full {
    /// Whether the bar is held.
    pub fn judge(&mut self) {
        let mut ratios: Vec<f64> = self.lines.iter().filter(|l| l.has_bar()).flat_map(Line::ratios).collect();
        ratios.sort_by(f64::total_cmp);
        self.least = ratios.first().copied();
        self.median = (!ratios.is_empty()).then(|| {
            let (low, high) = (ratios[(ratios.len() - 1) / 2], ratios[ratios.len() / 2]);
            (low + high) / 2.0
        });
        self.passed =
            self.median.is_none_or(|m| m >= MEDIAN_BAR) && self.least.is_none_or(|l| l >= LEAST_BAR);
    }

    pub fn print_json(&self) {
        match serde_json::to_string_pretty(self) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("goodput: {error}"),
        }
    }

    pub fn print(&self) {
        if !self.lines.is_empty() {
            self.print_cells();
        }
        if !self.short.is_empty() {
            self.print_short();
        }
        for failed in &self.failed {
            println!("failed: {failed}");
        }
        println!("in {:.0} s; runs whose sum the machine carries easily went at the same time", self.seconds);
    }

    fn print_cells(&self) {
        println!(
            "goodput in Mb/s, and finack over Linux with the same losses and the same congestion control"
        );
        println!(
            "{:<20} {:<6} {:>12} {:>7} {:>13} {:>6} {:>13} {:>6}  again per run (LL, FL, LF)",
            "cell", "cc", "Linux-Linux", "of link", "finack sends", "ratio", "finack takes", "ratio"
        );
        for line in &self.lines {
            let mbits =
                |p: Pairing| line.mbits.get(p.name()).map_or_else(|| "-".into(), |m| format!("{m:.2}"));
            let ratio = |r: Option<f64>| r.map_or_else(|| "-".into(), |r| format!("{r:.2}"));
            let again = Pairing::ALL.map(|p| line.retransmitted.get(p.name()).map_or(0.0, |n| *n));
            let share = line.linux_share.map_or_else(|| "-".into(), |s| format!("{:.0} %", s * 100.0));
            let late = if line.late_us > LATE_US {
                format!("  link late by {:.0} us", line.late_us)
            } else {
                String::new()
            };
            println!(
                "{:<20} {:<6} {:>12} {:>7} {:>13} {:>6} {:>13} {:>6}  {:.0}, {:.0}, {:.0}{late}",
                line.cell,
                line.control,
                mbits(Pairing::BOTH_LINUX),
                share,
                mbits(Pairing::FINACK_SENDS),
                ratio(line.sending),
                mbits(Pairing::FINACK_RECEIVES),
                ratio(line.receiving),
                again[0],
                again[1],
                again[2],
            );
        }
        if let (Some(median), Some(least)) = (self.median, self.least) {
            let verdict = if self.passed { "held" } else { "missed" };
            println!(
                "median of finack over Linux {median:.3} (bar {MEDIAN_BAR:.2}), least {least:.3} \
                 (bar {LEAST_BAR:.2}): {verdict}"
            );
        }
        if self.lines.iter().any(|line| !line.has_bar()) {
            println!("bbr: Linux's is version 1, finack's version 3; no bar");
        }
    }

    fn print_short(&self) {
        println!(
            "\nshort flows over 50 Mb/s and 40 ms, in ms from the call to connect to the end: median, 99 of 100"
        );
        print!("{:>9} {:<14}", "bytes", "");
        for loss in LOSSES {
            print!(" {:>18}", format!("{} % lost", loss * 100.0));
        }
        println!();
        for bytes in SIZES {
            for pairing in Pairing::ALL {
                let of = |s: &&Short| s.bytes == bytes && s.pairing == pairing.name();
                let line: Vec<&Short> = self.short.iter().filter(of).collect();
                if line.is_empty() {
                    continue;
                }
                print!("{bytes:>9} {:<14}", pairing.name());
                for loss in LOSSES {
                    let cell = line.iter().find(|s| s.loss == loss);
                    let text = cell.map_or_else(String::new, |s| {
                        let unfinished = if s.unfinished > 0 { "!" } else { "" };
                        format!("{:.0}, {:.0}{unfinished}", s.median_ms, s.p99_ms)
                    });
                    print!(" {text:>18}");
                }
                println!();
            }
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ratios: &[(f64, &str)]) -> Full {
        let line = |&(ratio, control): &(f64, &str)| Line {
            control: control.into(),
            sending: Some(ratio),
            receiving: Some(ratio),
            ..Line::default()
        };
        let mut full = Full { lines: ratios.iter().map(line).collect(), ..Full::default() };
        full.judge();
        full
    }

    #[test]
    fn the_bar_is_of_the_median_and_of_the_least_and_not_of_bbr() {
        assert!(judged(&[(0.9, "cubic"), (1.0, "cubic"), (1.2, "reno"), (0.1, "bbr")]).passed);
        assert!(!judged(&[(0.84, "cubic"), (1.0, "cubic"), (1.2, "reno")]).passed);
        assert!(!judged(&[(0.9, "cubic"), (0.99, "cubic"), (1.2, "reno")]).passed);
        assert_eq!(judged(&[(0.9, "cubic"), (1.1, "reno")]).median, Some(1.0));
    }
}

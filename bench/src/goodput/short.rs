//! Short flows: how long 10 KB to 1 MB take, from the SYN to the last byte read.

use std::time::Duration;

use finack_core::settings::Congestion;

use super::Scope;
use super::path::{Loss, Path, percent, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Setup};
use super::stats::quantile;
use super::table::Table;

const GROUP: &str = "short flows";
const RATE: u64 = 100_000_000;
const LOSSES: [f64; 5] = [0.0, 0.0001, 0.001, 0.01, 0.03];
const SIZES: [(u64, &str); 3] = [(10_000, "10 KB"), (100_000, "100 KB"), (1_000_000, "1 MB")];
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(300);

fn rtts(quick: bool) -> &'static [u64] {
    if quick { &[20] } else { &[20, 100] }
}

fn runs(quick: bool) -> u64 {
    if quick { 100 } else { 500 }
}

fn path(rtt: u64, share: f64) -> Path {
    Path::new(RATE, Duration::from_millis(rtt), Loss::Random(share))
}

fn name(controller: Congestion, path: &Path, size: &str) -> String {
    format!("short {} {size} {path}", controller.name())
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let mut jobs = Vec::new();
    for &controller in &scope.controllers {
        for &rtt in rtts(scope.quick) {
            for share in LOSSES {
                for (bytes, size) in SIZES {
                    let path = path(rtt, share);
                    let flow = FlowSpec { bytes: Some(bytes), ..FlowSpec::endless(controller) };
                    // The same for every controller, so that they meet the same losses.
                    let first = scope.seed.wrapping_mul(1_000_003).wrapping_add(bytes);
                    let setup = |i| {
                        let seed = first.wrapping_add(i);
                        let mut setup = Setup::new(path, vec![flow.clone()], LIMIT, seed);
                        setup.both_ways = true;
                        setup.sample = LIMIT;
                        setup
                    };
                    let setups = (0..runs(scope.quick)).map(setup).collect();
                    jobs.push(Job { name: name(controller, &path, size), setups });
                }
            }
        }
    }
    jobs
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let mut report = Report::default();
    for &rtt in rtts(scope.quick) {
        let title = format!("Short flows, {}, {}", rate(RATE), time(Duration::from_millis(rtt)));
        let note = format!(
            "Milliseconds from the SYN to the last byte read: the median and the 99th percentile of {} flows. Packets both ways \
             are lost at random, those of the handshake too.",
            runs(scope.quick)
        );
        let mut table = Table::new(title, note, &["flow"]);
        table.columns.extend(LOSSES.iter().map(|&share| percent(share)));
        for (_, size) in SIZES {
            for &controller in &scope.controllers {
                let mut row = vec![format!("{size}, {}", controller.name())];
                row.extend(
                    LOSSES
                        .iter()
                        .map(|&share| cell(&name(controller, &path(rtt, share), size), results, &mut report)),
                );
                if row[1..].iter().any(|c| !c.is_empty()) {
                    table.rows.push(row);
                }
            }
        }
        if !table.rows.is_empty() {
            report.tables.push(table);
        }
    }
    report
}

fn cell(name: &str, results: &Results<'_>, report: &mut Report) -> String {
    let Some((_, outcomes)) = results.get(name) else { return String::new() };
    let all = outcomes.iter().map(|o| o.flows[0].done.unwrap_or(f64::INFINITY) * 1e3);
    let mut times: Vec<f64> = all.collect();
    times.sort_unstable_by(f64::total_cmp);
    let [median, late] = [0.5, 0.99].map(|share| quantile(&times, share));
    for (what, value) in [("median time", median), ("99th percentile", late)] {
        report.figures.push(Figure {
            group: GROUP,
            name: name.into(),
            what,
            value,
            unit: "ms",
            bounds: None,
        });
    }
    format!("{median:.0} / {late:.0}")
}

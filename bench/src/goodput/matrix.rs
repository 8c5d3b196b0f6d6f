//! One flow on every path: what it carries of what the link can carry.

use std::time::Duration;

use finack_core::settings::Congestion;

use super::Scope;
use super::formula;
use super::path::{BURST, Loss, Path, percent, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Setup};
use super::table::Table;

const GROUP: &str = "goodput";
const LOSSES: [f64; 5] = [0.0, 0.0001, 0.001, 0.01, 0.03];
const RTTS: [u64; 4] = [1, 20, 100, 300];
const RATES: [u64; 3] = [10_000_000, 100_000_000, 1_000_000_000];
/// What BBR is to carry of the link at 1 % loss.
const BBR_LEAST: f64 = 0.9;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Random,
    Bursty,
    Reordered,
}

fn path(kind: Kind, rate: u64, rtt: u64, share: f64) -> Path {
    let loss = if kind == Kind::Bursty { Loss::Bursty(share) } else { Loss::Random(share) };
    Path { reorders: kind == Kind::Reordered, ..Path::new(rate, Duration::from_millis(rtt), loss) }
}

/// Kinds and shares of loss: the columns.
fn columns(quick: bool) -> Vec<(Kind, f64)> {
    let shares: &[f64] = if quick { &[0.0, 0.001, 0.01] } else { &LOSSES };
    let of = |kind, shares: &[f64]| shares.iter().map(|&s| (kind, s)).collect::<Vec<_>>();
    let mut all = of(Kind::Random, shares);
    all.extend(of(Kind::Bursty, if quick { &[0.01] } else { &LOSSES[1..] }));
    all.extend(of(Kind::Reordered, if quick { &[0.0] } else { &LOSSES }));
    all
}

/// Rates and round trips: the rows.
fn rows(quick: bool) -> Vec<(u64, u64)> {
    let rates: &[u64] = if quick { &RATES[..2] } else { &RATES };
    let rtts: &[u64] = if quick { &[20, 100] } else { &RTTS };
    rates.iter().flat_map(|&r| rtts.iter().map(move |&t| (r, t))).collect()
}

fn name(controller: Congestion, path: &Path) -> String {
    format!("goodput {} {path}", controller.name())
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let seconds = Duration::from_secs(if scope.quick { 10 } else { 60 });
    let mut jobs = Vec::new();
    for &controller in &scope.controllers {
        for (rate, rtt) in rows(scope.quick) {
            for (kind, share) in columns(scope.quick) {
                let path = path(kind, rate, rtt, share);
                let flows = vec![FlowSpec::endless(controller)];
                jobs.push(Job::one(name(controller, &path), Setup::new(path, flows, seconds, scope.seed)));
            }
        }
    }
    jobs
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let mut report = Report::default();
    for &controller in &scope.controllers {
        let mut table =
            Table::new(format!("One flow, {}", controller.name()), note(scope, controller), &["path"]);
        table.columns.extend(columns(scope.quick).into_iter().map(|(kind, share)| heading(kind, share)));
        for (bits, rtt) in rows(scope.quick) {
            let mut row = vec![format!("{}, {}", rate(bits), time(Duration::from_millis(rtt)))];
            for (kind, share) in columns(scope.quick) {
                let path = path(kind, bits, rtt, share);
                row.push(cell(controller, &path, results, &mut report));
            }
            if row[1..].iter().any(|c| !c.is_empty()) {
                table.rows.push(row);
            }
        }
        if !table.rows.is_empty() {
            report.tables.push(table);
        }
    }
    report
}

fn heading(kind: Kind, share: f64) -> String {
    match kind {
        Kind::Random => percent(share),
        Kind::Bursty => format!("bursty {}", percent(share)),
        Kind::Reordered => format!("reordered {}", percent(share)),
    }
}

fn note(scope: &Scope, controller: Congestion) -> String {
    let seconds = if scope.quick { 10 } else { 60 };
    let formula = match controller.name() {
        "cubic" => "; in brackets what RFC 9438's response function says of periodic loss",
        "reno" => "; in brackets what Reno's response function says of periodic loss",
        _ => "",
    };
    format!(
        "Per cent of what the link can carry, in {seconds} s from the SYN on{formula}. Columns: packets lost at random, in \
         bursts of {BURST} on average, and at random with 1 % of packets 5 ms late."
    )
}

fn cell(controller: Congestion, path: &Path, results: &Results<'_>, report: &mut Report) -> String {
    let name = name(controller, path);
    let Some((job, outcome)) = results.one(&name) else { return String::new() };
    let seconds = job.setups[0].time.as_secs_f64();
    let share = outcome.flows[0].read as f64 * 8.0 / seconds / path.capacity();
    let holds = path.bdp() / super::path::MTU;
    let plain = matches!(path.loss, Loss::Random(p) if p == 0.01) && !path.reorders;
    let bounds = (controller.name() == "bbr" && plain && holds >= 50).then_some((BBR_LEAST, 1.0));
    report.figures.push(Figure {
        group: GROUP,
        name,
        what: "share of the link",
        value: share,
        unit: "",
        bounds,
    });
    let plain = matches!(path.loss, Loss::Random(p) if p > 0.0) && !path.reorders;
    match formula::share(controller.name(), path).filter(|_| plain) {
        Some(expected) => format!("{} ({})", digits(share), digits(expected)),
        None => digits(share),
    }
}

/// Per cent, with as many digits as tell something.
fn digits(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

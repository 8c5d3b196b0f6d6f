//! One flow on every path: what it carries of what the link can carry.

use std::time::Duration;

use finack_core::settings::Congestion;

use super::Scope;
use super::formula;
use super::path::{BURST, Loss, Path, percent, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Setup};
use super::svg::{Chart, Mark, Panel, Series};
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

/// The least that `controller` must carry there.
fn bar(controller: Congestion, path: &Path) -> Option<f64> {
    let plain = path.loss == Loss::Random(0.01) && !path.reorders;
    (controller.name() == "bbr" && plain && path.bdp() / super::path::MTU >= 50).then_some(BBR_LEAST)
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let mut jobs = Vec::new();
    for &controller in &scope.controllers {
        for (rate, rtt) in rows(scope.quick) {
            for (kind, share) in columns(scope.quick) {
                let path = path(kind, rate, rtt, share);
                // How fast it begins is no part of what it is held to.
                let long = !scope.quick || bar(controller, &path).is_some();
                let seconds = Duration::from_secs(if long { 60 } else { 10 });
                let flows = vec![FlowSpec::endless(controller)];
                let mut setup = Setup::new(path, flows, seconds, scope.seed);
                // Checks take longer than the rest: as many packets as these are only read and compared.
                setup.checked = rate < RATES[2];
                jobs.push(Job::one(name(controller, &path), setup));
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
    let seconds = if scope.quick { "10 s (where BBR must carry 90 %: 60)" } else { "60 s" };
    let formula = match controller.name() {
        "cubic" => "; in brackets what RFC 9438's response function says of periodic loss",
        "reno" => "; in brackets what Reno's response function says of periodic loss",
        _ => "",
    };
    format!(
        "Per cent of what the link can carry, in {seconds} from the SYN on{formula}. Columns: packets lost at random, in \
         bursts of {BURST} on average, and at random with 1 % of packets 5 ms late."
    )
}

fn cell(controller: Congestion, path: &Path, results: &Results<'_>, report: &mut Report) -> String {
    let name = name(controller, path);
    let Some((job, outcome)) = results.one(&name) else { return String::new() };
    let seconds = job.setups[0].time.as_secs_f64();
    let share = outcome.flows[0].read as f64 * 8.0 / seconds / path.capacity();
    let bounds = bar(controller, path).map(|least| (least, 1.0));
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

/// What is carried by loss, a panel for each round trip.
pub(crate) fn picture(scope: &Scope, results: &Results<'_>) -> Option<(String, String)> {
    if scope.quick {
        return None;
    }
    let shares = &LOSSES[1..];
    let panel = |rtt: u64| {
        let path = |p: f64| path(Kind::Random, RATES[1], rtt, p);
        let mut series = Vec::new();
        for (colour, &controller) in scope.controllers.iter().enumerate() {
            let share = |&p: &f64| {
                let (job, outcome) = results.one(&name(controller, &path(p)))?;
                let seconds = job.setups[0].time.as_secs_f64();
                Some((p * 100.0, outcome.flows[0].read as f64 * 8.0 / seconds / path(p).capacity() * 100.0))
            };
            let points: Vec<(f64, f64)> = shares.iter().filter_map(share).collect();
            series.push(Series { colour, points, mark: Mark::Dots });
            let points = (0..=100).map(|i| 1e-4 * (3e-2 / 1e-4_f64).powf(f64::from(i) / 100.0));
            let curve = points
                .filter_map(|p| Some((p * 100.0, formula::share(controller.name(), &path(p))? * 100.0)));
            series.push(Series { colour, points: curve.collect(), mark: Mark::Dashes });
        }
        let label = format!("RTT {}, %", time(Duration::from_millis(rtt)));
        Panel { label, height: 120.0, series, range: Some((0.0, 100.0)) }
    };
    let mut legend: Vec<(usize, Mark, String)> =
        scope.controllers.iter().enumerate().map(|(i, c)| (i, Mark::Dots, c.name().into())).collect();
    legend.push((5, Mark::Dashes, "response function of the same colour".into()));
    let chart = Chart {
        title: format!("What one flow carries of {}, by loss", rate(RATES[1])),
        subtitle: "Per cent of what the link can carry in 60 s; packets are lost at random.".into(),
        label: "per cent of packets lost".into(),
        range: (0.01, 3.0),
        logarithmic: true,
        legend,
        panels: RTTS.iter().map(|&rtt| panel(rtt)).collect(),
    };
    let drawn =
        chart.panels.iter().any(|p| p.series.iter().any(|s| s.mark == Mark::Dots && !s.points.is_empty()));
    drawn.then(|| ("goodput-by-loss.svg".into(), chart.render()))
}

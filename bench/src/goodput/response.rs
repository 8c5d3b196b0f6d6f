//! CUBIC beside its response function: exactly one packet in so many is lost, for dozens of epochs.

use std::time::Duration;

use finack_core::settings::Congestion;

use super::Scope;
use super::formula;
use super::path::{Loss, MSS, Path, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Outcome, Setup};
use super::table::Table;

const GROUP: &str = "response";
/// One packet in so many is lost: 0.01, 0.1, 1 and 3 %.
const PERIODS: [u64; 4] = [10_000, 1_000, 100, 33];
const RTTS: [u64; 4] = [1, 20, 100, 300];
const RATES: [u64; 3] = [10_000_000, 100_000_000, 1_000_000_000];
/// Epochs that are left out until the flow is in step, and those that count.
const SETTLING: u64 = 10;
const EPOCHS: u64 = 60;
/// Where it is held to the function: the range of RFC 9438's tables (5.1). With fewer than ten segments that only go whole,
/// and five round trips from a loss to the next of which one repairs it, nobody can follow a curve.
const MOST_LOSS: f64 = 0.01;
/// How far off it may be.
const TOLERANCE: f64 = 0.1;
/// Controllers with a response function; only the first is held to it.
const CONTROLLERS: [&str; 2] = ["cubic", "reno"];

fn name(controller: &str, path: &Path) -> String {
    format!("response {controller} {path}")
}

/// Paths on which the function stays below the link: elsewhere the link decides.
fn paths(controller: &str, quick: bool) -> Vec<Path> {
    let mut paths = Vec::new();
    for bits in RATES {
        for period in PERIODS {
            for rtt in RTTS {
                let path = Path::new(bits, Duration::from_millis(rtt), Loss::Periodic(period));
                let wanted = !quick || (bits == RATES[1] && period <= 1000);
                let below = formula::share(controller, &path).is_some_and(|share| share < 1.0);
                if wanted && below {
                    paths.push(path);
                }
            }
        }
    }
    paths
}

/// How long so many epochs take, by the function.
fn lasting(controller: &str, path: &Path, epochs: u64) -> f64 {
    let share = formula::share(controller, path).unwrap_or(1.0);
    let packets = epochs as f64 / path.loss.share();
    packets * MSS as f64 * 8.0 / (share * path.capacity())
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let mut jobs = Vec::new();
    for controller in CONTROLLERS {
        let Some(kind) = Congestion::named(controller).filter(|c| scope.controllers.contains(c)) else {
            continue;
        };
        for path in paths(controller, scope.quick) {
            // Longer than the function says, so that who is slow is seen for as many epochs.
            let seconds = lasting(controller, &path, SETTLING + EPOCHS) * 2.0;
            let mut setup =
                Setup::new(path, vec![FlowSpec::endless(kind)], Duration::from_secs_f64(seconds), scope.seed);
            setup.sample = Duration::from_secs_f64(seconds / 10_000.0);
            jobs.push(Job::one(name(controller, &path), setup));
        }
    }
    jobs
}

/// Between the ends of two epochs: the average congestion window in segments, and bits of payload a second.
fn measured(path: &Path, outcome: &Outcome) -> Option<(f64, f64)> {
    let samples = &outcome.flows[0].samples;
    let epoch = MSS as f64 / path.loss.share();
    let crosses = |epochs: u64| samples.iter().position(|s| s.read as f64 >= epochs as f64 * epoch);
    let (first, last) = (crosses(SETTLING)?, crosses(SETTLING + EPOCHS)?);
    let (from, to) = (&samples[first], &samples[last]);
    let windows = samples[first..last].iter().map(|s| s.cwnd as f64 / MSS as f64);
    let window = windows.sum::<f64>() / (last - first).max(1) as f64;
    Some((window, (to.read - from.read) as f64 * 8.0 / (to.at - from.at)))
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let mut report = Report::default();
    for controller in CONTROLLERS {
        let note = format!(
            "Where exactly one packet in so many is lost, over {EPOCHS} epochs, and the function is below the link: the average window \
             over the function's, then what was carried over what that window would carry in each round trip (1 is all of it). In \
             brackets the function's window in segments."
        );
        let mut table = Table::new(format!("Response function, {controller}"), note, &["path"]);
        table.columns.extend(PERIODS.iter().map(|p| format!("1 in {p}")));
        for bits in RATES {
            for rtt in RTTS {
                let mut row = vec![format!("{}, {}", rate(bits), time(Duration::from_millis(rtt)))];
                for period in PERIODS {
                    let path = Path::new(bits, Duration::from_millis(rtt), Loss::Periodic(period));
                    row.push(cell(controller, &path, results, &mut report));
                }
                if row[1..].iter().any(|c| !c.is_empty()) {
                    table.rows.push(row);
                }
            }
        }
        if !table.rows.is_empty() && !scope.controllers.is_empty() {
            report.tables.push(table);
        }
    }
    report
}

fn cell(controller: &str, path: &Path, results: &Results<'_>, report: &mut Report) -> String {
    let name = name(controller, path);
    let Some((_, outcome)) = results.one(&name) else { return String::new() };
    let expected = formula::window(controller, path).unwrap_or(f64::NAN);
    let (window, rate) = measured(path, outcome).unwrap_or_default();
    let carried = rate / (formula::share(controller, path).unwrap_or(f64::NAN) * path.capacity());
    let bounds = (controller == CONTROLLERS[0] && path.loss.share() <= MOST_LOSS)
        .then_some((1.0 - TOLERANCE, 1.0 + TOLERANCE));
    let ratio = window / expected;
    for (what, value, bounds) in [
        ("window over the response function", ratio, bounds),
        ("goodput over the response function", carried, None),
    ] {
        report.figures.push(Figure { group: GROUP, name: name.clone(), what, value, unit: "", bounds });
    }
    format!("{ratio:.2}, {carried:.2} ({expected:.0})")
}

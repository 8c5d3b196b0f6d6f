//! Several flows through one bottleneck: who gets how much.

use std::time::Duration;

use finack_core::settings::Congestion;
use finack_sim::rng::Rng;

use super::Scope;
use super::path::{Loss, Path, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Outcome, Setup};
use super::stats::jain;
use super::table::Table;

const GROUP: &str = "fairness";
const RATE: u64 = 100_000_000;
const RTT: Duration = Duration::from_millis(20);
/// Flows begin within this time of each other.
const STAGGER: Duration = Duration::from_secs(1);
/// The round trip of the farther of two flows.
const FAR: Duration = Duration::from_millis(100);
/// When the second flow begins that starts into a full queue.
fn begin_late(quick: bool) -> Duration {
    Duration::from_secs(if quick { 5 } else { 15 })
}

/// A late flow has arrived once it carries this share of its part.
const ARRIVED: f64 = 0.8;

fn path() -> Path {
    Path::new(RATE, RTT, Loss::Random(0.0))
}

fn counts(quick: bool) -> &'static [usize] {
    if quick { &[2, 8] } else { &[2, 8, 32] }
}

fn seconds(quick: bool) -> u64 {
    if quick { 20 } else { 60 }
}

/// Each controller alone, and each two of them in halves.
fn mixes(scope: &Scope) -> Vec<Vec<Congestion>> {
    let c = &scope.controllers;
    let mut mixes: Vec<Vec<Congestion>> = c.iter().map(|&one| vec![one]).collect();
    for (i, &a) in c.iter().enumerate() {
        mixes.extend(c[i + 1..].iter().map(|&b| vec![a, b]));
    }
    mixes
}

fn words(mix: &[Congestion]) -> String {
    mix.iter().map(|c| c.name()).collect::<Vec<_>>().join(" and ")
}

fn name(what: &str, mix: &[Congestion]) -> String {
    format!("fairness {what} {}", words(mix))
}

fn setup(scope: &Scope, flows: Vec<FlowSpec>) -> Setup {
    Setup::new(path(), flows, Duration::from_secs(seconds(scope.quick)), scope.seed)
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let mut jobs = Vec::new();
    for mix in mixes(scope) {
        for &count in counts(scope.quick) {
            let mut rng = Rng::new(scope.seed ^ count as u64);
            let flow = |i: usize| FlowSpec {
                start: Duration::from_nanos(rng.below(STAGGER.as_nanos() as u64)),
                ..FlowSpec::endless(mix[i % mix.len()])
            };
            jobs.push(Job::one(
                name(&format!("{count} flows"), &mix),
                setup(scope, (0..count).map(flow).collect()),
            ));
        }
        let [first, last] = [mix[0], mix[mix.len() - 1]].map(FlowSpec::endless);
        if mix.len() == 1 {
            let far = FlowSpec { farther: FAR - RTT, ..last.clone() };
            jobs.push(Job::one(name("near and far", &mix), setup(scope, vec![first.clone(), far])));
        }
        let late = FlowSpec { start: begin_late(scope.quick), ..last };
        jobs.push(Job::one(name("late", &mix), setup(scope, vec![first, late])));
        if mix.len() == 2 {
            let [early, late] = [mix[1], mix[0]].map(FlowSpec::endless);
            let late = FlowSpec { start: begin_late(scope.quick), ..late };
            jobs.push(Job::one(name("late", &[mix[1], mix[0]]), setup(scope, vec![early, late])));
        }
    }
    jobs
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let mut report = Report::default();
    let tables = [
        shares(scope, results, &mut report),
        far(scope, results, &mut report),
        late(scope, results, &mut report),
    ];
    report.tables.extend(tables.into_iter().filter(|t| !t.rows.is_empty()));
    report
}

/// Bits a second of each flow over the last half.
fn settled(job: &Job, outcome: &Outcome) -> Vec<f64> {
    let end = job.setups[0].time.as_secs_f64();
    (0..outcome.flows.len()).map(|i| outcome.rate(i, end / 2.0, end)).collect()
}

fn shares(scope: &Scope, results: &Results<'_>, report: &mut Report) -> Table {
    let note = format!(
        "{}, {}, a drop-tail queue of one bandwidth-delay product; flows begin within {} s, and the last {} s count. Jain's \
         index is 1 where all have the same; of mixed flows, in brackets, the share of the first kind in per cent (50 is fair). Load: \
         what all carry, in per cent of the link.",
        rate(RATE),
        time(RTT),
        STAGGER.as_secs(),
        seconds(scope.quick) / 2,
    );
    let mut table = Table::new("Fairness", note, &["flows"]);
    table
        .columns
        .extend(counts(scope.quick).iter().flat_map(|n| [format!("Jain, {n}"), format!("load, {n}")]));
    for mix in mixes(scope) {
        let mut row = vec![words(&mix)];
        for &count in counts(scope.quick) {
            let name = name(&format!("{count} flows"), &mix);
            let Some((job, outcome)) = results.one(&name) else {
                row.extend([String::new(), String::new()]);
                continue;
            };
            let rates = settled(job, outcome);
            let all: f64 = rates.iter().sum();
            let first: f64 = rates.iter().step_by(mix.len()).sum();
            let (index, load) = (jain(&rates), all / path().capacity());
            report.figures.push(figure(&name, "Jain's index", index, ""));
            report.figures.push(figure(&name, "load", load, ""));
            if mix.len() > 1 {
                report.figures.push(figure(&name, "share of the first kind", first / all, ""));
                row.push(format!("{index:.2} ({:.0})", first / all * 100.0));
            } else {
                row.push(format!("{index:.2}"));
            }
            row.push(format!("{:.0}", load * 100.0));
        }
        if row[1..].iter().any(|c| !c.is_empty()) {
            table.rows.push(row);
        }
    }
    table
}

fn figure(name: &str, what: &'static str, value: f64, unit: &'static str) -> Figure {
    Figure { group: GROUP, name: name.into(), what, value, unit, bounds: None }
}

fn far(scope: &Scope, results: &Results<'_>, report: &mut Report) -> Table {
    let note = format!(
        "Two flows of one kind over the same bottleneck, one with a round trip of {}, the other of {}: what each carries, in Mb/s.",
        time(RTT),
        time(FAR)
    );
    let mut table = Table::new("Near and far", note, &["controller", "near", "far", "near over far"]);
    for &controller in &scope.controllers {
        let name = name("near and far", &[controller]);
        if let Some((job, outcome)) = results.one(&name) {
            let rates = settled(job, outcome);
            let ratio = rates[0] / rates[1].max(1.0);
            report.figures.push(figure(&name, "near over far", ratio, ""));
            let mbit = |r: f64| format!("{:.1}", r / 1e6);
            table.rows.push(vec![
                controller.name().into(),
                mbit(rates[0]),
                mbit(rates[1]),
                format!("{ratio:.1}"),
            ]);
        }
    }
    table
}

fn late(scope: &Scope, results: &Results<'_>, report: &mut Report) -> Table {
    let note = format!(
        "The second flow begins {} s after the first, into its full queue. Arrived: after how many seconds it carried {:.0} % of \
         half of the link over a second; its share in per cent of what both carried, over the 5 s after its beginning and at the end.",
        begin_late(scope.quick).as_secs(),
        ARRIVED * 100.0
    );
    let mut table = Table::new(
        "Late into a full queue",
        note,
        &["first, second", "arrived", "share, first 5 s", "share, last 5 s"],
    );
    for mix in mixes(scope) {
        let orders = if mix.len() == 1 { vec![mix.clone()] } else { vec![mix.clone(), vec![mix[1], mix[0]]] };
        for order in orders {
            let name = name("late", &order);
            let Some((job, outcome)) = results.one(&name) else { continue };
            let (end, begin) = (job.setups[0].time.as_secs_f64(), begin_late(scope.quick).as_secs_f64());
            let share = |from: f64, to: f64| {
                let [a, b] = [0, 1].map(|i| outcome.rate(i, from, to));
                b / (a + b).max(1.0)
            };
            let part = path().capacity() / 2.0 * ARRIVED;
            let mut seconds = (0..).map(|i| f64::from(i) * 0.1).take_while(|t| begin + t + 1.0 <= end);
            let arrived = seconds.find(|t| outcome.rate(1, begin + t, begin + t + 1.0) >= part);
            report.figures.push(figure(&name, "arrived after", arrived.unwrap_or(f64::NAN), "s"));
            report.figures.push(figure(&name, "share at the end", share(end - 5.0, end), ""));
            table.rows.push(vec![
                format!("{}, {}", order[0].name(), order[order.len() - 1].name()),
                arrived.map_or_else(|| "not".into(), |t| format!("{t:.1}")),
                format!("{:.0}", share(begin, begin + 5.0) * 100.0),
                format!("{:.0}", share(end - 5.0, end) * 100.0),
            ]);
        }
    }
    table
}

//! Queues that manage their length, and marks instead of losses: who carries how much, and how long packets wait.

use std::time::Duration;

use finack_core::settings::{Congestion, Settings};

use super::Scope;
use super::path::{Loss, Path, Queue, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Setup};
use super::table::Table;

const GROUP: &str = "queues";
const RATE: u64 = 100_000_000;
const RTT: Duration = Duration::from_millis(20);
/// Packets that a managed queue holds at most: far more than it lets wait.
const ROOM: u64 = 2000 * super::path::MTU;
/// Flows that share the bottleneck.
const FLOWS: [&[&str]; 6] = [
    &["reno"],
    &["cubic"],
    &["bbr"],
    &["prague"],
    &["cubic", "prague"],
    &["cubic", "cubic", "prague", "prague"],
];

fn path(queue: Queue) -> Path {
    let plain = Path::new(RATE, RTT, Loss::Random(0.0));
    let buffer = if queue == Queue::DropTail { plain.buffer } else { ROOM };
    Path { queue, buffer, ..plain }
}

fn queue_name(queue: Queue) -> &'static str {
    match queue {
        Queue::DropTail => "drop-tail, one bandwidth-delay product",
        Queue::Codel => "CoDel, marks",
        Queue::DualPi2 => "DualPI2",
    }
}

/// Whether the engine speaks accurate ECN, which scalable controllers need.
pub(crate) fn speaks_ecn() -> bool {
    Settings::default().set("net.ipv4.tcp_ecn", "3").is_ok()
}

fn kinds() -> Vec<(Queue, Vec<Congestion>)> {
    let queues: &[Queue] = &[Queue::DropTail, Queue::Codel, Queue::DualPi2];
    let mixes =
        FLOWS.iter().filter_map(|mix| mix.iter().map(|n| Congestion::named(n)).collect::<Option<Vec<_>>>());
    let mixes: Vec<Vec<Congestion>> = mixes.collect();
    let fits = |q: Queue, m: &[Congestion]| q == Queue::DualPi2 || m.iter().all(|c| c.name() != "prague");
    queues
        .iter()
        .flat_map(|&q| mixes.iter().filter(move |m| fits(q, m)).map(move |m| (q, m.clone())))
        .collect()
}

fn name(queue: Queue, flows: &[Congestion]) -> String {
    let flows: Vec<&str> = flows.iter().map(|c| c.name()).collect();
    format!("queue {} of {}", flows.join(" "), path(queue))
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    if !speaks_ecn() {
        return Vec::new();
    }
    let seconds = Duration::from_secs(if scope.quick { 10 } else { 60 });
    let job = |(queue, flows): (Queue, Vec<Congestion>)| {
        let specs = flows.iter().map(|&c| FlowSpec::endless(c)).collect();
        let mut setup = Setup::new(path(queue), specs, seconds, scope.seed);
        setup.sample = Duration::from_millis(10);
        setup.ecn = true;
        Job::one(name(queue, &flows), setup)
    };
    kinds().into_iter().map(job).collect()
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let _ = scope;
    let mut report = Report::default();
    let note = format!(
        "{}, {}, accurate ECN on both ends; the second half of the run. Of each flow: Mb/s, and how long its round trip was beyond \
         the path's, in ms, on average and for 1 % of the time.",
        rate(RATE),
        time(RTT)
    );
    let mut table = Table::new(
        "Queues that mark, and L4S",
        note,
        &["queue", "flows", "Mb/s", "waits, ms", "99 %, ms", "load, %"],
    );
    for (queue, flows) in kinds() {
        let name = name(queue, &flows);
        let Some((job, outcome)) = results.one(&name) else { continue };
        let end = job.setups[0].time.as_secs_f64();
        let [mut carried, mut waits, mut worst] = [const { Vec::new() }; 3];
        for i in 0..flows.len() {
            carried.push(outcome.rate(i, end / 2.0, end));
            let late = outcome.flows[i].samples.iter().filter(|s| s.at >= end / 2.0);
            let mut late: Vec<f64> =
                late.map(|s| (s.srtt - path(queue).least_rtt().as_secs_f64()).max(0.0) * 1e3).collect();
            late.sort_unstable_by(f64::total_cmp);
            waits.push(late.iter().sum::<f64>() / late.len().max(1) as f64);
            worst.push(super::stats::quantile(&late, 0.99));
        }
        let load = carried.iter().sum::<f64>() / path(queue).capacity();
        let mut add = |what, value, unit| {
            report.figures.push(Figure { group: GROUP, name: name.clone(), what, value, unit, bounds: None });
        };
        add("load", load, "");
        add("wait of the last flow", waits.last().copied().unwrap_or(f64::NAN), "ms");
        let words = |values: &[f64], unit: f64| {
            values.iter().map(|v| format!("{:.1}", v / unit)).collect::<Vec<_>>().join(", ")
        };
        let who: Vec<&str> = flows.iter().map(|c| c.name()).collect();
        table.rows.push(vec![
            queue_name(queue).into(),
            who.join(", "),
            words(&carried, 1e6),
            words(&waits, 1.0),
            words(&worst, 1.0),
            format!("{:.0}", load * 100.0),
        ]);
    }
    report.tables.extend((!table.rows.is_empty()).then_some(table));
    report
}

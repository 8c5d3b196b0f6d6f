//! One flow of each controller over a path of the user's own.

use std::time::Duration;

use finack_sim::link;

use super::Scope;
use super::path::{Loss, Path, rate, time};
use super::pool::Job;
use super::report::{Figure, Report, Results};
use super::sim::{FlowSpec, Setup};
use super::table::Table;

const GROUP: &str = "own path";
/// What an unlimited path counts as.
const FASTEST: u64 = 10_000_000_000;

fn name(controller: &str) -> String {
    format!("own path, {controller}")
}

/// The path's description, told what it is about.
pub(crate) fn path(text: &str) -> Result<link::Path, String> {
    text.parse().map_err(|e: link::TextError| e.to_string())
}

pub(crate) fn jobs(scope: &Scope, own: &link::Path, seconds: u64) -> Vec<Job> {
    let bits = own.bottleneck().unwrap_or(FASTEST);
    let like = Path::new(bits, own.round_trip(), Loss::Random(0.0));
    let job = |&controller: &finack_core::settings::Congestion| {
        let flows = vec![FlowSpec::endless(controller)];
        let mut setup = Setup::new(like, flows, Duration::from_secs(seconds), scope.seed);
        setup.own = Some(own.clone());
        setup.ecn = super::queues::speaks_ecn();
        Job::one(name(controller.name()), setup)
    };
    scope.controllers.iter().map(job).collect()
}

pub(crate) fn report(scope: &Scope, results: &Results<'_>) -> Report {
    let mut report = Report::default();
    let columns = [
        "controller",
        "goodput, Mb/s",
        "of the link, %",
        "sent again, %",
        "lost, packets",
        "round trip, ms",
        "held by the receiver, s",
    ];
    let mut table = Table::new("", "", &columns);
    for controller in &scope.controllers {
        let name = name(controller.name());
        let Some((job, outcome)) = results.one(&name) else { continue };
        let setup = &job.setups[0];
        if table.title.is_empty() {
            let (bits, rtt) = (rate(setup.path.rate), time(setup.path.rtt));
            table.title = format!("One flow over a path of {bits} and {rtt}, {} s", setup.time.as_secs());
        }
        let flow = &outcome.flows[0];
        let goodput = flow.read as f64 * 8.0 / setup.time.as_secs_f64();
        let share = goodput / setup.path.capacity();
        let trips: Vec<f64> = flow.samples.iter().map(|s| s.srtt * 1e3).filter(|&t| t > 0.0).collect();
        let again = flow.resent as f64 / flow.sent.max(1) as f64;
        table.rows.push(vec![
            controller.name().into(),
            format!("{:.2}", goodput / 1e6),
            format!("{:.1}", share * 100.0),
            format!("{:.2}", again * 100.0),
            outcome.lost.to_string(),
            format!("{:.1}", trips.iter().sum::<f64>() / trips.len().max(1) as f64),
            format!("{:.2}", flow.held),
        ]);
        for (what, value, unit) in
            [("goodput", goodput, "bit/s"), ("share of the link", share, ""), ("sent again", again, "")]
        {
            report.figures.push(Figure { group: GROUP, name: name.clone(), what, value, unit, bounds: None });
        }
    }
    report.tables.extend((!table.rows.is_empty()).then_some(table));
    report
}

//! Pictures of what happens: windows over time, a recovery packet by packet, a flow that joins another.

use std::time::Duration;

use finack_core::settings::Congestion;

use super::path::{Loss, MSS, Path, rate, time};
use super::pool::Job;
use super::report::Results;
use super::sim::{FlowResult, FlowSpec, Outcome, Packet, PacketKind, Setup};
use super::svg::{Chart, Mark, Panel, Series};
use super::{Scope, matrix};

/// A file and what it holds.
pub(crate) type Picture = (String, String);

/// Controllers that are drawn beside each other.
const DRAWN: [&str; 3] = ["reno", "cubic", "bbr"];
/// Seconds over which goodput is averaged.
const AVERAGED: f64 = 0.5;

const CLEAN: &str = "over-time";
const LOSSY: &str = "over-time-loss";
const RECOVERY: &str = "recovery";
const JOIN: &str = "join";

/// Packets that the path loses in the picture of a recovery: two neighbours, another, and the first of these again.
const LOST: &[u64] = &[120, 121, 128, 251];

fn drawn() -> impl Iterator<Item = (usize, Congestion)> {
    DRAWN.iter().enumerate().filter_map(|(i, name)| Congestion::named(name).map(|c| (i, c)))
}

fn clean() -> Path {
    Path::new(20_000_000, Duration::from_millis(50), Loss::Random(0.0))
}

fn lossy() -> Path {
    Path::new(100_000_000, Duration::from_millis(20), Loss::Random(0.01))
}

fn recovering() -> Path {
    // A queue that never overflows: what is lost is what was picked.
    Path { buffer: 1 << 20, ..Path::new(10_000_000, Duration::from_millis(60), Loss::Picked(LOST)) }
}

fn name(picture: &str, controller: Congestion) -> String {
    format!("picture {picture} {}", controller.name())
}

pub(crate) fn jobs(scope: &Scope) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut add = |name: String, path: Path, flows: Vec<FlowSpec>, seconds: u64, every: u64| {
        let mut setup = Setup::new(path, flows, Duration::from_secs(seconds), scope.seed);
        setup.sample = Duration::from_millis(every);
        jobs.push(Job::one(name, setup));
    };
    for (_, controller) in drawn() {
        add(name(CLEAN, controller), clean(), vec![FlowSpec::endless(controller)], 60, 50);
        add(name(LOSSY, controller), lossy(), vec![FlowSpec::endless(controller)], 20, 20);
        let late = |at| FlowSpec { start: Duration::from_secs(at), ..FlowSpec::endless(controller) };
        add(name(JOIN, controller), clean(), vec![late(0), late(10), late(20), late(30)], 60, 100);
    }
    let mut setup = Setup::new(
        recovering(),
        vec![FlowSpec::endless(Congestion::Cubic)],
        Duration::from_secs(2),
        scope.seed,
    );
    setup.traced = Some((Duration::ZERO, Duration::from_secs(2)));
    jobs.push(Job::one(name(RECOVERY, Congestion::Cubic), setup));
    jobs
}

/// All that the results suffice for.
pub(crate) fn draw(scope: &Scope, results: &Results<'_>) -> Vec<Picture> {
    let paths = [
        (CLEAN, clean(), "loses nothing but what overflows its queue"),
        (LOSSY, lossy(), "loses 1 % at random"),
    ];
    let mut pictures: Vec<Picture> =
        paths.iter().filter_map(|(file, path, what)| over_time(file, path, what, results)).collect();
    pictures.extend(results.one(&name(RECOVERY, Congestion::Cubic)).and_then(|(_, o)| recovery(o)));
    pictures.extend(join(results));
    pictures.extend(matrix::picture(scope, results));
    pictures
}

fn picture(file: &str, chart: &Chart) -> Picture {
    (format!("goodput-{file}.svg"), chart.render())
}

fn over_time(file: &str, path: &Path, what: &str, results: &Results<'_>) -> Option<Picture> {
    let flows: Vec<(usize, Congestion, &FlowResult)> =
        drawn().filter_map(|(i, c)| results.one(&name(file, c)).map(|(_, o)| (i, c, &o.flows[0]))).collect();
    let end = flows.first()?.2.samples.last()?.at;
    let panel = |label: &str, of: fn(&FlowResult) -> Vec<(f64, f64)>| Panel {
        label: label.into(),
        height: 130.0,
        series: flows
            .iter()
            .map(|&(colour, _, flow)| Series { colour, points: of(flow), mark: Mark::Line })
            .collect(),
        range: None,
    };
    let chart = Chart {
        title: format!("One flow over time, {} and {}", rate(path.rate), time(path.rtt)),
        subtitle: format!(
            "The path {what}; its queue holds one bandwidth-delay product, {} segments.",
            path.buffer / super::path::MTU
        ),
        label: "seconds".into(),
        range: (0.0, end.round()),
        legend: flows.iter().map(|&(i, c, _)| (i, Mark::Line, c.name().into())).collect(),
        panels: vec![
            panel("cwnd, segments", |f| series(f, |s| s.cwnd as f64 / MSS as f64)),
            panel("pacing rate, Mb/s", |f| series(f, |s| s.pacing / 1e6)),
            panel("round trip, ms", |f| series(f, |s| s.srtt * 1e3)),
            panel("goodput, Mb/s", goodput),
        ],
        ..Chart::default()
    };
    Some(picture(file, &chart))
}

fn series(flow: &FlowResult, of: fn(&super::sim::Sample) -> f64) -> Vec<(f64, f64)> {
    flow.samples.iter().map(|s| (s.at, of(s))).collect()
}

/// In Mb/s, averaged over the time before each sample.
fn goodput(flow: &FlowResult) -> Vec<(f64, f64)> {
    let samples = &flow.samples;
    let rate = |(i, s): (usize, &super::sim::Sample)| {
        let from = samples[..=i].iter().rev().find(|b| s.at - b.at >= AVERAGED - 1e-9)?;
        Some((s.at, (s.read - from.read) as f64 * 8.0 / (s.at - from.at) / 1e6))
    };
    samples.iter().enumerate().filter_map(rate).collect()
}

fn join(results: &Results<'_>) -> Option<Picture> {
    let mut panels = Vec::new();
    for (_, controller) in drawn() {
        let (_, outcome) = results.one(&name(JOIN, controller))?;
        let lines = outcome.flows.iter().enumerate();
        let series =
            lines.map(|(colour, flow)| Series { colour, points: goodput(flow), mark: Mark::Line }).collect();
        panels.push(Panel {
            label: format!("{}, Mb/s", controller.name()),
            height: 130.0,
            series,
            range: Some((0.0, 20.0)),
        });
    }
    let word = ["the first flow", "10 s later", "20 s later", "30 s later"];
    let chart = Chart {
        title: format!("Flows that join others, {} and {}", rate(clean().rate), time(clean().rtt)),
        subtitle: "What each of four flows carries, of one controller at a time; the queue holds one bandwidth-delay product.".into(),
        label: "seconds".into(),
        range: (0.0, 60.0),
        legend: word.iter().enumerate().map(|(i, w)| (i, Mark::Line, (*w).into())).collect(),
        panels,
        ..Chart::default()
    };
    Some(picture(JOIN, &chart))
}

/// The time-sequence diagram of a recovery.
fn recovery(outcome: &Outcome) -> Option<Picture> {
    let trace = &outcome.trace;
    let first = trace.iter().find(|p| p.kind == PacketKind::LostData)?;
    let (begin, low) = (first.at - 0.02, f64::from(first.from) - 20_000.0);
    let end = begin + 0.4;
    let shown = |p: &&Packet| p.at >= begin && p.at <= end;
    let mut top = 0;
    let [mut fresh, mut again, mut lost, mut sacked, mut acked] = [const { Vec::new() }; 5];
    let place = |at: f64, seq: u32| ((at - begin) * 1e3, (f64::from(seq) - low) / 1e3);
    let mut highest = 0;
    // The handshake is no data.
    for packet in trace.iter().filter(|p| p.kind == PacketKind::Ack || p.to > p.from) {
        let is_again = packet.kind == PacketKind::Data && packet.from < highest;
        if packet.kind == PacketKind::Data {
            highest = highest.max(packet.to);
        }
        if !shown(&packet) {
            continue;
        }
        let bar = [place(packet.at, packet.from), place(packet.at, packet.to)];
        match packet.kind {
            PacketKind::Data if is_again => again.extend(bar),
            PacketKind::Data => fresh.extend(bar),
            PacketKind::LostData => lost.push(place(packet.at, packet.from + (packet.to - packet.from) / 2)),
            PacketKind::Ack => {
                acked.push(bar[0]);
                let blocks = packet.sacked.iter().filter(|(from, _)| *from > packet.from);
                sacked.extend(blocks.flat_map(|&(from, to)| [place(packet.at, from), place(packet.at, to)]));
            }
        }
        top = top.max(highest);
    }
    let legend = [
        (3, Mark::FaintBars, "reported by SACK"),
        (0, Mark::Bars, "sent"),
        (1, Mark::BoldBars, "sent again"),
        (5, Mark::Crosses, "lost on the way"),
        (2, Mark::Steps, "acknowledged"),
    ];
    let all = [sacked, fresh, again, lost, acked];
    let series = legend.iter().zip(all).map(|(&(colour, mark, _), points)| Series { colour, points, mark });
    let chart = Chart {
        title: format!("A recovery, packet by packet, {} and {}", rate(recovering().rate), time(recovering().rtt)),
        subtitle: "CUBIC, RACK-TLP and PRR as seen at the sender: three packets are lost, and of one of them the repetition too.".into(),
        label: "milliseconds".into(),
        range: (0.0, ((end - begin) * 1e3 / 20.0).ceil() * 20.0),
        legend: legend.iter().map(|&(c, m, text)| (c, m, text.into())).collect(),
        panels: vec![Panel {
            label: "sequence number, KB".into(),
            height: 460.0,
            series: series.collect(),
            range: Some((0.0, ((f64::from(top) - low) / 1e3 / 20.0).ceil() * 20.0)),
        }],
        ..Chart::default()
    };
    Some(picture(RECOVERY, &chart))
}

//! Alternating runs, medians and ratios.

use std::time::Duration;

use serde::Serialize;

use crate::table::Table;

/// How long and how often.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Runs of each subject; the median counts.
    pub rounds: usize,
    /// Length of one run.
    pub slice: Duration,
}

/// What is measured and for how long.
#[derive(Clone)]
pub struct Options {
    pub pace: Pace,
    pub quick: bool,
    /// Only cases whose name holds one of these; all where there is none.
    pub only: Vec<String>,
    /// Leave the peers out.
    pub alone: bool,
    /// tun, udp: leave everything out but the bare loops.
    pub bare: bool,
}

impl Options {
    /// Whether the case of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }
}

/// What a part of the bench found out: written as JSON with `--json`.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// Subjects side by side.
    Comparison(Comparison),
    /// Anything else, as words and figures under their columns.
    Table(Table),
}

/// What a subject is to the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Finack,
    Peer,
    /// The same bytes moved with no protocol at all.
    Bare,
}

/// Somebody who is measured: one call runs for about the time given and answers the figure.
pub struct Subject<'a> {
    pub name: &'static str,
    pub role: Role,
    pub run: Box<dyn FnMut(Duration) -> f64 + 'a>,
}

impl<'a> Subject<'a> {
    pub fn new(name: &'static str, role: Role, run: impl FnMut(Duration) -> f64 + 'a) -> Self {
        Self { name, role, run: Box::new(run) }
    }
}

/// One subject's figure.
#[derive(Clone, Serialize)]
pub struct Row {
    pub subject: &'static str,
    pub role: Role,
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
    /// finack's figure against this one, above 1 where finack is ahead.
    pub ratio: Option<f64>,
}

/// One line of the tables: all subjects on one task.
#[derive(Clone, Serialize)]
pub struct Comparison {
    pub case: String,
    pub unit: &'static str,
    pub more_is_better: bool,
    pub rows: Vec<Row>,
    /// Subjects that could not run, and why.
    pub missing: Vec<String>,
}

impl Comparison {
    /// Figures that were not taken in alternating runs (bytes, which do not vary).
    pub fn of_figures(case: &str, unit: &'static str, figures: &[(&'static str, Role, f64)]) -> Self {
        let rows = figures.iter().map(|&(subject, role, f)| row(subject, role, &mut [f])).collect();
        Self::finish(case, unit, false, rows)
    }

    fn finish(case: &str, unit: &'static str, more_is_better: bool, mut rows: Vec<Row>) -> Self {
        let ours = rows.iter().find(|r| r.role == Role::Finack).map(|r| r.median);
        for row in rows.iter_mut().filter(|r| r.role != Role::Finack) {
            let of = |f: f64| if more_is_better { f / row.median } else { row.median / f };
            row.ratio = ours.map(of).filter(|ratio| ratio.is_finite());
        }
        Self { case: case.into(), unit, more_is_better, rows, missing: Vec::new() }
    }

    pub fn print(&self) {
        println!("\n{} [{}]", self.case, self.unit);
        for r in &self.rows {
            let spread = if r.least < r.greatest {
                format!("({} .. {})", figure(r.least), figure(r.greatest))
            } else {
                String::new()
            };
            let ratio = r.ratio.map(|x| format!("finack {x:.2} x")).unwrap_or_default();
            println!("  {:<34}{:>10}  {spread:<24}{ratio}", r.subject, figure(r.median));
        }
        for why in &self.missing {
            println!("  {why}");
        }
    }
}

/// Three significant digits, as many as the noise leaves.
fn figure(x: f64) -> String {
    match x.abs() {
        x1 if x1 >= 1e6 => format!("{:.2} M", x / 1e6),
        x1 if x1 >= 1e5 => format!("{:.0} k", x / 1e3),
        x1 if x1 >= 1e4 => format!("{:.1} k", x / 1e3),
        x1 if x1 >= 100.0 => format!("{x:.0}"),
        x1 if x1 >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

fn row(subject: &'static str, role: Role, figures: &mut [f64]) -> Row {
    figures.sort_by(f64::total_cmp);
    let (least, greatest) = (figures[0], figures[figures.len() - 1]);
    Row { subject, role, median: figures[figures.len() / 2], least, greatest, ratio: None }
}

/// Runs the subjects in turn, again and again.
pub fn compare(
    case: &str,
    unit: &'static str,
    more_is_better: bool,
    pace: Pace,
    mut subjects: Vec<Subject<'_>>,
) -> Comparison {
    for s in &mut subjects {
        (s.run)(pace.slice / 4);
    }
    let mut figures = vec![Vec::new(); subjects.len()];
    for _ in 0..pace.rounds {
        for (s, f) in subjects.iter_mut().zip(&mut figures) {
            f.push((s.run)(pace.slice));
        }
    }
    let rows = subjects.iter().zip(&mut figures).map(|(s, f)| row(s.name, s.role, f)).collect();
    Comparison::finish(case, unit, more_is_better, rows)
}

/// Runs `step` until `length` of processor time has passed; answers what it counted per second of it.
///
/// Processor time, because the machine may be shared: time in which others ran does not count.
pub fn rate(length: Duration, mut step: impl FnMut() -> u64) -> f64 {
    // Reading this clock is a system call, so it is read once in about a millisecond.
    const OFTEN: Duration = Duration::from_millis(1);
    let begun = processor_time();
    let (mut count, mut batch, mut last) = (0, 1, begun);
    loop {
        for _ in 0..batch {
            count += step();
        }
        let now = processor_time();
        let taken = now - begun;
        if taken >= length {
            return count as f64 / taken.as_secs_f64();
        }
        if now - last < OFTEN {
            batch *= 2;
        }
        last = now;
    }
}

/// Time that this thread had of a processor.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

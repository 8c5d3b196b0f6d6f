//! Simulations on all cores at once, the longest first, with a bar that says how far they are.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::sim::{Outcome, Setup};

/// The outcomes of a job's simulations, or what went wrong.
pub(crate) type Done = Result<Vec<Outcome>, String>;

/// What one row or cell needs: a simulation, or the same with other seeds.
pub(crate) struct Job {
    /// What `--only` looks for, and what a failure is called by.
    pub(crate) name: String,
    pub(crate) setups: Vec<Setup>,
}

impl Job {
    pub(crate) fn one(name: String, setup: Setup) -> Self {
        Self { name, setups: vec![setup] }
    }

    /// How long it takes, in packets that are checked.
    fn work(&self) -> f64 {
        let weight = |s: &Setup| if s.checked { 1.0 } else { UNCHECKED };
        self.setups.iter().map(|s| most_packets(s) * weight(s)).sum()
    }

    fn memory(&self) -> u64 {
        self.setups.iter().map(most_memory).max().unwrap_or(0)
    }
}

/// What a packet takes that is not checked on its way, where a checked one takes 1.
const UNCHECKED: f64 = 0.6;

/// More packets than the simulation has, ACKs too: those of a full link, or of the windows that loss allows.
fn most_packets(setup: &Setup) -> f64 {
    let path = &setup.path;
    let seconds = setup.time.as_secs_f64();
    let link = path.capacity() * seconds / 8.0 / super::path::MSS as f64;
    let wanted =
        setup.flows.iter().map(|f| f.bytes.map_or(f64::INFINITY, |b| b as f64 / 1000.0 + 10.0)).sum();
    let by_loss =
        |f: &super::sim::FlowSpec| super::formula::share(f.controller.name(), path).unwrap_or(1.0) * 3.0;
    let allowed = link * setup.flows.iter().map(by_loss).sum::<f64>();
    // What slow start reaches before the first loss.
    let begun = 2.0 * (path.bdp() + path.buffer) as f64 / 1000.0;
    // An ACK for every second, more after losses.
    (allowed + begun).min(link).min(wanted) * 1.7 + 100.0
}

/// More bytes than the simulation keeps: what is written and not yet read, at both ends, and what is under way.
fn most_memory(setup: &Setup) -> u64 {
    let farthest = setup.flows.iter().map(|f| f.farther).max().unwrap_or_default();
    let far = super::path::Path { rtt: setup.path.rtt + farthest, ..setup.path };
    // Measured over 1 Gb/s and 300 ms: up to ten times what the path holds, pieces of freed memory between counted in.
    let kept = 12 * (far.bdp() + far.buffer);
    let samples =
        setup.flows.len() as u64 * (setup.time.as_micros() / setup.sample.as_micros().max(1)) as u64 * 96;
    kept + samples + setup.flows.len() as u64 * (256 << 10) + (4 << 20)
}

/// What all of it needs at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bill {
    pub(crate) simulations: usize,
    pub(crate) threads: usize,
    pub(crate) time: Duration,
    pub(crate) bytes: u64,
}

/// The bill at so many nanoseconds a packet.
pub(crate) fn bill(jobs: &[Job], threads: usize, packet_ns: f64) -> Bill {
    let each: Vec<f64> = jobs.iter().map(|j| j.work() * packet_ns / 1e9).collect();
    let longest = each.iter().copied().fold(0.0, f64::max);
    let seconds = longest + each.iter().sum::<f64>() / threads as f64;
    let mut memory: Vec<u64> = jobs.iter().map(Job::memory).collect();
    memory.sort_unstable_by(|a, b| b.cmp(a));
    Bill {
        simulations: jobs.iter().map(|j| j.setups.len()).sum(),
        threads,
        time: Duration::from_secs_f64(seconds),
        bytes: memory.iter().take(threads).sum(),
    }
}

/// Runs every job; the outcomes are in the order of the jobs.
pub(crate) fn run(jobs: &[Job], threads: usize) -> Vec<Done> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|&a, &b| jobs[b].work().total_cmp(&jobs[a].work()));
    let (next, bar) = (AtomicUsize::new(0), bar(jobs.iter().map(Job::work).sum()));
    let done: Vec<Mutex<Option<Done>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some(&i) = order.get(next.fetch_add(1, Relaxed)) {
            let job = &jobs[i];
            bar.set_message(job.name.clone());
            let outcome = std::panic::catch_unwind(|| job.setups.iter().map(super::sim::run).collect());
            let outcome = outcome.unwrap_or_else(|cause| Err(explain(&*cause)));
            bar.inc(job.work() as u64);
            if let Ok(mut place) = done[i].lock() {
                *place = Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let taken = |place: Mutex<Option<_>>| place.into_inner().ok().flatten();
    done.into_iter().map(|place| taken(place).unwrap_or_else(|| Err("it was not run".into()))).collect()
}

fn bar(packets: f64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(packets as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// What a panic said.
fn explain(cause: &(dyn std::any::Any + Send)) -> String {
    let said = cause.downcast_ref::<String>().cloned();
    said.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_else(|| "a panic".into())
}

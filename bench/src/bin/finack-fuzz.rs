//! Hostile packets by the million: no panic, nothing unsound sent, no memory beyond the bound.
//!
//! The packets come in attacks of 50,000, each on a stack of its own with settings and sockets of its own; the seed of
//! an attack decides everything in it, so that a violation is found again with `--seed SEED --packets 50000`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Parser;
use finack_core::tcp::State;
use finack_core::trace::DropReason;
use finack_sim::hostile::{HostileReport, hostile};

/// Packets of one attack.
const ATTACK: u64 = 50_000;

/// Attacks the engine with hostile packets.
#[derive(Parser)]
struct Arguments {
    /// How many packets in all.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,
    /// Seed of the first attack; the next ones count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// All attacks together.
#[derive(Default)]
struct Total {
    packets: u64,
    answers: u64,
    calls: u64,
    peak: usize,
    bound: usize,
    states: BTreeMap<State, u64>,
    drops: BTreeMap<DropReason, u64>,
    violations: Vec<(u64, String)>,
}

impl Total {
    fn add(&mut self, report: &HostileReport) {
        self.packets += report.packets;
        self.answers += report.answers;
        self.calls += report.calls;
        self.peak = self.peak.max(report.peak_memory);
        self.bound = report.bound;
        for &(state, n) in &report.states {
            *self.states.entry(state).or_default() += n;
        }
        for &(reason, n) in &report.drops {
            *self.drops.entry(reason).or_default() += n;
        }
    }

    fn print(&self, seconds: f64) {
        let rate = self.packets as f64 / seconds;
        println!("{} packets in {seconds:.1} s ({rate:.0} a second)", self.packets);
        println!("{} packets sent in answer, each checked; {} socket calls", self.answers, self.calls);
        println!("most memory: {} bytes, where {} are the bound", self.peak, self.bound);
        println!("connections seen by state, in samples:");
        for (state, n) in self.states.iter().filter(|(_, n)| **n > 0) {
            println!("  {n:>10}  {state:?}");
        }
        println!("dropped, by reason:");
        for (reason, n) in &self.drops {
            println!("  {n:>10}  {}", reason.as_str());
        }
    }
}

fn main() -> ExitCode {
    let Arguments { packets, seed } = Arguments::parse();
    let attacks = packets.div_ceil(ATTACK);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    let begun = Instant::now();
    let work = || {
        loop {
            let attack = next.fetch_add(1, Relaxed);
            if attack >= attacks {
                return;
            }
            let (seed, count) = (seed.wrapping_add(attack), ATTACK.min(packets - attack * ATTACK));
            let result = std::panic::catch_unwind(|| hostile(seed, count));
            let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match result {
                Ok(report) => total.add(&report),
                Err(cause) => total.violations.push((seed, explain(&*cause))),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.print(begun.elapsed().as_secs_f64());
    if total.violations.is_empty() {
        println!("no violation in {attacks} attacks, seeds {seed} and following");
        return ExitCode::SUCCESS;
    }
    for (seed, cause) in &total.violations {
        eprintln!("violation: {cause}; again with --seed {seed} --packets {ATTACK}");
    }
    ExitCode::FAILURE
}

/// What a panic said.
fn explain(cause: &(dyn std::any::Any + Send)) -> String {
    let said = cause.downcast_ref::<String>().cloned();
    said.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_else(|| "a panic".into())
}

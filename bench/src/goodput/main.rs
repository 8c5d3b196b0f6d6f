//! What finack carries over paths that lose, delay and reorder, in virtual time: goodput, fairness, short flows.
//!
//! Everything that is simulated comes from one seed, so that a figure can be had again by anyone; simulations run beside
//! each other on all cores, and none knows of the others.

mod fairness;
mod formula;
mod matrix;
mod path;
mod pool;
mod report;
mod response;
mod short;
mod sim;
mod stats;
mod table;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use finack_core::settings::Congestion;

use pool::Job;
use report::{Report, Results};

/// Measures what finack carries over paths that lose, delay and reorder.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench goodput")]
struct Arguments {
    /// Under a minute: fewer paths, 10 s instead of 60.
    #[arg(long)]
    quick: bool,
    /// Prints the figures as JSON too, as the last line.
    #[arg(long)]
    json: bool,
    /// Only simulations whose name holds this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which congestion controllers, separated by commas; all of them if left out.
    #[arg(long, value_delimiter = ',', value_parser = controller)]
    controllers: Vec<Congestion>,
    /// How many simulations run at once; as many as there are cores if left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Refuses to begin what could take longer than so many seconds.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    time_limit: u64,
    /// Refuses to begin what could need more memory than so many MiB.
    #[arg(long, default_value_t = 8192, value_name = "MIB")]
    memory_limit: u64,
}

/// What is asked for.
pub(crate) struct Scope {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) controllers: Vec<Congestion>,
}

fn controller(name: &str) -> Result<Congestion, String> {
    Congestion::named(name).ok_or_else(|| format!("there are {}", Congestion::NAMES.join(", ")))
}

type Jobs = fn(&Scope) -> Vec<Job>;
type Reporter = fn(&Scope, &Results<'_>) -> Report;

/// Everything that can be run.
const GROUPS: [(Jobs, Reporter); 4] = [
    (matrix::jobs, matrix::report),
    (response::jobs, response::report),
    (fairness::jobs, fairness::report),
    (short::jobs, short::report),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("finack-goodput: {message}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> Result<bool, String> {
    let mut controllers = arguments.controllers.clone();
    if controllers.is_empty() {
        controllers = Congestion::NAMES.iter().filter_map(|n| Congestion::named(n)).collect();
    }
    let scope = Scope { quick: arguments.quick, seed: arguments.seed, controllers };
    let wanted = |job: &Job| arguments.only.as_ref().is_none_or(|text| job.name.contains(text));
    let jobs: Vec<Job> = GROUPS.iter().flat_map(|(jobs, _)| jobs(&scope)).filter(wanted).collect();
    if jobs.is_empty() {
        return Err("no simulation has that text in its name".into());
    }
    let threads = match arguments.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    admit(&jobs, threads, arguments)?;
    let begun = Instant::now();
    let outcomes = pool::run(&jobs, threads);
    eprintln!("done in {:.1} s", begun.elapsed().as_secs_f64());
    let results = Results::new(&jobs, &outcomes);
    let mut all = Report::default();
    for (_, report) in &GROUPS {
        let report = report(&scope, &results);
        all.tables.extend(report.tables);
        all.figures.extend(report.figures);
    }
    for table in &all.tables {
        println!("{}", table.text());
    }
    let mut wrong = all.violations();
    for (job, outcome) in jobs.iter().zip(&outcomes) {
        wrong.extend(outcome.as_ref().err().map(|e| format!("{}: {e}", job.name)));
    }
    for line in &wrong {
        eprintln!("violated: {line}");
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&all.figures).map_err(|e| format!("no JSON: {e}"))?);
    }
    Ok(wrong.is_empty())
}

/// Says what is ahead, and refuses what is more than allowed.
fn admit(jobs: &[Job], threads: usize, arguments: &Arguments) -> Result<(), String> {
    let bill = pool::bill(jobs, threads, packet_ns());
    let (seconds, mib) = (bill.time.as_secs_f64().ceil() as u64, bill.bytes >> 20);
    eprintln!(
        "{} simulations on {} threads: at most {seconds} s and {mib} MiB",
        bill.simulations, bill.threads
    );
    if seconds > arguments.time_limit {
        let limit = arguments.time_limit;
        return Err(format!(
            "that could take {seconds} s, where {limit} are allowed: --only, --quick or --time-limit"
        ));
    }
    if mib > arguments.memory_limit {
        let limit = arguments.memory_limit;
        return Err(format!(
            "that could need {mib} MiB, where {limit} are allowed: --only or --memory-limit"
        ));
    }
    Ok(())
}

/// What a packet costs here, with room for noise: measured on a short simulation.
fn packet_ns() -> f64 {
    let path = path::Path::new(100_000_000, Duration::from_millis(20), path::Loss::Random(0.0001));
    let setup =
        sim::Setup::new(path, vec![sim::FlowSpec::endless(Congestion::Reno)], Duration::from_secs(1), 1);
    let begun = Instant::now();
    let packets = sim::run(&setup).map_or(1, |o| o.packets.max(1));
    begun.elapsed().as_nanos() as f64 / packets as f64 * 2.0
}

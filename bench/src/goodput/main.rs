//! What finack carries over paths that lose, delay and reorder, in virtual time: goodput, fairness, short flows.
//!
//! Everything that is simulated comes from one seed, so that a figure can be had again by anyone; simulations run beside
//! each other on all cores, and none knows of the others.

mod fairness;
mod formula;
mod matrix;
mod own;
mod path;
mod pictures;
mod pool;
mod queues;
mod report;
mod response;
mod short;
mod sim;
mod stats;
mod svg;
#[path = "../table.rs"]
mod table;

use std::path::{Path, PathBuf};
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
    /// Only simulations whose name holds this text; of several texts, all of them.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// One flow of each controller over this path instead, as in docs/simulator.md: 'rate=10mbit delay=20ms loss=1%'.
    #[arg(long, value_name = "PATH", value_parser = own::path, conflicts_with_all = ["only", "write", "pictures"])]
    link: Option<finack_sim::link::Path>,
    /// How long a flow over that path takes, in seconds of virtual time.
    #[arg(long, default_value_t = 60, requires = "link", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seconds: u64,
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which congestion controllers, separated by commas; reno,cubic,bbr if left out.
    #[arg(long, value_delimiter = ',', value_parser = controller)]
    controllers: Vec<Congestion>,
    /// Draws pictures too, and puts them into this directory.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Puts the tables into docs/performance.md and pictures into docs/pictures.
    #[arg(long, conflicts_with_all = ["pictures", "only", "controllers"])]
    write: bool,
    /// How many simulations run at once; as many as there are cores if left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Refuses to begin what could take longer than so many seconds.
    #[arg(long, default_value_t = 7200, value_name = "SECONDS")]
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

/// Controllers for paths that lose packets and mark none.
const USUAL: [&str; 3] = ["reno", "cubic", "bbr"];

type Jobs = fn(&Scope) -> Vec<Job>;
type Reporter = fn(&Scope, &Results<'_>) -> Report;

/// Everything that can be run.
const GROUPS: [(Jobs, Reporter); 5] = [
    (matrix::jobs, matrix::report),
    (response::jobs, response::report),
    (fairness::jobs, fairness::report),
    (short::jobs, short::report),
    (queues::jobs, queues::report),
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
        controllers = USUAL.iter().filter_map(|n| Congestion::named(n)).collect();
    }
    let scope = Scope { quick: arguments.quick, seed: arguments.seed, controllers };
    let wanted = |job: &Job| arguments.only.iter().all(|text| job.name.contains(text));
    let mut jobs: Vec<Job> = GROUPS.iter().flat_map(|(jobs, _)| jobs(&scope)).filter(wanted).collect();
    if let Some(link) = &arguments.link {
        jobs = own::jobs(&scope, link, arguments.seconds);
    }
    let place = arguments.pictures.clone().or_else(|| arguments.write.then(|| docs().join("pictures")));
    if place.is_some() {
        jobs.extend(pictures::jobs(&scope).into_iter().filter(wanted));
    }
    if jobs.is_empty() {
        return Err("no simulation has that in its name".into());
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
    for report in GROUPS.iter().map(|(_, report)| *report).chain([own::report as Reporter]) {
        let report = report(&scope, &results);
        all.tables.extend(report.tables);
        all.figures.extend(report.figures);
    }
    for table in &all.tables {
        println!("{}", table.text());
    }
    if let Some(place) = place {
        put_pictures(&place, &pictures::draw(&scope, &results))?;
    }
    if arguments.write {
        table::put(&docs().join("performance.md"), MARKS, &all.tables)?;
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

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn put_pictures(place: &Path, pictures: &[pictures::Picture]) -> Result<(), String> {
    let failed = |path: &Path, e| format!("cannot write {}: {e}", path.display());
    std::fs::create_dir_all(place).map_err(|e| failed(place, e))?;
    for (file, svg) in pictures {
        let path = place.join(file);
        std::fs::write(&path, svg).map_err(|e| failed(&path, e))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// Where the tables stand in the page.
const MARKS: [&str; 2] = ["<!-- made by `cargo xtask bench goodput --write` -->\n", "<!-- so far -->\n"];

/// Says what is ahead, and refuses what is more than allowed.
fn admit(jobs: &[Job], threads: usize, arguments: &Arguments) -> Result<(), String> {
    let bill = pool::bill(jobs, threads, packet_ns());
    let (seconds, mib) = (bill.time.as_secs_f64().ceil() as u64, bill.bytes >> 20);
    eprintln!(
        "{} simulations on {} threads: at most {seconds} s on idle cores, and {mib} MiB",
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

/// Nanoseconds of a core that a packet takes here where everything is checked, with room: measured on a short simulation.
fn packet_ns() -> f64 {
    let path = path::Path::new(100_000_000, Duration::from_millis(20), path::Loss::Random(0.0001));
    let setup =
        sim::Setup::new(path, vec![sim::FlowSpec::endless(Congestion::Reno)], Duration::from_secs(1), 1);
    let used = || {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
    };
    let begun = used();
    let packets = sim::run(&setup).map_or(1, |o| o.packets.max(1));
    (used() - begun) / packets as f64 * 1.5
}

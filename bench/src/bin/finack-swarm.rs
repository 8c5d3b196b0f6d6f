//! Random worlds, one a seed, for as long as one likes: no rule may be broken in any of them.
//!
//! What breaks one is shrunk and printed with the one command that runs it again.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Parser;
use finack_sim::HostId;
use finack_sim::checker::{Rule, Violation};
use finack_sim::swarm::shrink::shrink_with;
use finack_sim::swarm::{Case, Feature, Outcome, Plan, Stats, run};

/// Longest case that is printed as an argument; a longer one goes into a file.
const LONGEST: usize = 3000;

/// Plays random worlds, one a seed, and checks every step of each.
#[derive(Parser)]
#[command(name = "cargo xtask swarm")]
struct Arguments {
    /// How long, in seconds; 60 where neither this nor --seeds is given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// As --seconds 20.
    #[arg(long, conflicts_with_all = ["seconds", "seeds"])]
    quick: bool,
    /// The first seed; the next ones count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Runs one world again: SEED, SEED:EDITS or a file with one of these.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["seconds", "seeds", "seed", "quick"])]
    replay: Option<String>,
    /// Prints the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Threads; as many as there are cores where it is not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,
    /// Runs that making a failure smaller may take; 0 leaves it as it is.
    #[arg(long, default_value_t = 3000)]
    shrink: u32,
}

/// All runs together.
#[derive(Default)]
struct Total {
    all: Stats,
    features: BTreeMap<Feature, Stats>,
    failure: Option<(Case, Outcome)>,
}

impl Total {
    fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        let stats = Stats { seeds: 1, ..outcome.stats.clone() };
        self.all.add(&stats);
        for feature in plan.features.iter() {
            self.features.entry(feature).or_default().add(&stats);
        }
    }
}

thread_local! {
    /// Where the last panic was.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a plan; a panic is a violation too.
fn attempt(plan: &Plan) -> Option<Outcome> {
    match catch_unwind(AssertUnwindSafe(|| run(plan))) {
        Ok(result) => result.ok(),
        Err(cause) => Some(panicked(&*cause)),
    }
}

fn panicked(cause: &(dyn Any + Send)) -> Outcome {
    let said = cause.downcast_ref::<String>().cloned();
    let said = said.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default();
    let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
    let place = PANICKED_AT.with(|at| at.borrow().clone());
    let violation = Violation {
        rule: Rule::Sound,
        what: format!("a panic at {place}: {first}"),
        host: HostId(0),
        ends: None,
        at: finack_core::Instant::ZERO,
        packet: 0,
    };
    Outcome { violation: Some(violation), ladder: rest.into(), ..Outcome::default() }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANICKED_AT.with(|at| *at.borrow_mut() = place);
    }));
    match &arguments.replay {
        Some(case) => replay(case),
        None => swarm(&arguments),
    }
}

/// The case that an argument or a file holds.
fn read_case(text: &str) -> Result<Case, String> {
    match std::fs::read_to_string(text) {
        Ok(file) => file.parse().map_err(|e| format!("{text}: {e}")),
        Err(_) => text.parse(),
    }
}

fn replay(text: &str) -> ExitCode {
    let case = match read_case(text) {
        Ok(case) => case,
        Err(error) => {
            eprintln!("swarm: {error}");
            return ExitCode::from(2);
        }
    };
    let Some((plan, outcome)) = case.plan().ok().and_then(|p| attempt(&p).map(|o| (p, o))) else {
        eprintln!("swarm: the world of {text} has a setting that is not known here");
        return ExitCode::from(2);
    };
    print!("{plan}");
    match &outcome.violation {
        None => {
            println!("{}", one_line(&outcome.stats));
            println!("no rule was broken");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("the last packets:\n{}", outcome.ladder);
            println!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn one_line(stats: &Stats) -> String {
    let shown = stats.numbers().into_iter().filter(|&(name, n)| n > 0 && name != "seeds");
    let all: Vec<String> = shown.map(|(name, n)| format!("{n} {name}")).collect();
    format!("{:.1} virtual seconds: {}", stats.virtual_time.as_secs_f64(), all.join(", "))
}

fn swarm(arguments: &Arguments) -> ExitCode {
    let seconds = match (arguments.quick, arguments.seconds, arguments.seeds) {
        (true, ..) => 20,
        (_, Some(seconds), _) => seconds,
        (_, None, Some(_)) => u64::MAX / 4,
        (_, None, None) => 60,
    };
    let limit = Duration::from_secs(seconds);
    let last = arguments.seeds.unwrap_or(u64::MAX);
    let (next, stop, total) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Total::default()));
    let begun = Instant::now();
    let work = || {
        while !stop.load(Relaxed) && begun.elapsed() < limit {
            let index = next.fetch_add(1, Relaxed);
            if index >= last {
                return;
            }
            let case = Case::new(arguments.seed.wrapping_add(index));
            let Some((plan, outcome)) = case.plan().ok().and_then(|p| attempt(&p).map(|o| (p, o))) else {
                continue;
            };
            let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            total.add(&plan, &outcome);
            if outcome.violation.is_some() && total.failure.is_none() {
                total.failure = Some((case, outcome));
                stop.store(true, Relaxed);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or(cores, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|w| !w.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                tell(&total, begun.elapsed(), limit);
            }
        }
    });
    let elapsed = begun.elapsed();
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report(arguments, &total, elapsed, threads)
}

/// Progress, on a terminal one line that changes, else a line every ten seconds.
fn tell(total: &Mutex<Total>, elapsed: Duration, limit: Duration) {
    let (seeds, packets) = {
        let total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (total.all.seeds, total.all.packets)
    };
    let of =
        if limit < Duration::from_secs(1 << 40) { format!(" of {}", limit.as_secs()) } else { String::new() };
    let line = format!("{} s{of}: {seeds} seeds, {packets} packets", elapsed.as_secs());
    if std::io::stderr().is_terminal() {
        eprint!("\r{line}   ");
        let _ = std::io::stderr().flush();
    } else if elapsed.as_secs().is_multiple_of(10) {
        eprintln!("{line}");
    }
}

fn report(arguments: &Arguments, total: &Total, elapsed: Duration, threads: usize) -> ExitCode {
    let seconds = elapsed.as_secs_f64();
    let a_minute = total.all.seeds as f64 * 60.0 / seconds;
    let shrunk = total.failure.as_ref().map(|(case, outcome)| smaller(case, outcome, arguments.shrink));
    if arguments.json {
        println!("{}", json(arguments, total, seconds, threads, shrunk.as_ref()));
    } else {
        print!("{}", table(total));
        println!(
            "{} seeds from {} on in {seconds:.1} s: {a_minute:.0} a minute on {threads} threads ({:.0} a minute each)",
            total.all.seeds,
            arguments.seed,
            a_minute / threads as f64
        );
    }
    let Some((case, outcome)) = shrunk else {
        if !arguments.json {
            println!("no rule was broken");
        }
        return ExitCode::SUCCESS;
    };
    if !arguments.json {
        print_failure(total, &case, &outcome);
    }
    ExitCode::FAILURE
}

fn smaller(case: &Case, outcome: &Outcome, budget: u32) -> (Case, Outcome) {
    let seed = case.seed;
    if budget > 0 {
        eprintln!("seed {seed} broke a rule; making its world smaller");
    }
    let shrunk = if budget == 0 { None } else { shrink_with(case, budget, attempt) };
    shrunk.map_or_else(|| (case.clone(), outcome.clone()), |s| (s.case, s.outcome))
}

/// The command that runs the case again.
fn command(case: &Case) -> String {
    let text = case.to_string();
    if text.len() <= LONGEST {
        return format!("cargo xtask swarm --replay '{text}'");
    }
    let path = std::env::temp_dir().join(format!("finack-swarm-{}.case", case.seed));
    match std::fs::write(&path, text) {
        Ok(()) => format!("cargo xtask swarm --replay {}", path.display()),
        Err(error) => format!("(the smaller world could not be written to {}: {error})", path.display()),
    }
}

fn print_failure(total: &Total, case: &Case, outcome: &Outcome) {
    if let Ok(plan) = case.plan() {
        println!("\n{plan}");
    }
    let lines: Vec<&str> = outcome.ladder.lines().collect();
    println!("the last packets:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    if let Some(violation) = &outcome.violation {
        println!("\nviolation: {violation}");
    }
    if let Some((whole, _)) = &total.failure {
        println!("as it was:     cargo xtask swarm --replay {}", whole.seed);
    }
    println!("made smaller:  {}", command(case));
}

const COLUMNS: [&str; 8] = [
    "seeds",
    "connections",
    "packets",
    "retransmissions",
    "recoveries",
    "time-outs",
    "undone",
    "resets told",
];

fn table(total: &Total) -> String {
    let mut out = String::new();
    let _ = write!(out, "{:<18}", "worlds with");
    for column in COLUMNS {
        let _ = write!(out, "{column:>16}");
    }
    out.push('\n');
    let mut row = |name: &str, stats: &Stats| {
        let _ = write!(out, "{name:<18}");
        let numbers = stats.numbers();
        for column in COLUMNS {
            let n = numbers.iter().find(|(name, _)| *name == column).map_or(0, |(_, n)| *n);
            let _ = write!(out, "{n:>16}");
        }
        out.push('\n');
    };
    total.features.iter().for_each(|(feature, stats)| row(feature.name(), stats));
    row("all", &total.all);
    let _ = writeln!(out, "all: {}", one_line(&total.all));
    out
}

fn json(
    arguments: &Arguments,
    total: &Total,
    seconds: f64,
    threads: usize,
    shrunk: Option<&(Case, Outcome)>,
) -> String {
    let object = |stats: &Stats| -> serde_json::Value {
        let numbers = stats.numbers().into_iter();
        numbers
            .map(|(name, n)| (name.replace([' ', '-'], "_"), n.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let features: serde_json::Map<String, serde_json::Value> =
        total.features.iter().map(|(f, stats)| (f.name().into(), object(stats))).collect();
    let violation = shrunk.map(|(case, outcome)| {
        let violation = outcome.violation.as_ref();
        serde_json::json!({
            "rule": violation.map(|v| v.rule.name()),
            "what": violation.map(ToString::to_string),
            "seed": case.seed,
            "replay": command(case),
        })
    });
    let value = serde_json::json!({
        "first_seed": arguments.seed,
        "seconds": seconds,
        "threads": threads,
        "seeds_a_minute": total.all.seeds as f64 * 60.0 / seconds,
        "virtual_seconds": total.all.virtual_time.as_secs_f64(),
        "all": object(&total.all),
        "worlds_with": features,
        "violation": violation,
    });
    format!("{value:#}")
}

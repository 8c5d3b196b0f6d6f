//! Small worlds of two hosts, explored exhaustively: see `docs/explorer.md`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use finack_sim::explorer::{Limits, Outcome, RULES, World, explore, named, worlds};

/// Explores small worlds of two hosts: every interleaving of calls, arrivals, losses, duplicates, timers and crashes.
#[derive(Parser)]
#[command(name = "cargo xtask explore")]
struct Arguments {
    /// The network does less in each world: under a minute in all.
    #[arg(long)]
    quick: bool,
    /// Prints figures for programs.
    #[arg(long)]
    json: bool,
    /// Explores this world only; may be given more than once.
    #[arg(long = "world", value_name = "NAME")]
    worlds: Vec<String>,
    /// Lists the worlds.
    #[arg(long)]
    list: bool,
    /// Shows what was found at length also where it had to be: as a ladder and as packet scripts.
    #[arg(long)]
    show: bool,
    /// Most situations of one world; one that has more fails, as not exhausted.
    #[arg(long, default_value_t = 60_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    situations: u32,
    /// Looks at each host that is reached a second time, whether it does what the first did (slower).
    #[arg(long)]
    recheck: bool,
}

/// An explored world.
struct Done {
    outcome: Outcome,
    seconds: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return list(arguments.quick);
    }
    let chosen = match choose(&arguments) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("finack-explore: {error}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let done = run(&chosen, &arguments);
    let seconds = begun.elapsed().as_secs_f64();
    let text = if arguments.json { json(&done, seconds) } else { table(&done, seconds) };
    print!("{text}");
    let wrong: Vec<&Done> = done.iter().filter(|d| d.outcome.verdict().is_err()).collect();
    for d in &wrong {
        complain(&d.outcome);
    }
    for d in done.iter().filter(|d| arguments.show && d.outcome.verdict().is_ok()) {
        show(&d.outcome);
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list(quick: bool) -> ExitCode {
    for world in worlds(quick) {
        println!("{:<24} {}\n{:<24} {}", world.name, world.about, "", world.bounds());
    }
    ExitCode::SUCCESS
}

fn choose(arguments: &Arguments) -> Result<Vec<World>, String> {
    if arguments.worlds.is_empty() {
        return Ok(worlds(arguments.quick));
    }
    let find = |name: &String| {
        named(name, arguments.quick)
            .ok_or_else(|| format!("there is no world '{name}': --list tells the names"))
    };
    arguments.worlds.iter().map(find).collect()
}

/// Explores the worlds, as many at a time as there are cores.
fn run(chosen: &[World], arguments: &Arguments) -> Vec<Done> {
    let limits = Limits { situations: arguments.situations as usize, recheck: arguments.recheck };
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let terminal = std::io::stderr().is_terminal();
    let work = || {
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(world) = chosen.get(index) else { return };
            let begun = Instant::now();
            let outcome = explore(world, limits, |count| {
                if terminal {
                    eprint!("\r{:<24} {count:>10} situations\x1b[K", world.name);
                }
                true
            });
            let seconds = begun.elapsed().as_secs_f64();
            if terminal {
                eprint!("\r\x1b[K");
            }
            let _ = std::io::stderr().flush();
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, Done { outcome, seconds }));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, done)| done).collect()
}

/// `1.2e15`, or all of it while that is short.
fn large(count: f64) -> String {
    if count < 1e6 { format!("{count:.0}") } else { format!("{count:.1e}") }
}

fn result(outcome: &Outcome) -> String {
    match (outcome.verdict(), &outcome.violation) {
        (Ok(()), None) => "none".into(),
        (Ok(()), Some(_)) => "found, as it must".into(),
        (Err(what), _) => format!("VIOLATION: {what}"),
    }
}

fn transitions(outcome: &Outcome) -> usize {
    outcome.transitions.iter().filter(|seen| **seen).count()
}

fn ways(outcome: &Outcome) -> String {
    match (outcome.exhausted, outcome.round) {
        (false, _) => "-".into(),
        (true, false) => large(outcome.interleavings),
        (true, true) => format!(">{}", large(outcome.interleavings)),
    }
}

fn table(done: &[Done], seconds: f64) -> String {
    use core::fmt::Write;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<24} {:<62} {:>10} {:>13} {:>6} {:>5} {:>7}  violations",
        "world", "bounds", "situations", "interleavings", "states", "depth", "time"
    );
    for Done { outcome: o, seconds } in done {
        let _ = writeln!(
            out,
            "{:<24} {:<62} {:>10} {:>13} {:>6} {:>5} {:>5.1} s  {}",
            o.world.name,
            o.world.bounds(),
            o.situations,
            ways(o),
            transitions(o),
            o.depth,
            seconds,
            result(o)
        );
    }
    let situations: usize = done.iter().map(|d| d.outcome.situations).sum();
    let steps: usize = done.iter().map(|d| d.outcome.steps).sum();
    let seen = RULES.iter().enumerate().filter(|(i, _)| done.iter().any(|d| d.outcome.transitions[*i]));
    let (figure, text): (Vec<_>, Vec<_>) = seen.partition(|(_, r)| r.figure);
    let all = RULES.iter().filter(|r| r.figure).count();
    let _ = writeln!(
        out,
        "\n{situations} situations, {steps} steps between them, {seconds:.0} s; transitions of RFC 9293: {} of {all} in \
         figure 5, {} of {} in its text",
        figure.len(),
        text.len(),
        RULES.len() - all
    );
    out
}

#[derive(serde::Serialize)]
struct Figures<'a> {
    world: &'a str,
    bounds: String,
    situations: usize,
    steps: usize,
    interleavings: Option<f64>,
    transitions: Vec<String>,
    depth: usize,
    seconds: f64,
    exhausted: bool,
    ok: bool,
    found: Option<&'a str>,
}

fn json(done: &[Done], seconds: f64) -> String {
    let figures = |d: &Done| {
        let o = &d.outcome;
        let seen = RULES.iter().zip(&o.transitions).filter(|(_, seen)| **seen);
        serde_json::to_value(Figures {
            world: o.world.name,
            bounds: o.world.bounds(),
            situations: o.situations,
            steps: o.steps,
            interleavings: o.exhausted.then_some(o.interleavings),
            transitions: seen.map(|(r, _)| format!("{} -> {}", r.from, r.to)).collect(),
            depth: o.depth,
            seconds: d.seconds,
            exhausted: o.exhausted,
            ok: o.verdict().is_ok(),
            found: o.violation.as_ref().map(|v| v.what.as_str()),
        })
        .unwrap_or_default()
    };
    let all: Vec<serde_json::Value> = done.iter().map(figures).collect();
    format!("{}\n", serde_json::json!({ "worlds": all, "seconds": seconds }))
}

/// What is wrong, at length.
fn complain(outcome: &Outcome) {
    let Err(what) = outcome.verdict() else { return };
    eprintln!("\nworld '{}': {what}\n", outcome.world.name);
    show(outcome);
}

/// What was found, on both hosts and as each of them lives through it.
fn show(outcome: &Outcome) {
    if outcome.violation.is_none() {
        return;
    }
    eprint!("{}", outcome.ladder());
    for end in 0..2 {
        eprintln!("\n{}", outcome.packet_script(end));
    }
}

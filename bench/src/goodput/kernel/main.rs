//! `cargo xtask bench goodput --kernel`: finack and Linux over the same lossy links, in real time.
//!
//! Two hosts, each a network namespace or a finack stack, exchange packets through a link in user space, whose losses
//! depend on the seed alone. What finack carries is compared with what Linux carries to Linux over the same link with
//! the same congestion control, finack once as the sender and once as the receiver.

mod capture;
mod cells;
mod emulator;
mod flow;
mod linux;
mod namespace;
mod report;
mod run;
mod schedule;
mod short;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use cells::Cell;
use report::{Full, Line};
use run::{Pairing, Plan};
use schedule::Job;

/// Congestion controls that are compared; the last is shown without a bar, for Linux's is version 1.
const CONTROLS: [&str; 3] = ["cubic", "reno", "bbr"];

/// Compares finack with Linux over emulated links in real time.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench goodput --kernel", disable_version_flag = true)]
struct Arguments {
    /// Finack and Linux in real time (this table).
    #[arg(long)]
    kernel: bool,
    /// Three cells and few short flows for three seconds each, in less than a minute; nothing fails.
    #[arg(long)]
    quick: bool,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// This cell only (may be given again); `list` shows them.
    #[arg(long, value_name = "NAME")]
    cell: Vec<String>,
    /// This link in place of the cells, in the words of docs/simulator.md: "rate=10mbit delay=20ms loss=1%".
    #[arg(long, value_name = "WORDS", conflicts_with = "cell")]
    link: Option<String>,
    /// This congestion control only (may be given again).
    #[arg(long, value_name = "NAME")]
    control: Vec<String>,
    /// This pairing only: linux-linux, finack-linux (finack sends) or linux-finack; may be given again.
    #[arg(long, value_name = "NAME")]
    pairing: Vec<String>,
    /// First seed of the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds each cell is run with.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: Option<u64>,
    /// How long each run takes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Writes captures of both ends and the sender's state over time into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Leaves the short flows out, or the long ones.
    #[arg(long, value_parser = ["long", "short"])]
    only: Option<String>,
    /// Mb/s that runs at the same time may carry together.
    #[arg(long, default_value_t = 240, value_name = "MBITS")]
    budget: u32,
}

/// Runs what the command line asks for.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.cell.iter().any(|name| name == "list") {
        return match cells::all() {
            Ok(cells) => {
                cells.iter().for_each(|cell| println!("{:<20} {}", cell.name, cell.text));
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error, 2),
        };
    }
    let asked = match Asked::from(&arguments) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error, 2),
    };
    if let Err(error) = namespace::prepare() {
        return refuse(&error, 1);
    }
    if let Some(directory) = &arguments.keep
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        return refuse(&format!("--keep {}: {error}", directory.display()), 1);
    }
    let begun = Instant::now();
    let mut full = Full { quick: arguments.quick, ..Full::default() };
    if arguments.only.as_deref() != Some("short") {
        let jobs = asked.jobs(&arguments);
        let done = schedule::all(jobs, arguments.budget, "cells");
        full.lines = Line::gather(&asked.cells, &asked.controls, &done);
        full.failed = done.iter().filter_map(|(plan, result)| report::failure(plan, result)).collect();
    }
    if arguments.only.as_deref() != Some("long") && arguments.link.is_none() && arguments.cell.is_empty() {
        let jobs =
            match short::jobs(&asked.pairings, arguments.seed, arguments.quick, arguments.keep.as_ref()) {
                Ok(jobs) => jobs,
                Err(error) => return refuse(&error, 2),
            };
        let done = schedule::all(jobs, arguments.budget, "short flows");
        full.short = short::gather(&done);
        full.failed.extend(done.iter().filter_map(|(plan, result)| report::failure(plan, result)));
    }
    full.seconds = begun.elapsed().as_secs_f64();
    full.judge();
    if arguments.json {
        full.print_json()
    } else {
        full.print()
    }
    let bar_counts = !arguments.quick
        && arguments.cell.is_empty()
        && arguments.link.is_none()
        && arguments.seconds.is_none();
    if !full.failed.is_empty() || (bar_counts && !full.passed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn refuse(error: &str, status: u8) -> ExitCode {
    eprintln!("goodput: {error}");
    ExitCode::from(status)
}

/// What the command line asks for, checked.
struct Asked {
    cells: Vec<Cell>,
    controls: Vec<String>,
    pairings: Vec<Pairing>,
}

impl Asked {
    fn from(arguments: &Arguments) -> Result<Self, String> {
        let quick = ["lan-clean", "lossy-1", "shallow-queue"];
        let mut cells = cells::all()?;
        if let Some(text) = &arguments.link {
            cells = vec![Cell::described("link", text, None).map_err(|e| format!("--link: {e}"))?];
        } else if let Some(name) =
            arguments.cell.iter().find(|name| cells.iter().all(|cell| cell.name != **name))
        {
            return Err(format!("no cell is called '{name}': --cell list shows all"));
        } else if !arguments.cell.is_empty() {
            cells.retain(|cell| arguments.cell.contains(&cell.name));
        } else if arguments.quick {
            cells.retain(|cell| quick.contains(&&*cell.name));
        }
        let controls: Vec<String> = match &arguments.control[..] {
            [] if arguments.quick => vec![CONTROLS[0].into()],
            [] => CONTROLS.map(String::from).to_vec(),
            names => names.to_vec(),
        };
        if let Some(name) = controls.iter().find(|name| !linux::has(name) && !user::has(name)) {
            return Err(format!("neither finack nor this kernel has a congestion control '{name}'"));
        }
        let pairing = |name: &String| {
            let found = Pairing::ALL.into_iter().find(|pairing| pairing.name() == name);
            found.ok_or_else(|| {
                format!("no pairing is called '{name}': linux-linux, finack-linux, linux-finack")
            })
        };
        let pairings = match &arguments.pairing[..] {
            [] => Pairing::ALL.to_vec(),
            names => names.iter().map(pairing).collect::<Result<_, _>>()?,
        };
        Ok(Self { cells, controls, pairings })
    }

    /// Every cell with every congestion control that both have, every pairing and every seed.
    fn jobs(&self, arguments: &Arguments) -> Vec<Job> {
        let seeds = arguments.seeds.unwrap_or(if arguments.quick { 1 } else { 3 });
        let seconds = arguments.seconds.unwrap_or(if arguments.quick { 3 } else { 10 });
        let mut jobs = Vec::new();
        for congestion in &self.controls {
            for cell in &self.cells {
                for seed in arguments.seed..arguments.seed + seeds {
                    for &pairing in &self.pairings {
                        let plan = Plan {
                            cell: cell.clone(),
                            pairing,
                            congestion: congestion.clone(),
                            seed,
                            time: Duration::from_secs(seconds),
                            flows: 1,
                            bytes: u64::MAX,
                            at_once: 1,
                            keep: arguments.keep.clone(),
                        };
                        if plan.is_possible() {
                            let load = cell.load[usize::from(plan.congestion == "bbr")];
                            jobs.push(Job { load, plan });
                        }
                    }
                }
            }
        }
        jobs
    }
}

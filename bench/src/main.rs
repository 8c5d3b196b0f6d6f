//! finack and its peers on the same tasks, in alternating runs of one session.
//!
//! Only the ratios mean something beyond the machine and the hour of the run. One core is taken and kept; beside each
//! figure stands, where there is one, the bare loop: the same bytes with no protocol.

mod bare;
mod bulk;
mod client;
mod counting;
mod engine;
mod guard;
mod inside;
mod load;
mod measure;
mod memory;
mod pair;
mod peers;
mod run;
mod shards;
mod table;
mod tun;
mod udp;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use measure::{Line, Options, Pace};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Engines in memory: bulk, request/response, churn, many connections.
    Engine,
    /// Bytes a connection takes, by state.
    Memory,
    /// Stacks over a TUN device, the kernel at its other end.
    Tun,
    /// Programs in `finack run`, with servers on the host, beside slirp4netns and pasta.
    Run,
    /// Datagrams, over TUN and through `finack run`.
    Udp,
    /// Several shards of one stack, each on a core of its own.
    Shards,
    /// Servers and clients under load, and under attack, in virtual time.
    Load,
}

impl What {
    /// Runs on one core, so that runs differ by what they do and not by where they run.
    fn stays_on_one_core(self) -> bool {
        matches!(self, Self::Engine | Self::Memory | Self::Load)
    }
}

/// Measures finack beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// What to measure; the engines if left out.
    what: Option<What>,
    /// Under a minute, or eight with `run`: shorter and fewer runs.
    #[arg(long)]
    quick: bool,
    /// Prints the results as JSON too, as the last line.
    #[arg(long)]
    json: bool,
    /// Only cases whose name holds this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Leaves the peers out.
    #[arg(long)]
    alone: bool,
    /// tun, udp: the bare loops alone.
    #[arg(long)]
    bare: bool,
    /// The core to stay on; -1 for none.
    #[arg(long, default_value_t = 1, allow_hyphen_values = true)]
    core: i32,
    /// load: puts the tables into docs/load.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Fails where the engine's ratio to a peer fell by more than a quarter below what bench/ratios.toml keeps.
    #[arg(long, conflicts_with_all = ["alone", "only"])]
    guard: bool,
    /// Writes the engine's ratios to its peers into bench/ratios.toml, for --guard.
    #[arg(long, conflicts_with_all = ["alone", "only", "guard"])]
    write_ratios: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((first, words)) if first == client::NAME => return client::main(words),
        Some((first, words)) if first == run::bare::NAME => return run::bare::main(words),
        _ => {}
    }
    match measure(Arguments::parse()) {
        Ok(code) => code,
        Err(wrong) => {
            eprintln!("finack-bench: {wrong}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: Arguments) -> Result<ExitCode, String> {
    let what = arguments.what.unwrap_or(What::Engine);
    if (arguments.guard || arguments.write_ratios) && what != What::Engine {
        return Err("--guard and --write-ratios are about the engine: leave the other word out".into());
    }
    keep_memory();
    if what.stays_on_one_core() {
        pin(arguments.core);
    }
    let pace = if arguments.quick {
        Pace { rounds: 5, slice: Duration::from_millis(120) }
    } else {
        Pace { rounds: 7, slice: Duration::from_millis(1000) }
    };
    let Arguments { quick, only, alone, bare, .. } = arguments;
    let options = Options { pace, quick, only, alone, bare };
    if arguments.write && what != What::Load {
        return Err("--write is for load; `cargo xtask bench goodput` has one of its own".into());
    }
    if arguments.guard {
        return guard::judge(&options);
    }
    let (lines, wrong) = lines(what, &options)?;
    if lines.is_empty() && !options.only.is_empty() {
        let asked = options.only.join("' or '");
        return Err(format!(
            "nothing measured: no case's name holds '{asked}'; without --only each is named"
        ));
    }
    if arguments.write_ratios {
        guard::write(&lines)?;
    }
    if arguments.write {
        load::write(&lines)?;
    }
    if arguments.json {
        let json = serde_json::to_string(&lines).map_err(|e| format!("no JSON of the results: {e}"))?;
        println!("{json}");
    }
    for line in &wrong {
        eprintln!("violated: {line}");
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures, and prints each line as soon as it is there; adds what must not be.
fn lines(what: What, options: &Options) -> Result<(Vec<Line>, Vec<String>), String> {
    let compared = match what {
        What::Engine => engine::all(options),
        What::Memory => memory::all(options),
        What::Tun => tun::all(options),
        What::Run => run::all(options),
        What::Udp => udp::all(options),
        What::Shards => shards::all(options),
        What::Load => {
            let (tables, wrong) = load::all(options)?;
            return Ok((tables.into_iter().map(Line::Table).collect(), wrong));
        }
    };
    Ok((compared.into_iter().map(Line::Comparison).collect(), Vec::new()))
}

/// Has the C library's allocator keep freed memory: giving it back and faulting it in again is a cost that depends on
/// the order of unrelated allocations, and would fall on whoever allocates most.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two parameters of the allocator, before any other thread is there.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
    }
}

/// Stays on one core, so that runs differ by what they do and not by where they run.
fn pin(core: i32) {
    let Ok(core) = usize::try_from(core) else { return };
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        eprintln!("cannot stay on core {core} ({error}): figures will be noisier");
    }
}

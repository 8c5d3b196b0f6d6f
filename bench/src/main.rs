//! finack and its peers on the same tasks, in alternating runs of one session.
//!
//! Only the ratios mean something beyond the machine and the hour of the run. One core is taken and kept; beside each
//! figure stands, where there is one, the bare loop: the same bytes with no protocol.

mod bare;
mod client;
mod counting;
mod engine;
mod inside;
mod measure;
mod memory;
mod pair;
mod peers;
mod run;
mod tun;
mod udp;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use measure::Pace;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Engines in memory: bulk, request/response, churn, many connections.
    Engine,
    /// Bytes a connection takes, by state.
    Memory,
    /// Programs in `finack run`, with servers on the host, beside slirp4netns and pasta.
    Run,
    /// Stacks over a TUN device, with the kernel at its other end.
    Tun,
    /// Datagrams over a TUN device and through `finack run`.
    Udp,
}

/// Measures finack beside its peers.
#[derive(Parser)]
struct Arguments {
    /// What to measure; the engines if left out.
    what: Option<What>,
    /// Under a minute, or eight with `run`: shorter and fewer runs.
    #[arg(long)]
    quick: bool,
    /// Prints the results as JSON too, as the last line.
    #[arg(long)]
    json: bool,
    /// Only cases whose name holds this text.
    #[arg(long)]
    only: Option<String>,
    /// Leaves the peers out.
    #[arg(long)]
    alone: bool,
    /// The bare loops alone.
    #[arg(long)]
    bare: bool,
    /// The core to stay on; -1 for none.
    #[arg(long, default_value_t = 1, allow_hyphen_values = true)]
    core: i32,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((first, words)) if first == client::NAME => return client::main(words),
        Some((first, words)) if first == run::bare::NAME => return run::bare::main(words),
        _ => {}
    }
    measure(Arguments::parse());
    ExitCode::SUCCESS
}

fn measure(arguments: Arguments) {
    keep_memory();
    if !matches!(arguments.what, Some(What::Run | What::Tun | What::Udp)) {
        pin(arguments.core);
    }
    let pace = if arguments.quick {
        Pace { rounds: 5, slice: Duration::from_millis(120) }
    } else {
        Pace { rounds: 7, slice: Duration::from_millis(1000) }
    };
    let mut lines = Vec::new();
    // First, so that the allocator has seen nothing yet.
    if arguments.what == Some(What::Memory) {
        lines.extend(memory::all(arguments.alone));
    }
    if arguments.what == Some(What::Run) {
        lines.extend(run::all(arguments.quick, arguments.only.as_deref()));
    }
    let over_tun =
        tun::Options { pace, only: arguments.only.clone(), alone: arguments.alone, bare: arguments.bare };
    if arguments.what == Some(What::Tun) {
        lines.extend(tun::all(&over_tun));
    }
    if arguments.what == Some(What::Udp) {
        lines.extend(udp::over_tun(&over_tun));
        if !arguments.bare {
            lines.extend(run::datagrams(arguments.quick, arguments.only.as_deref()));
        }
    }
    if arguments.what.is_none_or(|what| what == What::Engine) {
        lines.extend(engine::all(&engine::Options {
            pace,
            quick: arguments.quick,
            only: arguments.only,
            alone: arguments.alone,
        }));
    }
    if arguments.json {
        match serde_json::to_string(&lines) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("the results cannot be written as JSON: {error}"),
        }
    }
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
